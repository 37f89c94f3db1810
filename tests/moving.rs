//! Stores are copied, backed up and restored, with real processes that go on behind them.

mod harness;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use docket::{library::v1 as lib, schedule::v1 as pb};
use harness::{Library, Plan, Scheduler, Service, redis::Redis};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};

const PATIENCE: Duration = Duration::from_secs(180);

/// One scheduler and one worker. The worker is never restarted unless a test says so.
struct World {
    folder: tempfile::TempDir,
    plan: Plan,
    scheduler: Option<Service>,
    client: Scheduler,
    worker_plan: Plan,
    worker: Service,
    library: Library,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mail = folder.path().join("mail");
        fs::create_dir_all(mail.join("box")).expect("a mail folder");
        let plan = Plan::new("scheduler-svc", folder.path())
            .set("DOCKET_STORE__URL", embedded(&folder.path().join("store")))
            .set("DOCKET_STORE__LEASE_MS", 1_500);
        let scheduler = plan.start().expect("scheduler-svc");
        let plan = plan.set("DOCKET_GRPC__LISTEN", scheduler.grpc).set("DOCKET_HTTP__LISTEN", scheduler.http);
        let worker_plan = Plan::new("worker-svc", folder.path())
            .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
            .set("DOCKET_WORKER__ID", "w1")
            .set("DOCKET_WORKER__KINDS", "noop,document-sync")
            .set("DOCKET_SOURCES__FOLDER_ROOT", mail.display());
        let worker = worker_plan.start().expect("worker-svc");
        let worker_plan =
            worker_plan.set("DOCKET_GRPC__LISTEN", worker.grpc).set("DOCKET_HTTP__LISTEN", worker.http);
        let client = Scheduler::connect(&scheduler).expect("clients");
        let library = Library::connect(&worker).expect("clients");
        Self { folder, plan, scheduler: Some(scheduler), client, worker_plan, worker, library }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stop(&mut self) {
        let code = self.scheduler.take().expect("it runs").terminate().expect("its end");
        assert_eq!(code, Some(0));
    }

    /// Starts it again on the same ports.
    fn start_on(&mut self, store: &str, prefix: &str) {
        self.plan = self.plan.clone().set("DOCKET_STORE__URL", store).set("DOCKET_STORE__PREFIX", prefix);
        self.scheduler = Some(self.plan.start().expect("a restart"));
    }

    async fn upsert(&self, schedule: pb::Schedule) {
        let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
        self.client.schedules.clone().upsert_schedule(request).await.expect("an upsert");
    }

    async fn epoch(&self) -> i64 {
        let answer = self.client.status.clone().get_status(pb::GetStatusRequest::default()).await;
        answer.expect("a status").into_inner().epoch
    }

    /// What a user sees of all schedules, and of their runs.
    async fn view(&self) -> (Vec<pb::Schedule>, Vec<pb::Run>) {
        let request = pb::ListSchedulesRequest { page_size: 1_000, ..Default::default() };
        let schedules = self.client.schedules.clone().list_schedules(request).await.expect("schedules");
        let request = pb::ListRunsRequest { page_size: 1_000, ..Default::default() };
        let runs = self.client.runs.clone().list_runs(request).await.expect("runs");
        (schedules.into_inner().schedules, runs.into_inner().runs)
    }

    /// Runs a schedule now and waits for the end of the run.
    async fn sync_now(&self, id: &str) -> pb::Run {
        let request = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let answer = self.client.schedules.clone().trigger_schedule(request).await.expect("a trigger");
        let run_id = answer.into_inner().run.expect("a run").run_id;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let wait = Some(ProtoDuration { seconds: 20, nanos: 0 });
            let request = pb::GetRunRequest { run_id: run_id.clone(), wait, ..Default::default() };
            let run = self.client.runs.clone().get_run(request).await.expect("a run").into_inner().run;
            if let Some(run) = run.filter(|run| run.finish_time.is_some()) {
                return run;
            }
        }
        panic!("run {run_id} did not end");
    }

    /// Files the mails of a fixture into the mailbox.
    fn deliver(&self, fixture: &str) {
        let mails = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mails").join(fixture);
        for mail in fs::read_dir(mails).expect("fixtures") {
            let mail = mail.expect("a mail");
            let target = self.path("mail/box").join(format!("{fixture}-{}", mail.file_name().display()));
            fs::copy(mail.path(), &target).expect("a copy");
            // A file that has just been written may still be growing, so the source would leave it for the next run.
            let old = SystemTime::now() - Duration::from_secs(60);
            let file = fs::File::options().write(true).open(&target);
            file.and_then(|file| file.set_modified(old)).expect("a time");
        }
    }

    /// How many documents there are. Each content is filed once.
    async fn documents(&self) -> usize {
        let request = lib::ListDocumentsRequest { page_size: 1_000, ..Default::default() };
        let answer = self.library.documents.clone().list_documents(request).await.expect("documents");
        let documents = answer.into_inner().documents;
        let contents: BTreeSet<_> = documents.iter().map(|document| &document.sha256).collect();
        assert_eq!(contents.len(), documents.len(), "a document was filed twice");
        documents.len()
    }
}

fn embedded(folder: &Path) -> String {
    format!("embedded:{}", folder.display())
}

fn copy_command(arguments: &[&str]) -> Command {
    harness::command("scheduler-svc", &[&["copy"], arguments].concat()).expect("scheduler-svc")
}

/// What it said, if it worked; else what it complained about.
fn copy(arguments: &[&str]) -> Result<String, String> {
    let output = copy_command(arguments).output().expect("a process");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn schedule(id: &str, kind: &str, argument: Option<&str>) -> pb::Schedule {
    let value = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
    let args = argument.map(|mailbox| Struct { fields: [("mailbox_id".into(), value(mailbox))].into() });
    let cron = pb::Cron {
        expressions: vec!["0 2 * * *".into()],
        time_zone: "Europe/Berlin".into(),
        ..Default::default()
    };
    pb::Schedule {
        schedule_id: id.into(),
        timing: Some(pb::schedule::Timing::Cron(cron)),
        spread: Some(ProtoDuration { seconds: 600, nanos: 0 }),
        task: Some(pb::Task { kind: kind.into(), args, ..Default::default() }),
        ..Default::default()
    }
}

/// From a folder into Redis, to another prefix, and into a folder again: all is there, and the worker never notices.
#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_between_stores_and_workers_go_on() {
    let mut world = World::start();
    let redis = Redis::start(&world.path("redis"));
    let (folder, server, other) =
        (embedded(&world.path("store")), redis.url(), embedded(&world.path("other")));
    for n in 0..20 {
        world.upsert(schedule(&format!("mb-{n}"), "noop", None)).await;
    }
    let pause = pb::PauseScheduleRequest { schedule_id: "mb-3".into(), ..Default::default() };
    world.client.schedules.clone().pause_schedule(pause).await.expect("a pause");
    for id in ["mb-1", "mb-2"] {
        assert_eq!(world.sync_now(id).await.state(), pb::RunState::Succeeded);
    }
    let (before, epoch) = (world.view().await, world.epoch().await);
    let refused = copy(&["--from", &folder, "--to", &server]).expect_err("it is open");
    assert!(refused.contains("open in another process: stop it first"), "{refused}");
    world.stop();

    let said = copy(&["--from", &folder, "--to", &server]).expect("a copy");
    assert!(said.contains("20 schedules") && said.contains("2 succeeded runs"), "{said}");
    let refused = copy(&["--from", &folder, "--to", &server]).expect_err("not empty");
    assert!(refused.contains("the target holds") && refused.contains("--replace"), "{refused}");
    copy(&["--from", &folder, "--to", &server, "--replace"]).expect("a copy in its place");
    world.start_on(&server, "docket");
    assert_eq!(world.view().await, before);
    assert!(world.epoch().await > epoch);
    assert_eq!(
        world.sync_now("mb-1").await.state(),
        pb::RunState::Succeeded,
        "by a worker that saw the old one"
    );

    let to_folder = ["--from", &server, "--to", &other];
    let refused = copy(&to_folder).expect_err("somebody leads");
    assert!(refused.contains("is led by the scheduler at") && refused.contains("stop all"), "{refused}");
    let refused =
        copy(&["--from", &folder, "--to", &server, "--replace"]).expect_err("a restore under a leader");
    assert!(refused.contains("the target is led by"), "{refused}");
    let before = world.view().await;
    world.stop();
    copy(&["--from", &server, "--to", &server, "--to-prefix", "green"]).expect("a copy beside it");
    copy(&["--from", &server, "--from-prefix", "green", "--to", &other]).expect("a copy");
    world.start_on(&other, "docket");
    assert_eq!(world.view().await, before);
    assert_eq!(world.sync_now("mb-2").await.state(), pb::RunState::Succeeded);
}

/// `kill -9` of a copy: no scheduler takes what is there for a store, and the copy is simply started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_copy_is_started_again() {
    let mut world = World::start();
    let redis = Redis::start(&world.path("redis"));
    let (folder, server) = (embedded(&world.path("store")), redis.url());
    for n in 0..50 {
        world.upsert(schedule(&format!("mb-{n}"), "noop", None)).await;
    }
    let before = world.view().await;
    world.stop();
    let mut killed = copy_command(&["--from", &folder, "--to", &server]).spawn().expect("a process");
    let begin = Instant::now();
    let is_marked =
        || redis.ask(&["HGET", "{docket:0}:owner", "seq"]).is_ok_and(|seq| seq.contains("\r\n1\r\n"));
    while !is_marked() {
        assert!(begin.elapsed() < PATIENCE, "it does not begin");
    }
    killed.kill().expect("kill");
    killed.wait().expect("reap");

    // It stands by while the lease of what was killed lasts, and ends when it sees what is there.
    if let Ok(mut half) = world.plan.clone().set("DOCKET_STORE__URL", &server).start() {
        assert_eq!(half.wait().expect("its end"), Some(1));
    }
    let log = fs::read_to_string(world.plan.folder.join("log")).expect("a log");
    assert!(log.contains("copy into this store is not finished"), "it loaded a half copy: {log}");
    // The lease of what was killed has to end first.
    let begin = Instant::now();
    while let Err(why) = copy(&["--from", &folder, "--to", &server]) {
        assert!(why.contains("its lease lasts") || why.contains("is led by"), "{why}");
        assert!(begin.elapsed() < PATIENCE, "{why}");
    }
    world.start_on(&server, "docket");
    assert_eq!(world.view().await, before);
}

/// An older store beside a newer archive: what is filed already is found, and nothing is filed twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_older_store_goes_on_with_a_newer_archive() {
    let mut world = World::start();
    let store = embedded(&world.path("store"));
    let mailbox = lib::Mailbox {
        mailbox_id: "box".into(),
        owner: "owner-1".into(),
        source: Some(lib::mailbox::Source::Folder(lib::FolderSource {
            path: "box".into(),
            format: lib::FolderFormat::Eml.into(),
        })),
        ..Default::default()
    };
    let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
    world.library.mailboxes.clone().connect_mailbox(request).await.expect("a mailbox");
    world.deliver("anna");
    world.upsert(schedule("box", "document-sync", Some("box"))).await;
    assert_eq!(world.sync_now("box").await.state(), pb::RunState::Succeeded);
    let first = world.documents().await;
    assert!(first > 0);

    // A backup as people make it: stopped, and the folder copied.
    world.stop();
    let backup = world.path("backup");
    let copied = Command::new("cp").arg("-r").arg(world.path("store")).arg(&backup).status().expect("cp");
    assert!(copied.success());
    for _ in 0..2 {
        world.start_on(&store, "docket");
        world.stop();
    }
    world.start_on(&store, "docket");
    world.deliver("carla");
    assert_eq!(world.sync_now("box").await.state(), pb::RunState::Succeeded);
    let (newer, epoch) = (world.documents().await, world.epoch().await);
    assert!(newer > first);
    world.stop();

    // Restored as it is, the store is of an epoch that the worker has seen pass.
    world.start_on(&embedded(&backup), "docket");
    assert!(world.epoch().await < epoch);
    let begin = Instant::now();
    while !fs::read_to_string(&world.worker.log).expect("a log").contains("if its store was restored") {
        assert!(begin.elapsed() < PATIENCE, "the worker does not say what to do");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.stop();

    // Restored by a copy above that epoch, it is taken; the worker is not restarted.
    let restored = embedded(&world.path("restored"));
    copy(&["--from", &embedded(&backup), "--to", &restored, "--above", &epoch.to_string()]).expect("a copy");
    world.start_on(&restored, "docket");
    assert_eq!(world.sync_now("box").await.state(), pb::RunState::Succeeded);
    assert_eq!(world.documents().await, newer, "nothing was filed again");
    world.deliver("later");
    assert_eq!(world.sync_now("box").await.state(), pb::RunState::Succeeded);
    let later = world.documents().await;
    assert!(later > newer);

    // The other way: the backup as it is, and the worker restarted.
    world.stop();
    world.start_on(&embedded(&backup), "docket");
    world.worker.kill();
    world.worker = world.worker_plan.start().expect("a restart");
    assert_eq!(world.sync_now("box").await.state(), pb::RunState::Succeeded);
    assert_eq!(world.documents().await, later);
}
