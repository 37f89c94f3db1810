//! Rule R6: throttled reports close keys, and closed keys open again.

use super::{bench::*, limit::*, *};
use crate::state_machine::{
    failure::Class,
    output::{Event, Receipt},
};

#[test]
fn r6_a_key_of_one_schedule_closes_at_once_and_without_a_limit() {
    let mut bench = Bench::new();
    bench.worker(10);
    bench.run_all(vec![with_limits("a", &["mailbox:1"])]);
    let job = bench.job();
    bench.throttle(&job, "mailbox:1", 120);
    let closed = &bench.limits()[0];
    assert_eq!(
        (&*closed.key, closed.limit, closed.closed_until),
        ("mailbox:1", None, Some(bench.now.wall + 120 * SECOND))
    );
    assert_eq!(&*closed.reason, "throttled: 429 slow down");
    bench.pass(120 * SECOND);
    assert_eq!(bench.job().attempt, 2);
    assert!(bench.events.iter().any(|event| matches!(event, Event::GateReopened { .. })));
}

#[test]
fn r6_a_shared_key_closes_only_after_three_schedules_report_within_the_window() {
    let mut bench = Bench::new();
    bench.worker(10);
    bench.run_all(numbered(0..6, &["provider:x"]));
    let jobs = bench.jobs();
    bench.throttle(&jobs[0], "provider:x", 30);
    bench.pass(61 * SECOND);
    // The first schedule reports again: it is still one schedule.
    let again = bench.job();
    bench.throttle(&again, "provider:x", 30);
    bench.throttle(&jobs[1], "provider:x", 90);
    assert_eq!(bench.closings(), 0, "two schedules within the window");
    bench.run_all(vec![with_limits("new", &["provider:x"])]);
    assert_eq!(bench.started(), ["new"], "it is open");
    bench.throttle(&jobs[2], "provider:x", 60);
    assert_eq!(bench.closings(), 1);
    assert_eq!(bench.limits()[0].closed_until, Some(bench.now.wall + 90 * SECOND), "the longest asked for");
}

#[test]
fn r6_a_key_of_two_schedules_closes_when_both_report() {
    let mut bench = Bench::new();
    bench.worker(10);
    bench.run_all(numbered(0..2, &["k"]));
    let jobs = bench.jobs();
    bench.throttle(&jobs[0], "k", 30);
    assert_eq!(bench.closings(), 0);
    bench.throttle(&jobs[1], "k", 30);
    assert_eq!(bench.closings(), 1);
}

#[test]
fn r6_a_closing_lasts_15_minutes_at_most_and_earlier_attempts_do_not_repeat_it() {
    let mut bench = Bench::new();
    bench.worker(10);
    let mut definitions = numbered(0..8, &["k"]);
    definitions.iter_mut().for_each(|definition| definition.task.timeout = HOUR as u32);
    bench.run_all(definitions);
    let jobs = bench.jobs();
    for job in &jobs[..3] {
        bench.throttle(job, "k", 3_600);
    }
    assert_eq!(bench.limits()[0].closed_until, Some(bench.now.wall + 15 * MINUTE));
    for job in &jobs[3..6] {
        bench.throttle(job, "k", 3_600);
    }
    assert_eq!((bench.closings(), bench.limits()[0].closed_until), (1, Some(bench.now.wall + 15 * MINUTE)));
    bench.run_all(vec![with_limits("late", &["k"])]);
    // Two attempts from before are still running when it opens again, and report then.
    for _ in 0..90 {
        bench.pass(10 * SECOND);
        if !bench.messages.is_empty() {
            break;
        }
    }
    assert_eq!(bench.started(), Vec::<String>::new(), "slow start: the two count as running");
    bench.throttle(&jobs[6], "k", 60);
    bench.throttle(&jobs[7], "k", 60);
    assert_eq!(bench.closings(), 1);
    assert_eq!(bench.started(), ["late"]);
}

#[test]
fn r6_it_reopens_by_slow_start() {
    let mut bench = Bench::new();
    bench.set_limit("k", running(6));
    bench.worker(100);
    bench.run_all(numbered(0..3, &["k"]));
    for job in bench.jobs() {
        bench.throttle(&job, "k", 60);
    }
    bench.run_all((3..40).map(|n| with_limits(&format!("s{n}"), &["k"])).collect());
    let mut started = Vec::new();
    bench.pass(59 * SECOND);
    assert!(bench.jobs().is_empty());
    for _ in 0..4 {
        // Each run ends at once, so that only the starts per stage hold back.
        bench.pass(SECOND);
        let mut stage = 0;
        loop {
            let jobs = bench.jobs();
            if jobs.is_empty() {
                break;
            }
            stage += jobs.len();
            jobs.iter().for_each(|job| drop(bench.succeed(job)));
        }
        started.push(stage);
        bench.pass(9 * SECOND);
    }
    assert_eq!(started[..3], [1, 2, 4], "per 10 s; after that six at once, and no bound on starts");
    assert_eq!(started.iter().sum::<usize>(), 40);
}

#[test]
fn r6_p6_a_closing_survives_a_restart_and_is_capped_at_its_span() {
    for (set_clock, left) in [(0, 50), (-HOUR, 60), (HOUR, 0)] {
        let mut bench = Bench::new();
        bench.worker(10);
        bench.run_all(numbered(0..4, &["k"]));
        for job in &bench.jobs()[..3] {
            bench.throttle(job, "k", 60);
        }
        bench.set_clock(set_clock);
        bench.restart(10 * SECOND);
        let closed = bench.limits().first().and_then(|limit| limit.closed_until);
        let expected = (left > 0).then_some(bench.now.wall + left * SECOND);
        assert_eq!(closed, expected, "clock set by {set_clock}");
        bench.pass(2 * MINUTE);
        assert!(bench.limits().is_empty());
    }
}

#[test]
fn r6_an_operator_may_lift_a_closing() {
    let mut bench = Bench::new();
    bench.worker(10);
    bench.run_all(vec![with_limits("a", &["k"])]);
    let job = bench.job();
    bench.throttle(&job, "k", 600);
    bench.delete_limit("k").expect("lifted");
    assert!(bench.limits().is_empty());
    bench.restart(0);
    assert!(bench.limits().is_empty());
}

#[test]
fn r6_a_key_that_is_not_the_runs_own_closes_nothing() {
    let mut bench = Bench::new();
    bench.worker(10);
    bench.run_all(vec![with_limits("a", &["mine"]), with_limits("b", &["theirs"])]);
    let jobs = bench.jobs();
    let Receipt::Invalid(why) = bench.throttle(&jobs[0], "theirs", 60) else { panic!("invalid") };
    assert!(why.starts_with("failure.limit: "), "{why}");
    assert_eq!(bench.closings(), 0);
    let live = bench.live(jobs[0].id).expect("live");
    assert_eq!(live.failure.expect("a failure").class, Class::Throttled);
    bench.pass(MINUTE);
    assert_eq!(bench.job().attempt, 2, "it counted as throttled for the run alone");
}
