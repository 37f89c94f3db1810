//! Traces as a collector gets them: real services, a real receiver of OTLP.

mod harness;

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
    time::Duration,
};

use docket::schedule::v1 as pb;
use harness::{
    Library, Plan, Scheduler, Service,
    collector::{Collector, Received},
    gmail,
};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};
use tonic::Request;

const ADDRESS: &str = "carla@gmail.test";
const REFRESH: &str = "1//refresh-tr4c3d";
/// Of the client that saves the schedule.
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn scheduler(folder: &Path, collector: &str, ratio: f64) -> Plan {
    Plan::new("scheduler-svc", folder)
        .set("DOCKET_TELEMETRY__OTLP_ENDPOINT", collector)
        .set("DOCKET_TELEMETRY__SAMPLE_RATIO", ratio)
        // The exporter's own setting: milliseconds between two exports.
        .set("OTEL_BSP_SCHEDULE_DELAY", 50)
}

fn traced(plan: Plan, collector: &str) -> Service {
    let plan = plan.set("DOCKET_TELEMETRY__OTLP_ENDPOINT", collector).set("OTEL_BSP_SCHEDULE_DELAY", 50);
    plan.start().expect("worker-svc")
}

fn noop_worker(folder: &Path, scheduler: &Service) -> Plan {
    Plan::new("worker-svc", folder)
        .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
        .set("DOCKET_WORKER__ID", "w1")
        .set("DOCKET_WORKER__KINDS", "noop")
}

fn schedule(id: &str, kind: &str, argument: (&str, Kind)) -> pb::Schedule {
    let every = pb::Every { interval: Some(ProtoDuration { seconds: 86_400, nanos: 0 }), anchor: None };
    let (name, value) = argument;
    pb::Schedule {
        schedule_id: id.into(),
        timing: Some(pb::schedule::Timing::Every(every)),
        task: Some(pb::Task {
            kind: kind.into(),
            args: Some(Struct { fields: [(name.into(), Value { kind: Some(value) })].into() }),
            ..Default::default()
        }),
        retry: Some(pb::Retry {
            max_attempts: 2,
            min_backoff: Some(ProtoDuration { seconds: 1, nanos: 0 }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Saves it as a client that traces its calls, runs it, and waits for its end.
async fn save_and_run(scheduler: &Scheduler, schedule: pb::Schedule) -> pb::Run {
    let schedule_id = schedule.schedule_id.clone();
    let mut request =
        Request::new(pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() });
    request.metadata_mut().insert("traceparent", CALLER.parse().expect("metadata"));
    scheduler.schedules.clone().upsert_schedule(request).await.expect("a schedule");
    let request = pb::TriggerScheduleRequest { schedule_id, ..Default::default() };
    let run = scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger");
    let run_id = run.into_inner().run.expect("a run").run_id;
    let wait = Some(ProtoDuration { seconds: 30, nanos: 0 });
    for _ in 0..4 {
        let request = pb::GetRunRequest { run_id: run_id.clone(), wait, ..Default::default() };
        let run = scheduler.runs.clone().get_run(request).await.expect("a run").into_inner().run;
        if let Some(run) = run.filter(|run| run.finish_time.is_some()) {
            return run;
        }
    }
    panic!("run {run_id} does not end");
}

fn of_trace<'a>(spans: &'a [Received], trace_id: &str) -> Vec<&'a Received> {
    spans.iter().filter(|span| span.trace_id() == trace_id).collect()
}

fn has(spans: &[Received], trace_id: &str, names: &[&str]) -> bool {
    let of_run = of_trace(spans, trace_id);
    names.iter().all(|name| of_run.iter().any(|one| one.span.name == *name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_is_one_trace_from_fire_to_report_and_holds_no_secret() {
    const NAMES: [&str; 12] = [
        "run", "queued", "attempt", "job", "mailbox", "changes", "provider", "message", "fetch", "read",
        "document", "commit",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start().await.expect("a collector");
    let google = gmail::FakeGmail::start().expect("a fake Gmail");
    google.account(ADDRESS, REFRESH).expect("an account");
    let mails = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mails/carla");
    for mail in fs::read_dir(mails).expect("fixtures") {
        let mail = fs::read(mail.expect("a mail").path()).expect("a mail");
        google.deliver(ADDRESS, &mail).expect("a delivery");
    }
    let service = scheduler(folder.path(), &collector.url(), 1.0).start().expect("scheduler-svc");
    let worker = traced(google.worker(folder.path(), &service).expect("keys"), &collector.url());
    let library = Library::connect(&worker).expect("clients");
    gmail::connect(&library, "mb", ADDRESS, REFRESH).await.expect("a mailbox");
    let client = Scheduler::connect(&service).expect("clients");
    let schedule = schedule("mb", "document-sync", ("mailbox_id", Kind::StringValue("mb".into())));
    let run = save_and_run(&client, schedule).await;
    assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");

    let wanted: Vec<&str> = NAMES.iter().copied().chain(["report"]).collect();
    let spans = collector.until(|spans| has(spans, &run.trace_id, &wanted)).await;
    let of_run = of_trace(&spans, &run.trace_id);
    let ids: HashSet<String> = of_run.iter().map(|one| one.span_id()).collect();
    assert_eq!(ids.len(), of_run.len(), "no span twice");
    let roots: Vec<_> = of_run.iter().filter(|one| !ids.contains(&one.parent_id())).collect();
    assert_eq!(roots.iter().map(|one| one.span.name.as_str()).collect::<Vec<_>>(), ["run"], "one root");
    let services: BTreeSet<&str> = of_run.iter().map(|one| one.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(["scheduler-svc", "worker-svc"]));
    // The schedule was saved by a call of the client's own trace; the call is there, and the run links to it.
    let [link] = roots[0].span.links.as_slice() else { panic!("{:?}", roots[0]) };
    let saved = format!(
        "00-{}-{}-01",
        harness::collector::hex(&link.trace_id),
        harness::collector::hex(&link.span_id)
    );
    assert_eq!(saved, CALLER);
    assert!(spans.iter().any(|one| one.span.name == "call" && CALLER.contains(&one.trace_id())));
    let calls: BTreeSet<String> =
        of_run.iter().filter(|one| one.span.name == "provider").map(|one| one.attribute("call")).collect();
    assert!(calls.contains("refresh") && calls.contains("messages"), "{calls:?}");
    let report = of_run.iter().find(|one| one.span.name == "report").expect("a report");
    assert_eq!(report.attribute("receipt"), "RECEIPT_STATUS_ACCEPTED");

    let everything = format!("{spans:?}");
    for secret in [REFRESH, gmail::CLIENT_SECRET, "at-1-"] {
        assert!(!everything.contains(secret), "{secret} is in a trace");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_attempts_of_a_run_are_in_its_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start().await.expect("a collector");
    let service = scheduler(folder.path(), &collector.url(), 1.0).start().expect("scheduler-svc");
    let _worker = traced(noop_worker(folder.path(), &service), &collector.url());
    let client = Scheduler::connect(&service).expect("clients");
    let run = save_and_run(&client, schedule("s", "noop", ("failure_rate", Kind::NumberValue(1.0)))).await;
    assert_eq!((run.state(), run.attempt), (pb::RunState::Failed, 2), "{run:?}");
    let count = |spans: &[Received], name: &str| {
        of_trace(spans, &run.trace_id).iter().filter(|one| one.span.name == name).count()
    };
    let all = |spans: &[Received]| {
        count(spans, "run") == 1
            && ["queued", "attempt", "job", "report"].iter().all(|name| count(spans, name) == 2)
    };
    let spans = collector.until(all).await;
    let of_run = of_trace(&spans, &run.trace_id);
    let attempts: BTreeSet<String> = of_run
        .iter()
        .filter(|one| one.span.name == "attempt")
        .map(|one| one.attribute("docket.attempt"))
        .collect();
    assert_eq!(attempts, BTreeSet::from(["1".into(), "2".into()]));
    let failed = |one: &&&Received| one.span.status.as_ref().is_some_and(|status| status.code == 2);
    assert_eq!(of_run.iter().filter(failed).count(), 3, "both attempts, and the run");
}

/// What is not sampled is not sent, by either service. The last run tells that the others would have come.
#[tokio::test(flavor = "multi_thread")]
async fn runs_outside_the_sampled_share_send_nothing() {
    const SHARE: f64 = 0.3;
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Collector::start().await.expect("a collector");
    let service = scheduler(folder.path(), &collector.url(), SHARE).start().expect("scheduler-svc");
    let _worker = traced(noop_worker(folder.path(), &service), &collector.url());
    let client = Scheduler::connect(&service).expect("clients");
    let (mut sampled, mut others) = (Vec::new(), Vec::new());
    while sampled.len() < 3 || others.len() < 3 {
        let n = sampled.len() + others.len();
        let run =
            save_and_run(&client, schedule(&format!("s-{n}"), "noop", ("sleep_ms", Kind::NumberValue(0.0))))
                .await;
        let parent = docket::trace::TraceParent::of_run(&run.run_id, true);
        assert_eq!(format!("{:032x}", parent.trace_id), run.trace_id);
        let of = if parent.sampled_at(SHARE).sampled { &mut sampled } else { &mut others };
        of.push(run.trace_id);
    }
    let last = save_until_sampled(&client, SHARE).await;
    sampled.push(last);
    let names = ["run", "queued", "attempt", "job", "report"];
    let spans = collector.until(|spans| sampled.iter().all(|trace_id| has(spans, trace_id, &names))).await;
    for trace_id in &others {
        assert!(of_trace(&spans, trace_id).is_empty(), "{trace_id}");
    }
}

async fn save_until_sampled(client: &Scheduler, share: f64) -> String {
    for n in 0.. {
        let run = save_and_run(
            client,
            schedule(&format!("last-{n}"), "noop", ("sleep_ms", Kind::NumberValue(0.0))),
        )
        .await;
        if docket::trace::TraceParent::of_run(&run.run_id, true).sampled_at(share).sampled {
            return run.trace_id;
        }
    }
    unreachable!()
}

/// Neither work nor the end of a process waits for a collector that is not there, or that takes a call and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_holds_nothing_up() {
    const ENOUGH: Duration = Duration::from_secs(20);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    for down in ["http://127.0.0.1:9".to_owned(), format!("http://{address}")] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut service = scheduler(folder.path(), &down, 1.0).start().expect("scheduler-svc");
        let mut worker = traced(noop_worker(folder.path(), &service), &down);
        let client = Scheduler::connect(&service).expect("clients");
        for n in 0..20 {
            let run = save_and_run(
                &client,
                schedule(&format!("s-{n}"), "noop", ("sleep_ms", Kind::NumberValue(0.0))),
            )
            .await;
            assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");
        }
        let begin = std::time::Instant::now();
        assert_eq!(worker.terminate().expect("an end"), Some(0));
        assert_eq!(service.terminate().expect("an end"), Some(0));
        assert!(begin.elapsed() < ENOUGH, "{:?}", begin.elapsed());
    }
}
