//! Documents as a stream of text: JSON lines for programs, CSV for spreadsheets.
//!
//! Pages are read from the archive as the client takes them, so memory holds one page whatever the size of the export.
//! Newest first; what is filed meanwhile is not in it, what is deleted meanwhile may be.

mod csv;
mod json;

use std::collections::VecDeque;

use bytes::Bytes;
use docket::library::v1 as pb;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use sync_core::archive::{Catalog, DocumentFilter, DocumentPlace};
use tonic::Status;

use super::{archive_error, convert};

/// Documents of a page.
const PAGE: u32 = 100;
/// Bytes in a message.
const CHUNK: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    JsonLines,
    Csv,
}

struct Exporting {
    catalog: Catalog,
    filter: DocumentFilter,
    format: Format,
    after: Option<DocumentPlace>,
    is_last: bool,
    ready: VecDeque<Bytes>,
}

pub fn stream(
    catalog: Catalog,
    filter: DocumentFilter,
    format: Format,
) -> BoxStream<'static, Result<pb::ExportDocumentsResponse, Status>> {
    let head = if format == Format::Csv { csv::head() } else { String::new() };
    let ready = chunks(head.into_bytes());
    let exporting = Exporting { catalog, filter, format, after: None, is_last: false, ready };
    unfold(Some(exporting), |exporting| async move {
        let mut exporting = exporting?;
        match exporting.next().await {
            Ok(Some(chunk)) => Some((Ok(pb::ExportDocumentsResponse { chunk }), Some(exporting))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

impl Exporting {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        while self.ready.is_empty() && !self.is_last {
            let page = self.catalog.list_documents(&self.filter, self.after.as_ref(), PAGE).await;
            let page = page.map_err(archive_error)?;
            self.is_last = page.len() < PAGE as usize;
            self.after = page.last().map(DocumentPlace::of);
            let mut text = String::new();
            for document in page {
                let document = convert::document(document);
                match self.format {
                    Format::JsonLines => json::line(&document, &mut text),
                    Format::Csv => csv::line(&document, &mut text),
                }
            }
            self.ready = chunks(text.into_bytes());
        }
        Ok(self.ready.pop_front())
    }
}

fn chunks(bytes: Vec<u8>) -> VecDeque<Bytes> {
    let mut rest = Bytes::from(bytes);
    let mut chunks = VecDeque::new();
    while !rest.is_empty() {
        chunks.push_back(rest.split_to(rest.len().min(CHUNK)));
    }
    chunks
}

/// Seconds since 1970 as RFC 3339; empty if there is none.
fn time(timestamp: Option<&prost_types::Timestamp>) -> String {
    let time = timestamp.and_then(|it| chrono::DateTime::from_timestamp(it.seconds, it.nanos.unsigned_abs()));
    time.map_or(String::new(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

/// `DOCUMENT_KIND_CREDIT_NOTE` is `credit_note`.
fn short(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_ascii_lowercase()
}
