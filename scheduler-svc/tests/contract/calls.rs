//! Calls about many schedules and about runs, as a client makes them.

use docket::{
    errors::{Reason, reason_of},
    schedule::v1 as pb,
};
use scheduler_svc::state_machine::Config;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::served::{Served, every, hello, schedule};

fn labelled(id: &str, team: &str) -> pb::Schedule {
    pb::Schedule { labels: [("team".into(), team.into())].into(), ..schedule(id, every(3600)) }
}

fn team(team: &str) -> Option<pb::ScheduleFilter> {
    Some(pb::ScheduleFilter { labels: [("team".into(), team.into())].into(), ..Default::default() })
}

fn refused(status: &Status, code: Code, reason: Reason) {
    assert_eq!((status.code(), reason_of(status)), (code, Some(reason)), "{status:?}");
}

impl Served {
    async fn state(&mut self, id: &str) -> pb::ScheduleState {
        let get = pb::GetScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let answer = self.schedules.get_schedule(get).await.expect("get").into_inner();
        answer.schedule.expect("a schedule").state()
    }

    async fn trigger(&mut self, id: &str) -> pb::Run {
        let trigger = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        self.schedules.trigger_schedule(trigger).await.expect("trigger").into_inner().run.expect("a run")
    }

    async fn cancel(&mut self, run_id: &str) -> Result<pb::Run, Status> {
        let cancel =
            pb::CancelRunRequest { run_id: run_id.into(), note: "enough".into(), ..Default::default() };
        Ok(self.runs.cancel_run(cancel).await?.into_inner().run.expect("a run"))
    }
}

/// Takes one job at a time.
struct Worker {
    stream: tonic::Streaming<pb::StreamDueJobsResponse>,
    welcome: pb::Welcome,
}

impl Worker {
    async fn join(served: &mut Served) -> Self {
        let mut stream = served.workers.stream_due_jobs(hello()).await.expect("a stream").into_inner();
        let welcome = stream.message().await.expect("a stream").expect("a message");
        let Some(pb::stream_due_jobs_response::Message::Welcome(welcome)) = welcome.message else {
            panic!("{welcome:?}")
        };
        Self { stream, welcome }
    }

    /// Runs a schedule, and has the run fail.
    async fn fail(&mut self, served: &mut Served, id: &str, class: pb::FailureClass) {
        let run = served.trigger(id).await;
        let due = self.stream.message().await.expect("a stream").expect("a message");
        let Some(pb::stream_due_jobs_response::Message::DueJobs(jobs)) = due.message else {
            panic!("{due:?}")
        };
        let failure = pb::Failure { class: class.into(), code: "BROKEN".into(), ..Default::default() };
        let report = pb::Report {
            run_id: run.run_id,
            attempt: jobs.jobs[0].attempt,
            lease_token: jobs.jobs[0].lease_token,
            outcome: Some(pb::report::Outcome::Failure(failure)),
            ..Default::default()
        };
        let reports = pb::ReportResultsRequest {
            worker_id: "w".into(),
            session_id: self.welcome.session_id.clone(),
            epoch: self.welcome.epoch,
            reports: vec![report],
        };
        served.workers.report_results(reports).await.expect("report");
    }
}

#[tokio::test]
async fn paused_schedules_are_found_by_their_reason() {
    use pb::PauseReason::{Failures, Reauthorize, Requested, Unspecified};
    let mut served = Served::start().await;
    let mut worker = Worker::join(&mut served).await;
    for id in ["active", "broken", "held", "revoked-1", "revoked-2"] {
        let schedule = pb::Schedule { pause_after_failures: 1, ..schedule(id, every(3600)) };
        served.upsert(schedule).await.expect("upsert");
    }
    worker.fail(&mut served, "broken", pb::FailureClass::Permanent).await;
    worker.fail(&mut served, "revoked-1", pb::FailureClass::Reauthorize).await;
    worker.fail(&mut served, "revoked-2", pb::FailureClass::Reauthorize).await;
    let pause = pb::PauseScheduleRequest { schedule_id: "held".into(), ..Default::default() };
    served.schedules.pause_schedule(pause).await.expect("paused");
    let list = |reasons: &[pb::PauseReason], page_size, page_token: &str| pb::ListSchedulesRequest {
        filter: Some(pb::ScheduleFilter {
            pause_reasons: reasons.iter().map(|reason| i32::from(*reason)).collect(),
            ..Default::default()
        }),
        page_size,
        page_token: page_token.into(),
        ..Default::default()
    };
    for (reasons, expected) in [
        (&[Requested][..], &["held"][..]),
        (&[Reauthorize], &["revoked-1", "revoked-2"]),
        (&[Failures, Requested], &["broken", "held"]),
    ] {
        let found = served.schedules.list_schedules(list(reasons, 0, "")).await.expect("a list").into_inner();
        let ids: Vec<_> = found.schedules.iter().map(|schedule| schedule.schedule_id.as_str()).collect();
        assert_eq!(ids, expected, "{reasons:?}");
    }
    let first = served.schedules.list_schedules(list(&[Reauthorize], 1, "")).await.expect("a page");
    let token = first.into_inner().next_page_token;
    let status = served.schedules.list_schedules(list(&[Failures], 1, &token)).await.expect_err("other");
    refused(&status, Code::InvalidArgument, Reason::InvalidPageToken);
    let status = served.schedules.list_schedules(list(&[Unspecified], 0, "")).await.expect_err("none");
    refused(&status, Code::InvalidArgument, Reason::InvalidField);
    assert!(status.message().starts_with("filter.pause_reasons"), "{}", status.message());
    let filter = list(&[Failures], 0, "").filter;
    let resume = pb::ResumeScheduleRequest { filter, ..Default::default() };
    assert_eq!(served.schedules.resume_schedule(resume).await.expect("resumed").into_inner().resumed, 1);
}

#[tokio::test]
async fn schedules_are_paused_resumed_and_deleted_by_label() {
    let mut served = Served::start().await;
    for n in 0..1_100 {
        served.upsert(labelled(&format!("red-{n}"), "red")).await.expect("upsert");
    }
    served.upsert(labelled("blue", "blue")).await.expect("upsert");
    let pause = pb::PauseScheduleRequest {
        filter: team("red"),
        note: "maintenance".into(),
        request_id: "once".into(),
        ..Default::default()
    };
    for _ in 0..2 {
        let answer = served.schedules.pause_schedule(pause.clone()).await.expect("pause").into_inner();
        assert_eq!(answer.paused, 1_100, "a repeated call gets the first answer");
    }
    assert_eq!(served.state("red-1099").await, pb::ScheduleState::Paused);
    assert_eq!(served.state("blue").await, pb::ScheduleState::Active);
    let resume = pb::ResumeScheduleRequest { filter: team("red"), ..Default::default() };
    assert_eq!(served.schedules.resume_schedule(resume).await.expect("resume").into_inner().resumed, 1_100);
    let delete = pb::DeleteScheduleRequest { filter: team("red"), ..Default::default() };
    assert_eq!(served.schedules.delete_schedule(delete).await.expect("delete").into_inner().deleted, 1_100);
    assert_eq!(served.state("blue").await, pb::ScheduleState::Active);
}

#[tokio::test]
async fn a_filter_that_names_everything_or_stands_beside_an_id_is_refused() {
    let mut served = Served::start().await;
    for (filter, id) in [(Some(pb::ScheduleFilter::default()), ""), (team("red"), "one")] {
        let delete = pb::DeleteScheduleRequest { filter, schedule_id: id.into(), ..Default::default() };
        let status = served.schedules.delete_schedule(delete).await.expect_err("refused");
        refused(&status, Code::InvalidArgument, Reason::InvalidField);
        assert!(status.message().starts_with("filter"), "{}", status.message());
    }
}

#[tokio::test]
async fn policies_of_overlap_and_misfire_are_kept_as_they_were_saved() {
    let mut served = Served::start().await;
    for overlap in [pb::OverlapPolicy::BufferOne, pb::OverlapPolicy::Allow, pb::OverlapPolicy::CancelRunning]
    {
        let misfire = pb::Misfire {
            mode: pb::MisfireMode::All.into(),
            window: Some(prost_types::Duration { seconds: 7_200, nanos: 0 }),
            max_runs: 7,
        };
        let asked =
            pb::Schedule { overlap: overlap.into(), misfire: Some(misfire), ..schedule("a", every(60)) };
        let saved = served.upsert(asked).await.expect("upsert").schedule.expect("a schedule");
        assert_eq!((saved.overlap(), saved.misfire), (overlap, Some(misfire)));
    }
}

#[tokio::test]
async fn a_run_is_cancelled_once() {
    let mut served = Served::start().await;
    served.upsert(schedule("a", every(3600))).await.expect("upsert");
    let run = served.trigger("a").await;
    let cancelled = served.cancel(&run.run_id).await.expect("cancel");
    assert_eq!(cancelled.state(), pb::RunState::Cancelled);
    assert!(cancelled.failure.expect("a reason").message.contains("enough"));
    let status = served.cancel(&run.run_id).await.expect_err("final");
    refused(&status, Code::FailedPrecondition, Reason::RunFinal);
    let never = run.run_id.replace("-m", "-s");
    let status = served.cancel(&never).await.expect_err("no such run");
    refused(&status, Code::NotFound, Reason::RunNotFound);
}

#[tokio::test]
async fn failed_runs_that_match_run_again() {
    let mut served = Served::start().await;
    let mut worker = Worker::join(&mut served).await;
    for id in ["a", "b"] {
        served.upsert(schedule(id, every(3600))).await.expect("upsert");
        worker.fail(&mut served, id, pb::FailureClass::Permanent).await;
    }
    let filter =
        pb::RunFilter { failure_classes: vec![pb::FailureClass::Permanent.into()], ..Default::default() };
    let retry = pb::RetryRunsRequest { filter: Some(filter), request_id: "r".into(), ..Default::default() };
    for _ in 0..2 {
        let answer = served.runs.retry_runs(retry.clone()).await.expect("retry").into_inner();
        assert_eq!((answer.accepted, answer.skipped), (2, 0));
    }
    let again = pb::RetryRunsRequest { request_id: "another".into(), ..retry };
    let answer = served.runs.retry_runs(again).await.expect("retry").into_inner();
    assert_eq!((answer.accepted, answer.skipped), (0, 2), "runs of both are live");
    let nothing = pb::RetryRunsRequest { filter: Some(pb::RunFilter::default()), ..Default::default() };
    let status = served.runs.retry_runs(nothing).await.expect_err("names everything");
    refused(&status, Code::InvalidArgument, Reason::InvalidField);
}

#[tokio::test]
async fn a_backfill_runs_past_times_once() {
    let mut served = Served::start().await;
    let anchor = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 };
    let interval = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let timing = pb::schedule::Timing::Every(pb::Every { interval, anchor: Some(anchor) });
    served.upsert(schedule("a", timing)).await.expect("upsert");
    let at = |hours: i64| Some(prost_types::Timestamp { seconds: anchor.seconds + hours * 3_600, nanos: 0 });
    let backfill =
        pb::BackfillScheduleRequest { schedule_id: "a".into(), from: at(0), to: at(5), ..Default::default() };
    let answer = served.schedules.backfill_schedule(backfill.clone()).await.expect("backfill").into_inner();
    assert_eq!((answer.accepted, answer.existing), (5, 0), "from is among them, to is not");
    let answer = served.schedules.backfill_schedule(backfill.clone()).await.expect("backfill").into_inner();
    assert_eq!((answer.accepted, answer.existing), (0, 5));
    let future = prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 };
    let too_late = pb::BackfillScheduleRequest { to: Some(future), ..backfill.clone() };
    let too_many = pb::BackfillScheduleRequest { to: at(20_000), ..backfill };
    for bad in [too_late, too_many] {
        let status = served.schedules.backfill_schedule(bad).await.expect_err("refused");
        refused(&status, Code::InvalidArgument, Reason::InvalidField);
        assert!(status.message().starts_with("to"), "{}", status.message());
    }
}

/// A run's end is counted, and goes with its schedule.
#[tokio::test]
async fn h_status_shows_what_history_takes() {
    let mut served = Served::start().await;
    served.upsert(schedule("a", every(86_400))).await.expect("upsert");
    let run = served.trigger("a").await;
    served.cancel(&run.run_id).await.expect("cancelled");
    let status =
        served.status.get_status(pb::GetStatusRequest::default()).await.expect("status").into_inner();
    assert!((128..1_024).contains(&status.history_bytes), "{}", status.history_bytes);
    assert_eq!((status.history_bytes % 128, status.history_trimmed), (0, 0));
    let delete = pb::DeleteScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    served.schedules.delete_schedule(delete).await.expect("deleted");
    let status =
        served.status.get_status(pb::GetStatusRequest::default()).await.expect("status").into_inner();
    assert_eq!(status.history_bytes, 0);
}

#[tokio::test]
async fn a_full_quota_is_named_with_its_setting() {
    let config = Config { schedules_per_namespace: 1, live_runs_per_namespace: 1, ..Config::default() };
    let mut served = Served::start_with(config).await;
    served.upsert(schedule("a", every(3600))).await.expect("upsert");
    served.upsert(schedule("a", every(60))).await.expect("changes need no room");
    let full = served.upsert(schedule("b", every(3600))).await.expect_err("full");
    refused(&full, Code::ResourceExhausted, Reason::TooManySchedules);
    served.trigger("a").await;
    let upsert = pb::Schedule { overlap: pb::OverlapPolicy::Allow.into(), ..schedule("a", every(3600)) };
    served.upsert(upsert).await.expect("upsert");
    let trigger = pb::TriggerScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    let busy = served.schedules.trigger_schedule(trigger).await.expect_err("full");
    refused(&busy, Code::ResourceExhausted, Reason::TooManyRuns);
    for (status, setting) in
        [(full, "limits.schedules_per_namespace"), (busy, "limits.live_runs_per_namespace")]
    {
        let quota = status.get_details_quota_failure().expect("QuotaFailure");
        let [violation] = &quota.violations[..] else { panic!("{quota:?}") };
        assert_eq!((&*violation.subject, &*violation.description), (setting, status.message()));
        assert!(status.message().contains(setting), "{}", status.message());
    }
}

#[tokio::test]
async fn create_only_is_refused_when_there_is_one() {
    let mut served = Served::start().await;
    let saved = served.upsert(schedule("a", every(60))).await.expect("upsert").schedule.expect("it");
    let create = |id: &str| pb::UpsertScheduleRequest {
        schedule: Some(schedule(id, every(3600))),
        create_only: true,
        ..Default::default()
    };
    let status = served.schedules.upsert_schedule(create("a")).await.expect_err("it is there");
    refused(&status, Code::AlreadyExists, Reason::ScheduleExists);
    assert!(status.message().contains(&saved.etag), "{}", status.message());
    let created = served.schedules.upsert_schedule(create("b")).await.expect("created").into_inner();
    assert_eq!(created.change(), pb::Change::Created);
    let both = pb::UpsertScheduleRequest { etag: saved.etag, ..create("c") };
    let status = served.schedules.upsert_schedule(both).await.expect_err("both");
    refused(&status, Code::InvalidArgument, Reason::InvalidField);
    assert!(status.message().starts_with("etag"), "{}", status.message());
}

/// What the first call did, on what is there by now; or why that cannot be said.
#[tokio::test]
async fn p5_a_repeat_never_speaks_of_another_schedule() {
    let mut served = Served::start().await;
    let upsert = pb::UpsertScheduleRequest {
        schedule: Some(schedule("a", every(3600))),
        request_id: "save".into(),
        ..Default::default()
    };
    let trigger = pb::TriggerScheduleRequest {
        schedule_id: "a".into(),
        request_id: "click".into(),
        ..Default::default()
    };
    served.schedules.upsert_schedule(upsert.clone()).await.expect("saved");
    let first = served.schedules.trigger_schedule(trigger.clone()).await.expect("triggered").into_inner();
    served.cancel(&first.run.expect("a run").run_id).await.expect("cancelled");
    let other = served.upsert(schedule("a", every(60))).await.expect("changed").schedule.expect("it");
    let again = served.schedules.upsert_schedule(upsert.clone()).await.expect("repeated").into_inner();
    assert_eq!(again.change(), pb::Change::Created);
    assert_eq!(again.schedule.expect("it").etag, other.etag, "the schedule is shown as it is now");

    for _ in 0..10 {
        served.schedules.trigger_schedule(trigger.clone()).await.expect("still in the history");
        let run = served.trigger("a").await;
        served.cancel(&run.run_id).await.expect("cancelled");
    }
    let left = served.schedules.trigger_schedule(trigger.clone()).await.expect_err("left the history");
    refused(&left, Code::NotFound, Reason::RunNotFound);
    assert!(left.message().contains("new request_id"), "{}", left.message());

    let delete = pb::DeleteScheduleRequest { schedule_id: "a".into(), ..Default::default() };
    served.schedules.delete_schedule(delete).await.expect("deleted");
    let gone = served.schedules.trigger_schedule(trigger.clone()).await.expect_err("gone");
    refused(&gone, Code::NotFound, Reason::ScheduleNotFound);
    served.upsert(schedule("a", every(60))).await.expect("created again");
    let replaced = served.schedules.trigger_schedule(trigger).await.expect_err("another one");
    refused(&replaced, Code::FailedPrecondition, Reason::ScheduleReplaced);
    let replaced = served.schedules.upsert_schedule(upsert).await.expect_err("another one");
    refused(&replaced, Code::FailedPrecondition, Reason::ScheduleReplaced);
}
