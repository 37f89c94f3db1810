//! Folder sources: Maildir, mbox or `.eml` files below the configured root.

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::eml::Eml;
use super::maildir::Maildir;
use super::mbox::Mbox;
use super::root::{self, Root};
use super::{Fault, Fetched, Item, Page, Source};
use crate::sync::Clock;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A file is mbox, a directory with `cur` or `new` is Maildir, any other directory is `.eml` files.
    #[default]
    Detect,
    Maildir,
    Mbox,
    Eml,
}

/// What a mailbox says about its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Relative to the root, or absolute below it.
    pub path: String,
    #[serde(default)]
    pub format: Format,
}

/// The blocking half of a folder source.
pub(super) trait Folder: Send + Sync + 'static {
    fn changes(&self, cursor: Option<&str>, now: i64) -> Result<Page, Fault>;
    fn fetch(&self, item: &Item) -> Result<Fetched, Fault>;
}

pub struct FolderSource {
    folder: Arc<dyn Folder>,
    clock: Clock,
}

/// Opens a folder source. Called when a mailbox is connected (to refuse early) and by every run.
///
/// # Errors
/// See [`root::Error`].
pub fn open(
    root: &Root,
    config: &Config,
    folders: &[String],
    since: Option<i64>,
    clock: Clock,
) -> Result<FolderSource, root::Error> {
    let path = root.resolve(&config.path)?;
    let folder: Arc<dyn Folder> = match detect(&path, config.format) {
        Format::Maildir => Arc::new(Maildir::new(path, folders.to_vec(), since)),
        Format::Mbox => Arc::new(Mbox::new(path, since)),
        Format::Eml | Format::Detect => Arc::new(Eml::new(path, since)),
    };
    Ok(FolderSource { folder, clock })
}

fn detect(path: &Path, format: Format) -> Format {
    match format {
        Format::Detect if path.is_file() => Format::Mbox,
        Format::Detect if path.join("cur").is_dir() || path.join("new").is_dir() => Format::Maildir,
        Format::Detect => Format::Eml,
        said => said,
    }
}

impl Source for FolderSource {
    fn changes<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, Fault>> {
        let (folder, now, cursor) = (self.folder.clone(), (self.clock)(), cursor.map(str::to_owned));
        Box::pin(blocking(move || folder.changes(cursor.as_deref(), now)))
    }

    fn fetch<'a>(&'a self, item: &'a Item) -> BoxFuture<'a, Result<Fetched, Fault>> {
        let (folder, item) = (self.folder.clone(), item.clone());
        Box::pin(blocking(move || folder.fetch(&item)))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::transient("folder-interrupted", "reading the folder was interrupted")),
    }
}

pub(super) fn listing_fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => root::Error::Missing.into(),
        kind => root::Error::Unreadable(kind).into(),
    }
}
