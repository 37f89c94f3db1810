//! The gRPC surface as a client meets it: what is refused, with which code, reason and field.

#[path = "contract/calls.rs"]
mod calls;
#[allow(dead_code, reason = "other tests use the rest")]
mod served;

use std::time::Duration;

use docket::{
    errors::{Reason, reason_of},
    schedule::v1 as pb,
};
use pb::schedule::Timing;
use served::{Served, cron, every, schedule};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// One ErrorInfo, and the field in BadRequest.
fn names_field(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
    assert_eq!(reason_of(status), Some(Reason::InvalidField), "{field}: {status:?}");
    let bad = status.get_details_bad_request().expect("BadRequest");
    let fields: Vec<&str> = bad.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, [field], "{}", status.message());
    assert!(status.message().starts_with(field), "{}", status.message());
}

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

type Change = fn(&mut pb::Schedule);

fn task(schedule: &mut pb::Schedule) -> &mut pb::Task {
    schedule.task.as_mut().expect("a task")
}

const BAD_SCHEDULES: &[(&str, Change)] = &[
    ("schedule.schedule_id", |s| s.schedule_id = "a/b".into()),
    ("schedule.schedule_id", |s| s.schedule_id.clear()),
    ("schedule.schedule_id", |s| s.schedule_id = "x".repeat(129)),
    ("schedule.namespace", |s| s.namespace = "a b".into()),
    ("schedule.timing", |s| s.timing = None),
    ("schedule.cron.expressions", |s| s.timing = Some(Timing::Cron(pb::Cron::default()))),
    ("schedule.cron.expressions", |s| s.timing = Some(cron(&["@daily"; 9], ""))),
    ("schedule.cron.expressions[1]", |s| s.timing = Some(cron(&["@daily", "61 * * * *"], ""))),
    ("schedule.cron.expressions[0]", |s| s.timing = Some(cron(&["0 0 30 2 *", "@daily"], ""))),
    ("schedule.cron.time_zone", |s| s.timing = Some(cron(&["@daily"], "Mars/Olympus"))),
    ("schedule.cron.gap", |s| {
        s.timing = Some(Timing::Cron(pb::Cron {
            expressions: vec!["@daily".into()],
            gap: 99,
            ..Default::default()
        }));
    }),
    ("schedule.cron.fold", |s| {
        s.timing = Some(Timing::Cron(pb::Cron {
            expressions: vec!["@daily".into()],
            fold: 99,
            ..Default::default()
        }));
    }),
    ("schedule.every.interval", |s| s.timing = Some(Timing::Every(pb::Every::default()))),
    ("schedule.every.interval", |s| {
        s.timing = Some(Timing::Every(pb::Every { interval: span(0), anchor: None }));
    }),
    ("schedule.every.anchor", |s| {
        s.timing = Some(Timing::Every(pb::Every { interval: span(60), anchor: time(-1) }));
    }),
    ("schedule.at", |s| s.timing = Some(Timing::At(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }))),
    ("schedule.task", |s| s.task = None),
    ("schedule.task.kind", |s| task(s).kind.clear()),
    ("schedule.task.args", |s| task(s).payload = vec![0; 17 << 10].into()),
    ("schedule.task.timeout", |s| task(s).timeout = span(86_401)),
    ("schedule.task.queue_timeout", |s| task(s).queue_timeout = span(-1)),
    ("schedule.spread", |s| s.spread = span(86_401)),
    ("schedule.overlap", |s| s.overlap = 99),
    ("schedule.misfire.mode", |s| s.misfire = Some(pb::Misfire { mode: 99, ..Default::default() })),
    ("schedule.misfire.window", |s| s.misfire = Some(pb::Misfire { window: span(60), ..Default::default() })),
    ("schedule.misfire.max_runs", |s| {
        s.misfire = Some(pb::Misfire { mode: 3, window: None, max_runs: 1_001 })
    }),
    ("schedule.retry.max_attempts", |s| {
        s.retry = Some(pb::Retry { max_attempts: 101, ..Default::default() })
    }),
    ("schedule.retry.min_backoff", |s| {
        s.retry = Some(pb::Retry { min_backoff: span(0), ..Default::default() })
    }),
    ("schedule.retry.max_backoff", |s| {
        s.retry = Some(pb::Retry { min_backoff: span(60), max_backoff: span(30), max_attempts: 0 });
    }),
    ("schedule.tenant", |s| s.tenant = "a\nb".into()),
    ("schedule.limits", |s| s.limits = vec!["x".into(); 9]),
    ("schedule.limits[0]", |s| s.limits = vec!["a b".into()]),
    ("schedule.priority", |s| s.priority = 10),
    ("schedule.end_time", |s| (s.start_time, s.end_time) = (time(4_000_000_000), time(3_999_999_999))),
    ("schedule.start_time", |s| s.start_time = time(i64::MIN)),
    ("schedule.max_runs", |s| s.max_runs = -1),
    ("schedule.pause_after_failures", |s| s.pause_after_failures = -1),
    ("schedule.labels", |s| s.labels = [("k".repeat(64), String::new())].into()),
    ("schedule.labels", |s| s.labels = [("k".into(), "a\u{202e}b".into())].into()),
];

#[tokio::test]
async fn each_bad_field_of_a_schedule_is_named() {
    let mut served = Served::start().await;
    for (field, change) in BAD_SCHEDULES {
        let mut bad = schedule("a", every(3600));
        change(&mut bad);
        names_field(&served.upsert(bad).await.expect_err(field), field);
    }
    let request = pb::UpsertScheduleRequest { schedule: None, ..Default::default() };
    names_field(&served.schedules.upsert_schedule(request).await.expect_err("none"), "schedule");
    let request = pb::UpsertScheduleRequest {
        schedule: Some(schedule("a", every(3600))),
        request_id: "a b".into(),
        ..Default::default()
    };
    names_field(&served.schedules.upsert_schedule(request).await.expect_err("id"), "request_id");
}

#[tokio::test]
async fn each_bad_field_of_other_calls_is_named() {
    let mut served = Served::start().await;
    let get = pb::GetScheduleRequest { schedule_id: "../x".into(), ..Default::default() };
    names_field(&served.schedules.get_schedule(get).await.expect_err("id"), "schedule_id");
    let pause = pb::PauseScheduleRequest {
        schedule_id: "a".into(),
        until: time(1_000_000_000),
        ..Default::default()
    };
    names_field(&served.schedules.pause_schedule(pause).await.expect_err("past"), "until");
    let pause =
        pb::PauseScheduleRequest { schedule_id: "a".into(), note: "\u{1b}[31m".into(), ..Default::default() };
    names_field(&served.schedules.pause_schedule(pause).await.expect_err("note"), "note");
    let list = pb::ListSchedulesRequest { page_size: -1, ..Default::default() };
    names_field(&served.schedules.list_schedules(list).await.expect_err("size"), "page_size");
    let filter = pb::ScheduleFilter { states: vec![99], ..Default::default() };
    let list = pb::ListSchedulesRequest { filter: Some(filter), ..Default::default() };
    names_field(&served.schedules.list_schedules(list).await.expect_err("states"), "filter.states");
    let preview =
        pb::PreviewScheduleRequest { schedule: Some(schedule("a", every(60))), count: 1_001, after: None };
    names_field(&served.schedules.preview_schedule(preview).await.expect_err("count"), "count");
    let get = pb::GetRunRequest { run_id: "a b".into(), ..Default::default() };
    names_field(&served.runs.get_run(get).await.expect_err("run"), "run_id");
    let id = "0-00000000000000000000000000000abc-m1".to_owned();
    let get = pb::GetRunRequest { run_id: id, wait: span(31), ..Default::default() };
    names_field(&served.runs.get_run(get).await.expect_err("wait"), "wait");
    for (field, hello) in [
        ("kinds", pb::StreamDueJobsRequest { kinds: vec![], ..served::hello() }),
        ("kinds[0]", pb::StreamDueJobsRequest { kinds: vec!["a b".into()], ..served::hello() }),
        ("worker_id", pb::StreamDueJobsRequest { worker_id: String::new(), ..served::hello() }),
        ("instance", pb::StreamDueJobsRequest { instance: String::new(), ..served::hello() }),
        ("slots", pb::StreamDueJobsRequest { slots: 10_001, ..served::hello() }),
        ("slots", pb::StreamDueJobsRequest { slots: -1, ..served::hello() }),
    ] {
        names_field(&served.workers.stream_due_jobs(hello).await.expect_err(field), field);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let mut served = Served::start().await;
    let get = pb::GetScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    let status = served.schedules.get_schedule(get).await.expect_err("none");
    assert_eq!((status.code(), reason_of(&status)), (Code::NotFound, Some(Reason::ScheduleNotFound)));
    for run_id in ["nonsense", "0-00000000000000000000000000000abc-m1795485600000"] {
        let get = pb::GetRunRequest { run_id: run_id.into(), ..Default::default() };
        let status = served.runs.get_run(get).await.expect_err("none");
        assert_eq!((status.code(), reason_of(&status)), (Code::NotFound, Some(Reason::RunNotFound)));
    }
    served.upsert(schedule("a", every(3600))).await.expect("upsert");
    let other = pb::GetScheduleRequest { namespace: "shop".into(), schedule_id: "a".into() };
    assert_eq!(served.schedules.get_schedule(other).await.expect_err("other").code(), Code::NotFound);
}

#[tokio::test]
async fn an_old_etag_is_aborted_and_a_paused_schedule_is_a_failed_precondition() {
    let mut served = Served::start().await;
    let first = served.upsert(schedule("a", every(3600))).await.expect("upsert").schedule.expect("it");
    served.upsert(schedule("a", every(7200))).await.expect("upsert");
    let request = pb::UpsertScheduleRequest {
        schedule: Some(schedule("a", every(60))),
        etag: first.etag,
        ..Default::default()
    };
    let status = served.schedules.upsert_schedule(request).await.expect_err("old");
    assert_eq!((status.code(), reason_of(&status)), (Code::Aborted, Some(Reason::EtagMismatch)));
    let pause = pb::PauseScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    served.schedules.pause_schedule(pause).await.expect("pause");
    let trigger = pb::TriggerScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    let status = served.schedules.trigger_schedule(trigger).await.expect_err("paused");
    assert_eq!((status.code(), reason_of(&status)), (Code::FailedPrecondition, Some(Reason::SchedulePaused)));
}

#[tokio::test]
async fn a_request_id_belongs_to_one_request() {
    let mut served = Served::start().await;
    let mut request = pb::UpsertScheduleRequest {
        schedule: Some(schedule("a", every(3600))),
        request_id: "r".into(),
        ..Default::default()
    };
    for _ in 0..2 {
        let answer = served.schedules.upsert_schedule(request.clone()).await.expect("upsert").into_inner();
        assert_eq!(answer.change(), pb::Change::Created);
    }
    request.schedule = Some(schedule("a", every(60)));
    let status = served.schedules.upsert_schedule(request).await.expect_err("reused");
    assert_eq!((status.code(), reason_of(&status)), (Code::InvalidArgument, Some(Reason::RequestIdReused)));
}

#[tokio::test]
async fn page_tokens_go_on_and_forged_ones_are_refused() {
    let mut served = Served::start().await;
    for n in 0..5 {
        served.upsert(schedule(&format!("mb-{n}"), every(3600))).await.expect("upsert");
    }
    let mut list = pb::ListSchedulesRequest { page_size: 2, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = served.schedules.list_schedules(list.clone()).await.expect("a page").into_inner();
        seen.extend(page.schedules.into_iter().map(|schedule| schedule.schedule_id));
        if page.next_page_token.is_empty() {
            break;
        }
        list.page_token = page.next_page_token;
    }
    assert_eq!(seen, ["mb-0", "mb-1", "mb-2", "mb-3", "mb-4"]);
    let token = list.page_token;
    let other_namespace = pb::ListSchedulesRequest {
        namespace: "shop".into(),
        page_token: token.clone(),
        ..Default::default()
    };
    let forged = pb::ListSchedulesRequest { page_token: "00".repeat(12), ..Default::default() };
    for list in [other_namespace, forged] {
        let status = served.schedules.list_schedules(list).await.expect_err("refused");
        assert_eq!(reason_of(&status), Some(Reason::InvalidPageToken));
    }
    let runs = pb::ListRunsRequest { page_token: token, ..Default::default() };
    let status = served.runs.list_runs(runs).await.expect_err("another list's");
    assert_eq!(reason_of(&status), Some(Reason::InvalidPageToken));
}

/// From a due job to the end of its run, as the user who waits for it sees it.
#[tokio::test]
async fn a_run_is_waited_for_and_listed() {
    let mut served = Served::start().await;
    for n in 0..3 {
        served.upsert(schedule(&format!("mb-{n}"), every(3600))).await.expect("upsert");
    }
    let mut stream = served.workers.stream_due_jobs(served::hello()).await.expect("a stream").into_inner();
    let welcome = stream.message().await.expect("a message").expect("welcome");
    assert_eq!(welcome.sequence, 1);
    let mut finished = Vec::new();
    for n in [0, 0, 1] {
        let trigger = pb::TriggerScheduleRequest { schedule_id: format!("mb-{n}"), ..Default::default() };
        let run = served.schedules.trigger_schedule(trigger).await.expect("trigger").into_inner().run;
        let run_id = run.expect("a run").run_id;
        let message = stream.message().await.expect("a message").expect("a job").message;
        let Some(pb::stream_due_jobs_response::Message::DueJobs(mut jobs)) = message else { panic!("jobs") };
        let job = jobs.jobs.remove(0);
        let mut runs = served.runs.clone();
        let get = pb::GetRunRequest { run_id: run_id.clone(), wait: span(30), ..Default::default() };
        let waiting = tokio::spawn(async move { runs.get_run(get).await });
        let report = pb::Report {
            run_id: job.run_id,
            attempt: job.attempt,
            lease_token: job.lease_token,
            outcome: Some(pb::report::Outcome::Success(pb::Success::default())),
            ..Default::default()
        };
        let request = pb::ReportResultsRequest { reports: vec![report], ..Default::default() };
        let receipts = served.workers.report_results(request).await.expect("report").into_inner().receipts;
        assert_eq!(receipts[0].status(), pb::ReceiptStatus::Accepted);
        let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time");
        let run = answer.expect("the task").expect("an answer").into_inner().run.expect("a run");
        assert_eq!((run.state(), run.run_id == run_id), (pb::RunState::Succeeded, true));
        finished.push(run_id);
    }
    let mut list = pb::ListRunsRequest { page_size: 1, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = served.runs.list_runs(list.clone()).await.expect("a page").into_inner();
        seen.extend(page.runs.into_iter().map(|run| run.run_id));
        if page.next_page_token.is_empty() {
            break;
        }
        list.page_token = page.next_page_token;
    }
    assert_eq!(
        seen,
        [&finished[1], &finished[0], &finished[2]].map(Clone::clone),
        "newest first per schedule"
    );
    let status =
        served.status.get_status(pb::GetStatusRequest::default()).await.expect("status").into_inner();
    assert_eq!((status.runs_succeeded, status.workers, status.slots), (3, 1, 16));
}

/// What does not match takes no place on a page, and no page either.
#[tokio::test]
async fn a_page_of_runs_fills_up_with_what_matches() {
    let mut served = Served::start().await;
    for n in 0..40 {
        served.upsert(schedule(&format!("mb-{n:02}"), every(3600))).await.expect("upsert");
    }
    for id in ["mb-01", "mb-35", "mb-38"] {
        let trigger = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let run = served.schedules.trigger_schedule(trigger).await.expect("trigger").into_inner().run;
        let cancel = pb::CancelRunRequest { run_id: run.expect("a run").run_id, ..Default::default() };
        served.runs.cancel_run(cancel).await.expect("cancelled");
    }
    let filter = pb::RunFilter { states: vec![pb::RunState::Cancelled.into()], ..Default::default() };
    let list = pb::ListRunsRequest { filter: Some(filter), page_size: 2, ..Default::default() };
    let page = served.runs.list_runs(list.clone()).await.expect("a page").into_inner();
    let ids = |runs: &[pb::Run]| runs.iter().map(|run| run.schedule_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&page.runs), ["mb-01", "mb-35"]);
    let rest = pb::ListRunsRequest { page_token: page.next_page_token, ..list.clone() };
    let page = served.runs.list_runs(rest).await.expect("a page").into_inner();
    assert_eq!((ids(&page.runs), page.next_page_token), (vec!["mb-38".to_owned()], String::new()));
    let failed = pb::RunFilter { states: vec![pb::RunState::Failed.into()], ..Default::default() };
    let none = pb::ListRunsRequest { filter: Some(failed), ..list };
    let page = served.runs.list_runs(none).await.expect("a page").into_inner();
    assert_eq!((page.runs.len(), page.next_page_token), (0, String::new()));
}

#[tokio::test]
async fn health_and_both_reflections_answer() {
    let served = Served::start().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(served.channel.clone());
    let check = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let answer = health.check(check).await.expect("health").into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    macro_rules! lists_services {
        ($version:ident) => {{
            use tonic_reflection::pb::$version as reflection;
            let request = reflection::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(reflection::server_reflection_request::MessageRequest::ListServices(
                    String::new(),
                )),
            };
            let mut client =
                reflection::server_reflection_client::ServerReflectionClient::new(served.channel.clone());
            let mut answers = client
                .server_reflection_info(tokio_stream::once(request))
                .await
                .expect("reflection")
                .into_inner();
            let answer = answers.message().await.expect("a message").expect("an answer").message_response;
            let Some(reflection::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
                answer
            else {
                panic!("a list")
            };
            assert!(list.service.iter().any(|one| one.name == "docket.schedule.v1.ScheduleService"));
        }};
    }
    lists_services!(v1);
    lists_services!(v1alpha);
}
