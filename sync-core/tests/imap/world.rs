//! A mailbox on an IMAP server, and runs over it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use sync_core::archive::record::SourceConfig;
use sync_core::archive::{
    Archive, DocumentFilter, Mailbox, MailboxSpec, Message, MessageFilter, MessageState,
};
use sync_core::credential::vault::Place;
use sync_core::credential::{Access, Credential, Credentials, Secret, Vault, key_file};
use sync_core::source::gmail;
use sync_core::source::imap::{self, Config, Connector, Limits, Security};
use sync_core::source::network::{Dialer, Network};
use sync_core::source::oauth::{Client, Tokens};
use sync_core::source::opener::Opener;
use sync_core::source::root::Root;
use sync_core::source::{Fault, Source};
use sync_core::sync::{Failure, FolderSources, Job, Outcome, Settings, Sources, Syncer};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{NOW, NS, ToyReader, archive, clock, spec};

pub struct World {
    _dir: TempDir,
    pub archive: Archive,
    pub credentials: Credentials,
    pub spec: MailboxSpec,
    pub limits: Limits,
    pub tokens: Option<Arc<dyn Tokens>>,
    ca: std::path::PathBuf,
}

/// Hands out the refresh token as access token.
pub struct AsAccessToken;

impl Tokens for AsAccessToken {
    fn access_token<'a>(&'a self, access: &'a Access, _: &'a Client) -> BoxFuture<'a, Result<Secret, Fault>> {
        async move {
            match access.read().await? {
                Credential::OAuth { refresh_token, .. } => Ok(refresh_token),
                Credential::Password(_) => panic!("a token was asked for"),
            }
        }
        .boxed()
    }
}

impl World {
    /// Mailbox `mb` of alice on 127.0.0.1; `ca` is trusted.
    pub async fn new(ca: &Path, port: u16, security: Security, user: &str, credential: Credential) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = archive(dir.path()).await;
        key_file::create(&dir.path().join("keys")).unwrap();
        let vault = Arc::new(Vault::open(&dir.path().join("keys")).unwrap());
        let credentials = Credentials::new(archive.catalog.clone(), Some(vault), clock());
        let config = Config { host: "127.0.0.1".into(), port, security, user: user.into() };
        let spec = MailboxSpec { source: SourceConfig::Imap(config), ..spec("mb", "alice", "") };
        let limits = Limits { page: 10, ..Limits::default() };
        let world = Self { _dir: dir, archive, credentials, spec, limits, tokens: None, ca: ca.to_owned() };
        world.connect(&credential).await;
        world
    }

    pub async fn connect(&self, credential: &Credential) {
        let place = Place { namespace: NS, mailbox_id: "mb" };
        let sealed = self.credentials.seal(place, credential).unwrap();
        self.archive.catalog.connect_mailbox_with(&self.spec, Some(&sealed), None, NOW).await.unwrap();
    }

    /// With other settings, and the credential that is there.
    pub async fn change(&mut self, change: impl FnOnce(&mut MailboxSpec)) {
        change(&mut self.spec);
        self.archive.catalog.connect_mailbox(&self.spec, None, NOW).await.unwrap();
    }

    pub fn opener(&self) -> Opener {
        let client = Client {
            client_id: "id".into(),
            client_secret: Secret::new("s"),
            token_url: String::new(),
            api_url: String::new(),
        };
        let clients = Arc::new(BTreeMap::from([("google".to_owned(), client)]));
        Opener {
            folders: FolderSources { root: Root::none(), clock: clock() },
            credentials: self.credentials.clone(),
            imap: Connector {
                dialer: Dialer::new(
                    ["127.0.0.0/8", "::1"].iter().filter_map(|it| Network::parse(it)).collect(),
                ),
                tls: imap::tls::config(Some(&self.ca)).unwrap(),
                limits: self.limits,
                clients: clients.clone(),
                tokens: self.tokens.clone(),
            },
            gmail: gmail::Provider::alone(clients, gmail::Settings::default(), clock()),
        }
    }

    pub fn syncer(&self) -> Syncer {
        self.syncer_with(Settings { batch_messages: 4, ..Settings::default() })
    }

    pub fn syncer_with(&self, settings: Settings) -> Syncer {
        Syncer::new(self.archive.clone(), Arc::new(ToyReader), Arc::new(self.opener()), settings, clock())
    }

    pub async fn run(&self, run: &str) -> Result<Outcome, Failure> {
        self.syncer().run(&job(run), |_| {}, CancellationToken::new()).await
    }

    pub async fn source(&self) -> Box<dyn Source> {
        self.opener().open(&self.mailbox().await, None).await.unwrap()
    }

    pub async fn mailbox(&self) -> Mailbox {
        self.archive.catalog.get_mailbox(NS, "mb").await.unwrap()
    }

    /// Numbers of the documents, sorted.
    pub async fn documents(&self) -> Vec<String> {
        let filter = DocumentFilter { namespace: NS.into(), ..DocumentFilter::default() };
        let found = self.archive.catalog.list_documents(&filter, None, 10_000).await.unwrap();
        let mut numbers: Vec<_> = found.into_iter().map(|it| it.fields.number.value.unwrap()).collect();
        numbers.sort();
        numbers
    }

    pub async fn messages(&self, states: &[MessageState]) -> Vec<Message> {
        let filter = MessageFilter {
            namespace: NS.into(),
            mailbox_id: "mb".into(),
            states: states.to_vec(),
            ..MessageFilter::default()
        };
        self.archive.catalog.list_messages(&filter, None, 10_000).await.unwrap()
    }

    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

pub fn job(run: &str) -> Job {
    Job { namespace: NS.into(), mailbox_id: "mb".into(), run_id: run.into(), attempt: 1 }
}

pub fn password(text: &str) -> Credential {
    Credential::Password(Secret::new(text))
}

/// Quick to lose patience.
pub fn impatient() -> Limits {
    Limits {
        greeting: Duration::from_millis(300),
        command: Duration::from_millis(300),
        search: Duration::from_millis(300),
        idle: Duration::from_millis(200),
        page: 10,
        ..Limits::default()
    }
}

/// The `n`th mail, with an invoice of this number.
pub fn mail(n: usize) -> String {
    format!(
        "Received: by mx.example\r\nMessage-ID: <m{n:04}@x>\r\nDate: Mon, 5 Jan 2026 10:{:02}:{:02} +0000\r\n\
         From: shop@supplier.example\r\nSubject: m{n:04}\r\n\r\nINVOICE Acme|{n:04}|2026-01-01|{n}.00\r\n",
        n / 60 % 60,
        n % 60
    )
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{n:04}")).collect()
}
