//! A served library, a folder of mails, and a reader that understands a toy format.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use docket::{
    errors::{Reason, reason_of},
    identity::Gate,
    library::v1::{
        self as pb, document_service_client::DocumentServiceClient,
        mailbox_service_client::MailboxServiceClient,
    },
    schedule::v1 as schedule,
};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use prost_types::{Struct, Value, value::Kind as ValueKind};
use sync_core::{
    archive::{Archive, Blobs, Catalog},
    credential::{Credentials, Secret, Vault, key_file},
    document::{Field, Fields, FoundDocument, Kind, MessageHead, ReadMessage, State},
    reader::{Error, Reader, Reading},
    source::{
        gmail, imap,
        network::{Dialer, Network},
        oauth::{Client, Clients},
        opener::Opener,
        root::Root,
    },
    sync::{Clock, FolderSources, Settings, Sources, Syncer},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use worker_svc::{
    kind::{Context, Kind as _, Outcome, Progress, document_sync::DocumentSync},
    library::{self, Services},
    metrics::Metrics,
};

/// Of a namespace.
pub const MAILBOXES_MAX: u64 = 30;
pub const NOW: i64 = 1_800_000_000_000;

pub struct World {
    dir: TempDir,
    pub archive: Archive,
    pub credentials: Credentials,
    pub address: SocketAddr,
    pub mailboxes: MailboxServiceClient<Channel>,
    pub documents: DocumentServiceClient<Channel>,
    pub stopping: CancellationToken,
    pub served: JoinHandle<anyhow::Result<()>>,
    /// Unix milliseconds; a second later at each look.
    time: Arc<AtomicI64>,
}

fn clients() -> Clients {
    let client = Client {
        client_id: "id".into(),
        client_secret: Secret::new("client-secret"),
        token_url: "http://127.0.0.1:9/token".into(),
        api_url: "http://127.0.0.1:9".into(),
    };
    Arc::new(BTreeMap::from([("google".to_owned(), client)]))
}

impl World {
    pub async fn new() -> Self {
        Self::with(true, true).await
    }

    pub async fn with(has_root: bool, has_keys: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mail")).unwrap();
        let catalog = Catalog::open_sqlite(&dir.path().join("archive.db"), NOW).await.unwrap();
        let blobs = Blobs::in_folder(&dir.path().join("blobs")).unwrap();
        let archive = Archive::join(catalog, blobs).await.unwrap();
        let time = Arc::new(AtomicI64::new(NOW));
        let stopping = CancellationToken::new();
        let root = if has_root { Root::new(dir.path().join("mail")) } else { Root::none() };
        let keys = dir.path().join("keys");
        key_file::create(&keys).unwrap();
        let vault = if has_keys { Some(Arc::new(Vault::open(&keys).unwrap())) } else { None };
        let credentials = Credentials::new(archive.catalog.clone(), vault, clock(&time));
        let clients = clients();
        let sources = Arc::new(Opener {
            folders: FolderSources { root: root.clone(), clock: clock(&time) },
            credentials: credentials.clone(),
            gmail: gmail::Provider::alone(clients.clone(), gmail::Settings::default(), clock(&time)),
            imap: imap::Connector {
                dialer: Dialer::new(Network::parse("127.0.0.0/8").into_iter().collect()),
                tls: imap::tls::config(None).unwrap(),
                limits: imap::Limits::default(),
                clients: clients.clone(),
                tokens: None,
            },
        });
        let services = Services {
            archive: archive.clone(),
            root,
            credentials: credentials.clone(),
            clients,
            sources,
            gate: Gate::default(),
            tls: None,
            bounds: Default::default(),
            mailboxes_per_namespace: MAILBOXES_MAX,
            metrics: Metrics::new(0).unwrap(),
            clock: clock(&time),
            stopping: stopping.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(library::serve(listener, services));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self {
            dir,
            archive,
            credentials,
            address,
            mailboxes: MailboxServiceClient::new(channel.clone()),
            documents: DocumentServiceClient::new(channel),
            stopping,
            served,
            time,
        }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("mail")
    }

    /// With all that is in it.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn blobs(&self) -> PathBuf {
        self.dir.path().join("blobs")
    }

    pub fn channel_address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn mail(&self, path: &str, lines: &[&str]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let subject = path.file_stem().unwrap().to_str().unwrap();
        let head = format!("From: shop@supplier.example\nSubject: {subject}\nMessage-ID: <{subject}@x>");
        fs::write(path, format!("{head}\n\n{}\n", lines.join("\n"))).unwrap();
    }

    pub async fn connect(&self, mailbox: pb::Mailbox) -> Result<pb::ConnectMailboxResponse, Status> {
        let request = pb::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
        Ok(self.mailboxes.clone().connect_mailbox(request).await?.into_inner())
    }

    pub fn kind(&self) -> DocumentSync {
        let root = Root::new(self.root());
        self.kind_of(Arc::new(FolderSources { root, clock: clock(&self.time) }))
    }

    pub fn kind_of(&self, sources: Arc<dyn Sources>) -> DocumentSync {
        let (archive, reader) = (self.archive.clone(), Arc::new(ToyReader));
        let settings = Settings { batch_messages: 2, ..Settings::default() };
        DocumentSync::new(Arc::new(Syncer::new(archive, reader, sources, settings, clock(&self.time))))
    }

    pub async fn sync(&self, mailbox_id: &str, run_id: &str) -> Outcome {
        self.kind().run(job(mailbox_id, run_id), context()).await
    }

    /// Numbers of the documents that match, in the order of the list.
    pub async fn numbers(&self, filter: pb::DocumentFilter) -> Vec<String> {
        let found = self.list(filter).await.unwrap();
        found.into_iter().map(|it| it.number.unwrap().value.unwrap_or_default()).collect()
    }

    pub async fn list(&self, filter: pb::DocumentFilter) -> Result<Vec<pb::Document>, Status> {
        let request = pb::ListDocumentsRequest { filter: Some(filter), ..Default::default() };
        Ok(self.documents.clone().list_documents(request).await?.into_inner().documents)
    }

    pub async fn messages(&self, mailbox_id: &str, states: &[pb::MessageState]) -> Vec<pb::Message> {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let request = pb::ListMessagesRequest { mailbox_id: mailbox_id.into(), states, ..Default::default() };
        self.mailboxes.clone().list_messages(request).await.unwrap().into_inner().messages
    }
}

fn clock(time: &Arc<AtomicI64>) -> Clock {
    let time = time.clone();
    Arc::new(move || time.fetch_add(1_000, Ordering::SeqCst))
}

/// A mailbox over the folder of its id's name.
pub fn mailbox(mailbox_id: &str, owner: &str) -> pb::Mailbox {
    let folder = pb::FolderSource { path: mailbox_id.into(), format: pb::FolderFormat::Eml.into() };
    pb::Mailbox {
        mailbox_id: mailbox_id.into(),
        owner: owner.into(),
        address: format!("{owner}@mail.example"),
        source: Some(pb::mailbox::Source::Folder(folder)),
        ..pb::Mailbox::default()
    }
}

pub fn job(mailbox_id: &str, run_id: &str) -> schedule::DueJob {
    job_of(Some(ValueKind::StringValue(mailbox_id.into())), run_id)
}

pub fn job_of(mailbox_id: Option<ValueKind>, run_id: &str) -> schedule::DueJob {
    let fields = mailbox_id.map(|kind| ("mailbox_id".to_owned(), Value { kind: Some(kind) }));
    let args = Struct { fields: fields.into_iter().collect() };
    let task = schedule::Task { kind: "document-sync".into(), args: Some(args), ..schedule::Task::default() };
    schedule::DueJob {
        namespace: "default".into(),
        run_id: run_id.into(),
        attempt: 1,
        task: Some(task),
        ..schedule::DueJob::default()
    }
}

pub fn context() -> Context {
    Context { cancelled: CancellationToken::new(), progress: Arc::new(|_| {}) }
}

/// A context that keeps what it was told.
pub fn watching() -> (Context, Arc<Mutex<Vec<Progress>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let progress = Arc::new(move |now| kept.lock().unwrap().push(now));
    (Context { cancelled: CancellationToken::new(), progress }, seen)
}

/// documents_new, duplicates, messages_read, messages_failed
pub fn counts(result: &Struct) -> [u64; 4] {
    let count = |name| match &result.fields[name].kind {
        Some(ValueKind::NumberValue(number)) => *number as u64,
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(result.fields.len(), 4);
    ["documents_new", "duplicates", "messages_read", "messages_failed"].map(count)
}

#[track_caller]
pub fn synced(outcome: Outcome) -> [u64; 4] {
    match outcome {
        Outcome::Success { result } => counts(&result),
        failure => panic!("{failure:?}"),
    }
}

/// The refusal's reason, with a text that begins with or names `field`.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, reason: Reason, field: &str) {
    let status = answer.expect_err("a refusal");
    assert_eq!(reason_of(&status), Some(reason), "{status:?}");
    assert_eq!(status.code(), reason.code());
    assert!(status.message().contains(field), "{:?} does not name {field}", status.message());
}

/// `DOC kind|supplier|number|date|total` is a document; `BAD` is refused; anything else is nothing.
struct ToyReader;

impl Reader for ToyReader {
    fn read(&self, raw: Bytes) -> BoxFuture<'_, Result<Reading, Error>> {
        let text = String::from_utf8_lossy(&raw).into_owned();
        if text.lines().any(|line| line == "BAD") {
            return ready(Err(Error::Refused("not a mail".into()))).boxed();
        }
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let head = MessageHead {
            message_id: Some(header("Message-ID: ").trim_matches(['<', '>']).into()),
            date: None,
            from: header("From: ").into(),
            subject: header("Subject: ").into(),
        };
        let lines = text.lines().filter_map(|line| line.strip_prefix("DOC "));
        let documents = lines.enumerate().map(|(part, line)| found(line, part)).collect();
        let message = ReadMessage { head, documents, reason: "nothing that looks like one".into() };
        ready(Ok(Reading { message, held: None })).boxed()
    }
}

fn found(line: &str, part: usize) -> FoundDocument {
    let words: Vec<_> = line.split('|').map(str::to_owned).collect();
    let names = ["kind", "supplier", "number", "date", "total"];
    let mut words: BTreeMap<_, _> = names.into_iter().zip(words).collect();
    let kind = match words["kind"].as_str() {
        "receipt" => Kind::Receipt,
        "order" => Kind::OrderConfirmation,
        _ => Kind::Invoice,
    };
    let state = if words["kind"] == "scan" { State::NeedsOcr } else { State::Filed };
    let mut field = |name| {
        let value = words.remove(name).filter(|value| !value.is_empty());
        Field { value, confidence: 0.5, ..Field::default() }
    };
    let fields = Fields {
        supplier: field("supplier"),
        number: field("number"),
        issue_date: field("date"),
        total: field("total"),
        ..Fields::default()
    };
    FoundDocument {
        kind,
        state,
        confidence: 0.5,
        fields,
        part: part.to_string(),
        file_name: Some(format!("../{part}\u{202e}.pdf")),
        media_type: "application/pdf".into(),
        flags: vec!["totals\u{1b} disagree".into()],
        content: content(line),
    }
}

/// A document's bytes: more than one chunk.
pub fn content(line: &str) -> Vec<u8> {
    line.as_bytes().iter().copied().cycle().take(150_000).collect()
}
