//! The memory of a worker and all of its readers, as real processes, while it syncs the largest mails there may be.

mod harness;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use docket::{library::v1 as lib, schedule::v1 as pb};
use futures_util::future::join_all;
use harness::{Library, Plan, Scheduler};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};

const PATIENCE: Duration = Duration::from_secs(300);
/// For the worker and its readers together.
const MEMORY_MAX_MIB: u64 = 512;
/// As many as a worker has slots for; each of its own owner.
const MAILBOXES: usize = 6;
/// Of one mailbox.
const MAILS: usize = 2;
/// The most that is read.
const MAIL_BYTES: usize = 50 << 20;

/// 50 MiB each, from all mailboxes at once, and more readers than the worker can have for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stays_small_with_the_largest_mails() {
    let folder = tempfile::tempdir().expect("a folder");
    mailboxes(&folder.path().join("mail"));
    let scheduler = Plan::new("scheduler-svc", folder.path()).start().expect("scheduler-svc");
    let worker = Plan::new("worker-svc", folder.path())
        .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
        .set("DOCKET_WORKER__SLOTS", MAILBOXES)
        .set("DOCKET_READER__CHILDREN", 8)
        .set("DOCKET_SOURCES__FOLDER_ROOT", folder.path().join("mail").display())
        .start()
        .expect("worker-svc");
    let library = Library::connect(&worker).expect("clients");
    let scheduler = Scheduler::connect(&scheduler).expect("clients");
    let watch = Watch::start(worker.pid());
    let runs = join_all((0..MAILBOXES).map(|n| begin(&scheduler, &library, n))).await;
    let ended = join_all(runs.iter().map(|run_id| end_of(&scheduler, run_id))).await;
    let peak = watch.stop();
    for run in &ended {
        assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");
    }
    let request = lib::ListDocumentsRequest { page_size: 100, ..Default::default() };
    let documents = library.documents.clone().list_documents(request).await.expect("documents").into_inner();
    assert_eq!(documents.documents.len(), MAILBOXES * MAILS, "all are filed, with their bytes");
    assert!(documents.documents.iter().all(|it| it.size > 35 << 20), "{:?}", documents.documents[0]);
    assert!(peak.all >> 10 <= MEMORY_MAX_MIB, "{peak:?} KiB");
}

/// Mailboxes share their mails' bytes by hard links.
fn mailboxes(root: &Path) {
    let line = format!("{}\r\n", "QUJD".repeat(19));
    for mail in 0..MAILS {
        let head = format!(
            "From: shop{mail}@supplier.example\r\nSubject: Invoice 2026-{mail}\r\n\
             Message-ID: <large-{mail}@supplier.example>\r\nContent-Type: application/pdf; name=invoice.pdf\r\n\
             Content-Disposition: attachment; filename=invoice.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n\
             JVBERi0xLjQK\r\n"
        );
        let mut raw = String::with_capacity(MAIL_BYTES);
        raw.push_str(&head);
        raw.push_str(&format!("{}\r\n", "QUJE".repeat(1 + mail)));
        while raw.len() + line.len() <= MAIL_BYTES {
            raw.push_str(&line);
        }
        for mailbox in 0..MAILBOXES {
            let folder = root.join(format!("mb-{mailbox}"));
            fs::create_dir_all(&folder).expect("a folder");
            let file = folder.join(format!("{mail}.eml"));
            if mailbox > 0 {
                fs::hard_link(root.join(format!("mb-0/{mail}.eml")), &file).expect("a link");
                continue;
            }
            fs::write(&file, &raw).expect("a mail");
            // What was written just now may still grow, so it would be left for the next run.
            let old = SystemTime::now() - Duration::from_secs(60);
            fs::File::options().write(true).open(&file).and_then(|it| it.set_modified(old)).expect("a time");
        }
    }
}

/// KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    /// The most that living processes had together: at each look the sum of what each had at its own peak, which is more
    /// than they had at any moment.
    all: u64,
    worker: u64,
}

/// Looks at a process and its children again and again.
struct Watch {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<Peak>,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let thread = thread::spawn(move || {
            let mut peak = Peak::default();
            while !stop.load(Ordering::Relaxed) {
                let worker = high_water(pid).unwrap_or(0);
                let readers: u64 = children(pid).into_iter().filter_map(high_water).sum();
                peak.worker = peak.worker.max(worker);
                peak.all = peak.all.max(worker + readers);
                thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        Self { done, thread }
    }

    fn stop(self) -> Peak {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("a peak")
    }
}

fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Connects a mailbox, schedules it and runs it now. Returns the run's id.
async fn begin(scheduler: &Scheduler, library: &Library, n: usize) -> String {
    let id = format!("mb-{n}");
    let folder = lib::FolderSource { path: id.clone(), format: lib::FolderFormat::Eml.into() };
    let mailbox = lib::Mailbox {
        mailbox_id: id.clone(),
        owner: format!("owner-{n}"),
        source: Some(lib::mailbox::Source::Folder(folder)),
        ..Default::default()
    };
    let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
    library.mailboxes.clone().connect_mailbox(request).await.expect("a mailbox");
    let argument = Value { kind: Some(Kind::StringValue(id.clone())) };
    let schedule = pb::Schedule {
        schedule_id: id.clone(),
        timing: Some(pb::schedule::Timing::Cron(pb::Cron {
            expressions: vec!["0 2 * * *".into()],
            time_zone: "Europe/Berlin".into(),
            ..Default::default()
        })),
        task: Some(pb::Task {
            kind: "document-sync".into(),
            args: Some(Struct { fields: [("mailbox_id".into(), argument)].into() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
    scheduler.schedules.clone().upsert_schedule(request).await.expect("a schedule");
    let request = pb::TriggerScheduleRequest { schedule_id: id, ..Default::default() };
    let triggered = scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger");
    triggered.into_inner().run.expect("a run").run_id
}

async fn end_of(scheduler: &Scheduler, run_id: &str) -> pb::Run {
    let begin = Instant::now();
    loop {
        let request = pb::GetRunRequest {
            run_id: run_id.into(),
            wait: Some(ProtoDuration { seconds: 20, nanos: 0 }),
            ..Default::default()
        };
        let run =
            scheduler.runs.clone().get_run(request).await.expect("a run").into_inner().run.expect("one");
        if run.finish_time.is_some() {
            return run;
        }
        assert!(begin.elapsed() < PATIENCE, "run {run_id} does not end: {run:?}");
    }
}
