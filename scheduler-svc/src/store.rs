//! Durable state: stupid on purpose. No business rule lives here.
//!
//! *Hot* records are loaded whole by [`Store::open`]; *cold* records are history, written in the same commit and read
//! by key. A store keeps bytes under keys and knows nothing of what they mean.

pub mod embedded;
pub mod key;
pub mod memory;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

use bytes::Bytes;

pub use key::Key;

/// One record to put, or with no value to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: Key,
    pub value: Option<Bytes>,
}

/// All writes of one batch: applied as a whole or not at all.
pub type Batch = Arc<Vec<Write>>;

/// What [`Store::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// Higher than that of every owner before.
    pub epoch: u64,
    /// Sequence of the last commit.
    pub seq: u64,
    pub hot: Vec<(Key, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else opened the store: this owner must drop its state and say nothing more.
    #[error("another owner has opened the store")]
    Fenced,
    /// It may have been applied, or not: send the same bytes with the same sequence again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The store cannot go on, and this process with it.
    #[error("store failed: {0}")]
    Fatal(String),
}

/// A store of one shard. Blocking: the shard calls it from a thread of its own.
pub trait Store: Send + Sync + 'static {
    /// For status and logs.
    fn kind(&self) -> &'static str;

    /// Becomes the owner and loads the hot records.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] when the store cannot be opened or read.
    fn open(&self) -> Result<Opened, StoreError>;

    /// Makes a batch durable. The same `seq` with the same bytes may be sent again.
    ///
    /// # Errors
    /// See [`StoreError`]; on `Fenced` nothing was written.
    fn commit(&self, epoch: u64, seq: u64, batch: Batch) -> Result<(), StoreError>;

    /// Reads cold records; the answers are in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the store does not answer.
    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError>;
}
