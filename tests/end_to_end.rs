//! Both services as real processes: what a user relies on, and what survives kill -9.

mod harness;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use docket::{errors, library::v1 as lib, schedule::v1 as pb};
use harness::{Library, Plan, Scheduler, Service};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(180);

/// Both services on one folder.
struct World {
    folder: tempfile::TempDir,
    plans: [Plan; 2],
    services: [Service; 2],
    scheduler: Scheduler,
    library: Library,
}

const SCHEDULER: usize = 0;
const WORKER: usize = 1;

impl World {
    fn start(kinds: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mail = folder.path().join("mail");
        fs::create_dir_all(&mail).expect("a mail folder");
        let plan = Plan::new("scheduler-svc", folder.path());
        let scheduler = plan.start().expect("scheduler-svc");
        let plans = [
            plan.set("DOCKET_GRPC__LISTEN", scheduler.grpc).set("DOCKET_HTTP__LISTEN", scheduler.http),
            Plan::new("worker-svc", folder.path())
                .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
                .set("DOCKET_WORKER__ID", "w1")
                .set("DOCKET_WORKER__KINDS", kinds)
                .set("DOCKET_SOURCES__FOLDER_ROOT", mail.display()),
        ];
        let worker = plans[WORKER].start().expect("worker-svc");
        let plans = plans.clone();
        let plans = {
            let [scheduler_plan, worker_plan] = plans;
            [
                scheduler_plan,
                worker_plan.set("DOCKET_GRPC__LISTEN", worker.grpc).set("DOCKET_HTTP__LISTEN", worker.http),
            ]
        };
        let clients =
            (Scheduler::connect(&scheduler).expect("clients"), Library::connect(&worker).expect("clients"));
        Self { folder, plans, services: [scheduler, worker], scheduler: clients.0, library: clients.1 }
    }

    fn kill_and_restart(&mut self, which: usize) {
        self.services[which].kill();
        self.services[which] = self.plans[which].start().expect("a restart");
    }

    fn mail(&self) -> std::path::PathBuf {
        self.folder.path().join("mail")
    }

    async fn upsert(&self, schedule: pb::Schedule) -> pb::Schedule {
        let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
        let answer = self.scheduler.schedules.clone().upsert_schedule(request).await.expect("an upsert");
        answer.into_inner().schedule.expect("a schedule")
    }

    async fn get(&self, id: &str) -> pb::Schedule {
        let request = pb::GetScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let answer = self.scheduler.schedules.clone().get_schedule(request).await.expect("a schedule");
        answer.into_inner().schedule.expect("a schedule")
    }

    /// Runs a schedule now and waits for the end of the run.
    async fn sync_now(&self, id: &str) -> pb::Run {
        let request = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let answer = self.scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger");
        let run = answer.into_inner().run.expect("a run");
        self.end_of(&run.run_id).await
    }

    /// Starts a run by hand, and comes back once a worker has it.
    async fn start_by_hand(&self, id: &str) -> String {
        let request = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let answer = self.scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger");
        let run_id = answer.into_inner().run.expect("a run").run_id;
        let begin = Instant::now();
        loop {
            let request = pb::GetRunRequest { run_id: run_id.clone(), ..Default::default() };
            let answer = self.scheduler.runs.clone().get_run(request).await.expect("a run");
            if answer.into_inner().run.expect("a run").state() == pb::RunState::Running {
                return run_id;
            }
            assert!(begin.elapsed() < PATIENCE, "the run does not start");
            tokio::task::yield_now().await;
        }
    }

    async fn end_of(&self, run_id: &str) -> pb::Run {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let request = pb::GetRunRequest {
                run_id: run_id.into(),
                wait: Some(ProtoDuration { seconds: 20, nanos: 0 }),
                ..Default::default()
            };
            // The scheduler may be on its way up again.
            let Ok(answer) = self.scheduler.runs.clone().get_run(request).await else { continue };
            let run = answer.into_inner().run.expect("a run");
            if run.finish_time.is_some() {
                return run;
            }
        }
        panic!("run {run_id} did not end");
    }

    async fn connect(&self, mailbox_id: &str, path: &str, format: lib::FolderFormat) {
        let folder = lib::FolderSource { path: path.into(), format: format.into() };
        let mailbox = lib::Mailbox {
            mailbox_id: mailbox_id.into(),
            owner: "owner-1".into(),
            source: Some(lib::mailbox::Source::Folder(folder)),
            ..Default::default()
        };
        let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
        self.library.mailboxes.clone().connect_mailbox(request).await.expect("a mailbox");
    }

    async fn documents(&self) -> Vec<lib::Document> {
        let request = lib::ListDocumentsRequest { page_size: 1_000, ..Default::default() };
        let answer = self.library.documents.clone().list_documents(request).await.expect("documents");
        answer.into_inner().documents
    }

    async fn messages(&self, mailbox_id: &str) -> Vec<lib::Message> {
        let request = lib::ListMessagesRequest {
            mailbox_id: mailbox_id.into(),
            page_size: 1_000,
            ..Default::default()
        };
        let answer = self.library.mailboxes.clone().list_messages(request).await.expect("messages");
        answer.into_inner().messages
    }
}

fn noop(id: &str, timing: pb::schedule::Timing, sleep_ms: f64) -> pb::Schedule {
    let sleep = Value { kind: Some(Kind::NumberValue(sleep_ms)) };
    pb::Schedule {
        schedule_id: id.into(),
        timing: Some(timing),
        task: Some(pb::Task {
            kind: "noop".into(),
            args: Some(Struct { fields: [("sleep_ms".into(), sleep)].into() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn sync(mailbox_id: &str) -> pb::Schedule {
    let id = Value { kind: Some(Kind::StringValue(mailbox_id.into())) };
    pb::Schedule {
        schedule_id: mailbox_id.into(),
        timing: Some(daily("0 2 * * *")),
        task: Some(pb::Task {
            kind: "document-sync".into(),
            args: Some(Struct { fields: [("mailbox_id".into(), id)].into() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn daily(expression: &str) -> pb::schedule::Timing {
    pb::schedule::Timing::Cron(pb::Cron {
        expressions: vec![expression.into()],
        time_zone: "Europe/Berlin".into(),
        ..Default::default()
    })
}

fn every(millis: i64) -> pb::schedule::Timing {
    let interval = ProtoDuration { seconds: millis / 1000, nanos: (millis % 1000 * 1_000_000) as i32 };
    pb::schedule::Timing::Every(pb::Every { interval: Some(interval), anchor: None })
}

fn fixtures(name: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mails").join(name);
    let mut mails: Vec<_> =
        fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("a mail").path()).collect();
    mails.sort();
    mails
}

fn number(run: &pb::Run, name: &str) -> f64 {
    let value =
        run.result.as_ref().and_then(|result| result.fields.get(name)).and_then(|value| value.kind.as_ref());
    if let Some(Kind::NumberValue(number)) = value { *number } else { panic!("{name} in {:?}", run.result) }
}

/// "Sync now" and wait for it; the documents are there, with their bytes, and a second sync finds nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_synced_and_its_documents_are_filed_once() {
    let world = World::start("document-sync");
    let folder = world.mail().join("carla");
    fs::create_dir_all(&folder).expect("a folder");
    for mail in fixtures("carla") {
        let name = mail.file_name().expect("a name");
        fs::copy(&mail, folder.join(name)).expect("a copy");
        // A file that has just been written may still be growing, so the source would leave it for the next run.
        let old = std::time::SystemTime::now() - Duration::from_secs(60);
        fs::File::options()
            .write(true)
            .open(folder.join(name))
            .and_then(|file| file.set_modified(old))
            .expect("a time");
    }
    world.connect("mb-carla", "carla", lib::FolderFormat::Eml).await;
    world.upsert(sync("mb-carla")).await;

    let run = world.sync_now("mb-carla").await;
    assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");
    let documents = world.documents().await;
    assert_eq!(number(&run, "documents_new"), documents.len() as f64);
    assert!(documents.len() >= 8, "{}", documents.len());
    assert_eq!(world.messages("mb-carla").await.len(), fixtures("carla").len());

    let invoice =
        documents.iter().find(|d| d.number.as_ref().is_some_and(|n| n.value.as_deref() == Some("HLS-20418")));
    let invoice = invoice.expect("the invoice of Harbourline");
    assert_eq!(invoice.total.as_ref().and_then(|total| total.value.as_deref()), Some("212.16"));
    let request =
        lib::DownloadDocumentRequest { document_id: invoice.document_id.clone(), ..Default::default() };
    let mut stream =
        world.library.documents.clone().download_document(request).await.expect("a download").into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = stream.message().await.expect("a part") {
        bytes.extend_from_slice(&part.chunk);
    }
    assert_eq!(bytes.len() as i64, invoice.size);
    assert!(bytes.starts_with(b"%PDF"));

    let again = world.sync_now("mb-carla").await;
    assert_eq!((number(&again, "messages_read"), number(&again, "documents_new")), (0.0, 0.0));
    let schedule = world.get("mb-carla").await;
    assert_eq!(schedule.last_success.expect("a success").run_id, again.run_id);
}

/// kill -9 of each service in mid-run: the run ends under the same id, every mail is looked at once, nothing doubles.
#[tokio::test(flavor = "multi_thread")]
async fn killing_either_service_in_mid_run_loses_and_doubles_nothing() {
    let mut world = World::start("document-sync");
    let mbox = world.mail().join("all.mbox");
    let mut content = Vec::new();
    for name in ["anna", "bruno", "carla", "later"] {
        for mail in fixtures(name) {
            content.extend_from_slice(b"From docket Thu Jan  1 00:00:00 2026\n");
            for line in fs::read(mail).expect("a mail").split_inclusive(|byte| *byte == b'\n') {
                if line.starts_with(b"From ") {
                    content.push(b'>');
                }
                content.extend_from_slice(line);
            }
            content.extend_from_slice(b"\n\n");
        }
    }
    fs::write(&mbox, content).expect("an mbox");
    let mails = ["anna", "bruno", "carla", "later"].iter().map(|name| fixtures(name).len()).sum::<usize>();
    world.connect("mb-all", "all.mbox", lib::FolderFormat::Mbox).await;
    world.upsert(sync("mb-all")).await;

    let request = pb::TriggerScheduleRequest { schedule_id: "mb-all".into(), ..Default::default() };
    let run =
        world.scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger").into_inner();
    let run_id = run.run.expect("a run").run_id;
    world.kill_and_restart(WORKER);
    world.kill_and_restart(SCHEDULER);
    world.kill_and_restart(WORKER);
    let run = world.end_of(&run_id).await;
    assert_eq!((run.run_id.as_str(), run.state()), (run_id.as_str(), pb::RunState::Succeeded), "{run:?}");

    let messages = world.messages("mb-all").await;
    let distinct: BTreeSet<_> = messages.iter().map(|message| &message.source_id).collect();
    assert_eq!((messages.len(), distinct.len()), (mails, mails));
    let documents = world.documents().await;
    let contents: BTreeSet<_> = documents.iter().map(|document| &document.sha256).collect();
    assert_eq!(contents.len(), documents.len(), "each content is filed once");
    let again = world.sync_now("mb-all").await;
    assert_eq!(number(&again, "documents_new"), 0.0);
}

/// Schedules, runs under way and the decision log survive the scheduler; every due time has exactly one decision.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_scheduler_forgets_nothing_and_decides_every_time_once() {
    let mut world = World::start("noop");
    for n in 0..20 {
        world.upsert(noop(&format!("s-{n}"), every(1_000), 30.0)).await;
    }
    let before = world.get("s-0").await;
    for _ in 0..3 {
        // Some runs have come since the last kill.
        let seen = world.get("s-7").await.last_run.map(|run| run.run_id);
        let begin = Instant::now();
        while world.get("s-7").await.last_run.map(|run| run.run_id) == seen {
            assert!(begin.elapsed() < PATIENCE, "no runs come");
            tokio::task::yield_now().await;
        }
        world.kill_and_restart(SCHEDULER);
    }
    let after = world.get("s-0").await;
    assert_eq!((after.uid, after.etag, after.create_time), (before.uid, before.etag, before.create_time));
    for n in 0..20 {
        let request = pb::ExplainScheduleRequest { schedule_id: format!("s-{n}"), ..Default::default() };
        let answer =
            world.scheduler.schedules.clone().explain_schedule(request).await.expect("an explanation");
        let decisions = answer.into_inner().decisions;
        let millis = |time: Option<prost_types::Timestamp>| {
            time.map_or(0, |t| t.seconds * 1000 + i64::from(t.nanos) / 1_000_000)
        };
        let first =
            decisions.iter().map(|decision| millis(decision.first_nominal_time)).min().expect("a decision");
        let last =
            decisions.iter().map(|decision| millis(decision.last_nominal_time)).max().expect("a decision");
        let decided: i64 = decisions.iter().map(|decision| decision.count).sum();
        assert_eq!(decided, (last - first) / 1_000 + 1, "s-{n}: {decisions:?}");
    }
}

/// SIGTERM: the worker hands in what it holds and leaves with exit code 0; the run goes on elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_stop_hands_its_run_back() {
    let mut world = World::start("noop");
    let impatient = world.plans[WORKER].clone().set("DOCKET_WORKER__DRAIN_MS", 0);
    world.plans[WORKER] = impatient;
    world.kill_and_restart(WORKER);
    world.upsert(noop("long", daily("0 2 * * *"), 3_000.0)).await;
    let run_id = world.start_by_hand("long").await;
    assert_eq!(world.services[WORKER].terminate().expect("an exit"), Some(0));
    world.services[WORKER] = world.plans[WORKER].start().expect("a restart");
    let run = world.end_of(&run_id).await;
    assert_eq!(run.state(), pb::RunState::Succeeded);
    assert_eq!(run.attempts.len(), 2);
    let handed_back = run.attempts[0].failure.as_ref().expect("a failure");
    assert_eq!(handed_back.class(), pb::FailureClass::Interrupted);
    assert_eq!(world.services[SCHEDULER].terminate().expect("an exit"), Some(0));
}

/// SIGTERM while no scheduler answers: what is held cannot be handed in, and the worker leaves all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_scheduler_stops_as_well() {
    let mut world = World::start("noop");
    let impatient = world.plans[WORKER].clone().set("DOCKET_WORKER__DRAIN_MS", 0);
    world.plans[WORKER] = impatient;
    world.kill_and_restart(WORKER);
    world.upsert(noop("long", daily("0 2 * * *"), 3_600_000.0)).await;
    world.start_by_hand("long").await;
    world.services[SCHEDULER].kill();
    assert_eq!(world.services[WORKER].terminate().expect("an exit"), Some(0));
}

/// A second process on the same data says so and does not start.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_per_folder() {
    let world = World::start("noop");
    let second = Plan::new("scheduler-svc", world.folder.path()).start();
    let error = second.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(error.contains("open in another process: stop it first"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_configuration_ends_with_64_before_a_port_is_bound() {
    for (key, value, part) in [
        ("DOCKET_STORE__URL", "mysql://x", "store.url"),
        ("DOCKET_LEASE__TERM_MS", "1", "lease.term_ms"),
        ("DOCKET_GRPC__LISTEN", "nowhere", "listen"),
        ("DOCKET_GRPC__LISTNE", "127.0.0.1:0", "listne"),
    ] {
        let binary = std::env::current_exe().expect("own path");
        let binary = binary.ancestors().nth(2).expect("target folder").join("scheduler-svc");
        let output = std::process::Command::new(binary).env(key, value).output().expect("a process");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{key}: {text}");
        assert!(text.to_lowercase().contains(part), "{key}: {text}");
    }
}

/// A folder outside the root, a folder that is not there, a source without a root.
#[tokio::test(flavor = "multi_thread")]
async fn folders_are_served_below_the_root_only() {
    let world = World::start("document-sync");
    let connect = |path: &str| {
        let folder = lib::FolderSource { path: path.into(), format: lib::FolderFormat::Maildir.into() };
        let mailbox = lib::Mailbox {
            mailbox_id: "mb".into(),
            owner: "o".into(),
            source: Some(lib::mailbox::Source::Folder(folder)),
            ..Default::default()
        };
        let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
        let mut client = world.library.mailboxes.clone();
        async move { client.connect_mailbox(request).await.expect_err("refused") }
    };
    for path in ["../scheduler-svc", "/etc"] {
        let refusal = connect(path).await;
        assert!(
            matches!(refusal.code(), Code::PermissionDenied | Code::InvalidArgument),
            "{path}: {refusal:?}"
        );
    }
    let missing = connect("no-such-folder").await;
    assert_eq!(errors::reason_of(&missing), Some(errors::Reason::FolderNotFound));
}
