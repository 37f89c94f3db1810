//! Several workers on one archive, as real processes: PostgreSQL and a folder of blobs that all of them reach.

mod harness;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use docket::{library::v1 as lib, schedule::v1 as pb};
use futures_util::future::join_all;
use harness::{Library, Plan, Scheduler, Service, postgres};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};

const PATIENCE: Duration = Duration::from_secs(120);
/// Mailbox and owner. The last two are of one owner and hold the same mails.
const MAILBOXES: [(&str, &str); 6] = [
    ("mb-0", "owner-0"),
    ("mb-1", "owner-1"),
    ("mb-2", "owner-2"),
    ("mb-3", "owner-3"),
    ("mb-4", "owner-4"),
    ("mb-5", "owner-4"),
];

/// One of two workers is killed -9 while it syncs: its runs go on at the other one, every document of every owner is
/// there once with its bytes, and a third process, which runs nothing, serves them.
#[tokio::test(flavor = "multi_thread")]
async fn killing_one_of_several_workers_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mails = mailboxes(&folder.path().join("mail"));
    let scheduler = Plan::new("scheduler-svc", folder.path()).start().expect("scheduler-svc");
    let url = postgres::Server::shared().database();
    let worker = |id: &str, slots: u32| -> Service {
        let plan = Plan::new("worker-svc", &folder.path().join(id))
            .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
            .set("DOCKET_WORKER__ID", id)
            .set("DOCKET_WORKER__SLOTS", slots)
            .set("DOCKET_ARCHIVE__DATABASE_URL", &url)
            .set("DOCKET_ARCHIVE__BLOBS_URL", format!("file:{}", folder.path().join("blobs").display()))
            .set("DOCKET_SOURCES__FOLDER_ROOT", folder.path().join("mail").display());
        plan.start().expect("worker-svc")
    };
    // All three make the schema, or find it made.
    let (api, mut doomed, survivor) = (worker("api", 0), worker("doomed", 3), worker("survivor", 3));
    let library = Library::connect(&api).expect("clients");
    let scheduler = Scheduler::connect(&scheduler).expect("clients");
    until_two_workers(&scheduler).await;

    let runs = join_all(MAILBOXES.map(|(id, owner)| begin(&scheduler, &library, id, owner))).await;
    let held = until_it_runs(&scheduler, &runs, "doomed").await;
    doomed.kill();
    let ended = join_all(runs.iter().map(|run_id| end_of(&scheduler, run_id))).await;
    for run in &ended {
        assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");
    }
    let again = ended.iter().find(|run| run.run_id == held).expect("the run");
    assert!(again.attempt > 1 && again.worker_id == "survivor", "{again:?}");

    let documents = documents(&library).await;
    let mut by_owner: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for document in &documents {
        let is_new = by_owner.entry(&document.owner).or_default().insert(&document.sha256);
        assert!(is_new, "filed twice: {document:?}");
        assert_eq!(download(&library, document).await, document.size, "{document:?}");
    }
    assert_eq!(by_owner.len(), 5);
    let expected = &by_owner["owner-0"];
    assert!(expected.len() >= 20, "{}", expected.len());
    assert!(by_owner.values().all(|contents| contents == expected), "every owner has the same mails");
    for (mailbox_id, _) in MAILBOXES {
        let mailbox = mailbox(&library, mailbox_id).await;
        assert_eq!(mailbox.messages, mails, "{mailbox:?}");
    }
    let twins = [mailbox(&library, "mb-4").await, mailbox(&library, "mb-5").await];
    let filed: i64 = twins.iter().map(|mailbox| mailbox.documents).sum();
    assert_eq!(filed, expected.len() as i64, "what two mailboxes of an owner brought is filed once");
    drop(survivor);
}

/// As many mailboxes below `root`; returns how many mails each of them has.
fn mailboxes(root: &Path) -> i64 {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mails");
    let mut count = 0;
    for (mailbox_id, _) in MAILBOXES {
        let folder = root.join(mailbox_id);
        fs::create_dir_all(&folder).expect("a folder");
        count = 0;
        for name in ["anna", "bruno", "carla", "later"] {
            for mail in fs::read_dir(fixtures.join(name)).expect("fixtures") {
                let copy = folder.join(format!("{count}.eml"));
                fs::copy(mail.expect("a mail").path(), &copy).expect("a copy");
                // A file that has just been written may still be growing, so it would be left for the next run.
                let old = SystemTime::now() - Duration::from_secs(60);
                let file = fs::File::options().write(true).open(&copy).expect("a file");
                file.set_modified(old).expect("a time");
                count += 1;
            }
        }
    }
    count
}

async fn until_two_workers(scheduler: &Scheduler) {
    let begin = Instant::now();
    loop {
        let status = scheduler.status.clone().get_status(pb::GetStatusRequest::default()).await;
        if status.expect("a status").into_inner().workers == 2 {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "two of the three take jobs");
        tokio::task::yield_now().await;
    }
}

/// Connects a mailbox, schedules it and runs it now. Returns the run's id.
async fn begin(scheduler: &Scheduler, library: &Library, mailbox_id: &str, owner: &str) -> String {
    let folder = lib::FolderSource { path: mailbox_id.into(), format: lib::FolderFormat::Eml.into() };
    let mailbox = lib::Mailbox {
        mailbox_id: mailbox_id.into(),
        owner: owner.into(),
        source: Some(lib::mailbox::Source::Folder(folder)),
        ..Default::default()
    };
    let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
    library.mailboxes.clone().connect_mailbox(request).await.expect("a mailbox");
    let cron = pb::Cron {
        expressions: vec!["0 2 * * *".into()],
        time_zone: "Europe/Berlin".into(),
        ..Default::default()
    };
    let id = Value { kind: Some(Kind::StringValue(mailbox_id.into())) };
    let schedule = pb::Schedule {
        schedule_id: mailbox_id.into(),
        timing: Some(pb::schedule::Timing::Cron(cron)),
        task: Some(pb::Task {
            kind: "document-sync".into(),
            args: Some(Struct { fields: [("mailbox_id".into(), id)].into() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
    scheduler.schedules.clone().upsert_schedule(request).await.expect("a schedule");
    let request = pb::TriggerScheduleRequest { schedule_id: mailbox_id.into(), ..Default::default() };
    let triggered = scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger");
    triggered.into_inner().run.expect("a run").run_id
}

/// Which of the runs that worker works on.
async fn until_it_runs(scheduler: &Scheduler, runs: &[String], worker_id: &str) -> String {
    let begin = Instant::now();
    loop {
        for run_id in runs {
            let run = run(scheduler, run_id, 0).await;
            if run.state() == pb::RunState::Running && run.worker_id == worker_id {
                return run.run_id;
            }
        }
        assert!(begin.elapsed() < PATIENCE, "{worker_id} gets no run");
    }
}

async fn run(scheduler: &Scheduler, run_id: &str, wait: i64) -> pb::Run {
    let request = pb::GetRunRequest {
        run_id: run_id.into(),
        wait: Some(ProtoDuration { seconds: wait, nanos: 0 }),
        ..Default::default()
    };
    scheduler.runs.clone().get_run(request).await.expect("a run").into_inner().run.expect("a run")
}

async fn end_of(scheduler: &Scheduler, run_id: &str) -> pb::Run {
    let begin = Instant::now();
    loop {
        let run = run(scheduler, run_id, 20).await;
        if run.finish_time.is_some() {
            return run;
        }
        assert!(begin.elapsed() < PATIENCE, "run {run_id} does not end: {run:?}");
    }
}

async fn documents(library: &Library) -> Vec<lib::Document> {
    let mut request = lib::ListDocumentsRequest { page_size: 100, ..Default::default() };
    let mut documents = Vec::new();
    loop {
        let page =
            library.documents.clone().list_documents(request.clone()).await.expect("documents").into_inner();
        documents.extend(page.documents);
        if page.next_page_token.is_empty() {
            return documents;
        }
        request.page_token = page.next_page_token;
    }
}

async fn mailbox(library: &Library, mailbox_id: &str) -> lib::Mailbox {
    let request = lib::GetMailboxRequest { mailbox_id: mailbox_id.into(), ..Default::default() };
    library
        .mailboxes
        .clone()
        .get_mailbox(request)
        .await
        .expect("a mailbox")
        .into_inner()
        .mailbox
        .expect("one")
}

/// How many bytes came.
async fn download(library: &Library, document: &lib::Document) -> i64 {
    let request =
        lib::DownloadDocumentRequest { document_id: document.document_id.clone(), ..Default::default() };
    let mut parts =
        library.documents.clone().download_document(request).await.expect("a download").into_inner();
    let mut bytes = 0;
    while let Some(part) = parts.message().await.expect("a part") {
        bytes += part.chunk.len() as i64;
    }
    bytes
}
