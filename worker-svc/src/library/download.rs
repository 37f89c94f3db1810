//! A document's bytes on their way to a client.
//!
//! Guarantees: chunks of at most [`CHUNK`], of which one is held at a time beside what the store hands out; the first
//! message says what comes; bytes that are not those that were filed end in an error, never in a clean end.

use bytes::{Bytes, BytesMut};
use docket::{
    errors::{self, Reason},
    library::v1::DownloadDocumentResponse,
};
use futures_util::stream::{BoxStream, StreamExt as _, once, unfold};
use sha2::{Digest as _, Sha256};
use sync_core::{archive, text};
use tonic::Status;

use super::{archive_error, convert, file_name};

/// Bytes in a message.
pub const CHUNK: usize = 64 << 10;

type Stored = BoxStream<'static, archive::Result<Bytes>>;

pub fn stream(
    document: archive::Document,
    stored: Stored,
) -> BoxStream<'static, Result<DownloadDocumentResponse, Status>> {
    let media_type = convert::media_type(&document.media_type);
    let head = DownloadDocumentResponse {
        chunk: Bytes::new(),
        size: i64::try_from(document.size).unwrap_or(i64::MAX),
        file_name: file_name::safe(document.file_name.as_deref(), &document.document_id, &media_type),
        media_type,
    };
    let sending = Sending { stored, rest: BytesMut::new(), digest: Sha256::new(), sha256: document.sha256 };
    let chunks = unfold(Some(sending), |sending| async move {
        let mut sending = sending?;
        match sending.next().await {
            Ok(Some(chunk)) => {
                let message = DownloadDocumentResponse { chunk, ..Default::default() };
                Some((Ok(message), Some(sending)))
            }
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    });
    once(std::future::ready(Ok(head))).chain(chunks).boxed()
}

struct Sending {
    stored: Stored,
    rest: BytesMut,
    digest: Sha256,
    sha256: String,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        while self.rest.len() < CHUNK {
            match self.stored.next().await {
                Some(Ok(bytes)) => self.rest.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(archive_error(error)),
                None => break,
            }
        }
        if self.rest.is_empty() {
            return self.verify().map(|()| None);
        }
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK)).freeze();
        self.digest.update(&chunk);
        Ok(Some(chunk))
    }

    fn verify(&self) -> Result<(), Status> {
        if text::hex(&self.digest.clone().finalize()) == self.sha256 {
            return Ok(());
        }
        tracing::error!(sha256 = %self.sha256, "a document's bytes are not those that were filed");
        Err(errors::status(Reason::Internal, "the document's bytes are damaged; discard what was received"))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn sent(parts: Vec<archive::Result<Bytes>>, filed: &[u8]) -> (Vec<usize>, bool) {
        let sha256 = text::hex(&Sha256::digest(filed));
        let stored = stream::iter(parts).boxed();
        let mut sending = Sending { stored, rest: BytesMut::new(), digest: Sha256::new(), sha256 };
        let mut sizes = Vec::new();
        loop {
            match sending.next().await {
                Ok(Some(chunk)) => sizes.push(chunk.len()),
                Ok(None) => return (sizes, true),
                Err(_) => return (sizes, false),
            }
        }
    }

    #[tokio::test]
    async fn chunks_are_full_and_damage_is_no_clean_end() {
        let content = vec![7; 2 * CHUNK + 5];
        let parts = |size: usize| content.chunks(size).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
        for size in [1_000, CHUNK, content.len()] {
            assert_eq!(sent(parts(size), &content).await, (vec![CHUNK, CHUNK, 5], true), "{size}");
        }
        assert_eq!(sent(vec![], b"").await, (vec![], true));
        assert_eq!(sent(vec![Ok(Bytes::from_static(b"ab"))], b"abc").await, (vec![2], false), "cut short");
        let broken = archive::Error::Damaged("x".into());
        assert_eq!(sent(vec![Ok(Bytes::from_static(b"ab")), Err(broken)], b"ab").await, (vec![], false));
    }
}
