//! Rules W3, W6, W8 and W10 where the two sides do not agree: whose session, whose lease, who reads.

use bytes::Bytes;

use super::{bench::*, *};
use crate::state_machine::{
    command::{Caller, Command, Heartbeat, OpenSession, Report, Reported},
    id::SessionId,
    output::{Answer, Job, Receipt},
};

fn jobs_for(bench: &mut Bench, count: usize) -> Vec<Job> {
    for n in 0..count {
        bench.save(definition(&format!("s{n}"), every(10 * DAY)));
        bench.run_now(&format!("s{n}"));
    }
    bench.jobs()
}

/// Whether the session is to be opened anew.
fn beat_as(bench: &mut Bench, worker_id: &str, session: SessionId, job: &Job) -> bool {
    let beat = Heartbeat {
        caller: Caller::default(),
        session,
        worker_id: Some(worker_id.into()),
        received: 2,
        slots: None,
        draining: false,
        held: vec![held(job)],
        unknown: Vec::new(),
    };
    match bench.call(&Command::Heartbeat(Box::new(beat))) {
        Answer::Heard { reopen, orders, .. } => {
            assert!(orders.is_empty());
            reopen
        }
        other => panic!("{other:?}"),
    }
}

fn report_as(bench: &mut Bench, worker_id: &str, job: &Job) -> Receipt {
    let report = Report {
        caller: Caller::default(),
        worker_id: Some(worker_id.into()),
        id: Some(job.id),
        attempt: job.attempt,
        token: job.token,
        outcome: Reported::Success { result: Bytes::new() },
        invalid: None,
    };
    match bench.call(&Command::Report(vec![report])) {
        Answer::Reported(mut receipts) => receipts.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn w3_a_heartbeat_for_another_workers_session_renews_nothing() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(1);
    let job = jobs_for(&mut bench, 1).remove(0);
    bench.pass(10 * SECOND);
    assert!(beat_as(&mut bench, "somebody else", session, &job));
    bench.pass(4 * SECOND);
    assert!(bench.live(job.id).expect("live").attempts.is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.live(job.id).expect("live").attempts.len(), 1, "lost, as if nothing had been heard");

    let session = bench.silent_worker(1);
    let again = bench.job();
    bench.pass(10 * SECOND);
    assert!(!beat_as(&mut bench, "worker", session, &again));
    bench.pass(14 * SECOND);
    assert_eq!(bench.live(again.id).expect("live").attempts.len(), 1);
}

#[test]
fn w6_a_report_of_another_workers_lease_is_stale() {
    let mut bench = Bench::new();
    bench.silent_worker(1);
    let job = jobs_for(&mut bench, 1).remove(0);
    assert!(matches!(report_as(&mut bench, "somebody else", &job), Receipt::Stale(_)));
    bench.pass(15 * SECOND);
    assert_eq!(bench.live(job.id).expect("live").attempts.len(), 1, "lost");
    assert!(matches!(report_as(&mut bench, "somebody else", &job), Receipt::Stale(_)));
    assert_eq!(
        report_as(&mut bench, "worker", &job),
        Receipt::Accepted { next_attempt: None },
        "late, and its own"
    );
    assert_eq!(report_as(&mut bench, "worker", &job), Receipt::Repeated);
}

#[test]
fn w8_a_draining_worker_that_reconnects_gets_nothing_new() {
    let mut bench = Bench::new();
    let first = bench.silent_worker(3);
    let job = jobs_for(&mut bench, 1).remove(0);
    bench.apply(&Command::CloseSession(first));
    let hello = OpenSession { draining: true, ..bench.hello("one", 3, vec![held(&job)]) };
    let (_, orders) = bench.open(hello);
    assert!(orders.is_empty());
    bench.save(definition("more", every(10 * DAY)));
    bench.run_now("more");
    assert!(bench.jobs().is_empty());
    bench.succeed(&job);
    assert!(bench.jobs().is_empty());
}

/// A worker that sends heartbeats and does not read: each term its jobs would be handed to it again, on top of those
/// that it has not read.
#[test]
fn w10_a_stream_that_is_not_read_is_cut_and_the_rest_of_the_session_lives() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(3);
    let jobs = jobs_for(&mut bench, 3);
    for _ in 0..3 {
        bench.beat(session, 2, vec![held(&jobs[0])]);
        bench.pass(5 * SECOND);
    }
    assert_eq!(bench.closed, [session]);
    let (orders, reopen) = bench.beat(session, 2, vec![held(&jobs[0])]);
    assert!(reopen && orders.is_empty(), "the job that it did confirm is still its own");
    assert!(bench.jobs().is_empty(), "nothing more for whoever does not read");
    let hello = bench.hello("one", 3, vec![held(&jobs[0])]);
    bench.open(hello);
    assert_eq!(bench.jobs().len(), 2);
}
