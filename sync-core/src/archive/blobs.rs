//! The documents' bytes: in a folder, or in an object store that several workers reach ([`cloud`]).
//!
//! Guarantees: when `put` returns, the bytes are on disk, file and directory both synced (the local store
//! does that only when asked; remote stores always do); a key is never put twice, so nobody can overwrite
//! or delete what another writer relies on. Keys carry a hash of the owner, never a name, and are never
//! shared between owners.

mod cloud;

use std::path::{Path, PathBuf};
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

/// Where an address says that blobs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Folder(PathBuf),
    /// A bucket or container, by its address.
    Cloud(String),
}

impl Place {
    /// Of `file:FOLDER`, `file:///FOLDER`, `s3://BUCKET/PREFIX`, `gs://…` or `az://…`.
    ///
    /// # Errors
    /// [`Error::Unusable`] for any other address.
    pub fn parse(url: &str) -> Result<Self> {
        let folder = url.strip_prefix("file://").or_else(|| url.strip_prefix("file:"));
        match folder {
            Some("") => {}
            Some(folder) => return Ok(Self::Folder(folder.into())),
            None if cloud::is_known(url) => return Ok(Self::Cloud(url.to_owned())),
            None => {}
        }
        Err(Error::Unusable(
            "write file:FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX".into(),
        ))
    }
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

    /// Opens `place`. `environment` holds what an object store needs besides its address, under the names that its
    /// provider gave them: `AWS_…`, `GOOGLE_…` or `AZURE_…`.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the folder cannot be created or the settings do not suffice.
    pub fn at(place: &Place, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        match place {
            Place::Folder(folder) => Self::in_folder(folder),
            Place::Cloud(url) => cloud::open(url, environment).map(Self::new),
        }
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
            // A store that cannot create and refuse in one step: two archives that begin in it at the same moment
            // would both be let in.
            Err(object_store::Error::NotImplemented { .. }) => match self.read_mark(&key).await {
                Err(error) if error.is_missing_blob() => {
                    self.store.put(&key, archive_id.to_owned().into()).await?;
                }
                other => return other,
            },
            Err(error) => return Err(error.into()),
        }
        self.read_mark(&key).await
    }

    async fn read_mark(&self, key: &Key) -> Result<String> {
        let there = self.store.get(key).await?.bytes().await?;
        Ok(String::from_utf8_lossy(&there).into_owned())
    }
}
