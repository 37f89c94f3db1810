//! Times that come late: outages by misfire mode, and backfills.

use super::{bench::*, *};
use crate::state_machine::{
    command::{Backfill, Command},
    definition::{Definition, Misfire},
    id::Trigger,
    output::Refusal,
    schedule::{Decision, Span, Verdict},
};

fn hourly(misfire: Misfire) -> Definition {
    with(definition("s", every(HOUR)), |it| it.misfire = misfire)
}

fn counts(log: &[Decision]) -> Vec<(Verdict, Option<u64>)> {
    log.iter().map(|one| (one.verdict, one.count)).collect()
}

/// Runs whatever is handed out until nothing is, and returns the nominal times in order.
fn run_all(bench: &mut Bench) -> Vec<i64> {
    let mut ran = Vec::new();
    loop {
        let jobs = bench.jobs();
        let Some(job) = jobs.first() else { return ran };
        assert_eq!(jobs.len(), 1, "one after another");
        ran.push(job.id.nominal);
        bench.succeed(job);
    }
}

#[test]
fn a_catch_up_ends_when_its_mode_is_changed() {
    let mut bench = Bench::new();
    bench.save(hourly(Misfire::All { window: (24 * HOUR) as u32, max_runs: 100 }));
    bench.restart(3 * HOUR + MINUTE);
    bench.pass(1);
    bench.save(hourly(Misfire::Coalesce));
    bench.pass(1);
    assert_eq!(
        counts(&bench.decisions("s")),
        [(Verdict::Fired, Some(1)), (Verdict::Overlap, Some(2))],
        "the first is live, and the others were due at once"
    );
}

#[test]
fn outages_by_misfire_mode() {
    let all = Misfire::All { window: (24 * HOUR) as u32, max_runs: 100 };
    for (outage, missed) in
        [(MINUTE, 0), (HOUR + MINUTE, 1), (3 * DAY + MINUTE, 72), (400 * DAY + MINUTE, 9_600)]
    {
        for mode in [Misfire::Coalesce, Misfire::Skip, all] {
            let mut bench = Bench::new();
            bench.save(hourly(mode));
            bench.restart(outage);
            bench.pass(1);
            bench.worker(1);
            let ran = run_all(&mut bench).len() as u64;
            let log = counts(&bench.decisions("s"));
            let expected = match mode {
                _ if missed == 0 => vec![],
                Misfire::Coalesce if missed == 1 => vec![(Verdict::Fired, Some(1))],
                Misfire::Coalesce => vec![(Verdict::Coalesced, Some(missed - 1)), (Verdict::Fired, Some(1))],
                // The last one is a minute late: just within the grace.
                Misfire::Skip if missed == 1 => vec![(Verdict::Fired, Some(1))],
                Misfire::Skip => vec![(Verdict::Misfire, Some(missed - 1)), (Verdict::Fired, Some(1))],
                Misfire::All { .. } if missed <= 24 => vec![(Verdict::Fired, Some(missed))],
                Misfire::All { .. } => {
                    vec![(Verdict::Misfire, Some(missed - 24)), (Verdict::Fired, Some(24))]
                }
            };
            assert_eq!(log, expected, "{mode:?} after {} min", outage / MINUTE);
            let fired = log.iter().find(|(verdict, _)| *verdict == Verdict::Fired);
            assert_eq!(ran, fired.map_or(0, |(_, count)| count.expect("counted")));
        }
    }
}

#[test]
fn misfire_skip_leaves_out_what_is_later_than_a_minute() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(hourly(Misfire::Skip));
    bench.skip(HOUR + MINUTE + 1);
    bench.pass(1);
    assert_eq!(counts(&bench.decisions("s")), [(Verdict::Misfire, Some(1))]);
    assert!(bench.jobs().is_empty());
    bench.pass(HOUR);
    assert_eq!(bench.jobs().len(), 1);
}

#[test]
fn misfire_all_keeps_the_newest_of_too_many() {
    let mut bench = Bench::new();
    bench.save(hourly(Misfire::All { window: (24 * HOUR) as u32, max_runs: 3 }));
    bench.restart(10 * HOUR + MINUTE);
    bench.pass(1);
    bench.worker(4);
    let ran: Vec<i64> = run_all(&mut bench).iter().map(|at| (at - START) / HOUR).collect();
    assert_eq!(ran, [8, 9, 10]);
    assert_eq!(counts(&bench.decisions("s")), [(Verdict::Capped, Some(7)), (Verdict::Fired, Some(3))]);
}

#[test]
fn a_catch_up_survives_a_restart_and_lets_no_other_time_overtake() {
    let mut bench = Bench::new();
    bench.save(hourly(Misfire::All { window: (24 * HOUR) as u32, max_runs: 100 }));
    bench.restart(3 * HOUR + MINUTE);
    bench.pass(1);
    bench.worker(4);
    let first = bench.job();
    bench.restart(SECOND);
    let hello = bench.hello("one", 4, vec![held(&first)]);
    bench.open(hello);
    bench.succeed(&first);
    let rest: Vec<i64> = run_all(&mut bench).iter().map(|at| (at - START) / HOUR).collect();
    assert_eq!(rest, [2, 3]);
}

#[test]
fn r8_a_backfill_runs_the_times_that_have_no_run_one_after_another() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(hourly(Misfire::Coalesce));
    bench.pass(HOUR);
    assert_eq!(run_all(&mut bench).len(), 1);
    bench.pause("s", None);
    bench.pass(4 * HOUR);
    bench.resume("s", false);
    let span = Span { from: START + 1, to: START + 5 * HOUR + 1 };
    assert_eq!(bench.backfill("s", span), Ok((4, 1)), "the first time has fired");
    assert_eq!(bench.backfill("s", span), Ok((0, 5)), "what is under way exists");
    let jobs = bench.jobs();
    assert_eq!(jobs[0].id.trigger, Trigger::Backfill);
    let mut ran = vec![jobs[0].id.nominal];
    bench.succeed(&jobs[0]);
    ran.extend(run_all(&mut bench));
    let ran: Vec<i64> = ran.iter().map(|at| (at - START) / HOUR).collect();
    assert_eq!(ran, [2, 3, 4, 5]);
    assert_eq!(
        counts(&bench.decisions("s")),
        [(Verdict::Fired, Some(1)), (Verdict::Paused, Some(4))],
        "what was decided stays decided"
    );
}

#[test]
fn r8_a_backfill_survives_a_restart_and_a_pause_holds_it() {
    let mut bench = Bench::new();
    bench.save(hourly(Misfire::Coalesce));
    bench.pause("s", None);
    bench.pass(3 * HOUR);
    bench.resume("s", false);
    assert_eq!(bench.backfill("s", Span { from: START + 1, to: START + 3 * HOUR + 1 }), Ok((3, 0)));
    bench.restart(SECOND);
    bench.worker(4);
    let first = bench.job();
    bench.pause("s", None);
    bench.succeed(&first);
    assert!(bench.jobs().is_empty());
    assert_eq!(bench.backfill("s", Span { from: START, to: START + HOUR }), Err(Refusal::SchedulePaused));
    bench.resume("s", false);
    assert_eq!(run_all(&mut bench).len(), 2);
}

#[test]
fn r8_a_backfill_of_too_many_times_is_refused() {
    let mut bench = Bench::new();
    bench.save(definition("s", every(SECOND)));
    bench.skip(DAY);
    let span = Span { from: START, to: START + DAY };
    assert_eq!(bench.backfill("s", span), Err(Refusal::TooManyTimes { limit: 10_000 }));
}

#[test]
fn r8_a_run_that_ends_while_history_is_read_is_not_backfilled_again() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(hourly(Misfire::Coalesce));
    bench.pause("s", None);
    bench.pass(HOUR);
    bench.resume("s", false);
    let span = Span { from: START + 1, to: START + HOUR + 1 };
    assert_eq!(bench.backfill("s", span), Ok((1, 0)));
    // The edge has read the history while the run was live, and asks when it is not any more.
    let as_of = bench.view("s").rings;
    let job = bench.job();
    bench.succeed(&job);
    let (key, actor) = (key("s"), "tester".into());
    let backfill = Backfill { key, span, known: Vec::new(), as_of, request: None, actor };
    assert_eq!(bench.refused(&Command::Backfill(Box::new(backfill))), Refusal::Changed);
}
