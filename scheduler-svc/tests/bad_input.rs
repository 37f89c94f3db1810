//! What a hostile or broken client sends, one test per kind: the server answers clearly, changes nothing, and serves
//! the next caller. The numbers are those of the list of bad inputs that the project keeps; TLS, tokens and floods are
//! not here.

#[path = "served/raw.rs"]
mod raw;
#[allow(dead_code, reason = "other tests use the rest")]
mod served;
#[path = "bad_input/values.rs"]
mod values;

use std::collections::HashSet;

use bytes::Bytes;
use docket::{
    errors::{Reason, reason_of},
    schedule::v1 as pb,
};
use pb::{ReceiptStatus, stream_due_jobs_response::Message};
use prost::Message as _;
use raw::{frame, padded, send};
use scheduler_svc::state_machine::Config;
use served::{Served, every, hello, schedule};
use tonic::{Code, Request, Status, Streaming};

const UPSERT: &str = "/docket.schedule.v1.ScheduleService/UpsertSchedule";

/// Leases so short that a test can wait for their end.
fn short() -> Config {
    Config { lease: 300, heartbeat: 100, reconnect_grace: 100, ..Config::default() }
}

type Jobs = Streaming<pb::StreamDueJobsResponse>;

fn refused(status: &Status, reason: Reason) {
    assert_eq!((status.code(), reason_of(status)), (reason.code(), Some(reason)), "{status:?}");
    assert!(status.message().len() < 400, "it does not repeat what was sent: {}", status.message());
    assert!(!status.message().chars().any(|c| c.is_control() || c == '\u{202e}'), "{:?}", status.message());
}

/// Nothing that was sent stopped it.
async fn still_serves(served: &mut Served) {
    let id = format!("probe-{}", rand::random::<u32>());
    served.upsert(schedule(&id, every(3600))).await.expect("it serves");
}

async fn connect(served: &mut Served, worker_id: &str, slots: i32) -> (pb::Welcome, Jobs) {
    let hello = pb::StreamDueJobsRequest {
        worker_id: worker_id.into(),
        instance: worker_id.into(),
        slots,
        ..hello()
    };
    let mut stream = served.workers.stream_due_jobs(hello).await.expect("a stream").into_inner();
    let message = stream.message().await.expect("a message").expect("welcome").message;
    let Some(Message::Welcome(welcome)) = message else { panic!("{message:?}") };
    (welcome, stream)
}

async fn trigger(served: &mut Served, id: &str) -> String {
    let request = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
    let answer = served.schedules.trigger_schedule(request).await.expect("trigger").into_inner();
    answer.run.expect("a run").run_id
}

async fn jobs(stream: &mut Jobs) -> Vec<pb::DueJob> {
    match stream.message().await.expect("a message").expect("jobs").message {
        Some(Message::DueJobs(due)) => due.jobs,
        other => panic!("{other:?}"),
    }
}

/// Saves and triggers `count` schedules, and takes their jobs.
async fn jobs_for(served: &mut Served, stream: &mut Jobs, count: usize) -> Vec<pb::DueJob> {
    let mut taken = Vec::new();
    for n in 0..count {
        served.upsert(schedule(&format!("mb-{n}"), every(86_400))).await.expect("upsert");
        trigger(served, &format!("mb-{n}")).await;
        taken.append(&mut jobs(stream).await);
    }
    assert_eq!(taken.len(), count);
    taken
}

fn success(job: &pb::DueJob) -> pb::Report {
    pb::Report {
        run_id: job.run_id.clone(),
        attempt: job.attempt,
        lease_token: job.lease_token,
        outcome: Some(pb::report::Outcome::Success(pb::Success::default())),
        ..Default::default()
    }
}

fn held(job: &pb::DueJob) -> pb::HeldRun {
    pb::HeldRun {
        run_id: job.run_id.clone(),
        attempt: job.attempt,
        lease_token: job.lease_token,
        ..Default::default()
    }
}

async fn report(served: &mut Served, worker_id: &str, reports: Vec<pb::Report>) -> Vec<ReceiptStatus> {
    let request = pb::ReportResultsRequest { worker_id: worker_id.into(), reports, ..Default::default() };
    let answer = served.workers.report_results(request).await.expect("receipts").into_inner();
    answer.receipts.iter().map(pb::Receipt::status).collect()
}

async fn state_of(served: &mut Served, run_id: &str) -> pb::Run {
    let get = pb::GetRunRequest { run_id: run_id.into(), ..Default::default() };
    served.runs.get_run(get).await.expect("the run").into_inner().run.expect("a run")
}

#[tokio::test]
async fn n01_a_message_over_4_mib_is_refused_by_its_length_alone() {
    let mut served = Served::start().await;
    let exact = send(&served, UPSERT, &[], vec![frame(0, &padded(4 << 20))], false).await;
    refused(&exact.expect("refused"), Reason::InvalidField);
    let over = send(&served, UPSERT, &[], vec![frame(0, &padded((4 << 20) + 1))], false).await;
    refused(&over.expect("refused"), Reason::MessageTooLarge);
    for length in [(4 << 20) + 1, 1_u32 << 30, u32::MAX] {
        let head = Bytes::from([&[0][..], &length.to_be_bytes()].concat());
        let huge = send(&served, UPSERT, &[], vec![head], true).await;
        refused(&huge.expect("refused"), Reason::MessageTooLarge);
    }
    let head = Bytes::from([&[0][..], &(3_u32 << 20).to_be_bytes()].concat());
    let cut = send(&served, UPSERT, &[], vec![head, Bytes::from_static(b"abc")], false).await;
    refused(&cut.expect("refused"), Reason::MalformedMessage);
    still_serves(&mut served).await;
}

#[tokio::test]
async fn n06_what_a_worker_never_acknowledges_goes_to_another() {
    let mut served = Served::start_with(short()).await;
    let (_, mut silent) = connect(&mut served, "silent", 1).await;
    let first = jobs_for(&mut served, &mut silent, 1).await.remove(0);
    let (_, mut other) = connect(&mut served, "other", 1).await;
    let again = jobs(&mut other).await.remove(0);
    assert_eq!((again.run_id.as_str(), again.attempt), (first.run_id.as_str(), 2));
    assert_eq!(report(&mut served, "other", vec![success(&again)]).await, [ReceiptStatus::Accepted]);
    let run = state_of(&mut served, &first.run_id).await;
    assert_eq!((run.state(), run.attempt), (pb::RunState::Succeeded, 2));
}

#[tokio::test]
async fn n07_receipts_come_once_in_order_and_only_for_ones_own() {
    let mut served = Served::start().await;
    let (welcome, mut stream) = connect(&mut served, "w", 4).await;
    let mut jobs = jobs_for(&mut served, &mut stream, 3).await;
    let (stranger, _stream) = connect(&mut served, "stranger", 4).await;
    let theirs = report(&mut served, "stranger", vec![success(&jobs[0])]).await;
    assert_eq!(theirs, [ReceiptStatus::Stale], "another worker's run");
    let beat = pb::HeartbeatRequest {
        worker_id: "stranger".into(),
        session_id: stranger.session_id,
        received: 1,
        held: vec![held(&jobs[0])],
        ..Default::default()
    };
    let orders = served.workers.heartbeat(beat).await.expect("heard").into_inner().orders;
    assert_eq!(orders[0].action(), pb::OrderAction::Drop);

    jobs.reverse();
    let mut wrong = success(&jobs[0]);
    wrong.lease_token += 100;
    let mut older = success(&jobs[0]);
    older.attempt -= 1;
    let mut reports = vec![wrong, older];
    reports.extend(jobs.iter().map(success));
    reports.extend(jobs.iter().map(success));
    use ReceiptStatus::{Accepted, Repeated, Stale};
    let receipts = report(&mut served, "w", reports).await;
    assert_eq!(receipts[..5], [Stale, Stale, Accepted, Accepted, Accepted]);
    assert_eq!(receipts[5..], [Repeated; 3]);

    let beat = |epoch| pb::HeartbeatRequest {
        worker_id: "w".into(),
        session_id: welcome.session_id.clone(),
        epoch,
        received: 4,
        ..Default::default()
    };
    for (epoch, reopen) in [(welcome.epoch, false), (0, false), (welcome.epoch - 2, true)] {
        let answer = served.workers.heartbeat(beat(epoch)).await.expect("heard").into_inner();
        assert_eq!(answer.reopen, reopen, "{epoch}");
    }
    let later = served.workers.heartbeat(beat(welcome.epoch + 1)).await.expect_err("not the leader");
    refused(&later, Reason::NotServing);
    let request = pb::ReportResultsRequest { epoch: i64::MAX, ..Default::default() };
    refused(&served.workers.report_results(request).await.expect_err("not the leader"), Reason::NotServing);
}

#[tokio::test]
async fn n08_a_result_after_its_lease_is_taken_until_another_attempt_begins() {
    let mut served = Served::start_with(short()).await;
    let (_, mut stream) = connect(&mut served, "w", 2).await;
    let jobs_taken = jobs_for(&mut served, &mut stream, 2).await;
    let ended = stream.message().await.expect_err("the session ends with its leases");
    refused(&ended, Reason::NotServing);
    let late = report(&mut served, "w", vec![success(&jobs_taken[0])]).await;
    assert_eq!(late, [ReceiptStatus::Accepted]);
    let (_, mut other) = connect(&mut served, "other", 2).await;
    let again = jobs(&mut other).await.remove(0);
    assert_eq!(again.run_id, jobs_taken[1].run_id);
    assert_eq!(report(&mut served, "w", vec![success(&jobs_taken[1])]).await, [ReceiptStatus::Stale]);
    assert_eq!(report(&mut served, "other", vec![success(&again)]).await, [ReceiptStatus::Accepted]);
    assert_eq!(report(&mut served, "w", vec![success(&jobs_taken[1])]).await, [ReceiptStatus::Forgotten]);
}

#[tokio::test]
async fn n14_deadlines_of_a_nanosecond_and_a_century() {
    let mut served = Served::start().await;
    let upsert = |id: &str, timeout: &'static str| {
        let body =
            pb::UpsertScheduleRequest { schedule: Some(schedule(id, every(3600))), ..Default::default() };
        let mut request = Request::new(body);
        request.metadata_mut().insert("grpc-timeout", timeout.parse().expect("a value"));
        request
    };
    for timeout in ["1n", "0n", "0S"] {
        let status = served.schedules.upsert_schedule(upsert("late", timeout)).await.expect_err("too late");
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        let get = pb::GetScheduleRequest { schedule_id: "late".into(), ..Default::default() };
        let status = served.schedules.get_schedule(get).await.expect_err("not applied");
        refused(&status, Reason::ScheduleNotFound);
    }
    for (id, timeout) in [("century", "876000H"), ("longest", "99999999H")] {
        served.schedules.upsert_schedule(upsert(id, timeout)).await.expect("in time");
    }
    for (n, timeout) in ["", "n", "-1S", "1x", "999999999S", "1.5S"].into_iter().enumerate() {
        // What is no deadline is none.
        let _ = served.schedules.upsert_schedule(upsert(&format!("odd-{n}"), timeout)).await;
    }
    still_serves(&mut served).await;
}

#[tokio::test]
async fn n15_compressed_requests_are_refused_before_they_are_unpacked() {
    let mut served = Served::start().await;
    // A gzip header; what follows is never looked at.
    let packed = [&[0x1f, 0x8b, 8, 0][..], &[0; 4096]].concat();
    for encoding in ["gzip", "deflate", "zstd", "br"] {
        let headers = [("grpc-encoding", encoding)];
        let status = send(&served, UPSERT, &headers, vec![frame(1, &packed)], false).await.expect("refused");
        refused(&status, Reason::UnknownMethod);
        assert!(status.message().contains(encoding), "{}", status.message());
    }
    let unsaid = send(&served, UPSERT, &[], vec![frame(1, &packed)], false).await.expect("refused");
    refused(&unsaid, Reason::MalformedMessage);
    let flag = send(&served, UPSERT, &[], vec![frame(7, &packed)], false).await.expect("refused");
    refused(&flag, Reason::MalformedMessage);
    still_serves(&mut served).await;
}

/// It sends heartbeats that claim to have received everything, lists nothing, and never reads.
#[tokio::test]
async fn n16_w10_a_client_that_stops_reading_is_cut_off() {
    const SLOTS: i32 = 4;
    const PAYLOAD: usize = 15 << 10;
    let mut served = Served::start().await;
    let (welcome, mut stuck) = connect(&mut served, "stuck", SLOTS).await;
    for n in 0..150 {
        let mut large = schedule(&format!("mb-{n}"), every(86_400));
        large.task.as_mut().expect("a task").payload = vec![7; PAYLOAD].into();
        served.upsert(large).await.expect("upsert");
        trigger(&mut served, &format!("mb-{n}")).await;
    }
    let beat =
        pb::HeartbeatRequest { session_id: welcome.session_id, received: i64::MAX, ..Default::default() };
    let mut beats = 0;
    while !served.workers.heartbeat(beat.clone()).await.expect("heard").into_inner().reopen {
        beats += 1;
        assert!(beats < 150, "it goes on sending to a client that does not read");
    }
    let workers =
        served.status.get_status(pb::GetStatusRequest::default()).await.expect("status").into_inner();
    assert_eq!(workers.slots, 0, "a stream that was cut takes nothing");
    let mut bytes = 0;
    while let Ok(Some(message)) = stuck.message().await {
        bytes += message.encoded_len();
    }
    // What the connection's windows let through, and the outbox.
    assert!(bytes < (4 << 20) + 24 * (PAYLOAD + 1_024), "{bytes} bytes had been queued");
    still_serves(&mut served).await;
}

/// Requests that never end hold their own stream and nothing else.
#[tokio::test]
async fn n16_requests_that_never_end_do_not_hold_up_others() {
    let mut served = Served::start().await;
    let head = Bytes::from([&[0][..], &1_000_u32.to_be_bytes()].concat());
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (served, head) = (served.channel.clone(), head.clone());
        open.spawn(async move { raw::send_on(served, UPSERT, &[], vec![head], true).await });
    }
    let mut ids = HashSet::new();
    for n in 0..20 {
        served.upsert(schedule(&format!("mb-{n}"), every(3600))).await.expect("upsert");
        ids.insert(trigger(&mut served, &format!("mb-{n}")).await);
    }
    assert_eq!(ids.len(), 20);
    assert!(open.try_join_next().is_none(), "they wait for the rest of their messages");
    open.abort_all();
    still_serves(&mut served).await;
}

#[tokio::test]
async fn unknown_methods_are_named_as_such() {
    let served = Served::start().await;
    for path in [
        "/docket.schedule.v1.ScheduleService/Nope",
        "/docket.schedule.v1.NoService/UpsertSchedule",
        "/docket.library.v1.MailboxService/ListMailboxes",
        "/grpc.health.v1.Health/Nope",
        "/",
        "/a/b/c",
    ] {
        let status = send(&served, path, &[], vec![frame(0, b"")], false).await.expect("refused");
        refused(&status, Reason::UnknownMethod);
    }
}
