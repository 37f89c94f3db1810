//! Durable state: stupid on purpose. No business rule lives here.
//!
//! *Hot* records are loaded whole by [`Store::open`]; *cold* records are history, written in the same commit and read
//! by key. A store keeps bytes under keys and knows nothing of what they mean.

pub mod embedded;
pub mod key;
pub mod memory;
mod pack;
pub mod redis;

#[cfg(test)]
mod conformance;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

pub use key::Key;
use pack::Packer;

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
    /// How long reading them took, without any wait to become the owner.
    pub took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else opened the store: this owner must drop its state and say nothing more.
    #[error("another owner has opened the store")]
    Fenced,
    /// It may have been applied, or not: send the same bytes with the same sequence again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// It has lost more than it can bring back by itself: [`Store::restore`] has to write everything.
    #[error("the store has lost state that was committed")]
    Lost,
    /// Another owner's lease lives.
    #[error("another scheduler owns the store; its lease lasts {} ms more", left.as_millis())]
    Held { left: Duration, by: Peer },
    /// The store cannot go on, and this process with it.
    #[error("store failed: {0}")]
    Fatal(String),
}

/// Another process that owns, or owned, a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where it is reached; empty if it has not said.
    pub address: Box<str>,
    pub epoch: u64,
}

/// Everything that a store has to hold.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub hot: Vec<(Key, Bytes)>,
    /// History that was not committed yet.
    pub cold: Batch,
}

/// Some of the cold records.
#[derive(Debug, Default)]
pub struct Page {
    pub records: Vec<(Key, Bytes)>,
    /// Where the next page begins. None after the last.
    pub next: Option<Cursor>,
}

/// A place among the cold records; each store has its own.
pub type Cursor = Box<[u8]>;

/// For stores that go through their keys in order: a page that is full ends at its last key.
fn next_page(records: &[(Key, Bytes)], full: usize) -> Option<Cursor> {
    let (last, _) = records.last().filter(|_| records.len() == full)?;
    Some(last.as_bytes().into())
}

/// Whether a store takes writes, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub available: bool,
    /// For people, when it does not; else what they should mend.
    pub detail: String,
}

impl Default for Health {
    fn default() -> Self {
        Self { available: true, detail: String::new() }
    }
}

/// A store of one shard. Blocking: the shard calls it from a thread of its own.
pub trait Store: Send + Sync + 'static {
    /// For status and logs.
    fn kind(&self) -> &'static str;

    /// Where it is, without credentials. For logs.
    fn address(&self) -> String {
        self.kind().into()
    }

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

    /// Writes everything anew after [`StoreError::Lost`]; `seq` is that of the state in the snapshot.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn restore(&self, _epoch: u64, _seq: u64, _snapshot: Arc<Snapshot>) -> Result<(), StoreError> {
        Err(StoreError::Fatal("this store never loses what it has committed".into()))
    }

    /// Whether a commit becomes safer after it has succeeded, and answers to changes are to wait for that (rule O10).
    fn secures(&self) -> bool {
        false
    }

    /// Waits until everything through `seq` is as safe as `store.ack` asks. Returns through which commit everything is.
    /// Blocking, beside commits, on a thread of its own.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when it could not be had this time, [`StoreError::Lost`] when a commit has to find out what
    /// is lost; else as for commits.
    fn secure(&self, _epoch: u64, seq: u64) -> Result<u64, StoreError> {
        Ok(seq)
    }

    /// Whether what the owner says without a commit can be believed (rule O5). If not, a commit has to confirm it first.
    fn trusted(&self) -> bool {
        true
    }

    /// Whether it is known that another owner has opened the store.
    fn deposed(&self) -> bool {
        false
    }

    /// The owner lives. It says so at least every second.
    fn progress(&self) {}

    /// Whether several processes may be configured with it.
    fn is_shared(&self) -> bool {
        false
    }

    /// Who owns the store now. None while nobody does, or when that cannot be seen.
    fn owner(&self) -> Option<Peer> {
        None
    }

    /// Gives the ownership back, so that others need not wait for the end of a lease.
    fn resign(&self) {}

    fn health(&self) -> Health {
        Health::default()
    }

    /// Reads cold records; the answers are in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when the store does not answer.
    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// A page of all cold records, in an order of the store's own. For copies: it goes through everything.
    ///
    /// # Errors
    /// When the store does not answer, or holds something else among them.
    fn scan(&self, _from: Option<&Cursor>) -> Result<Page, StoreError> {
        Err(StoreError::Fatal(format!("a {} store does not list its history", self.kind())))
    }

    /// Openings from now on get an epoch above this one too. For copies: workers and archives ignore lower ones.
    fn outrank(&self, _epoch: u64) {}
}
