//! A mailbox over a temporary folder, and runs over it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sync_core::archive::{Archive, Catalog, DocumentFilter, Mailbox, Message, MessageFilter};
use sync_core::reader::Reader;
use sync_core::source::root::Root;
use sync_core::sync::{Failure, FolderSources, Job, Outcome, Settings, Sources, Syncer};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Database, NOW, NS, ToyReader, archive_of, clock, mail, spec};

pub struct World {
    dir: TempDir,
    pub archive: Archive,
}

impl World {
    /// A mailbox `mb` of alice over the folder or file `path`.
    pub async fn new(path: &str) -> Self {
        Self::on(Database::Sqlite, path).await
    }

    pub async fn on(database: Database, path: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = database.catalog(dir.path()).await;
        Self::of(catalog, dir, path).await
    }

    /// With blobs and mail in `dir`.
    pub async fn of(catalog: Catalog, dir: TempDir, path: &str) -> Self {
        fs::create_dir(dir.path().join("mail")).unwrap();
        let archive = archive_of(catalog, dir.path()).await;
        archive.catalog.connect_mailbox(&spec("mb", "alice", path), None, NOW).await.unwrap();
        Self { dir, archive }
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("mail")
    }

    pub fn syncer(&self) -> Syncer {
        let sources = FolderSources { root: Root::new(self.root()), clock: clock() };
        self.syncer_of(Arc::new(ToyReader), Arc::new(sources))
    }

    pub fn syncer_of(&self, reader: Arc<dyn Reader>, sources: Arc<dyn Sources>) -> Syncer {
        let settings = Settings { batch_messages: 4, ..Settings::default() };
        Syncer::new(self.archive.clone(), reader, sources, settings, clock())
    }

    pub async fn documents(&self) -> Vec<String> {
        let filter = DocumentFilter { namespace: NS.into(), ..DocumentFilter::default() };
        let found = self.archive.catalog.list_documents(&filter, None, 1000).await.unwrap();
        for document in &found {
            let (_, bytes) = self.archive.open_document(NS, &document.document_id).await.unwrap();
            let bytes: Vec<Bytes> = futures_util::TryStreamExt::try_collect(bytes).await.unwrap();
            assert_eq!(bytes.concat().len() as u64, document.size, "a filed document has its bytes");
        }
        let mut numbers: Vec<_> = found.into_iter().map(|it| it.fields.number.value.unwrap()).collect();
        numbers.sort();
        numbers
    }

    pub async fn messages(&self) -> Vec<Message> {
        let filter =
            MessageFilter { namespace: NS.into(), mailbox_id: "mb".into(), ..MessageFilter::default() };
        self.archive.catalog.list_messages(&filter, None, 1000).await.unwrap()
    }

    pub async fn mailbox(&self) -> Mailbox {
        self.archive.catalog.get_mailbox(NS, "mb").await.unwrap()
    }
}

pub fn job(run: &str, attempt: u32) -> Job {
    Job { namespace: NS.into(), mailbox_id: "mb".into(), run_id: run.into(), attempt }
}

pub async fn run(syncer: &Syncer, job: &Job) -> Result<Outcome, Failure> {
    syncer.run(job, |_| {}, CancellationToken::new()).await
}

pub fn invoice(n: usize) -> String {
    mail(&format!("m{n:03}"), &format!("INVOICE Acme|{n:03}|2026-01-01|{n}.00"))
}

pub fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:03}")).collect()
}

pub fn write_eml(root: &Path, name: &str, content: &str) {
    fs::write(root.join(name), content).unwrap();
}
