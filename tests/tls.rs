//! TLS at real processes: who is refused before a call, who is known by a certificate, and how certificates rotate.

#[path = "tls/certificates.rs"]
mod certificates;
mod harness;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use certificates::{Authority, Pair};
use docket::{
    errors::{Reason, reason_of},
    identity::tls::client::{Trust, channel},
    schedule::v1::{self as pb, schedule_service_client::ScheduleServiceClient},
};
use harness::{Plan, Service, redis::Redis};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::{Request, Status, transport::Channel};

const PATIENCE: Duration = Duration::from_secs(60);
const HERE: &str = "IP:127.0.0.1,DNS:localhost";

/// Entries of a tokens file, by name, role, and the name in the certificate.
const IDENTITIES: &[(&str, &str, &str)] = &[
    ("shop", "app", "spiffe://docket.test/shop"),
    ("fleet", "worker", "worker.docket.test"),
    ("standby", "scheduler", "spiffe://docket.test/scheduler"),
    ("scraper", "metrics", "prometheus.docket.test"),
];

struct World {
    folder: tempfile::TempDir,
    authority: Authority,
    server: Pair,
    tokens: PathBuf,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(&folder.path().join("authority"));
        let server = authority.sign("server", HERE).copy_to(&folder.path().join("mounted"));
        let tokens = folder.path().join("tokens");
        let entry = |(name, role, certificate): &(&str, &str, &str)| {
            let kinds = if *role == "worker" { "kinds = [\"noop\"]\n" } else { "" };
            format!(
                "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\nnamespaces = [\"*\"]\n{kinds}\
                 certificate = \"{certificate}\"\n"
            )
        };
        fs::write(&tokens, IDENTITIES.iter().map(entry).collect::<String>()).expect("written");
        Self { folder, authority, server, tokens }
    }

    fn secure(&self, plan: Plan) -> Plan {
        plan.set("DOCKET_AUTH__TOKENS_FILE", self.tokens.display())
            .set("DOCKET_TLS__CERT_FILE", self.server.cert.display())
            .set("DOCKET_TLS__KEY_FILE", self.server.key.display())
            .set("DOCKET_TLS__CLIENT_CA_FILE", self.authority.file().display())
    }

    fn scheduler(&self) -> Service {
        self.secure(Plan::new("scheduler-svc", self.folder.path())).start().expect("scheduler-svc")
    }

    /// Trusts the authority, and shows a certificate.
    fn trust(&self, shown: Option<&Pair>) -> Trust {
        trust(&self.authority, shown)
    }
}

fn trust(authority: &Authority, shown: Option<&Pair>) -> Trust {
    let (cert_file, key_file) = shown.map(|pair| (pair.cert.clone(), pair.key.clone())).unwrap_or_default();
    Trust { ca_file: authority.file(), cert_file, key_file, server_name: String::new() }
}

fn secure_channel(service: &Service, trust: &Trust) -> Channel {
    channel(&format!("https://{}", service.grpc), trust, |endpoint| endpoint).expect("a channel")
}

async fn list(channel: Channel) -> Result<(), Status> {
    let list = ScheduleServiceClient::new(channel).list_schedules(pb::ListSchedulesRequest::default()).await;
    list.map(|_| ())
}

fn log(service: &Service) -> String {
    fs::read_to_string(&service.log).expect("a log")
}

fn until_logged(service: &Service, text: &str) {
    let begin = Instant::now();
    while !log(service).contains(text) {
        assert!(begin.elapsed() < PATIENCE, "`{text}` is not in the log");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_an_identity() {
    let world = World::new();
    let scheduler = world.scheduler();
    let shop = world.authority.sign("shop", "URI:spiffe://docket.test/shop");
    assert!(list(secure_channel(&scheduler, &world.trust(Some(&shop)))).await.is_ok());

    // By a DNS name, and with another role.
    let fleet = world.authority.sign("fleet", "DNS:worker.docket.test");
    let refused = list(secure_channel(&scheduler, &world.trust(Some(&fleet)))).await.expect_err("a worker");
    assert_eq!(reason_of(&refused), Some(Reason::Forbidden));

    let stranger = world.authority.sign("stranger", "URI:spiffe://docket.test/stranger");
    for shown in [Some(&stranger), None] {
        let refused = list(secure_channel(&scheduler, &world.trust(shown))).await.expect_err("unknown");
        assert_eq!(reason_of(&refused), Some(Reason::Unauthenticated));
    }

    // A token that is not good is not made good by a certificate.
    let mut client = ScheduleServiceClient::new(secure_channel(&scheduler, &world.trust(Some(&shop))));
    let mut request = Request::new(pb::ListSchedulesRequest::default());
    request.metadata_mut().insert("authorization", "Bearer docket_0".parse().expect("a value"));
    let refused = client.list_schedules(request).await.expect_err("a bad token");
    assert_eq!(reason_of(&refused), Some(Reason::Unauthenticated));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_proves_nothing_is_none() {
    let world = World::new();
    let scheduler = world.scheduler();
    let shop = world.authority.sign("shop", "URI:spiffe://docket.test/shop");
    let others = Authority::new(&world.folder.path().join("others"));
    let forged = others.sign("shop", "URI:spiffe://docket.test/shop");
    let old = world.authority.sign_for("old", "URI:spiffe://docket.test/shop", -1);
    for (why, trust) in [
        ("the client trusts another authority", trust(&others, Some(&shop))),
        ("its certificate is another authority's", world.trust(Some(&forged))),
        ("its certificate has expired", world.trust(Some(&old))),
        (
            "the server's name is another",
            Trust { server_name: "elsewhere.test".into(), ..world.trust(Some(&shop)) },
        ),
    ] {
        let refused = list(secure_channel(&scheduler, &trust)).await.expect_err(why);
        assert!(reason_of(&refused).is_none(), "{why}: no call came through: {refused:?}");
    }
    let plain = list(scheduler.channel().expect("a channel")).await.expect_err("in the clear");
    assert!(reason_of(&plain).is_none(), "no call came through: {plain:?}");
    assert!(list(secure_channel(&scheduler, &world.trust(Some(&shop)))).await.is_ok(), "it still serves");
}

/// New connections see the new certificate; one that is open stays, and so do its calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_rotates_and_no_connection_drops() {
    let world = World::new();
    let scheduler = world.scheduler();
    let shop = world.authority.sign("shop", "URI:spiffe://docket.test/shop");
    let old_trust = world.trust(Some(&shop));
    let open = secure_channel(&scheduler, &old_trust);
    let watch = pb::WatchEventsRequest::default();
    let mut runs = pb::run_service_client::RunServiceClient::new(open.clone());
    let mut events = runs.watch_events(watch).await.expect("a stream").into_inner();
    events.message().await.expect("a message");

    fs::write(&world.server.cert, "not a certificate").expect("broken");
    until_logged(&scheduler, "the new certificate is refused");
    assert!(list(secure_channel(&scheduler, &old_trust)).await.is_ok(), "the old one stays");

    let next = Authority::new(&world.folder.path().join("next"));
    world.server.replace(&next.sign("server", HERE));
    until_logged(&scheduler, "the certificate was read again");
    assert!(list(secure_channel(&scheduler, &old_trust)).await.is_err(), "new connections see the new one");
    assert!(list(secure_channel(&scheduler, &trust(&next, Some(&shop)))).await.is_ok());
    assert!(list(open).await.is_ok(), "the connection that was open is the same");
    let silent = tokio::time::timeout(Duration::from_millis(1), events.message()).await;
    assert!(silent.is_err(), "and so is its stream: {silent:?}");
}

/// The worker's link shows a certificate, and a standby passes on whose certificate it has seen.
#[tokio::test(flavor = "multi_thread")]
async fn s1_links_between_services_are_secure() {
    let world = World::new();
    let redis = Redis::start(&world.folder.path().join("redis"));
    let shown = world.authority.sign("standby", "URI:spiffe://docket.test/scheduler");
    let start = |name: &str| {
        let plan = Plan::new("scheduler-svc", &world.folder.path().join(name));
        let plan = plan
            .set("DOCKET_STORE__URL", redis.url())
            .set("DOCKET_CLUSTER__TLS_CA_FILE", world.authority.file().display())
            .set("DOCKET_CLUSTER__TLS_CERT_FILE", shown.cert.display())
            .set("DOCKET_CLUSTER__TLS_KEY_FILE", shown.key.display());
        world.secure(plan).start().expect("scheduler-svc")
    };
    let (leader, standby) = (start("leader"), start("standby"));
    let shop = world.authority.sign("shop", "URI:spiffe://docket.test/shop");
    let channel = secure_channel(&standby, &world.trust(Some(&shop)));
    upsert(channel.clone()).await.expect("passed on");
    let upserted = "rpc=\"docket.schedule.v1.ScheduleService/UpsertSchedule\" caller=\"shop\"";
    until_logged(&leader, upserted);
    until_logged(&standby, upserted);
    let address = |scheduler: &Service, field: &str| {
        let log = log(scheduler);
        let line = log.lines().find(|line| line.contains(upserted)).expect("a line");
        line.split_whitespace().find_map(|word| word.strip_prefix(field)).map(str::to_owned)
    };
    let client = address(&standby, "peer=");
    assert_eq!(
        address(&leader, "peer="),
        client,
        "the leader shows the client's address, as the standby saw it"
    );
    assert!(address(&leader, "via=").is_some_and(|via| Some(via) != client));
    assert_eq!(address(&standby, "via="), None);

    let fleet = world.authority.sign("fleet", "DNS:worker.docket.test");
    let worker = Plan::new("worker-svc", world.folder.path())
        .set("DOCKET_SCHEDULER__URL", format!("https://{}", standby.grpc))
        .set("DOCKET_SCHEDULER__TLS_CA_FILE", world.authority.file().display())
        .set("DOCKET_SCHEDULER__TLS_CERT_FILE", fleet.cert.display())
        .set("DOCKET_SCHEDULER__TLS_KEY_FILE", fleet.key.display())
        .set("DOCKET_WORKER__KINDS", "noop");
    let worker = world.secure(worker).start().expect("worker-svc");
    let trigger = pb::TriggerScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    let run = ScheduleServiceClient::new(channel.clone()).trigger_schedule(trigger).await.expect("a run");
    let run_id = run.into_inner().run.expect("a run").run_id;
    let mut runs = pb::run_service_client::RunServiceClient::new(channel);
    let wait = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    let get = pb::GetRunRequest { run_id, wait, ..Default::default() };
    let run = runs.get_run(get).await.expect("a run").into_inner().run.expect("a run");
    assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}\n{}", log(&worker));
    until_logged(&leader, "rpc=\"docket.schedule.v1.WorkerService/StreamDueJobs\" caller=\"fleet\"");
}

async fn upsert(channel: Channel) -> Result<(), Status> {
    let every =
        pb::Every { interval: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }), anchor: None };
    let schedule = pb::Schedule {
        schedule_id: "a".into(),
        timing: Some(pb::schedule::Timing::Every(every)),
        task: Some(pb::Task { kind: "noop".into(), ..Default::default() }),
        ..Default::default()
    };
    let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
    ScheduleServiceClient::new(channel).upsert_schedule(request).await.map(|_| ())
}

/// With `http.tls`, probes are answered over TLS, and metrics to whom the certificate names.
#[tokio::test(flavor = "multi_thread")]
async fn the_http_port_speaks_tls_where_it_is_told_to() {
    let world = World::new();
    let scraper = world.authority.sign("scraper", "DNS:prometheus.docket.test");
    let shop = world.authority.sign("shop", "URI:spiffe://docket.test/shop");
    for binary in ["scheduler-svc", "worker-svc"] {
        let plan = world.secure(Plan::new(binary, world.folder.path())).set("DOCKET_HTTP__TLS", true);
        let service = plan.start().expect(binary);
        let get = async |path: &str, shown: Option<&Pair>| {
            let answer = https_get(service.http, path, &world.trust(shown)).await.expect("an answer");
            answer.lines().next().expect("a status").to_owned()
        };
        assert_eq!(get("/livez", None).await, "HTTP/1.1 200 OK", "{binary}");
        assert_eq!(get("/metrics", None).await, "HTTP/1.1 401 Unauthorized");
        assert_eq!(get("/metrics", Some(&shop)).await, "HTTP/1.1 401 Unauthorized");
        assert_eq!(get("/metrics", Some(&scraper)).await, "HTTP/1.1 200 OK");

        let mut plain = TcpStream::connect(service.http).await.expect("a connection");
        plain.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut answer = Vec::new();
        // Closing may be a reset.
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "in the clear");
    }
}

async fn https_get(to: SocketAddr, path: &str, trust: &Trust) -> anyhow::Result<String> {
    let mut config = rustls::ClientConfig::clone(&*trust.read()?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(to).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into()?, stream).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn a_pair_that_does_not_fit_is_refused_at_the_start() {
    let world = World::new();
    let other = world.authority.sign("other", HERE);
    let check = |cert: &Path, key: &Path| {
        let mut command = harness::command("scheduler-svc", &["--check-config"]).expect("a command");
        command.env("DOCKET_TLS__CERT_FILE", cert).env("DOCKET_TLS__KEY_FILE", key);
        command.output().expect("an answer").status.code()
    };
    assert_eq!(check(&world.server.cert, &world.server.key), Some(0));
    assert_eq!(check(&world.server.cert, &other.key), Some(64), "another certificate's key");
    assert_eq!(check(&world.server.key, &world.server.key), Some(64), "no certificate");
    assert_eq!(check(&world.server.cert, Path::new("/no/such/key")), Some(64));
    let mut bare = harness::command("scheduler-svc", &["--check-config"]).expect("a command");
    let refused = bare.env("DOCKET_HTTP__TLS", "true").output().expect("an answer");
    assert_eq!(refused.status.code(), Some(64), "TLS without a certificate");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("tls.cert_file"));
}
