//! `LimitService` as an operator and a worker meet it.

#[allow(dead_code, reason = "shared with the other tests of the surface")]
mod served;

use docket::{
    errors::{Reason, reason_of},
    schedule::v1::{self as pb, limit_service_client::LimitServiceClient},
};
use served::{Served, every, schedule};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

fn client(served: &Served) -> LimitServiceClient<Channel> {
    LimitServiceClient::new(served.channel.clone())
}

fn limit(key: &str, max_running: Option<i32>) -> pb::Limit {
    pb::Limit { key: key.into(), max_running, ..Default::default() }
}

async fn set(served: &mut Served, limit: pb::Limit) -> Result<pb::Limit, Status> {
    let request = pb::SetLimitRequest { limit: Some(limit), ..Default::default() };
    Ok(client(served).set_limit(request).await?.into_inner().limit.expect("a limit"))
}

async fn list(served: &mut Served, request: pb::ListLimitsRequest) -> (Vec<String>, String) {
    let listed = client(served).list_limits(request).await.expect("a list").into_inner();
    (listed.limits.into_iter().map(|limit| limit.key).collect(), listed.next_page_token)
}

fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().expect("BadRequest");
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn each_bad_field_of_a_limit_is_named() {
    let mut served = Served::start().await;
    let rate = |rate: f64, burst| pb::Limit { starts_per_second: rate, burst, ..limit("k", None) };
    let long = "x".repeat(129);
    for (field, bad) in [
        ("limit.key", limit("", None)),
        ("limit.key", limit("a b", None)),
        ("limit.key", limit("a*b", None)),
        ("limit.key", limit("a**", None)),
        ("limit.key", limit(&long, None)),
        ("limit.namespace", pb::Limit { namespace: "a b".into(), ..limit("k", None) }),
        ("limit.max_running", limit("k", Some(-1))),
        ("limit.max_running", limit("k", Some(1_000_001))),
        ("limit.starts_per_second", rate(-1.0, 0)),
        ("limit.starts_per_second", rate(f64::NAN, 0)),
        ("limit.starts_per_second", rate(f64::INFINITY, 0)),
        ("limit.starts_per_second", rate(0.000_1, 0)),
        ("limit.burst", rate(1.0, -1)),
        ("limit.burst", rate(0.0, 5)),
    ] {
        let status = set(&mut served, bad).await.expect_err(field);
        assert_eq!((status.code(), reason_of(&status)), (Code::InvalidArgument, Some(Reason::InvalidField)));
        assert_eq!(fields(&status), [field], "{}", status.message());
    }
    let status = client(&served).set_limit(pb::SetLimitRequest::default()).await.expect_err("none");
    assert_eq!(fields(&status), ["limit"]);
    let delete = pb::DeleteLimitRequest { key: "../x".into(), ..Default::default() };
    assert_eq!(fields(&client(&served).delete_limit(delete).await.expect_err("key")), ["key"]);
    let page = pb::ListLimitsRequest { page_size: -1, ..Default::default() };
    assert_eq!(fields(&client(&served).list_limits(page).await.expect_err("size")), ["page_size"]);
}

#[tokio::test]
async fn limits_are_set_listed_page_by_page_and_deleted() {
    let mut served = Served::start().await;
    let shown = set(&mut served, pb::Limit { starts_per_second: 2.5, ..limit("provider:x", Some(10)) }).await;
    let shown = shown.expect("set");
    assert_eq!((shown.starts_per_second, shown.burst, shown.max_running), (2.5, 1, Some(10)));
    assert_eq!((shown.namespace.as_str(), shown.running, shown.closed_until), ("default", 0, None));
    for key in ["mailbox:*", "mailbox:7", "*"] {
        set(&mut served, limit(key, Some(1))).await.expect("set");
    }
    set(&mut served, pb::Limit { namespace: "shop".into(), ..limit("other", None) }).await.expect("set");
    let first = pb::ListLimitsRequest { page_size: 3, ..Default::default() };
    let (keys, token) = list(&mut served, first.clone()).await;
    assert_eq!(keys, ["*", "mailbox:*", "mailbox:7"]);
    let (keys, end) = list(&mut served, pb::ListLimitsRequest { page_token: token, ..first }).await;
    assert_eq!((keys, end.as_str()), (vec!["provider:x".to_owned()], ""));
    let prefix = pb::ListLimitsRequest { key_prefix: "mailbox:".into(), ..Default::default() };
    assert_eq!(list(&mut served, prefix).await.0, ["mailbox:*", "mailbox:7"]);
    let delete = pb::DeleteLimitRequest { key: "mailbox:*".into(), ..Default::default() };
    client(&served).delete_limit(delete.clone()).await.expect("deleted");
    let status = client(&served).delete_limit(delete).await.expect_err("gone");
    assert_eq!((status.code(), reason_of(&status)), (Code::NotFound, Some(Reason::LimitNotFound)));
}

async fn summary(served: &mut Served, id: &str) -> String {
    let explain = pb::ExplainScheduleRequest { schedule_id: id.into(), ..Default::default() };
    served.schedules.explain_schedule(explain).await.expect("text").into_inner().summary
}

/// What a run waits for is in its schedule's explanation too.
#[tokio::test]
async fn an_explanation_names_what_the_run_waits_for() {
    let mut served = Served::start().await;
    for id in ["a", "b"] {
        served.upsert(schedule(id, every(86_400))).await.expect("upsert");
        let trigger = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        served.schedules.trigger_schedule(trigger).await.expect("run");
    }
    let none = summary(&mut served, "a").await;
    assert!(none.ends_with("waits for a worker: none is connected that takes kind sync."), "{none}");
    let hello = pb::StreamDueJobsRequest { slots: 1, ..served::hello() };
    let mut jobs = served.workers.stream_due_jobs(hello).await.expect("a stream").into_inner();
    jobs.message().await.expect("welcome");
    let due = jobs.message().await.expect("a message").expect("a job").message;
    let Some(pb::stream_due_jobs_response::Message::DueJobs(due)) = due else { panic!("{due:?}") };
    let job = &due.jobs[0];
    let (live, waits) = if job.schedule_id == "a" { ("a", "b") } else { ("b", "a") };
    let live_says = summary(&mut served, live).await;
    assert!(live_says.ends_with("is live."), "{live_says}");
    let waits_says = summary(&mut served, waits).await;
    assert!(waits_says.ends_with("waits for a free slot of a worker."), "{waits_says}");
    let failure =
        pb::Failure { class: pb::FailureClass::Transient.into(), code: "DOWN".into(), ..Default::default() };
    let report = pb::Report {
        run_id: job.run_id.clone(),
        attempt: job.attempt,
        lease_token: job.lease_token,
        outcome: Some(pb::report::Outcome::Failure(failure)),
        ..Default::default()
    };
    let reports = pb::ReportResultsRequest { reports: vec![report], ..Default::default() };
    served.workers.report_results(reports).await.expect("receipts");
    let backoff = summary(&mut served, live).await;
    assert!(backoff.contains("failed (DOWN); its next attempt is at "), "{backoff}");
}

/// The run, its schedule's explanation and the backlog all name the limit; a raised one lets the run go.
#[tokio::test]
async fn r6_a_run_that_waits_for_a_limit_says_so() {
    let mut served = Served::start().await;
    set(&mut served, limit("provider:*", Some(0))).await.expect("set");
    let mut limited = schedule("a", every(86_400));
    limited.limits = vec!["provider:x".into()];
    served.upsert(limited).await.expect("upsert");
    let mut jobs = served.workers.stream_due_jobs(served::hello()).await.expect("a stream").into_inner();
    jobs.message().await.expect("welcome");
    let trigger = pb::TriggerScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    let run = served.schedules.trigger_schedule(trigger).await.expect("run").into_inner().run.expect("run");
    let wait = run.wait.expect("it waits");
    assert_eq!((wait.cause(), wait.key.as_str(), wait.until), (pb::WaitCause::Limit, "provider:x", None));
    let summary = summary(&mut served, "a").await;
    assert!(summary.ends_with("waits for limit provider:x, closed: max_running is 0."), "{summary}");
    let status =
        served.status.get_status(pb::GetStatusRequest::default()).await.expect("status").into_inner();
    assert_eq!((status.backlog[0].cause(), status.backlog[0].runs), (pb::WaitCause::Limit, 1));

    set(&mut served, limit("provider:*", Some(1))).await.expect("set");
    let message = jobs.message().await.expect("a message").expect("a message");
    let Some(pb::stream_due_jobs_response::Message::DueJobs(due)) = message.message else {
        panic!("{message:?}")
    };
    assert_eq!(
        (due.jobs[0].run_id.as_str(), &due.jobs[0].limits[..]),
        (run.run_id.as_str(), &["provider:x".to_owned()][..])
    );

    let failure = pb::Failure {
        class: pb::FailureClass::Throttled.into(),
        code: "429".into(),
        limit: "provider:y".into(),
        retry_after: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let report = pb::Report {
        run_id: run.run_id.clone(),
        attempt: due.jobs[0].attempt,
        lease_token: due.jobs[0].lease_token,
        outcome: Some(pb::report::Outcome::Failure(failure)),
        ..Default::default()
    };
    let reports = pb::ReportResultsRequest { reports: vec![report], ..Default::default() };
    let receipts = served.workers.report_results(reports).await.expect("receipts").into_inner().receipts;
    assert_eq!(receipts[0].status(), pb::ReceiptStatus::Invalid);
    assert!(receipts[0].reason.starts_with("failure.limit: "), "{}", receipts[0].reason);
    let get = pb::GetRunRequest { run_id: run.run_id, ..Default::default() };
    let run = served.runs.get_run(get).await.expect("run").into_inner().run.expect("run");
    assert_eq!(run.wait.expect("it waits").cause(), pb::WaitCause::Backoff);
}
