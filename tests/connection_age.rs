//! Connections end when they are old, every half hour in production: here every second, and nobody loses anything.

mod harness;

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use docket::schedule::v1 as pb;
use harness::{Plan, Scheduler};
use prost_types::{Struct, Value, value::Kind};
use tonic::{Response, Status};

/// Longer than a connection with its grace.
const LONG: Duration = Duration::from_secs(5);

fn noop(id: &str, sleeps: Duration) -> pb::Schedule {
    let interval = prost_types::Duration { seconds: 1, nanos: 0 };
    let millis = Value { kind: Some(Kind::NumberValue(sleeps.as_secs_f64() * 1e3)) };
    let args = Struct { fields: BTreeMap::from([("sleep_ms".into(), millis)]) };
    pb::Schedule {
        schedule_id: id.into(),
        timing: Some(pb::schedule::Timing::Every(pb::Every { interval: Some(interval), anchor: None })),
        overlap: pb::OverlapPolicy::Allow.into(),
        task: Some(pb::Task { kind: "noop".into(), args: Some(args), ..Default::default() }),
        ..Default::default()
    }
}

/// A worker keeps its jobs, calls come through, and who watches goes on from where it was.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_of_age_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Plan::new("scheduler-svc", folder.path())
        .set("DOCKET_GRPC__CONNECTION_AGE_MS", 1_000)
        .set("DOCKET_GRPC__CONNECTION_GRACE_MS", 1_000)
        .start()
        .expect("scheduler-svc");
    let _worker = Plan::new("worker-svc", folder.path())
        .set("DOCKET_SCHEDULER__URL", format!("http://{}", service.grpc))
        .set("DOCKET_WORKER__KINDS", "noop")
        .start()
        .expect("worker-svc");
    let scheduler = Scheduler::connect(&service).expect("clients");
    for (id, sleeps) in [("long", LONG), ("short", Duration::ZERO)] {
        let request = pb::UpsertScheduleRequest { schedule: Some(noop(id, sleeps)), ..Default::default() };
        scheduler.schedules.clone().upsert_schedule(request).await.expect("saved");
    }
    let calls = async {
        loop {
            let get = pb::GetScheduleRequest { schedule_id: "long".into(), ..Default::default() };
            again(async || scheduler.schedules.clone().get_schedule(get.clone()).await).await;
        }
    };
    let (runs, cuts) = tokio::select! {
        seen = watch(&scheduler) => seen,
        () = calls => unreachable!("it has no end"),
    };
    assert!(cuts > 1, "streams ended {cuts} times");
    for run in &runs {
        assert_eq!((run.state(), run.attempt), (pb::RunState::Succeeded, 1), "{run:?}");
    }
    let mut short: Vec<i64> = runs.iter().filter(|run| run.schedule_id == "short").map(nominal).collect();
    short.sort_unstable();
    assert!(short.windows(2).all(|pair| pair[1] == pair[0] + 1), "each second once: {short:?}");
}

fn nominal(run: &pb::Run) -> i64 {
    run.nominal_time.expect("a time").seconds
}

/// Clients of other languages repeat by themselves what met the end of a connection and was not looked at; tonic's do not.
async fn again<T>(call: impl AsyncFn() -> Result<Response<T>, Status>) -> T {
    for _ in 0..3 {
        match call().await {
            Ok(response) => return response.into_inner(),
            Err(status) => assert!(status.source().is_some(), "a call was answered with {status:?}"),
        }
    }
    panic!("three connections in a row have ended");
}

/// Runs that ended, until the second of the long ones has; and how often the stream ended.
async fn watch(scheduler: &Scheduler) -> (Vec<pb::Run>, usize) {
    let (mut runs, mut cuts, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let filter = pb::EventFilter { types: vec![pb::EventType::RunFinished.into()], ..Default::default() };
        let request =
            pb::WatchEventsRequest { filter: Some(filter), cursor: cursor.clone(), ..Default::default() };
        let mut stream = again(async || scheduler.runs.clone().watch_events(request.clone()).await).await;
        while let Ok(Some(message)) = stream.message().await {
            assert!(!message.reset, "nothing is lost");
            cursor = message.cursor;
            runs.extend(message.events.into_iter().filter_map(|event| event.run));
            if runs.iter().filter(|run| run.schedule_id == "long").count() == 2 {
                return (runs, cuts);
            }
        }
        cuts += 1;
    }
}
