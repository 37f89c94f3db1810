//! The default store: one folder, nothing to install, synced to disk before a commit returns.
//!
//! An LSM tree (fjall) with a keyspace for hot records, one for cold ones, and one record that says who owns the
//! folder and how far it has come. One process per folder: the folder is locked while it is open. Any IO error is
//! fatal, because a second fsync may succeed over pages that the first one lost.

use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Batch, Key, Opened, Store, StoreError};

const OWNER: &[u8] = b"owner";

pub struct EmbeddedStore {
    database: Database,
    owner: Keyspace,
    hot: Keyspace,
    cold: Keyspace,
}

impl EmbeddedStore {
    /// Opens or creates the folder.
    ///
    /// # Errors
    /// Also when another process has it open.
    pub fn new(folder: &Path) -> Result<Self, StoreError> {
        let describe = |error: fjall::Error| match error {
            fjall::Error::Locked => {
                StoreError::Fatal(format!("{} is open in another process: stop it first", folder.display()))
            }
            error => StoreError::Fatal(format!("{}: {error}", folder.display())),
        };
        std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::Fatal(format!("create {}: {error}", folder.display())))?;
        let database = Database::builder(folder).worker_threads(1).open().map_err(describe)?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default).map_err(describe);
        let (owner, hot, cold) = (keyspace("owner")?, keyspace("hot")?, keyspace("cold")?);
        Ok(Self { database, owner, hot, cold })
    }

    /// Epoch and sequence of the last commit.
    fn position(&self) -> Result<(u64, u64), StoreError> {
        let Some(value) = self.owner.get(OWNER).map_err(fatal)? else { return Ok((0, 0)) };
        let number = |at: usize| Some(u64::from_be_bytes(value.get(at..at + 8)?.try_into().ok()?));
        number(0).zip(number(8)).ok_or_else(|| StoreError::Fatal("the owner record cannot be read".into()))
    }

    fn batch_at(&self, epoch: u64, seq: u64) -> fjall::OwnedWriteBatch {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        let position = [epoch.to_be_bytes(), seq.to_be_bytes()].concat();
        batch.insert(&self.owner, OWNER, position);
        batch
    }
}

impl Store for EmbeddedStore {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let (epoch, seq) = self.position()?;
        let epoch = epoch + 1;
        self.batch_at(epoch, seq).commit().map_err(fatal)?;
        let mut hot = Vec::new();
        for record in self.hot.iter() {
            let (key, value) = record.into_inner().map_err(fatal)?;
            hot.push((Key::from_bytes(&key), Bytes::copy_from_slice(&value)));
        }
        Ok(Opened { epoch, seq, hot })
    }

    fn commit(&self, epoch: u64, seq: u64, writes: Batch) -> Result<(), StoreError> {
        let (stored_epoch, stored_seq) = self.position()?;
        if epoch != stored_epoch {
            return Err(StoreError::Fenced);
        }
        if seq == stored_seq {
            return Ok(());
        }
        if seq != stored_seq + 1 {
            return Err(StoreError::Fatal(format!("commit {seq} after {stored_seq}")));
        }
        let mut batch = self.batch_at(epoch, seq);
        for write in writes.iter() {
            let keyspace = if write.key.is_cold() { &self.cold } else { &self.hot };
            match &write.value {
                Some(value) => batch.insert(keyspace, write.key.as_bytes(), &**value),
                None => batch.remove(keyspace, write.key.as_bytes()),
            }
        }
        batch.commit().map_err(fatal)
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let read = |key: &Key| {
            let keyspace = if key.is_cold() { &self.cold } else { &self.hot };
            let value = keyspace.get(key.as_bytes()).map_err(fatal)?;
            Ok(value.map(|value| Bytes::copy_from_slice(&value)))
        };
        keys.iter().map(read).collect()
    }
}

fn fatal(error: fjall::Error) -> StoreError {
    StoreError::Fatal(error.to_string())
}
