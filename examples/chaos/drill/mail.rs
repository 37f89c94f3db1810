//! Mailboxes that get mail while everything fails.

use std::{
    fs,
    path::{Path, PathBuf},
};

use docket::{library::v1 as lib, schedule::v1 as pb};
use prost_types::{Duration, Struct, Value, value::Kind};

use super::{chance::Chance, world::World};

pub const MAILBOXES: [&str; 2] = ["mail-0", "mail-1"];
/// Each invoice is different bytes, hence a document of its own.
const MAIL: &str = "From: Dana Reyes Design <hello@danareyes-design.example>\r\nTo: ap@buyer.example\r\n\
    Subject: Invoice {n} - logo work\r\nDate: Wed, 15 Apr 2026 08:29:00 +0900\r\n\
    Message-ID: <chaos.{n}@mail.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
    INVOICE {n}\r\nDate: 14 April 2026\r\nFrom: Dana Reyes Design\r\nTo: Example Buyer Ltd\r\n\r\n\
    Logo revision, 6 hours at 65.00 ......... 390.00\r\nVAT (0%) ................................   0.00\r\n\
    TOTAL EUR ............................... 390.00\r\n\r\nPlease pay by 28 April 2026.\r\n";

pub struct Post {
    root: PathBuf,
    written: [u64; MAILBOXES.len()],
}

impl Post {
    /// Before anything fails.
    pub async fn open(root: &Path, world: &World) -> anyhow::Result<Self> {
        for mailbox in MAILBOXES {
            for sub in ["cur", "new", "tmp"] {
                fs::create_dir_all(root.join(mailbox).join(sub))?;
            }
            let folder =
                lib::FolderSource { path: mailbox.into(), format: lib::FolderFormat::Maildir.into() };
            let connected = lib::Mailbox {
                mailbox_id: mailbox.into(),
                owner: mailbox.into(),
                source: Some(lib::mailbox::Source::Folder(folder)),
                ..Default::default()
            };
            let request = lib::ConnectMailboxRequest { mailbox: Some(connected), credential: None };
            world.libraries[0].mailboxes.clone().connect_mailbox(request).await?;
            let request =
                pb::UpsertScheduleRequest { schedule: Some(schedule(mailbox)), ..Default::default() };
            world.clients[0].schedules.clone().upsert_schedule(request).await?;
        }
        Ok(Self { root: root.to_owned(), written: [0; MAILBOXES.len()] })
    }

    /// As Maildir asks: written in tmp, then moved.
    pub fn deliver(&mut self, chance: &mut Chance) -> anyhow::Result<()> {
        let which = chance.index(MAILBOXES.len());
        self.written[which] += 1;
        let number = format!("{which}{:05}", self.written[which]);
        let folder = self.root.join(MAILBOXES[which]);
        let unfinished = folder.join("tmp").join(&number);
        fs::write(&unfinished, MAIL.replace("{n}", &number))?;
        fs::rename(unfinished, folder.join("new").join(&number))?;
        Ok(())
    }

    pub fn written(&self, mailbox: usize) -> u64 {
        self.written[mailbox]
    }
}

fn schedule(mailbox: &str) -> pb::Schedule {
    let id = Value { kind: Some(Kind::StringValue(mailbox.into())) };
    let second = |seconds| Some(Duration { seconds, nanos: 0 });
    pb::Schedule {
        schedule_id: mailbox.into(),
        timing: Some(pb::schedule::Timing::Every(pb::Every { interval: second(2), anchor: None })),
        task: Some(pb::Task {
            kind: "document-sync".into(),
            args: Some(Struct { fields: [("mailbox_id".into(), id)].into() }),
            ..Default::default()
        }),
        retry: Some(pb::Retry { max_attempts: 5, min_backoff: second(1), max_backoff: second(2) }),
        ..Default::default()
    }
}

/// What the archive knows, asked from a worker.
pub struct Filed {
    pub messages: Vec<lib::Message>,
    pub documents: Vec<lib::Document>,
}

pub async fn filed(world: &World, mailbox: &str) -> anyhow::Result<Filed> {
    let library = &world.libraries[1];
    let mut filed = Filed { messages: Vec::new(), documents: Vec::new() };
    let mut page_token = String::new();
    loop {
        let request =
            lib::ListMessagesRequest { mailbox_id: mailbox.into(), page_token, ..Default::default() };
        let page = library.mailboxes.clone().list_messages(request).await?.into_inner();
        filed.messages.extend(page.messages);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    loop {
        let request = lib::ListDocumentsRequest { page_token, ..Default::default() };
        let page = library.documents.clone().list_documents(request).await?.into_inner();
        filed.documents.extend(page.documents.into_iter().filter(|document| document.mailbox_id == mailbox));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(filed);
        }
    }
}
