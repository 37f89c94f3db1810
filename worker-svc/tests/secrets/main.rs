//! Secrets are looked for everywhere but where they belong: in the log at its loudest, in traces and metrics, in answers
//! and errors, in the printed configuration, in what the keys command says, and in the files of the archive.
//!
//! The process is the real one. Its mail server refuses the login and says what it was told, as some do.

#[path = "../../../sync-core/tests/imap/certificates.rs"]
mod certificates;
#[path = "../../../sync-core/tests/imap/scripted.rs"]
#[allow(dead_code)]
mod scripted;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use docket::library::v1::{self as pb, mailbox_service_client::MailboxServiceClient};
use pb::{credential::Credential as Given, mailbox::Source};
use scripted::{Act, Server};
use tonic::{Request, transport::Channel};

const PASSWORD: &str = "canary-password-8c1f";
const TOKEN: &str = "canary-refresh-token-5d20";
const CLIENT_SECRET: &str = "canary-client-secret-77ab";

struct Worker {
    process: Child,
    folder: PathBuf,
}

fn command(folder: &Path, otlp: &str, ca: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker-svc"));
    let here = |name: &str| folder.join(name).display().to_string();
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    for (key, value) in [
        ("GRPC__LISTEN", "127.0.0.1:0".to_owned()),
        ("HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        ("WORKER__SLOTS", "0".to_owned()),
        ("ARCHIVE__DATABASE_URL", format!("sqlite:{}", here("data/archive.db"))),
        ("ARCHIVE__BLOBS_URL", format!("file:{}", here("data/blobs"))),
        ("RUNTIME__ADDRESS_FILE", here("address")),
        ("CREDENTIALS__KEY_FILE", here("keys")),
        ("SOURCES__ALLOW_NETWORKS", "127.0.0.0/8".to_owned()),
        ("SOURCES__CA_FILE", ca.display().to_string()),
        ("OAUTH__GOOGLE__CLIENT_ID", "id".to_owned()),
        ("OAUTH__GOOGLE__CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ("LOG__LEVEL", "trace,h2=trace,hyper=trace,tonic=trace,tower=trace,sqlx=trace".to_owned()),
        ("LOG__FORMAT", "json".to_owned()),
        ("TELEMETRY__OTLP_ENDPOINT", otlp.to_owned()),
    ] {
        command.env(format!("DOCKET_{key}"), value);
    }
    command
}

/// Standard output and error of a command that has to go well.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.into_owned()
}

impl Worker {
    fn start(folder: &Path, mut command: Command) -> Self {
        let log = fs::File::create(folder.join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let worker = Self { process: command.spawn().unwrap(), folder: folder.to_owned() };
        let until = Instant::now() + Duration::from_secs(30);
        while !folder.join("address").exists() {
            assert!(Instant::now() < until, "{}", worker.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        worker
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    async fn mailboxes(&self) -> MailboxServiceClient<Channel> {
        let addresses = fs::read_to_string(self.folder.join("address")).unwrap();
        let grpc = addresses.lines().find_map(|line| line.strip_prefix("grpc=")).unwrap();
        let channel = Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
        MailboxServiceClient::new(channel)
    }

    fn metrics(&self) -> String {
        let addresses = fs::read_to_string(self.folder.join("address")).unwrap();
        let http = addresses.lines().find_map(|line| line.strip_prefix("http=")).unwrap();
        let mut stream = TcpStream::connect(http).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Ends as it should, so that traces are flushed.
    fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        self.process.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes whatever is sent and says nothing, as a collector that hangs.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = taken.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let kept = kept.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    kept.lock().unwrap().extend_from_slice(&bytes[..count]);
                }
            });
        }
    });
    (address, taken)
}

fn traced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

fn connect(mailbox_id: &str, source: Source, credential: Given) -> Request<pb::ConnectMailboxRequest> {
    let mailbox = pb::Mailbox {
        mailbox_id: mailbox_id.into(),
        owner: "alice".into(),
        source: Some(source),
        ..Default::default()
    };
    let credential = Some(pb::Credential { credential: Some(credential) });
    traced(pb::ConnectMailboxRequest { mailbox: Some(mailbox), credential })
}

fn sources(port: u16) -> [(&'static str, Source, Given); 3] {
    let imap = pb::ImapSource {
        host: "127.0.0.1".into(),
        port: port.into(),
        user: "x".into(),
        ..Default::default()
    };
    let gmail = pb::GmailSource { oauth_client: "google".into() };
    let token = pb::OAuthCredential { client: "google".into(), refresh_token: TOKEN.into() };
    [
        ("imap", Source::Imap(imap.clone()), Given::Password(PASSWORD.into())),
        ("imap-oauth", Source::Imap(imap), Given::Oauth(token.clone())),
        ("gmail", Source::Gmail(gmail), Given::Oauth(token)),
    ]
}

/// Everything that a caller sees.
async fn call(worker: &Worker, port: u16) -> String {
    let mut client = worker.mailboxes().await;
    let mut seen = String::new();
    for (mailbox_id, source, credential) in sources(port) {
        let request = connect(mailbox_id, source, credential);
        seen += &format!("{request:?}\n");
        seen += &format!("{:?}\n", client.connect_mailbox(request).await.unwrap());
        let get = pb::GetMailboxRequest { mailbox_id: mailbox_id.into(), ..Default::default() };
        seen += &format!("{:?}\n", client.get_mailbox(traced(get)).await.unwrap());
        let test = pb::TestMailboxRequest { mailbox_id: mailbox_id.into(), ..Default::default() };
        seen += &format!("{:?}\n", client.test_mailbox(traced(test)).await.unwrap());
    }
    // Refusals, with the secret in the wrong place.
    let folder = Source::Folder(pb::FolderSource { path: "x".into(), ..Default::default() });
    let wrong = client.connect_mailbox(connect("folder", folder, Given::Password(PASSWORD.into()))).await;
    seen += &format!("{wrong:?}\n");
    let gmail = Source::Gmail(pb::GmailSource { oauth_client: "google".into() });
    let long = Given::Password(PASSWORD.repeat(1000));
    seen += &format!("{:?}\n", client.connect_mailbox(connect("gmail", gmail, long)).await);
    seen + &format!("{:?}\n", client.list_mailboxes(pb::ListMailboxesRequest::default()).await.unwrap())
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn secrets_appear_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start([]).await;
    server.play(|command| {
        let refused =
            format!("{{tag}} NO [AUTHENTICATIONFAILED] {PASSWORD} and {TOKEN}: you said {command}\r\n");
        command.starts_with("AUTHENTICATE").then_some(Act::Say(refused))
    });
    let (otlp, traces) = collector();
    let run = || command(folder.path(), &otlp, &server.ca());
    let mut shown = said(run().args(["keys", "create"]));
    let mut worker = Worker::start(folder.path(), run());
    shown += &call(&worker, server.address.port()).await;
    assert!(shown.contains("IMAP_LOGIN_REFUSED"), "{shown}");
    let keys = fs::read_to_string(folder.path().join("keys")).unwrap();
    let first_key = keys.lines().last().unwrap().split(' ').next_back().unwrap().to_owned();
    for arguments in [
        ["keys", "add"].as_slice(),
        &["keys", "rotate"],
        &["keys", "status"],
        &["keys", "remove", "1"],
        &["--print-config"],
        &["--check-config"],
    ] {
        shown += &said(run().args(arguments));
    }
    assert!(shown.contains("3 credentials are sealed with version 2 now"), "{shown}");
    // The running process follows the key file.
    shown += &call(&worker, server.address.port()).await;
    let metrics = worker.metrics();
    let tests = "docket_source_calls_total{provider=\"imap\",call=\"look\",outcome=\"reauthorize\"}";
    assert!(metrics.contains(tests), "{metrics}");
    worker.stop();
    let log = worker.log();
    assert!(
        log.contains("mailbox connected") && log.contains("\"level\":\"TRACE\""),
        "the log is as loud as can be"
    );
    let traces = traces.lock().unwrap().clone();
    assert!(!traces.is_empty(), "traces were exported");

    let keys = fs::read_to_string(folder.path().join("keys")).unwrap();
    let second_key = keys.lines().last().unwrap().split(' ').next_back().unwrap().to_owned();
    assert_eq!((first_key.len(), second_key.len()), (64, 64));
    let mut places = vec![("answers".to_owned(), shown.into_bytes()), ("log".into(), log.into_bytes())];
    places.push(("metrics".into(), metrics.into_bytes()));
    places.push(("traces".into(), traces));
    places.extend(files(&folder.path().join("data")));
    assert!(places.iter().any(|(name, _)| name.ends_with("archive.db")));
    let base64 = {
        use base64::Engine as _;
        // As it goes over the wire, from a place where three bytes begin.
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(format!("\0x\0{PASSWORD}"))
    };
    let secrets = [PASSWORD, TOKEN, CLIENT_SECRET, &first_key, &second_key, &base64[..base64.len() - 2]];
    for (name, content) in &places {
        for secret in secrets {
            let found = content.windows(secret.len()).position(|bytes| bytes == secret.as_bytes());
            let around =
                found.map(|at| String::from_utf8_lossy(&content[at.saturating_sub(200)..at]).into_owned());
            assert_eq!(around, None, "{secret} is in {name}");
        }
    }
    assert!(server.count(&base64[..base64.len() - 2]) > 0, "the server was told");
}
