//! A mailbox at Gmail, from connecting it to its documents, with both services and the fake Gmail as real processes.

mod harness;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use docket::{
    library::v1 as lib,
    schedule::v1::{self as pb, limit_service_client::LimitServiceClient},
};
use harness::{Library, Plan, Scheduler, gmail, prometheus, redis::Redis};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};

const PATIENCE: Duration = Duration::from_secs(180);
const ADDRESS: &str = "carla@gmail.test";
const REFRESH: &str = "1//refresh-c4n4ry";

#[tokio::test(flavor = "multi_thread")]
async fn a_gmail_mailbox_is_synced_on_schedule_and_within_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let gmail = gmail::FakeGmail::start().expect("a fake Gmail");
    gmail.account(ADDRESS, REFRESH).expect("an account");
    let mails = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mails/carla");
    let mails: Vec<_> =
        fs::read_dir(mails).expect("fixtures").map(|entry| entry.expect("a mail").path()).collect();
    for mail in &mails {
        gmail.deliver(ADDRESS, &fs::read(mail).expect("a mail")).expect("a delivery");
    }
    let redis = Redis::start(&folder.path().join("redis"));
    let plan = Plan::new("scheduler-svc", folder.path()).set("DOCKET_STORE__URL", redis.url());
    let service = plan.start().expect("scheduler-svc");
    let worker = gmail
        .worker(folder.path(), &service)
        .expect("keys")
        .set("DOCKET_LOG__LEVEL", "debug")
        .start()
        .expect("worker-svc");
    let (scheduler, library) =
        (Scheduler::connect(&service).expect("clients"), Library::connect(&worker).expect("clients"));
    gmail::connect(&library, "mb", ADDRESS, REFRESH).await.expect("a mailbox");
    upsert(&scheduler).await;

    let run = end_of(&scheduler, &trigger(&scheduler).await).await;
    assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");
    let request = lib::GetMailboxRequest { mailbox_id: "mb".into(), ..Default::default() };
    let mailbox = library.mailboxes.clone().get_mailbox(request).await.expect("a mailbox").into_inner();
    let mailbox = mailbox.mailbox.expect("a mailbox");
    assert_eq!(mailbox.messages, mails.len() as i64, "{mailbox:?}");
    assert!(mailbox.documents >= 8, "{mailbox:?}");

    // All of Gmail asks for patience: the attempt ends as throttled, the limit closes, and the run waits.
    let limit = r#"{"call":"history","times":100,"then":{"status":403,"reason":"rateLimitExceeded","retry_after":"3600"}}"#;
    gmail.post("/admin/faults", limit.as_bytes()).expect("a fault");
    let run_id = trigger(&scheduler).await;
    let begin = Instant::now();
    let waiting = loop {
        let run = run_of(&scheduler, &run_id, 0).await;
        if run.wait.is_some() && run.attempt > 0 {
            break run;
        }
        assert!(begin.elapsed() < PATIENCE, "{run:?}");
        tokio::task::yield_now().await;
    };
    let failure = waiting.failure.expect("a failure");
    assert_eq!(
        (failure.class(), failure.code.as_str()),
        (pb::FailureClass::Throttled, "GMAIL_PROJECT_LIMIT")
    );
    let limits = LimitServiceClient::new(service.channel().expect("a channel"));
    let listed =
        limits.clone().list_limits(pb::ListLimitsRequest::default()).await.expect("limits").into_inner();
    let closed = listed.limits.iter().find(|limit| limit.key == "provider:gmail");
    assert!(closed.is_some_and(|limit| limit.closed_until.is_some()), "{listed:?}");

    // Logs, catalog, blobs, and what Redis has on disk.
    let mut looked_at = Vec::new();
    files(folder.path(), &mut |path, content| {
        looked_at.push(path.extension().unwrap_or_default().to_string_lossy().into_owned());
        hold_no_secret(&path.display().to_string(), content);
    });
    for kind in ["aof", "db"] {
        assert!(looked_at.iter().any(|one| one == kind), "{kind} among {looked_at:?}");
    }
    for service in [&service, &worker] {
        let (_, metrics) = prometheus::ask(service.http, "/metrics", None).expect("metrics");
        hold_no_secret("metrics", metrics.as_bytes());
    }
}

fn hold_no_secret(place: &str, content: &[u8]) {
    for secret in [REFRESH, gmail::CLIENT_SECRET, "at-1-"] {
        let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret} is in {place}");
    }
}

fn files(folder: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files(&entry.path(), each),
            kind if kind.is_file() => each(&entry.path(), &fs::read(entry.path()).expect("a file")),
            _ => {}
        }
    }
}

async fn upsert(scheduler: &Scheduler) {
    let cron = pb::Cron {
        expressions: vec!["0 2 * * *".into()],
        time_zone: "Europe/Berlin".into(),
        ..Default::default()
    };
    let id = Value { kind: Some(Kind::StringValue("mb".into())) };
    let schedule = pb::Schedule {
        schedule_id: "mb".into(),
        timing: Some(pb::schedule::Timing::Cron(cron)),
        task: Some(pb::Task {
            kind: "document-sync".into(),
            args: Some(Struct { fields: [("mailbox_id".into(), id)].into() }),
            ..Default::default()
        }),
        limits: vec!["provider:gmail".into()],
        ..Default::default()
    };
    let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
    scheduler.schedules.clone().upsert_schedule(request).await.expect("a schedule");
}

async fn trigger(scheduler: &Scheduler) -> String {
    let request = pb::TriggerScheduleRequest { schedule_id: "mb".into(), ..Default::default() };
    let triggered = scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger");
    triggered.into_inner().run.expect("a run").run_id
}

async fn run_of(scheduler: &Scheduler, run_id: &str, wait: i64) -> pb::Run {
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
        let run = run_of(scheduler, run_id, 20).await;
        if run.finish_time.is_some() {
            return run;
        }
        assert!(begin.elapsed() < PATIENCE, "run {run_id} does not end: {run:?}");
    }
}
