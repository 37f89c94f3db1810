//! What becomes of attempts that fail, and of runs that nobody takes.

use bytes::Bytes;

use super::{bench::*, *};
use crate::state_machine::{
    command::{Caller, Command, Report, Reported},
    failure::Class,
    output::{Answer, Receipt},
    run::Outcome,
};

fn one_run(bench: &mut Bench) -> crate::state_machine::output::Job {
    bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    bench.run_now("a");
    bench.job()
}

#[test]
fn a_transient_failure_is_tried_again_after_its_backoff() {
    let mut bench = Bench::new();
    let job = one_run(&mut bench);
    let Receipt::Accepted { next_attempt: Some(at) } = bench.fail(&job, Class::Transient) else {
        panic!("tried again")
    };
    bench.pass(at - bench.now.wall - 1);
    assert!(bench.jobs().is_empty());
    bench.pass(1);
    let again = bench.job();
    assert_eq!((again.id, again.attempt), (job.id, 2));
    assert!(again.token > job.token);
}

#[test]
fn attempts_end_at_their_bound() {
    let mut bench = Bench::new();
    let mut job = one_run(&mut bench);
    for attempt in 1..5 {
        assert_eq!(job.attempt, attempt);
        bench.fail(&job, Class::Transient);
        bench.pass(2 * MINUTE);
        job = bench.job();
    }
    assert_eq!(bench.fail(&job, Class::Transient), Receipt::Accepted { next_attempt: None });
    let end = &bench.history("a")[0];
    assert_eq!((end.outcome, end.attempts.len()), (Outcome::Failed, 5));
}

#[test]
fn final_classes_end_the_run_at_once() {
    for (class, outcome) in [
        (Class::Permanent, Outcome::Failed),
        (Class::Superseded, Outcome::Failed),
        (Class::Reauthorize, Outcome::Failed),
        (Class::Cancelled, Outcome::Cancelled),
    ] {
        let mut bench = Bench::new();
        let job = one_run(&mut bench);
        assert_eq!(bench.fail(&job, class), Receipt::Accepted { next_attempt: None });
        assert_eq!(bench.history("a")[0].outcome, outcome, "{class:?}");
    }
}

#[test]
fn an_interruption_comes_back_before_what_arrived_later() {
    let mut bench = Bench::new();
    let job = one_run(&mut bench);
    bench.save(definition("b", every(10 * DAY)));
    bench.run_now("b");
    assert!(bench.jobs().is_empty());
    bench.fail(&job, Class::Interrupted);
    let again = bench.job();
    assert_eq!((again.id, again.attempt), (job.id, 2));
}

#[test]
fn an_attempt_that_outlives_its_timeout_is_ended() {
    let mut bench = Bench::new();
    let job = one_run(&mut bench);
    let session = bench.session_of(&job);
    for _ in 0..125 {
        bench.pass(5 * SECOND);
        let live = bench.live(job.id).expect("live");
        if live.attempts.is_empty() {
            bench.beat(session, 9, vec![held(&job)]);
        }
    }
    let live = bench.live(job.id).expect("live");
    assert_eq!(live.attempts[0].failure.as_ref().expect("a failure").class, Class::Timeout);
    assert_eq!(bench.succeed(&job), Receipt::Stale("the run has been given to another attempt"));
}

#[test]
fn a_run_that_nobody_takes_fails_at_its_queue_timeout() {
    let mut bench = Bench::new();
    let mut impatient = definition("a", every(10 * DAY));
    impatient.task.queue_timeout = 60_000;
    bench.save(impatient);
    bench.run_now("a");
    bench.pass(30 * SECOND);
    bench.restart(10 * SECOND);
    bench.pass(20 * SECOND - 1);
    assert!(bench.history("a").is_empty());
    bench.pass(1);
    let end = &bench.history("a")[0];
    assert_eq!(end.failure.as_ref().map(|f| &*f.code), Some("QUEUE_TIMEOUT"));
    assert_eq!(end.attempts.len(), 0);
}

#[test]
fn a_pause_does_not_count_against_the_queue_timeout() {
    let mut bench = Bench::new();
    let mut impatient = definition("a", every(10 * DAY));
    impatient.task.queue_timeout = 60_000;
    bench.save(impatient);
    bench.run_now("a");
    bench.pass(30 * SECOND);
    bench.pause("a", None);
    bench.pass(HOUR);
    assert!(bench.history("a").is_empty());
    bench.resume("a", false);
    bench.pass(59 * SECOND);
    assert!(bench.history("a").is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.history("a").len(), 1);
}

#[test]
fn the_queue_timeout_ends_with_the_first_attempt() {
    let mut bench = Bench::new();
    let mut impatient = definition("a", every(10 * DAY));
    impatient.task.queue_timeout = 60_000;
    bench.save(impatient);
    let session = bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.fail(&job, Class::Throttled);
    bench.apply(&Command::CloseSession(session));
    bench.pass(HOUR);
    assert!(bench.history("a").is_empty());
}

#[test]
fn results_of_attempts_add_up() {
    use prost::Message as _;
    let result = |count: f64| {
        let kind = Some(prost_types::value::Kind::NumberValue(count));
        let fields = [("new".to_owned(), prost_types::Value { kind })].into();
        Bytes::from(prost_types::Struct { fields }.encode_to_vec())
    };
    let mut bench = Bench::new();
    let job = one_run(&mut bench);
    let outcome = Reported::Failure {
        failure: Box::new(failure(Class::Interrupted)),
        partial: result(3.0),
        checkpoint: Some("page 7".into()),
    };
    bench.report(&job, outcome);
    bench.jobs();
    bench.restart(0);
    bench.worker(1);
    let again = bench.job();
    assert_eq!(again.checkpoint.as_deref(), Some(&b"page 7"[..]));
    bench.report(&again, Reported::Success { result: result(4.0) });
    assert_eq!(bench.history("a")[0].result, result(7.0));
}

#[test]
fn w6_every_report_has_its_receipt() {
    let mut bench = Bench::new();
    let job = one_run(&mut bench);
    let mut wrong = job.clone();
    wrong.token += 1;
    let mut nothing = job.clone();
    nothing.token = 0;
    assert!(matches!(bench.succeed(&wrong), Receipt::Stale(_)));
    assert!(matches!(bench.succeed(&nothing), Receipt::Stale(_)));
    assert_eq!(bench.succeed(&job), Receipt::Accepted { next_attempt: None });
    assert_eq!(bench.succeed(&job), Receipt::Repeated);
    bench.restart(0);
    assert_eq!(bench.succeed(&job), Receipt::Repeated, "also by the next process");
    assert_eq!(bench.succeed(&wrong), Receipt::Forgotten);
    let report = Report {
        caller: Caller::default(),
        worker_id: None,
        id: None,
        attempt: 1,
        token: 1,
        outcome: Reported::Success { result: Bytes::new() },
        invalid: None,
    };
    let Answer::Reported(receipts) = bench.call(&Command::Report(vec![report])) else { panic!("receipts") };
    assert_eq!(receipts, [Receipt::Forgotten]);
}

#[test]
fn w6_late_report_is_accepted_until_reassigned() {
    let lost = |bench: &mut Bench| {
        bench.save(definition("a", every(10 * DAY)));
        bench.silent_worker(1);
        bench.run_now("a");
        let job = bench.job();
        bench.pass(16 * SECOND);
        assert_eq!(bench.live(job.id).expect("live").attempts.len(), 1);
        job
    };
    let mut bench = Bench::new();
    let job = lost(&mut bench);
    bench.restart(0);
    assert_eq!(bench.succeed(&job), Receipt::Accepted { next_attempt: None });
    assert_eq!(bench.history("a")[0].outcome, Outcome::Succeeded);

    let mut bench = Bench::new();
    let job = lost(&mut bench);
    bench.worker(1);
    let again = bench.job();
    assert!(matches!(bench.succeed(&job), Receipt::Stale(_)), "reassigned");
    bench.fail(&again, Class::Transient);
    assert!(
        matches!(bench.succeed(&job), Receipt::Stale(_)),
        "still, while the second attempt's backoff runs"
    );
    assert_eq!(bench.fail(&again, Class::Transient), Receipt::Repeated);
}

#[test]
fn an_invalid_report_ends_its_attempt() {
    let mut bench = Bench::new();
    let job = one_run(&mut bench);
    let outcome = Reported::Failure {
        failure: Box::new(failure(Class::Permanent)),
        partial: Bytes::new(),
        checkpoint: None,
    };
    let report = Report {
        caller: Caller::default(),
        worker_id: None,
        id: Some(job.id),
        attempt: job.attempt,
        token: job.token,
        outcome,
        invalid: Some("result: too large".into()),
    };
    let Answer::Reported(receipts) = bench.call(&Command::Report(vec![report])) else { panic!("receipts") };
    assert_eq!(receipts, [Receipt::Invalid("result: too large".into())]);
    assert_eq!(bench.history("a").len(), 1);
}
