//! The protocol from the worker's side, step by step. Time is a number.

use docket::schedule::v1::{self as pb, report::Outcome as Reported, stream_due_jobs_response::Message};
use prost_types::{Duration, Struct};

use super::{reports::CALLS_MAX, *};
use crate::kind::{Outcome, Progress};

fn agent() -> Agent {
    let profile = Profile {
        worker_id: "w1".into(),
        instance: "i1".into(),
        slots: 4,
        kinds: vec!["noop".into(), "document-sync".into()],
        guarded: BTreeSet::from(["document-sync".into()]),
        version: "test".into(),
        archive_id: "a1".into(),
    };
    Agent::new(profile, 1)
}

fn welcome(epoch: i64) -> pb::StreamDueJobsResponse {
    let welcome = pb::Welcome {
        session_id: format!("s{epoch}"),
        epoch,
        lease: Some(Duration { seconds: 15, nanos: 0 }),
        heartbeat: Some(Duration { seconds: 5, nanos: 0 }),
        max_batch: 100,
        server_version: String::new(),
        orders: Vec::new(),
    };
    pb::StreamDueJobsResponse { sequence: 1, message: Some(Message::Welcome(welcome)) }
}

fn due(sequence: i64, runs: &[(&str, i32, &str)]) -> pb::StreamDueJobsResponse {
    let job = |(run, attempt, kind): &(&str, i32, &str)| pb::DueJob {
        run_id: (*run).into(),
        attempt: *attempt,
        lease_token: i64::from(*attempt) * 10,
        timeout: Some(Duration { seconds: 60, nanos: 0 }),
        task: Some(pb::Task { kind: (*kind).into(), ..pb::Task::default() }),
        ..pb::DueJob::default()
    };
    let jobs = runs.iter().map(job).collect();
    pb::StreamDueJobsResponse { sequence, message: Some(Message::DueJobs(pb::DueJobs { jobs })) }
}

fn key(run: &str, attempt: i32) -> Key {
    Key { run_id: run.into(), attempt }
}

fn success() -> Outcome {
    Outcome::Success { result: Struct::default() }
}

fn receipts(count: usize) -> Option<Vec<pb::Receipt>> {
    Some(vec![pb::Receipt { status: pb::ReceiptStatus::Accepted.into(), ..pb::Receipt::default() }; count])
}

/// Connected at time 0 with these jobs started.
fn connected(runs: &[(&str, i32, &str)]) -> Agent {
    let mut agent = agent();
    agent.wake(0);
    agent.stream_message(0, welcome(1));
    agent.stream_message(0, due(2, runs));
    agent.effects();
    agent
}

fn heartbeat(agent: &mut Agent, now: u64) -> pb::HeartbeatRequest {
    agent.wake(now);
    numbered_heartbeat(agent).1
}

fn numbered_heartbeat(agent: &mut Agent) -> (u64, pb::HeartbeatRequest) {
    let effects = agent.effects();
    let beat = effects.into_iter().find_map(|effect| match effect {
        Effect::Heartbeat { number, request } => Some((number, request)),
        _ => None,
    });
    beat.expect("a heartbeat")
}

fn answer(epoch: i64) -> Option<pb::HeartbeatResponse> {
    Some(pb::HeartbeatResponse { epoch, ..pb::HeartbeatResponse::default() })
}

fn reported(effects: &[Effect]) -> Vec<&pb::Report> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Report { request, .. } => Some(&request.reports),
            _ => None,
        })
        .flatten()
        .collect()
}

fn class_of(report: &pb::Report) -> pb::FailureClass {
    match &report.outcome {
        Some(Reported::Failure(failure)) => failure.class(),
        _ => panic!("a failure: {report:?}"),
    }
}

#[test]
fn w6_a_job_is_started_reported_and_forgotten_with_its_receipt() {
    let mut agent = agent();
    agent.wake(0);
    assert!(
        matches!(agent.effects().as_slice(), [Effect::Open(open)] if open.held.is_empty() && open.slots == 4)
    );
    agent.stream_message(0, welcome(1));
    agent.stream_message(0, due(2, &[("r1", 1, "noop")]));
    assert!(matches!(agent.effects().as_slice(), [Effect::Start(job)] if job.run_id == "r1"));
    agent.ended(10, &key("r1", 1), success());
    let effects = agent.effects();
    assert_eq!(reported(&effects).len(), 1);
    assert_eq!(agent.held(), 1, "held until it is acknowledged");
    agent.report_answered(11, 1, receipts(1));
    assert_eq!(agent.held(), 0);
}

/// What a heartbeat does not list is given to others, so it lists unacknowledged outcomes too.
#[test]
fn w3_a_heartbeat_lists_everything_until_it_is_acknowledged() {
    let mut agent = connected(&[("r1", 1, "noop"), ("r2", 1, "noop")]);
    agent.ended(10, &key("r1", 1), success());
    let beat = heartbeat(&mut agent, 5_000);
    assert_eq!(beat.received, 2);
    assert_eq!(beat.held.len(), 2);
}

#[test]
fn w6_outcomes_gather_while_reports_are_under_way_and_survive_their_failure() {
    let runs: Vec<String> = (0..6).map(|n| format!("r{n}")).collect();
    let jobs: Vec<(&str, i32, &str)> = runs.iter().map(|run| (run.as_str(), 1, "noop")).collect();
    let mut agent = connected(&jobs);
    for run in &runs {
        agent.ended(10, &key(run, 1), success());
    }
    assert_eq!(reported(&agent.effects()).len(), CALLS_MAX, "the rest waits for a call to end");
    agent.report_answered(20, 1, receipts(1));
    let effects = agent.effects();
    assert_eq!(
        reported(&effects).iter().map(|report| report.run_id.as_str()).collect::<Vec<_>>(),
        ["r4", "r5"]
    );
    for call in 2..=5 {
        agent.report_answered(30, call, None);
    }
    assert_eq!(agent.held(), 5, "nothing is forgotten without a receipt");
    agent.wake(30_000);
    assert_eq!(reported(&agent.effects()).len(), 5);
    agent.report_answered(30_000, 5, None);
    assert_eq!(agent.held(), 5, "an answer that comes twice counts once");
}

#[test]
fn w3_a_broken_stream_is_opened_again_with_everything_that_is_held() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    agent.stream_ended(100);
    let wake = agent.next_wake();
    assert!((101..=5_100).contains(&wake), "{wake}");
    agent.wake(wake);
    let effects = agent.effects();
    let [Effect::Open(open)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(open.held.len(), 1);
    agent.stream_message(wake, welcome(1));
    agent.ended(wake, &key("r1", 1), success());
    assert_eq!(reported(&agent.effects()).len(), 1);
}

#[test]
fn w6_outcomes_wait_for_a_connection() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    agent.stream_ended(100);
    agent.ended(110, &key("r1", 1), success());
    assert!(reported(&agent.effects()).is_empty());
    agent.wake(6_000);
    agent.effects();
    agent.stream_message(6_001, welcome(2));
    assert_eq!(reported(&agent.effects()).len(), 1);
}

/// A server of a lower epoch is not the leader.
#[test]
fn o5_a_lower_epoch_is_ignored() {
    let mut agent = connected(&[]);
    agent.stream_ended(0);
    agent.wake(10_000);
    agent.stream_message(10_000, welcome(3));
    agent.stream_ended(10_100);
    agent.wake(20_000);
    agent.effects();
    agent.stream_message(20_000, welcome(2));
    assert!(agent.effects().contains(&Effect::CloseStream));
    assert!(!agent.is_connected());
}

#[test]
fn w9_a_cancelled_attempt_reports_cancelled_and_a_dropped_one_nothing() {
    let mut agent = connected(&[("r1", 1, "noop"), ("r2", 1, "noop")]);
    let cancel = pb::Cancel { run_id: "r1".into(), attempt: 1, reason: String::new() };
    agent
        .stream_message(5, pb::StreamDueJobsResponse { sequence: 3, message: Some(Message::Cancel(cancel)) });
    let beat = heartbeat(&mut agent, 5_000);
    assert_eq!(beat.held.len(), 2);
    let order = pb::Order {
        run_id: "r2".into(),
        attempt: 1,
        action: pb::OrderAction::Drop.into(),
        reason: String::new(),
    };
    let response =
        pb::HeartbeatResponse { epoch: 1, orders: vec![order], ..pb::HeartbeatResponse::default() };
    agent.heartbeat_answered(5_001, 1, Some(response));
    assert!(agent.effects().contains(&Effect::Stop(key("r2", 1))));
    let failed = Outcome::failure(pb::FailureClass::Transient, "X", "x");
    agent.ended(5_010, &key("r2", 1), success());
    agent.ended(5_011, &key("r1", 1), failed);
    let effects = agent.effects();
    let reports = reported(&effects);
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].run_id.as_str(), class_of(reports[0])), ("r1", pb::FailureClass::Cancelled));
}

#[test]
fn an_attempt_that_takes_too_long_is_stopped_and_reported_as_timeout() {
    let mut agent = connected(&[("r1", 1, "document-sync")]);
    agent.wake(59_999);
    assert!(!agent.effects().contains(&Effect::Stop(key("r1", 1))));
    agent.wake(60_000);
    assert!(agent.effects().contains(&Effect::Stop(key("r1", 1))));
    agent.ended(60_100, &key("r1", 1), Outcome::failure(pb::FailureClass::Transient, "X", "x"));
    assert_eq!(class_of(reported(&agent.effects())[0]), pb::FailureClass::Timeout);
}

/// Past the term others may have the run. Only kinds that are fenced elsewhere go on.
#[test]
fn w5_without_an_answer_past_the_term_only_guarded_kinds_go_on() {
    let mut agent = connected(&[("r1", 1, "noop"), ("r2", 1, "document-sync")]);
    heartbeat(&mut agent, 5_000);
    agent.heartbeat_answered(5_100, 1, answer(1));
    agent.wake(19_999);
    assert!(!agent.effects().iter().any(|effect| matches!(effect, Effect::Stop(_))));
    agent.wake(20_000);
    let stops: Vec<_> =
        agent.effects().into_iter().filter(|effect| matches!(effect, Effect::Stop(_))).collect();
    assert_eq!(stops, [Effect::Stop(key("r1", 1))], "a term after the answered heartbeat was sent");
}

/// What has not started goes back, the rest finishes within its time.
#[test]
fn w8_a_drain_hands_back_what_has_not_started_and_lets_the_rest_finish() {
    let mut agent = connected(&[("r1", 1, "noop"), ("r2", 1, "noop")]);
    agent.drain(100, 20_000);
    let effects = agent.effects();
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Heartbeat { request, .. } if request.draining))
    );
    agent.stream_message(101, due(3, &[("r3", 1, "noop")]));
    assert!(
        reported(&agent.effects()).is_empty(),
        "it could be given back to this worker until the drain is heard"
    );
    agent.heartbeat_answered(105, 1, answer(1));
    let effects = agent.effects();
    assert_eq!(class_of(reported(&effects)[0]), pb::FailureClass::Interrupted);
    agent.report_answered(110, 1, receipts(1));
    agent.ended(200, &key("r1", 1), success());
    agent.report_answered(210, 2, receipts(1));
    assert!(!agent.is_drained());
    agent.wake(20_100);
    assert!(agent.effects().contains(&Effect::Stop(key("r2", 1))));
    agent.ended(20_200, &key("r2", 1), Outcome::failure(pb::FailureClass::Transient, "X", "x"));
    assert_eq!(class_of(reported(&agent.effects())[0]), pb::FailureClass::Interrupted);
    agent.report_answered(20_300, 3, receipts(1));
    assert!(agent.is_drained());
}

#[test]
fn w8_a_drain_waits_for_what_is_on_its_way() {
    let mut agent = connected(&[]);
    agent.drain(100, 0);
    assert!(!agent.is_drained(), "the scheduler has not heard");
    let on_its_way = pb::HeldRun { run_id: "r1".into(), attempt: 1, ..pb::HeldRun::default() };
    let response = pb::HeartbeatResponse { assigned: vec![on_its_way], ..answer(1).expect("an answer") };
    agent.heartbeat_answered(105, 1, Some(response));
    assert!(!agent.is_drained());
    agent.effects();
    agent.stream_message(106, due(2, &[("r1", 1, "noop")]));
    assert_eq!(class_of(reported(&agent.effects())[0]), pb::FailureClass::Interrupted);
    agent.report_answered(110, 1, receipts(1));
    assert!(agent.is_drained());
}

#[test]
fn w8_a_worker_that_holds_nothing_does_not_wait_for_long_to_be_heard() {
    let mut agent = connected(&[]);
    agent.drain(100, 20_000);
    assert!(agent.next_wake() <= 2_100);
    agent.wake(2_100);
    assert!(agent.is_drained());
}

#[test]
fn w3_a_session_that_the_scheduler_forgot_is_opened_again() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    heartbeat(&mut agent, 5_000);
    let response = pb::HeartbeatResponse { epoch: 1, reopen: true, ..pb::HeartbeatResponse::default() };
    agent.heartbeat_answered(5_001, 1, Some(response));
    agent.wake(5_001);
    let effects = agent.effects();
    assert!(
        matches!(effects.as_slice(), [Effect::CloseStream, Effect::Open(open)] if open.held.len() == 1),
        "{effects:?}"
    );
}

#[test]
fn w2_the_same_job_sent_twice_is_started_once() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    agent.stream_message(1, due(3, &[("r1", 1, "noop")]));
    assert!(agent.effects().is_empty());
}

mod bounds;
mod remembered;
