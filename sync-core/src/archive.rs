//! The archive: a catalog in SQL and the documents' bytes in an object store.
//!
//! Guarantees:
//! - A document that the catalog names has its bytes: blobs are durable before the row that names them is
//!   written ([`blobs`]), and only blobs that no row has named for a day are swept ([`sweep`]).
//! - Documents, what became of their messages, and the cursor change in one transaction ([`commit`]),
//!   which refuses a writer that has lost its claim ([`claim`]).
//! - A document is filed once: its id is derived from where it was found, and equal bytes are kept once
//!   per owner.
//!
//! Deliberately absent: opening credentials (they are kept sealed), permissions, page token encoding, metrics.

pub mod blobs;
pub mod claim;
pub mod commit;
pub mod credentials;
pub mod database;
pub mod documents;
mod duplicates;
pub mod erase;
mod filing;
mod likely;
pub mod mailboxes;
pub mod messages;
mod query;
pub mod record;
pub mod sweep;

use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use blobs::Blobs;
pub use database::Catalog;
pub use record::{
    Document, DocumentFilter, DocumentPlace, Mailbox, MailboxSpec, MailboxState, Message, MessageFilter,
    MessagePlace, MessageRef, MessageState, Settings, SourceConfig,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Busy, out of space, unreachable: worth another try.
    #[error("the archive's database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the archive's blob store failed: {0}")]
    Blobs(#[from] object_store::Error),
    /// A row that this version cannot read.
    #[error("the archive holds a damaged record: {0}")]
    Damaged(String),
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The etag that the caller expected is not the current one.
    #[error("the mailbox was changed by someone else")]
    VersionMismatch,
    #[error("the mailbox belongs to another owner")]
    OwnerMismatch,
    #[error("the archive cannot be used: {0}")]
    Unusable(String),
}

impl Error {
    /// Whether bytes that the catalog names are not in the blob store: the fault is not one that passes.
    pub fn is_missing_blob(&self) -> bool {
        matches!(self, Self::Blobs(object_store::Error::NotFound { .. }))
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Clone, Debug)]
pub struct Archive {
    pub catalog: Catalog,
    pub blobs: Blobs,
}

impl Archive {
    /// Joins a catalog and a blob store, once they are known to belong together: the blob store carries the
    /// catalog's archive id, so that a wrong setting cannot spread one archive over two stores.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the blob store belongs to another catalog.
    pub async fn join(catalog: Catalog, blobs: Blobs) -> Result<Self> {
        let there = blobs.mark(catalog.archive_id()).await?;
        if there != catalog.archive_id() {
            return Err(Error::Unusable(format!(
                "its blob store belongs to archive {}, its database to {}; check archive.blobs_url",
                crate::text::clean(&there, 64),
                catalog.archive_id()
            )));
        }
        Ok(Self { catalog, blobs })
    }

    /// A document and its bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none of this id.
    pub async fn open_document(
        &self,
        namespace: &str,
        document_id: &str,
    ) -> Result<(Document, BoxStream<'static, Result<Bytes>>)> {
        let document = self.catalog.get_document(namespace, document_id).await?;
        let bytes = self.blobs.open(&document.blob_key).await?;
        Ok((document, bytes))
    }
}
