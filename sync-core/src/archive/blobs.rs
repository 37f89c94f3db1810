//! The documents' bytes.
//!
//! Guarantees: when `put` returns, the bytes are on disk, file and directory both synced (the local store
//! does that only when asked; remote stores always do); a key is never put twice, so nobody can overwrite
//! or delete what another writer relies on. Keys carry a hash of the owner, never a name, and are never
//! shared between owners.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use sha2::{Digest, Sha256};

use super::{Error, Result};
use crate::text;

const MARK: &str = "archive-id";
pub(super) const DOCUMENTS: &str = "documents";

#[derive(Clone, Debug)]
pub struct Blobs {
    pub(super) store: Arc<dyn ObjectStore>,
}

/// Bytes that are durable but not named by any row yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub key: String,
    pub sha256: String,
    pub size: u64,
}

/// Where all blobs of an owner lie.
pub(super) fn home(namespace: &str, owner: &str) -> String {
    let home = text::hex(&Sha256::digest(format!("{namespace}\0{owner}"))[..12]);
    format!("{DOCUMENTS}/{home}")
}

impl Blobs {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// A folder, created if missing.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it cannot be created.
    pub fn in_folder(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|error| Error::Unusable(format!("blob folder: {error}")))?;
        let store = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
        Ok(Self::new(Arc::new(store)))
    }

    /// # Errors
    /// [`Error::Blobs`]; the bytes may or may not be there then, and a sweep takes them if so.
    pub async fn put(&self, namespace: &str, owner: &str, content: Bytes) -> Result<Put> {
        let sha256 = text::hex(&Sha256::digest(&content));
        let home = home(namespace, owner);
        let nonce: u64 = rand::random();
        let key = format!("{home}/{}/{sha256}-{nonce:016x}", &sha256[..2]);
        let size = content.len() as u64;
        self.store.put(&Key::from(key.as_str()), content.into()).await?;
        Ok(Put { key, sha256, size })
    }

    /// # Errors
    /// [`Error::Blobs`], also for a key that does not exist.
    pub async fn open(&self, key: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let found = self.store.get(&Key::from(key)).await?;
        Ok(found.into_stream().map_err(Error::from).boxed())
    }

    /// Leaves `archive_id` in an unmarked store; returns the id that the store carries.
    pub(super) async fn mark(&self, archive_id: &str) -> Result<String> {
        let (key, value) = (Key::from(MARK), Bytes::copy_from_slice(archive_id.as_bytes()));
        match self.store.put_opts(&key, value.into(), PutMode::Create.into()).await {
            Ok(_) => return Ok(archive_id.to_owned()),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let there = self.store.get(&key).await?.bytes().await?;
        Ok(String::from_utf8_lossy(&there).into_owned())
    }
}
