//! Rule P6 and misfires: clocks that step, and outages.

use super::{bench::*, *};
use crate::state_machine::{look::Ahead, schedule::Verdict};

#[test]
fn p6_clock_stepped_back_fires_nothing_twice() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(MINUTE)));
    bench.worker(1);
    for step in [0, -3 * MINUTE, 0, -HOUR, 2 * HOUR, 0] {
        bench.set_clock(step);
        bench.pass(2 * MINUTE);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
    }
    let fired = bench.fired();
    assert!(fired.windows(2).all(|pair| pair[0] < pair[1]), "{fired:?}");
    let log = bench.decisions("a");
    let through = bench.view("a").decided_through;
    let decided: u64 = log.iter().filter_map(|decision| decision.count).sum();
    assert_eq!(decided as i64, (through - START) / MINUTE, "each time is decided once");
}

#[test]
fn p6_leases_and_backoff_run_on_the_elapsed_clock() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    let session = bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.set_clock(DAY);
    bench.wake();
    assert_eq!(bench.beat(session, 2, vec![held(&job)]).0, []);
    bench.fail(&job, crate::state_machine::failure::Class::Transient);
    bench.set_clock(DAY);
    bench.pass(7 * SECOND);
    assert!(bench.jobs().is_empty(), "ten seconds ± 20 % have not passed");
    bench.pass(6 * SECOND);
    assert_eq!(bench.job().attempt, 2);
}

#[test]
fn p6_stored_deadlines_are_capped_at_their_span_on_load() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.fail(&job, crate::state_machine::failure::Class::Throttled);
    bench.set_clock(-30 * DAY);
    bench.restart(0);
    bench.worker(1);
    bench.pass(59 * SECOND);
    assert!(bench.jobs().is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.job().attempt, 2, "not in thirty days");
}

#[test]
fn outages_coalesce_into_one_run_of_the_latest_time() {
    for (outage, missed) in [(MINUTE, 1), (HOUR, 60), (3 * DAY, 4_320), (400 * DAY, 576_000)] {
        let mut bench = Bench::new();
        bench.save(definition("a", every(MINUTE)));
        bench.restart(outage + SECOND);
        bench.wake();
        assert_eq!(bench.fired(), [START + outage], "after {outage} ms");
        let log = bench.decisions("a");
        let fired = log.last().expect("a decision");
        assert_eq!(
            (fired.verdict, fired.first, fired.last),
            (Verdict::Fired, START + outage, START + outage)
        );
        if missed == 1 {
            assert_eq!(log.len(), 1);
            continue;
        }
        let stood_for = &log[0];
        assert_eq!(stood_for.verdict, Verdict::Coalesced);
        assert_eq!((stood_for.first, stood_for.last), (START + MINUTE, START + outage - MINUTE));
        assert_eq!(stood_for.count, Some(missed - 1).filter(|count| *count <= 10_000));
        assert_eq!(stood_for.run.map(|run| run.1), Some(START + outage));
        assert_eq!(bench.view("a").next, Some(START + outage + MINUTE));
    }
}

#[test]
fn a_daily_schedule_catches_up_once_after_an_outage() {
    let mut bench = Bench::new();
    bench.save(definition("a", cron("0 2 * * *", "Europe/Berlin")));
    bench.restart(10 * DAY);
    bench.wake();
    assert_eq!(bench.fired(), [START + 9 * DAY + HOUR]);
    let log: Vec<_> = bench.decisions("a").into_iter().map(|d| (d.verdict, d.count)).collect();
    assert_eq!(log, [(Verdict::Coalesced, Some(9)), (Verdict::Fired, Some(1))]);
}

#[test]
fn times_missed_while_a_run_is_live_are_overlaps() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(MINUTE)));
    bench.pass(MINUTE);
    bench.restart(HOUR);
    bench.wake();
    assert_eq!(bench.fired(), [START + MINUTE]);
    let log = bench.decisions("a");
    let last = log.last().expect("a decision");
    assert_eq!((last.verdict, last.count), (Verdict::Overlap, Some(60)));
    assert_eq!(last.run.map(|run| run.1), Some(START + MINUTE), "names the run that was in the way");
}

#[test]
fn a_herd_takes_turns_and_loses_nobody() {
    let config = crate::state_machine::Config {
        timers_per_turn: 10,
        assignments_per_turn: 7,
        max_batch: 3,
        ..Default::default()
    };
    let mut bench = Bench::with(config);
    for n in 0..40 {
        bench.save(definition(&format!("mb-{n}"), every(HOUR)));
    }
    bench.worker(100);
    bench.skip(HOUR);
    assert_eq!(bench.wake(), 10);
    assert_eq!(bench.jobs().len(), 9, "one of the ten timers was the session's");
    while bench.wake() > 0 {}
    let sizes: Vec<usize> = bench
        .messages
        .iter()
        .filter_map(|(_, message)| match &message.body {
            crate::state_machine::output::Body::Jobs(jobs) => Some(jobs.len()),
            crate::state_machine::output::Body::Cancel { .. } => None,
        })
        .collect();
    assert!(sizes.iter().all(|size| *size <= 3), "{sizes:?}");
    assert_eq!(bench.jobs().len(), 31);
}

/// A clock that was ahead leaves schedules silent; it is known which, also after a restart.
#[test]
fn what_a_clock_ahead_has_decided_is_known() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(MINUTE)));
    bench.save(definition("b", every(10 * DAY)));
    assert_eq!(bench.machine.ahead(bench.now.wall, 0), None);
    bench.set_clock(2 * HOUR);
    bench.wake();
    assert_eq!(bench.machine.ahead(bench.now.wall, 0), None, "nobody knows yet that it is ahead");
    bench.set_clock(-2 * HOUR);
    let ahead = Ahead { schedules: 1, until: bench.view("a").decided_through };
    assert_eq!(ahead.until, START + 2 * HOUR);
    assert_eq!(bench.machine.ahead(bench.now.wall, MINUTE), Some(ahead));
    assert_eq!(bench.machine.ahead(bench.now.wall, 3 * HOUR), None);
    bench.restart(SECOND);
    assert_eq!(bench.machine.ahead(bench.now.wall, MINUTE), Some(ahead));
}
