//! A machine from its records.

use super::{bench::*, *};
use crate::state_machine::{StateMachine, failure::Class, schedule::Status, timing::Timing, view::RunState};

#[test]
fn everything_that_lasts_survives_a_restart() {
    let mut bench = Bench::new();
    bench.save(definition("paused", every(HOUR)));
    bench.pause("paused", Some(START + 10 * HOUR));
    bench.save(definition("ended", Timing::At(START + SECOND)));
    bench.save(definition("active", cron("*/5 * * * *", "Europe/Berlin")));
    bench.worker(1);
    bench.pass(MINUTE);
    let job = bench.job();
    bench.fail(&job, Class::Transient);
    let before: Vec<String> =
        ["paused", "ended", "active"].iter().map(|id| format!("{:?}", bench.view(id))).collect();
    bench.restart(0);
    let after: Vec<String> =
        ["paused", "ended", "active"].iter().map(|id| format!("{:?}", bench.view(id))).collect();
    assert_eq!(before, after);
    assert_eq!(bench.view("ended").status, Status::Ended);
    assert!(matches!(bench.live(job.id).expect("live").state, RunState::Queued(_)));
}

#[test]
fn tokens_of_a_later_epoch_are_larger() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    bench.run_now("a");
    let first = bench.job();
    bench.succeed(&first);
    bench.restart(0);
    bench.worker(1);
    bench.run_now("a");
    let second = bench.job();
    assert!(second.token > first.token);
    assert_ne!(second.token >> 40, first.token >> 40);
}

#[test]
fn an_attempts_time_goes_on_over_a_restart() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    bench.silent_worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.restart(9 * MINUTE);
    let hello = bench.hello("one", 1, vec![held(&job)]);
    let (session, _) = bench.open(hello);
    for _ in 0..16 {
        bench.pass(5 * SECOND);
        bench.beat(session, 1, vec![held(&job)]);
    }
    let ended = &bench.live(job.id).expect("live").attempts;
    assert_eq!(ended[0].failure.as_ref().expect("a failure").class, Class::Timeout);
}

#[test]
fn a_cancelled_run_is_still_cancelled_after_a_restart() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.delete("a", true);
    bench.restart(0);
    let hello = bench.hello("one", 1, vec![held(&job)]);
    let (_, orders) = bench.open(hello);
    assert_eq!(orders[0].action, crate::state_machine::output::Action::Cancel);
    bench.fail(&job, Class::Cancelled);
    assert!(bench.records.is_empty());
}

#[test]
fn a_record_that_cannot_be_read_stops_the_load_and_is_named() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.run_now("a");
    for (key, value) in bench.records.clone() {
        let mut hot = bench.records.clone();
        hot.insert(key.clone(), bytes::Bytes::from_static(b"\xff\xff\xff"));
        let error = StateMachine::load(bench.config, 2, bench.now, hot.into_iter().collect());
        let named: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(error.expect_err("unreadable").key, named, "{value:?}");
    }
}

#[test]
fn loading_writes_nothing() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.run_now("a");
    let mut machine = bench.loaded();
    assert!(machine.seal().writes.is_empty());
}
