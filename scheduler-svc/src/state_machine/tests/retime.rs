//! Rule R2 on a change of timing: times that have passed but are not due yet, because of their spread.

use super::{bench::*, *};
use crate::state_machine::{
    definition::Definition,
    schedule::{Decision, Verdict},
    timing::{Timing, spread_offset},
};

/// A schedule whose times are due some hours after they are named.
fn spread(timing: Timing) -> Definition {
    let mut definition = definition("mb-1", timing);
    definition.spread = 24 * 3_600_000;
    definition
}

fn offset() -> i64 {
    spread_offset("default", "mb-1", 24 * 3_600_000)
}

fn anchored(interval: i64) -> Timing {
    Timing::Every { interval, anchor: Some(START) }
}

/// (verdict, hour after the start, count)
fn log(bench: &mut Bench) -> Vec<(Verdict, i64, Option<u64>)> {
    let hours = |d: Decision| (d.verdict, (d.last - START) / HOUR, d.count);
    bench.decisions("mb-1").into_iter().map(hours).collect()
}

#[test]
fn spread_moves_due_times_and_not_names() {
    let mut bench = Bench::new();
    bench.save(spread(anchored(HOUR)));
    bench.pass(HOUR + offset() - 1);
    assert!(bench.fired().is_empty());
    bench.pass(1);
    assert_eq!(bench.fired(), [START + HOUR]);
}

#[test]
fn r2_times_that_both_timings_name_stay() {
    assert!(offset() > 5 * HOUR, "the case needs pending times");
    let mut bench = Bench::new();
    bench.save(spread(anchored(HOUR)));
    bench.pass(4 * HOUR + MINUTE);
    let (view, _) = bench.save(spread(anchored(2 * HOUR)));
    assert_eq!(view.next, Some(START + 2 * HOUR), "the second and fourth hour stay");
    assert_eq!(log(&mut bench), [(Verdict::Replaced, 3, Some(2))]);
    bench.worker(1);
    for _ in 0..(offset() / HOUR + 4) {
        bench.pass(HOUR);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
    }
    assert_eq!(bench.fired()[..3], [START + 2 * HOUR, START + 4 * HOUR, START + 6 * HOUR]);
}

#[test]
fn r2_passed_times_that_only_the_new_timing_names_do_not_fire() {
    let mut bench = Bench::new();
    bench.save(spread(anchored(2 * HOUR)));
    bench.pass(3 * HOUR + MINUTE);
    let (view, _) = bench.save(spread(anchored(HOUR)));
    assert_eq!(view.next, Some(START + 4 * HOUR));
    assert_eq!(log(&mut bench), [(Verdict::Replaced, 2, Some(1))]);
}

#[test]
fn r2_a_timing_with_other_times_replaces_all_that_were_pending() {
    let mut bench = Bench::new();
    bench.save(spread(anchored(HOUR)));
    bench.pass(3 * HOUR + MINUTE);
    let (view, _) = bench.save(spread(Timing::Every { interval: HOUR, anchor: Some(START + 7 * MINUTE) }));
    assert_eq!(view.next, Some(START + 3 * HOUR + 7 * MINUTE));
    assert_eq!(log(&mut bench), [(Verdict::Replaced, 3, Some(3))]);
}

#[test]
fn r2_a_crowd_of_pending_times_is_replaced_as_one_range() {
    let mut bench = Bench::new();
    bench.save(spread(anchored(SECOND)));
    bench.pass(2 * HOUR);
    let (view, _) = bench.save(spread(anchored(2 * SECOND)));
    assert_eq!(view.next, Some(START + 2 * HOUR + 2 * SECOND));
    assert_eq!(log(&mut bench), [(Verdict::Replaced, 2, None)]);
}

#[test]
fn what_was_due_before_a_change_fires_by_the_old_timing() {
    let mut bench = Bench::new();
    bench.save(definition("a", anchored(HOUR)));
    bench.skip(90 * MINUTE);
    bench.save(definition("a", anchored(DAY)));
    assert_eq!(bench.fired(), [START + HOUR]);
}

#[test]
fn a_new_zone_takes_effect_from_now_on() {
    let mut bench = Bench::new();
    bench.save(definition("a", cron("0 2 * * *", "Europe/Berlin")));
    assert_eq!(bench.view("a").next, Some(START + HOUR));
    bench.pass(90 * MINUTE);
    let (view, _) = bench.save(definition("a", cron("0 2 * * *", "Europe/Lisbon")));
    assert_eq!(bench.fired(), [START + HOUR]);
    assert_eq!(view.next, Some(START + 2 * HOUR));
}

#[test]
fn an_interval_keeps_its_phase_unless_an_anchor_is_set() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.pass(10 * MINUTE);
    assert_eq!(bench.save(definition("a", every(30 * MINUTE))).0.next, Some(START + 30 * MINUTE));
    let anchored = Timing::Every { interval: HOUR, anchor: Some(START + 5 * MINUTE) };
    assert_eq!(bench.save(definition("a", anchored)).0.next, Some(START + 65 * MINUTE));
}

#[test]
fn a_timing_changed_during_a_pause_leaves_the_skipped_times_skipped() {
    let mut bench = Bench::new();
    bench.save(definition("a", anchored(HOUR)));
    bench.pause("a", None);
    bench.pass(3 * HOUR + MINUTE);
    bench.save(definition("a", anchored(30 * MINUTE)));
    bench.pass(HOUR);
    bench.resume("a", false);
    let log: Vec<_> = bench.decisions("a").into_iter().map(|d| (d.verdict, d.count)).collect();
    assert_eq!(log, [(Verdict::Paused, Some(5))], "three by the old timing, two by the new one");
}
