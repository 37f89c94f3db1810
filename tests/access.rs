//! Who is let in to which call, at real processes. What is asked is made from the descriptors, so that a new RPC is
//! asked as well.

#[path = "access/ask.rs"]
mod ask;
mod harness;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use ask::{Answer, Ask, Rpc, rpcs};
use docket::{
    errors::Reason,
    identity::{Role, roles_for, tokens},
    schedule::v1 as pb,
};
use harness::{Plan, Service, command, redis::Redis};
use prost::Message as _;

const PATIENCE: Duration = Duration::from_secs(60);
const MINE: &str = "mine";
const KIND: &str = "noop";

/// The tokens of a tokens file, by what they are for.
#[derive(Default)]
struct File {
    text: String,
    tokens: BTreeMap<String, String>,
}

impl File {
    /// One of each role, of namespace [`MINE`] and kind [`KIND`]; one of each that reaches everything; one that is over.
    fn new() -> Self {
        let mut file = Self::default();
        for role in Role::ALL {
            file.add(role.name(), &format!("roles = [\"{}\"]", role.name()), MINE, KIND);
            file.add(&format!("{}-of-all", role.name()), &format!("roles = [\"{}\"]", role.name()), "*", "*");
        }
        let all = "roles = [\"app\", \"worker\", \"operator\"]\nexpires = 2020-01-01T00:00:00Z";
        file.add("expired", all, "*", "*");
        file
    }

    fn add(&mut self, name: &str, roles: &str, namespace: &str, kind: &str) {
        let mut seed = [7; 32];
        seed[..name.len()].copy_from_slice(name.as_bytes());
        let token = tokens::token(seed);
        let kinds = if roles.contains("worker") { format!("kinds = [\"{kind}\"]\n") } else { String::new() };
        self.text.push_str(&format!(
            "[[identity]]\nname = \"{name}\"\n{roles}\nnamespaces = [\"{namespace}\"]\n{kinds}hash = \"{}\"\n",
            tokens::hash(&token)
        ));
        self.tokens.insert(name.into(), token);
    }

    fn write(&self, path: &Path) {
        fs::write(path, &self.text).expect("a tokens file");
    }

    fn bearer(&self, name: &str) -> Option<String> {
        Some(format!("Bearer {}", self.tokens[name]))
    }
}

struct World {
    _folder: tempfile::TempDir,
    file: File,
    scheduler: Service,
    worker: Service,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::new();
        let path = folder.path().join("tokens");
        file.write(&path);
        let token = folder.path().join("token");
        fs::write(&token, &file.tokens["worker"]).expect("a token");
        let plan = |name| Plan::new(name, folder.path()).set("DOCKET_AUTH__TOKENS_FILE", path.display());
        let scheduler = plan("scheduler-svc").start().expect("scheduler-svc");
        let worker = plan("worker-svc")
            .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
            .set("DOCKET_SCHEDULER__TOKEN_FILE", token.display())
            .set("DOCKET_WORKER__KINDS", KIND)
            .start()
            .expect("worker-svc");
        Self { _folder: folder, file, scheduler, worker }
    }

    fn of(&self, rpc: &Rpc) -> &Service {
        if rpc.path.starts_with("/docket.library.") { &self.worker } else { &self.scheduler }
    }

    async fn ask(&self, rpc: &Rpc, namespace: &str, kind: &str, authorization: Option<&str>) -> Answer {
        let ask = Ask::connect(self.of(rpc)).await;
        ask.send(&rpc.path, rpc.request(namespace, kind), authorization).await
    }

    /// What both services have logged so far.
    fn log(&self) -> String {
        [&self.scheduler, &self.worker]
            .map(|service| fs::read_to_string(&service.log).expect("a log"))
            .concat()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rpc_refuses_each_wrong_identity() {
    let world = World::start();
    let rpcs = rpcs();
    for rpc in &rpcs {
        refuses_strangers(&world, rpc).await;
        refuses_other_roles(&world, rpc).await;
        refuses_other_scopes(&world, rpc).await;
        let role = roles_for(&rpc.path).expect("a row")[0];
        let right = world.ask(rpc, MINE, KIND, world.file.bearer(role.name()).as_deref()).await;
        assert!(
            !matches!(right.reason, Some(Reason::Unauthenticated | Reason::Forbidden)),
            "{}: {right:?}",
            rpc.path
        );
    }
    let without: Vec<_> = rpcs.iter().filter(|rpc| !rpc.names_a_namespace).map(|rpc| &*rpc.path).collect();
    let leases =
        ["/docket.schedule.v1.WorkerService/ReportResults", "/docket.schedule.v1.WorkerService/Heartbeat"];
    assert!(without.iter().all(|path| leases.contains(path)), "how are these limited? {without:?}");
    audited(&world, &rpcs);
    let log = world.log();
    for token in world.file.tokens.values() {
        assert!(!log.contains(&token[..20]) && !log.contains(&tokens::hash(token)), "a token is in the log");
    }
}

async fn refuses_strangers(world: &World, rpc: &Rpc) {
    let known = world.file.bearer(roles_for(&rpc.path).expect("a row")[0].name()).expect("a token");
    let basic = known.replace("Bearer", "Basic");
    let unknown = format!("Bearer {}", tokens::token([255; 32]));
    let expired = world.file.bearer("expired").expect("a token");
    let cut = &known[..known.len() - 1];
    for wrong in [None, Some(unknown.as_str()), Some(&expired), Some(&basic), Some("Bearer "), Some(cut)] {
        let answer = world.ask(rpc, MINE, KIND, wrong).await;
        assert_eq!(answer.reason, Some(Reason::Unauthenticated), "{} {answer:?}", rpc.path);
        assert_eq!(answer.message, "a valid token or client certificate is required", "{}", rpc.path);
    }
}

async fn refuses_other_roles(world: &World, rpc: &Rpc) {
    let right = roles_for(&rpc.path).expect("a row");
    for role in Role::ALL.into_iter().filter(|role| !right.contains(role)) {
        let name = format!("{}-of-all", role.name());
        let answer = world.ask(rpc, MINE, KIND, world.file.bearer(&name).as_deref()).await;
        assert_eq!(answer.reason, Some(Reason::Forbidden), "{} as {name}: {answer:?}", rpc.path);
        assert_eq!(answer.message, format!("{name} lacks the role for this call"));
    }
}

async fn refuses_other_scopes(world: &World, rpc: &Rpc) {
    for role in roles_for(&rpc.path).expect("a row") {
        let bearer = world.file.bearer(role.name());
        if rpc.names_a_namespace {
            // An empty one means `default`.
            let empty = rpc.namespace_at_the_top.then_some("");
            for namespace in ["other", "not an id"].into_iter().chain(empty) {
                let answer = world.ask(rpc, namespace, KIND, bearer.as_deref()).await;
                assert_eq!(answer.reason, Some(Reason::Forbidden), "{} in {namespace}: {answer:?}", rpc.path);
                assert_eq!(answer.message, format!("{} may not use this namespace", role.name()));
            }
        }
        if rpc.names_kinds {
            let answer = world.ask(rpc, MINE, "other", bearer.as_deref()).await;
            assert_eq!(answer.reason, Some(Reason::Forbidden), "{}: {answer:?}", rpc.path);
        }
    }
}

/// Each change by the right caller is a line, with who and where.
fn audited(world: &World, rpcs: &[Rpc]) {
    let last = rpcs.iter().rfind(|rpc| docket::identity::access::is_audited(&rpc.path)).expect("a change");
    until_logged(world.of(last), &format!("audit rpc=\"{}\"", last.path.trim_start_matches('/')));
    let log = world.log();
    for rpc in rpcs.iter().filter(|rpc| docket::identity::access::is_audited(&rpc.path)) {
        let name = format!("rpc=\"{}\"", rpc.path.trim_start_matches('/'));
        let told =
            |line: &&str| line.contains("audit rpc=") && line.contains(&name) && line.contains("outcome=");
        let lines: Vec<_> = log.lines().filter(told).collect();
        let role = roles_for(&rpc.path).expect("a row")[0].name();
        let (caller, namespace) = (format!("caller=\"{role}\""), format!("namespace=\"{MINE}\""));
        let whole = |line: &&&str| {
            line.contains(&caller) && line.contains(&namespace) && line.contains("peer=127.0.0.1:")
        };
        assert!(lines.iter().any(|line| whole(&line)), "{name} is not told: {lines:?}");
    }
}

/// A run of another namespace is not there; neither is it for a worker that may not work on it.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_does_not_exist() {
    let world = World::start();
    let ask = Ask::connect(&world.scheduler).await;
    let app = world.file.bearer("app-of-all");
    let every =
        pb::Every { interval: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }), anchor: None };
    let schedule = pb::Schedule {
        namespace: "other".into(),
        schedule_id: "a".into(),
        timing: Some(pb::schedule::Timing::Every(every)),
        task: Some(pb::Task { kind: "of-nobody".into(), ..Default::default() }),
        ..Default::default()
    };
    let upsert = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
    let path = "/docket.schedule.v1.ScheduleService/UpsertSchedule";
    assert_eq!(ask.send(path, upsert.encode_to_vec(), app.as_deref()).await.reason, None);
    let trigger = pb::TriggerScheduleRequest {
        namespace: "other".into(),
        schedule_id: "a".into(),
        ..Default::default()
    };
    let path = "/docket.schedule.v1.ScheduleService/TriggerSchedule";
    let triggered = ask.send(path, trigger.encode_to_vec(), app.as_deref()).await;
    let triggered = pb::TriggerScheduleResponse::decode(triggered.body.as_slice()).expect("a run");
    let run_id = triggered.run.expect("a run").run_id;

    let mine = world.file.bearer("app");
    let get = pb::GetRunRequest { namespace: MINE.into(), run_id: run_id.clone(), ..Default::default() };
    let answer =
        ask.send("/docket.schedule.v1.RunService/GetRun", get.encode_to_vec(), mine.as_deref()).await;
    assert_eq!(answer.reason, Some(Reason::RunNotFound));
    let cancel =
        pb::CancelRunRequest { namespace: MINE.into(), run_id: run_id.clone(), ..Default::default() };
    let path = "/docket.schedule.v1.RunService/CancelRun";
    assert_eq!(
        ask.send(path, cancel.encode_to_vec(), mine.as_deref()).await.reason,
        Some(Reason::RunNotFound)
    );
    let retry =
        pb::RetryRunsRequest { namespace: MINE.into(), run_ids: vec![run_id.clone()], ..Default::default() };
    let path = "/docket.schedule.v1.RunService/RetryRuns";
    let retried = ask.send(path, retry.encode_to_vec(), mine.as_deref()).await;
    let none = pb::RetryRunsResponse::decode(retried.body.as_slice());
    assert!(retried.reason.is_some() || none.is_ok_and(|none| none.accepted == 0), "{retried:?}");

    let report = pb::Report { run_id, attempt: 1, lease_token: 1, ..Default::default() };
    let reports = pb::ReportResultsRequest { reports: vec![report], ..Default::default() };
    let path = "/docket.schedule.v1.WorkerService/ReportResults";
    let answer = ask.send(path, reports.encode_to_vec(), world.file.bearer("worker").as_deref()).await;
    let receipts = pb::ReportResultsResponse::decode(answer.body.as_slice()).expect("receipts").receipts;
    assert_eq!(receipts[0].status(), pb::ReceiptStatus::Forgotten);
}

/// The file is read again on SIGHUP; a broken one changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_rotate_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    let mut file = File::new();
    file.write(&path);
    let plan = Plan::new("scheduler-svc", folder.path()).set("DOCKET_AUTH__TOKENS_FILE", path.display());
    let scheduler = plan.start().expect("scheduler-svc");
    let ask = Ask::connect(&scheduler).await;
    let status = "/docket.schedule.v1.StatusService/GetStatus";
    let request = pb::GetStatusRequest { namespace: MINE.into() }.encode_to_vec();
    let reason = async |file: &File, name: &str| {
        ask.send(status, request.clone(), file.bearer(name).as_deref()).await.reason
    };
    let old = file.bearer("app").expect("a token");
    fs::write(&path, "[[identity]]\nname = 7\n").expect("a broken file");
    scheduler.signal("-HUP");
    until_logged(&scheduler, "the new tokens file is refused");
    assert!(fs::read_to_string(&scheduler.log).expect("a log").contains("line 2"));
    assert_eq!(reason(&file, "app").await, None, "the old ones stay");

    file = File::default();
    file.add("spare", "roles = [\"metrics\"]", MINE, KIND);
    file.add("new", "roles = [\"app\"]", MINE, KIND);
    file.tokens.insert("old".into(), old.replace("Bearer ", ""));
    file.write(&path);
    scheduler.signal("-HUP");
    until_logged(&scheduler, "the tokens file was read again");
    assert_eq!(
        (reason(&file, "new").await, reason(&file, "old").await),
        (None, Some(Reason::Unauthenticated))
    );
    let http = |name: Option<&str>| {
        let bearer = name.and_then(|name| file.bearer(name)).unwrap_or_default();
        ask::http_status(scheduler.http, "/metrics", &bearer)
    };
    assert_eq!((http(None), http(Some("new")), http(Some("spare"))), (401, 401, 200));
    for open in ["/livez", "/readyz"] {
        assert_eq!(ask::http_status(scheduler.http, open, ""), 200, "{open}");
    }
}

/// Each caller has its own calls in each namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_makes_no_more_calls_than_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, file) = (folder.path().join("tokens"), File::new());
    file.write(&path);
    let plan = Plan::new("scheduler-svc", folder.path())
        .set("DOCKET_AUTH__TOKENS_FILE", path.display())
        .set("DOCKET_AUTH__CALLS_PER_SECOND", 1)
        .set("DOCKET_AUTH__CALLS_BURST", 3);
    let scheduler = plan.start().expect("scheduler-svc");
    let ask = Ask::connect(&scheduler).await;
    let call = async |name: &str, namespace: &str| {
        let request = pb::GetStatusRequest { namespace: namespace.into() }.encode_to_vec();
        let path = "/docket.schedule.v1.StatusService/GetStatus";
        ask.send(path, request, file.bearer(name).as_deref()).await.reason
    };
    let mut last = None;
    for _ in 0..1_000 {
        last = call("app", MINE).await;
        if last.is_some() {
            break;
        }
    }
    assert_eq!(last, Some(Reason::TooManyCalls));
    assert_eq!((call("operator", MINE).await, call("app-of-all", "other").await), (None, None));
}

fn until_logged(service: &Service, text: &str) {
    let begin = Instant::now();
    while !fs::read_to_string(&service.log).is_ok_and(|log| log.contains(text)) {
        assert!(begin.elapsed() < PATIENCE, "`{text}` is not in the log");
        std::thread::yield_now();
    }
}

/// A standby passes the caller's token on, and the leader checks it again.
#[tokio::test(flavor = "multi_thread")]
async fn s1_the_leader_checks_what_a_standby_passes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(&folder.path().join("redis"));
    let (shared, more) = (File::new(), folder.path().join("more"));
    shared.write(&folder.path().join("tokens"));
    let mut of_standby = File::new();
    of_standby.add("stranger", "roles = [\"app\"]", "*", "*");
    of_standby.write(&more);
    let start = |name: &str, tokens: &Path| {
        let plan = Plan::new("scheduler-svc", &folder.path().join(name));
        let plan =
            plan.set("DOCKET_STORE__URL", redis.url()).set("DOCKET_AUTH__TOKENS_FILE", tokens.display());
        plan.start().expect("scheduler-svc")
    };
    let leader = start("leader", &folder.path().join("tokens"));
    let standby = start("standby", &more);
    let list = pb::ListSchedulesRequest { namespace: MINE.into(), ..Default::default() }.encode_to_vec();
    let path = "/docket.schedule.v1.ScheduleService/ListSchedules";
    let ask = Ask::connect(&standby).await;
    assert_eq!(ask.send(path, list.clone(), of_standby.bearer("app").as_deref()).await.reason, None);
    let answer = ask.send(path, list.clone(), of_standby.bearer("stranger").as_deref()).await;
    assert_eq!(answer.reason, Some(Reason::Unauthenticated), "{answer:?}");
    assert_eq!(ask.send(path, list, None).await.reason, Some(Reason::Unauthenticated));
    drop(leader);
}

/// A worker whose token is good runs jobs; the library of the same process asks for tokens as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_token_is_connected() {
    let world = World::start();
    let begin = Instant::now();
    while ask::http_status(world.worker.http, "/readyz", "") != 200 {
        assert!(begin.elapsed() < PATIENCE, "the worker is not connected");
    }
    until_logged(
        &world.scheduler,
        "rpc=\"docket.schedule.v1.WorkerService/StreamDueJobs\" caller=\"worker\"",
    );
}

#[test]
fn a_port_that_others_reach_is_not_opened_without_credentials() {
    let start = |settings: &[(&str, &str)]| -> Output {
        let mut outputs = ["scheduler-svc", "worker-svc"].map(|name| {
            let mut command = command(name, &["--check-config"]).expect("a command");
            command.env("DOCKET_GRPC__LISTEN", "0.0.0.0:0").envs(settings.iter().copied());
            command.output().expect("an answer")
        });
        assert_eq!(outputs[0].status.code(), outputs[1].status.code());
        std::mem::replace(
            &mut outputs[0],
            Output { status: Default::default(), stdout: vec![], stderr: vec![] },
        )
    };
    let refused = start(&[]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("auth.tokens_file"));
    assert_eq!(start(&[("DOCKET_AUTH__ALLOW_ANONYMOUS", "true")]).status.code(), Some(0));
    assert_eq!(start(&[("DOCKET_AUTH__TOKENS_FILE", "/no/such/file")]).status.code(), Some(64));
}

/// What `token new` prints is what the file takes.
#[test]
fn a_new_token_and_its_entry_fit() {
    let arguments = ["token", "new", "--name", "shop", "--role", "worker", "--namespace", "a", "--kind", "k"];
    let output = command("scheduler-svc", &arguments).expect("a command").output().expect("an answer");
    let text = String::from_utf8(output.stdout).expect("text");
    let token = text.lines().find(|line| line.starts_with("docket_")).expect("a token");
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(
        file.path(),
        text.split_once("[[identity]]").map(|(_, entry)| format!("[[identity]]{entry}")).expect("an entry"),
    )
    .expect("written");
    let known = tokens::Tokens::open(file.path()).expect("a file").by_token(token).expect("known");
    assert_eq!(known.name(), "shop");
    assert!(known.has(Role::Worker) && known.namespace("a").is_ok() && known.kind("k").is_ok());
    assert!(known.namespace("b").is_err() && known.kind("other").is_err());
}
