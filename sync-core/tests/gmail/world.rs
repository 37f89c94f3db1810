//! A fake Gmail with one account, a mailbox that is connected to it, and runs over it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sync_core::archive::record::GmailConfig;
use sync_core::archive::{
    Archive, DocumentFilter, Mailbox, MailboxSpec, Message, MessageFilter, SourceConfig,
};
use sync_core::credential::vault::Place;
use sync_core::credential::{Credential, Credentials, Secret, Vault, key_file};
use sync_core::source::gmail::quota::Limits;
use sync_core::source::gmail::{Patience, Provider, Settings};
use sync_core::source::imap::{self, Connector};
use sync_core::source::network::Dialer;
use sync_core::source::oauth::{Client, Clients};
use sync_core::source::opener::Opener;
use sync_core::source::root::Root;
use sync_core::sync::{self, Failure, FolderSources, Outcome, Syncer};
use tempfile::TempDir;

use super::fake::world::{CLIENT_ID, CLIENT_SECRET, Fault, Quota, Shared, Then, World as Fake};
use super::support::world::{job, run};
use super::support::{NOW, NS, ToyReader, archive, clock, mail, spec};

pub const ANNA: &str = "anna@gmail.test";
pub const REFRESH: &str = "rt-anna";
pub const DAY: i64 = 24 * 3600 * 1000;

pub struct World {
    dir: TempDir,
    pub archive: Archive,
    pub fake: Shared,
    pub settings: Settings,
    credentials: Credentials,
    clients: Clients,
}

impl World {
    pub async fn new() -> Self {
        let fake = Fake::shared();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(super::fake::server::serve(listener, fake.clone()));
        let dir = tempfile::tempdir().unwrap();
        let archive = archive(dir.path()).await;
        let keys = dir.path().join("keys");
        key_file::create(&keys).unwrap();
        let vault = Some(Arc::new(Vault::open(&keys).unwrap()));
        let credentials = Credentials::new(archive.catalog.clone(), vault, clock());
        let client = Client {
            client_id: CLIENT_ID.into(),
            client_secret: Secret::new(CLIENT_SECRET),
            token_url: format!("{base}/token"),
            api_url: base,
        };
        let clients = Arc::new(BTreeMap::from([("google".to_owned(), client)]));
        let settings = Settings {
            // Waiting for units is tested by itself.
            limits: Limits {
                user_per_minute: 100_000_000,
                project_per_minute: 100_000_000,
                ..Limits::default()
            },
            page: 50,
            patience: Patience {
                tries: 3,
                first: Duration::from_millis(1),
                longest: Duration::from_millis(100),
            },
            ..Settings::default()
        };
        let world = Self { dir, archive, fake, settings, credentials, clients };
        world.with(|fake| {
            fake.quota = Quota { user: 100_000_000, project: 100_000_000, ..Quota::default() };
            fake.now = Some(NOW);
            fake.mailbox(ANNA);
            fake.refresh_tokens.insert(REFRESH.into(), ANNA.into());
        });
        world.connect(&world.spec()).await;
        world
    }

    pub fn spec(&self) -> MailboxSpec {
        let source = SourceConfig::Gmail(GmailConfig { oauth_client: "google".into() });
        MailboxSpec { source, address: String::new(), ..spec("mb", "alice", "") }
    }

    pub async fn connect(&self, spec: &MailboxSpec) {
        let place = Place { namespace: NS, mailbox_id: "mb" };
        let refresh_token = Secret::new(REFRESH);
        let credential = Credential::OAuth { client: "google".into(), refresh_token };
        let sealed = self.credentials.seal(place, &credential).unwrap();
        let connected = self.archive.catalog.connect_mailbox_with(spec, Some(&sealed), None, NOW).await;
        connected.unwrap();
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut Fake) -> T) -> T {
        change(&mut self.fake.lock().unwrap())
    }

    /// A mail that brings invoice `n`; larger numbers are newer.
    pub fn deliver(&self, n: usize) -> String {
        self.deliver_as(n, &invoice(n), &["INBOX"])
    }

    pub fn deliver_as(&self, n: usize, mail: &str, labels: &[&str]) -> String {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let time = NOW - 1_000 * DAY + n as i64 * 1000;
        self.with(|fake| fake.mailbox(ANNA).add(mail.as_bytes().to_vec(), time, labels, false))
    }

    pub fn order(&self, call: &str, times: u32, then: Then) {
        self.with(|fake| fake.faults.push_back(Fault { call: call.into(), id: None, times, then }));
    }

    pub fn order_for(&self, call: &str, id: &str, times: u32, then: Then) {
        let fault = Fault { call: call.into(), id: Some(id.into()), times, then };
        self.with(|fake| fake.faults.push_back(fault));
    }

    /// Calls of a kind since the last question.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.with(|fake| std::mem::take(&mut fake.stats.calls))
    }

    pub fn syncer(&self) -> Syncer {
        self.syncer_in_batches(4)
    }

    pub fn syncer_in_batches(&self, batch_messages: usize) -> Syncer {
        let opener = Opener {
            folders: FolderSources { root: Root::new(self.dir.path()), clock: clock() },
            credentials: self.credentials.clone(),
            imap: Connector {
                dialer: Dialer::new(Vec::new()),
                tls: imap::tls::config(None).unwrap(),
                limits: imap::Limits::default(),
                clients: self.clients.clone(),
                tokens: None,
            },
            gmail: Provider::alone(self.clients.clone(), self.settings.clone(), clock()),
        };
        let settings = sync::Settings { batch_messages, ..sync::Settings::default() };
        Syncer::new(self.archive.clone(), Arc::new(ToyReader), Arc::new(opener), settings, clock())
    }

    pub async fn run(&self, run_id: &str) -> Result<Outcome, Failure> {
        run(&self.syncer(), &job(run_id, 1)).await
    }

    pub async fn documents(&self) -> Vec<String> {
        let filter = DocumentFilter { namespace: NS.into(), ..DocumentFilter::default() };
        let found = self.archive.catalog.list_documents(&filter, None, 20_000).await.unwrap();
        let mut numbers: Vec<_> = found.into_iter().map(|it| it.fields.number.value.unwrap()).collect();
        numbers.sort();
        numbers
    }

    pub async fn messages(&self) -> Vec<Message> {
        let filter =
            MessageFilter { namespace: NS.into(), mailbox_id: "mb".into(), ..MessageFilter::default() };
        self.archive.catalog.list_messages(&filter, None, 20_000).await.unwrap()
    }

    pub async fn mailbox(&self) -> Mailbox {
        self.archive.catalog.get_mailbox(NS, "mb").await.unwrap()
    }
}

pub fn invoice(n: usize) -> String {
    mail(&format!("m{n:05}"), &format!("INVOICE Acme|{n:05}|2026-01-01|{n}.00"))
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{n:05}")).collect()
}
