//! What `/metrics` of both services shows of real runs, and whether it is what Prometheus reads.

mod harness;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use docket::{library::v1 as lib, schedule::v1 as pb};
use harness::{
    Library, Plan, Scheduler, Service,
    prometheus::{Prometheus, ask, tool},
};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};

const PATIENCE: Duration = Duration::from_secs(60);

fn scrape(http: SocketAddr) -> String {
    let (head, page) = ask(http, "/metrics", None).expect("a page");
    assert!(head.contains(" 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    page
}

/// The value of a series, as it is written.
fn value(page: &str, series: &str) -> Option<f64> {
    let rest = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(rest.parse().expect("a number"))
}

/// What is there is looked at once a second: asks until it has come.
fn await_value(http: SocketAddr, series: &str, wanted: f64) -> String {
    let begin = Instant::now();
    loop {
        let page = scrape(http);
        if value(&page, series) == Some(wanted) {
            return page;
        }
        assert!(begin.elapsed() < PATIENCE, "{series} is not {wanted}:\n{page}");
    }
}

/// Runs promtool, if it is there, and says what it found wrong.
fn promtool(arguments: &[&str], input: &str) {
    let Some(promtool) = tool("promtool") else { return };
    let mut child = Command::new(promtool)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("an answer");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

struct World {
    folder: tempfile::TempDir,
    scheduler: Service,
    worker: Service,
    clients: Scheduler,
    library: Library,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mail = folder.path().join("mail");
        fs::create_dir_all(&mail).expect("a mail folder");
        let scheduler = Plan::new("scheduler-svc", folder.path()).start().expect("scheduler-svc");
        let worker = Plan::new("worker-svc", folder.path())
            .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
            .set("DOCKET_WORKER__KINDS", "noop,document-sync")
            .set("DOCKET_WORKER__SLOTS", 3)
            .set("DOCKET_SOURCES__FOLDER_ROOT", mail.display())
            .start()
            .expect("worker-svc");
        let clients = Scheduler::connect(&scheduler).expect("clients");
        let library = Library::connect(&worker).expect("clients");
        Self { folder, scheduler, worker, clients, library }
    }

    async fn run(&self, id: &str, kind: &str, args: Struct) -> pb::Run {
        let timing = pb::Cron {
            expressions: vec!["0 2 * * *".into()],
            time_zone: "Europe/Berlin".into(),
            ..Default::default()
        };
        let task = pb::Task { kind: kind.into(), args: Some(args), ..Default::default() };
        let schedule = pb::Schedule {
            schedule_id: id.into(),
            timing: Some(pb::schedule::Timing::Cron(timing)),
            task: Some(task),
            ..Default::default()
        };
        let upsert = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
        self.clients.schedules.clone().upsert_schedule(upsert).await.expect("an upsert");
        let trigger = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let answer = self.clients.schedules.clone().trigger_schedule(trigger).await.expect("a trigger");
        answer.into_inner().run.expect("a run")
    }

    async fn end_of(&self, run: pb::Run) -> pb::Run {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let wait = Some(ProtoDuration { seconds: 20, nanos: 0 });
            let get = pb::GetRunRequest { run_id: run.run_id.clone(), wait, ..Default::default() };
            let answer = self.clients.runs.clone().get_run(get).await.expect("a run");
            let run = answer.into_inner().run.expect("a run");
            if run.finish_time.is_some() {
                return run;
            }
        }
        panic!("{run:?} did not end");
    }

    /// A mailbox of the sample mails. Files that have just been written may still be growing, so they are made older.
    async fn connect(&self, name: &str) -> usize {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mails").join(name);
        let folder = self.folder.path().join("mail").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let old = SystemTime::now() - Duration::from_secs(60);
        let mut mails = 0;
        for mail in fs::read_dir(samples).expect("mails") {
            let mail = mail.expect("a mail");
            let copy = folder.join(mail.file_name());
            fs::copy(mail.path(), &copy).expect("a copy");
            let file = fs::File::options().write(true).open(copy);
            file.and_then(|file| file.set_modified(old)).expect("a time");
            mails += 1;
        }
        let format = lib::FolderFormat::Eml.into();
        let mailbox = lib::Mailbox {
            mailbox_id: name.into(),
            owner: "owner-1".into(),
            source: Some(lib::mailbox::Source::Folder(lib::FolderSource { path: name.into(), format })),
            ..Default::default()
        };
        let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
        self.library.mailboxes.clone().connect_mailbox(request).await.expect("a mailbox");
        mails
    }
}

fn args(name: &str, value: Kind) -> Struct {
    Struct { fields: [(name.to_owned(), Value { kind: Some(value) })].into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_runs_are_counted_by_both_services_and_prometheus_can_read_it() {
    let world = World::start();
    let (scheduler, worker) = (world.scheduler.http, world.worker.http);
    let mails = world.connect("carla").await;
    let sync =
        world.run("mb-carla", "document-sync", args("mailbox_id", Kind::StringValue("carla".into()))).await;
    let sync = world.end_of(sync).await;
    assert_eq!(sync.state(), pb::RunState::Succeeded, "{sync:?}");
    let bad =
        world.run("mb-nobody", "document-sync", args("mailbox_id", Kind::StringValue("nobody".into()))).await;
    assert_eq!(world.end_of(bad).await.state(), pb::RunState::Failed);
    // Nobody runs this kind, so it waits; and one that runs.
    world.run("waits", "video-encode", Struct::default()).await;
    let running = world.run("runs", "noop", args("sleep_ms", Kind::NumberValue(600_000.0))).await;

    await_value(scheduler, "docket_leases{kind=\"noop\"}", 1.0);
    let page = await_value(scheduler, "docket_backlog_runs{kind=\"video-encode\",cause=\"no_worker\"}", 1.0);
    for (series, wanted) in [
        ("docket_fires_total{kind=\"document-sync\",trigger=\"manual\"}", 2.0),
        ("docket_runs_total{kind=\"document-sync\",outcome=\"succeeded\"}", 1.0),
        ("docket_runs_total{kind=\"document-sync\",outcome=\"failed\"}", 1.0),
        ("docket_attempts_total{kind=\"document-sync\",class=\"success\"}", 1.0),
        ("docket_attempts_total{kind=\"document-sync\",class=\"permanent\"}", 1.0),
        ("docket_run_dispatch_seconds_count{kind=\"document-sync\"}", 2.0),
        ("docket_run_duration_seconds_count{kind=\"document-sync\"}", 2.0),
        ("docket_schedule_changes_total{change=\"created\"}", 4.0),
        (
            "docket_grpc_calls_total{method=\"docket.schedule.v1.ScheduleService/UpsertSchedule\",code=\"OK\"}",
            4.0,
        ),
        ("docket_sessions_opened_total", 1.0),
        ("docket_sessions", 1.0),
        ("docket_slots", 3.0),
        ("docket_schedules", 4.0),
        ("docket_leader", 1.0),
        ("docket_store_away", 0.0),
        ("docket_store_commits_total{outcome=\"unknown\"}", 0.0),
        ("docket_watchdog_alarm", 0.0),
    ] {
        assert_eq!(value(&page, series), Some(wanted), "{series}\n{page}");
    }
    let commits = value(&page, "docket_store_commits_total{outcome=\"done\"}").expect("commits");
    assert_eq!(value(&page, "docket_store_commit_duration_seconds_count"), Some(commits));
    assert!(commits > 4.0 && value(&page, "process_resident_memory_bytes").expect("memory") > 1e6);
    promtool(&["check", "metrics"], &page);

    let documents = sync.result.as_ref().and_then(|result| result.fields.get("documents_new"));
    let Some(Kind::NumberValue(documents)) = documents.and_then(|value| value.kind.clone()) else {
        panic!("{sync:?}")
    };
    let page = await_value(worker, "docket_worker_running_attempts{kind=\"noop\"}", 1.0);
    for (series, wanted) in [
        ("docket_worker_slots", 3.0),
        ("docket_worker_connected", 1.0),
        ("docket_worker_attempts_total{kind=\"document-sync\",class=\"success\"}", 1.0),
        ("docket_worker_attempts_total{kind=\"document-sync\",class=\"permanent\"}", 1.0),
        ("docket_documents_total{provider=\"folder\",outcome=\"new\"}", documents),
        ("docket_source_calls_total{provider=\"folder\",call=\"fetch\",outcome=\"ok\"}", mails as f64),
        ("docket_readings_total{outcome=\"read\"}", mails as f64),
        ("docket_reader_deaths_total{cause=\"memory\"}", 0.0),
        (
            "docket_grpc_calls_total{method=\"docket.library.v1.MailboxService/ConnectMailbox\",code=\"OK\"}",
            1.0,
        ),
    ] {
        assert_eq!(value(&page, series), Some(wanted), "{series}\n{page}");
    }
    let read = value(&page, "docket_messages_total{provider=\"folder\",outcome=\"read\"}").expect("read");
    let failed =
        value(&page, "docket_messages_total{provider=\"folder\",outcome=\"failed\"}").expect("failed");
    assert_eq!(read + failed, mails as f64);
    promtool(&["check", "metrics"], &page);

    let cancel = pb::CancelRunRequest { run_id: running.run_id.clone(), ..Default::default() };
    world.clients.runs.clone().cancel_run(cancel).await.expect("a cancellation");
    world.end_of(running).await;
    let page = await_value(scheduler, "docket_leases{kind=\"noop\"}", 0.0);
    assert_eq!(value(&page, "docket_runs_total{kind=\"noop\",outcome=\"cancelled\"}"), Some(1.0));
}

/// Paths that callers make up do not become series.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_nobody_serves_are_one_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = Plan::new("scheduler-svc", folder.path()).set("DOCKET_STORE__URL", "memory:");
    let scheduler = plan.start().expect("scheduler-svc");
    let mut nowhere =
        lib::mailbox_service_client::MailboxServiceClient::new(scheduler.channel().expect("a channel"));
    for _ in 0..3 {
        let refused = nowhere.get_mailbox(lib::GetMailboxRequest::default()).await;
        assert_eq!(refused.expect_err("not here").code(), tonic::Code::Unimplemented);
    }
    let page =
        await_value(scheduler.http, "docket_grpc_calls_total{method=\"other\",code=\"UNIMPLEMENTED\"}", 3.0);
    assert!(!page.contains("MailboxService"), "{page}");
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Title and query of each line of each panel.
fn panels() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in fs::read_dir(root().join("k8s/dashboards")).expect("dashboards") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = fs::read_to_string(path).expect("a dashboard");
        let board: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for panel in board["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
                found.push((text(&panel["title"]), text(&target["expr"])));
            }
        }
    }
    found
}

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("docket_") || word.starts_with("process_")).collect()
}

#[test]
fn alerts_and_dashboards_name_metrics_that_there_are() {
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("the page");
    let tables = &page[page.find("## scheduler-svc").expect("a table")..];
    let known = names(tables);
    let alerts = fs::read_to_string(root().join("k8s/alerts.yaml")).expect("alerts");
    let queries: Vec<String> = panels().into_iter().map(|(_, query)| query).collect();
    for name in names(&queries.join("\n")).union(&names(&alerts)).chain(names(&page).iter()) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        assert!(known.contains(name) || base.is_some_and(|base| known.contains(base)), "{name}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    promtool(&["check", "rules", "k8s/alerts.yaml"], "");
    promtool(&["test", "rules", "k8s/tests/alerts.yaml"], "");
}

/// A real Prometheus scrapes real runs, and no panel is empty.
#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_dashboards_finds_data() {
    let world = World::start();
    let targets = [world.scheduler.http, world.worker.http];
    let Some(prometheus) = Prometheus::start(world.folder.path(), &targets) else { return };
    world.connect("carla").await;
    let sync =
        world.run("mb-carla", "document-sync", args("mailbox_id", Kind::StringValue("carla".into()))).await;
    assert_eq!(world.end_of(sync).await.state(), pb::RunState::Succeeded);
    world.run("waits", "video-encode", Struct::default()).await;
    let panels = panels();
    assert!(panels.len() > 40, "{panels:?}");
    for (title, query) in panels {
        let query = query.replace("$__rate_interval", "60s");
        let found = prometheus.find(&query);
        assert!(found.is_array(), "{title}");
    }
    let backlog = prometheus.find("docket_backlog_runs{kind=\"video-encode\"} > 0");
    assert_eq!(backlog[0]["metric"]["cause"], "no_worker");
}
