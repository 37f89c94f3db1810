//! What the suites share: an archive in a temporary folder, and a reader that understands a toy format.

#![allow(dead_code)]

#[path = "../../../tests/harness/postgres.rs"]
pub mod postgres;
pub mod s3;
pub mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use sync_core::archive::database::postgres::Settings;
use sync_core::archive::record::SourceConfig;
use sync_core::archive::{Archive, Blobs, Catalog, MailboxSpec};
use sync_core::document::{Field, Fields, FoundDocument, Kind, MessageHead, ReadMessage, State};
use sync_core::reader::{Death, Error, Reader, Reading};
use sync_core::source::folder;
use sync_core::sync::Clock;

pub const NOW: i64 = 1_800_000_000_000;
pub const NS: &str = "default";

pub async fn catalog(folder: &Path) -> Catalog {
    Catalog::open_sqlite(&folder.join("archive.db"), NOW).await.unwrap()
}

/// In a database of its own, on the test binary's server.
pub async fn catalog_in_postgres() -> Catalog {
    let url = postgres::Server::shared().database();
    Catalog::open_postgres(&url, &Settings::default(), NOW).await.unwrap()
}

pub async fn archive(folder: &Path) -> Archive {
    archive_of(catalog(folder).await, folder).await
}

pub async fn archive_of(catalog: Catalog, folder: &Path) -> Archive {
    let blobs = Blobs::in_folder(&folder.join("blobs")).unwrap();
    Archive::join(catalog, blobs).await.unwrap()
}

/// Which database is under an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    pub const BOTH: [Self; 2] = [Self::Sqlite, Self::Postgres];

    pub async fn catalog(self, folder: &Path) -> Catalog {
        match self {
            Self::Sqlite => catalog(folder).await,
            Self::Postgres => catalog_in_postgres().await,
        }
    }
}

pub fn clock() -> Clock {
    Arc::new(|| NOW)
}

pub fn spec(mailbox_id: &str, owner: &str, path: &str) -> MailboxSpec {
    MailboxSpec {
        namespace: NS.into(),
        mailbox_id: mailbox_id.into(),
        owner: owner.into(),
        address: format!("{owner}@mail.example"),
        source: SourceConfig::Folder(folder::Config { path: path.into(), format: folder::Format::Detect }),
        since: None,
        folders: vec![],
        labels: BTreeMap::new(),
    }
}

fn field(value: &str) -> Field {
    Field { value: (!value.is_empty()).then(|| value.to_owned()), ..Field::default() }
}

/// `supplier|number|date|total`
pub fn document(line: &str, part: usize) -> FoundDocument {
    let mut words = line.split('|').map(str::trim);
    let mut next = || field(words.next().unwrap_or_default());
    let (supplier, number, issue_date, total) = (next(), next(), next(), next());
    FoundDocument {
        kind: Kind::Invoice,
        state: State::Filed,
        confidence: 0.9,
        fields: Fields { supplier, number, issue_date, total, currency: field("EUR"), ..Fields::default() },
        part: part.to_string(),
        file_name: Some(format!("{part}.pdf")),
        media_type: "application/pdf".into(),
        flags: vec![],
        content: line.as_bytes().to_vec(),
    }
}

/// A mail whose body's lines tell the reader what it finds.
pub fn mail(subject: &str, body: &str) -> String {
    format!("From: shop@supplier.example\nSubject: {subject}\nMessage-ID: <{subject}@x>\n\n{body}\n")
}

/// `INVOICE supplier|…` is a document; `BOMB` kills the reader, `BAD` is refused, anything else is nothing.
pub struct ToyReader;

impl Reader for ToyReader {
    fn read(&self, raw: Bytes) -> BoxFuture<'_, Result<Reading, Error>> {
        ready(toy(&raw)).boxed()
    }
}

fn toy(raw: &[u8]) -> Result<Reading, Error> {
    let text = String::from_utf8_lossy(raw);
    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
    if text.lines().any(|line| line == "BOMB") {
        return Err(Error::Died(Death::Memory));
    }
    if text.lines().any(|line| line == "BAD") {
        return Err(Error::Refused("not a mail".into()));
    }
    let found = text.lines().filter_map(|line| line.strip_prefix("INVOICE "));
    let documents = found.enumerate().map(|(part, line)| document(line, part)).collect();
    let head = MessageHead { subject: subject.into(), ..MessageHead::default() };
    Ok(Reading { message: ReadMessage { head, documents, reason: String::new() }, held: None })
}
