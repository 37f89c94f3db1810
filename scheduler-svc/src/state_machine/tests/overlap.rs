//! What a run does that is to begin while another run of its schedule is live.

use super::{bench::*, *};
use crate::state_machine::{
    Config,
    command::{CancelRun, Command},
    definition::{Definition, Misfire, Overlap},
    failure::Class,
    output::{Answer, Body, Event, Refusal, ScheduleChange},
    run::Outcome,
    schedule::{Decision, Status, Verdict},
    timing::Timing,
    view::{RunState, RunView, Wait},
};

fn minutely(overlap: Overlap) -> Definition {
    with(definition("s", every(MINUTE)), |it| it.overlap = overlap)
}

fn verdicts(log: &[Decision]) -> Vec<(Verdict, i64, i64)> {
    log.iter().map(|one| (one.verdict, (one.first - START) / MINUTE, (one.last - START) / MINUTE)).collect()
}

#[test]
fn buffer_one_keeps_the_newest_time_and_runs_it_next() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(minutely(Overlap::BufferOne));
    bench.pass(3 * MINUTE);
    let first = bench.job();
    let waiting = bench.view("s").active[1];
    assert_eq!(bench.live(waiting).expect("live").state, RunState::Queued(Some(Wait::Overlap)));
    assert_eq!(
        verdicts(&bench.decisions("s")),
        [(Verdict::Fired, 1, 1), (Verdict::Overlap, 2, 2)],
        "the third waits: it is not decided yet"
    );
    bench.succeed(&first);
    let third = bench.job();
    assert_eq!(third.id, waiting);
    assert_eq!(
        verdicts(&bench.decisions("s")),
        [(Verdict::Fired, 1, 1), (Verdict::Overlap, 2, 2), (Verdict::Fired, 3, 3)]
    );
    bench.succeed(&third);
    assert_eq!(bench.history("s").len(), 2, "a time that never ran leaves no run behind");
}

#[test]
fn max_runs_counts_what_began_when_later_times_were_missed() {
    let mut bench = Bench::new();
    bench.save(with(minutely(Overlap::BufferOne), |it| it.max_runs = 1));
    bench.run_now("s");
    bench.pass(MINUTE);
    bench.restart(3 * MINUTE);
    bench.wake();
    // The newest takes the place of the first, as if each had come alone.
    assert_eq!(verdicts(&bench.decisions("s")), [(Verdict::Overlap, 1, 1), (Verdict::Coalesced, 2, 3)]);
    assert_eq!(bench.view("s").active.len(), 2, "the manual run, and the one that waits behind it");
    bench.worker(1);
    let manual = bench.job();
    bench.succeed(&manual);
    assert_eq!(bench.job().id.nominal, START + 4 * MINUTE);
    assert_eq!(bench.view("s").status, Status::Ended);
}

#[test]
fn a_run_that_waits_has_no_more_room_under_allow_than_any_other() {
    let mut bench = Bench::with(Config { live_runs_max: 2, ..Config::default() });
    bench.save(minutely(Overlap::Allow));
    bench.pass(2 * MINUTE);
    bench.save(minutely(Overlap::BufferOne));
    bench.pass(MINUTE);
    let third = bench.view("s").active[2];
    bench.save(minutely(Overlap::Allow));
    assert_eq!(bench.live(third).expect("live").state, RunState::Queued(Some(Wait::Overlap)));
    bench.worker(2);
    let first = bench.jobs().remove(0);
    bench.succeed(&first);
    assert_eq!(bench.job().id, third);
}

#[test]
fn a_time_that_was_replaced_names_the_run_in_the_way_also_after_a_restart() {
    let mut bench = Bench::new();
    bench.save(minutely(Overlap::BufferOne));
    let (manual, _) = bench.run_now("s");
    bench.pass(MINUTE);
    bench.restart(SECOND);
    bench.pass(2 * MINUTE);
    let log = bench.decisions("s");
    assert_eq!(verdicts(&log), [(Verdict::Overlap, 1, 2)]);
    assert_eq!(log[0].run, Some((manual.trigger, manual.nominal)));
}

#[test]
fn a_run_that_waits_behind_another_survives_a_restart() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(minutely(Overlap::BufferOne));
    bench.pass(2 * MINUTE);
    let first = bench.job();
    bench.restart(SECOND);
    assert_eq!(bench.view("s").active.len(), 2);
    let hello = bench.hello("one", 4, vec![held(&first)]);
    bench.open(hello);
    bench.succeed(&first);
    assert_eq!(bench.job().id.nominal, START + 2 * MINUTE);
}

#[test]
fn allow_runs_side_by_side_up_to_the_bound() {
    let mut bench = Bench::with(crate::state_machine::Config { live_runs_max: 2, ..Default::default() });
    bench.worker(8);
    bench.save(minutely(Overlap::Allow));
    bench.pass(3 * MINUTE);
    assert_eq!(bench.jobs().len(), 2);
    assert_eq!(verdicts(&bench.decisions("s")), [(Verdict::Fired, 1, 2), (Verdict::Capped, 3, 3)]);
    let (run, created) = bench.run_now("s");
    assert!(!created, "the answer names a live run instead");
    assert_eq!(run, bench.view("s").active[1]);
}

#[test]
fn cancel_running_stops_the_live_run_and_begins_when_it_is_final() {
    let mut bench = Bench::new();
    let session = bench.worker(4);
    bench.save(minutely(Overlap::CancelRunning));
    bench.pass(MINUTE);
    let first = bench.job();
    bench.pass(MINUTE);
    let told = bench.messages.iter().any(|(to, message)| {
        *to == session && matches!(message.body, Body::Cancel { id, .. } if id == first.id)
    });
    assert!(told, "its worker is told at once");
    assert!(bench.jobs().is_empty(), "two runs are never on workers at once");
    bench.fail(&first, Class::Cancelled);
    let second = bench.job();
    assert_eq!(second.id.nominal, START + 2 * MINUTE);
    assert_eq!(verdicts(&bench.decisions("s")), [(Verdict::Fired, 1, 2)]);
    assert_eq!(bench.history("s")[0].outcome, Outcome::Cancelled);
}

#[test]
fn cancel_running_ends_a_run_that_still_waits_at_once() {
    let mut bench = Bench::new();
    bench.save(minutely(Overlap::CancelRunning));
    bench.pass(2 * MINUTE);
    bench.worker(1);
    assert_eq!(bench.job().id.nominal, START + 2 * MINUTE);
    assert_eq!(bench.history("s").len(), 1);
}

#[test]
fn r1_a_trigger_follows_the_overlap_policy() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(minutely(Overlap::BufferOne));
    let (live, created) = bench.run_now("s");
    assert!(created);
    bench.skip(SECOND);
    let (behind, created) = bench.run_now("s");
    assert!(created && behind != live);
    bench.skip(SECOND);
    let (newest, created) = bench.run_now("s");
    assert!(created);
    let replaced = bench.history("s").remove(0);
    assert_eq!((replaced.id, replaced.outcome), (behind, Outcome::Cancelled));
    assert_eq!(&*replaced.failure.expect("a reason").code, "REPLACED");
    assert_eq!(bench.view("s").active, [live, newest]);
}

#[test]
fn r1_a_triggered_run_is_shown_as_it_is_after_the_hand_out() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(minutely(Overlap::Skip));
    let trigger = bench.trigger("s");
    let Answer::Triggered { run, .. } = bench.call(&trigger) else { panic!() };
    let RunView::Live(run) = *run else { panic!("live") };
    assert_eq!(run.state, RunState::Running);
}

#[test]
fn r4_a_pause_holds_what_waits_behind_a_live_run() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(minutely(Overlap::BufferOne));
    bench.pass(2 * MINUTE);
    let first = bench.job();
    bench.pause("s", None);
    bench.succeed(&first);
    bench.pass(5 * MINUTE);
    assert!(bench.jobs().is_empty(), "nothing is assigned after the reply to Pause");
    bench.resume("s", false);
    assert_eq!(bench.job().id.nominal, START + 2 * MINUTE, "it came before the pause");
    assert_eq!(verdicts(&bench.decisions("s")), [(Verdict::Fired, 1, 2), (Verdict::Paused, 3, 7)]);
}

#[test]
fn r2_a_new_timing_replaces_a_time_that_waits_and_that_it_does_not_name() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(minutely(Overlap::BufferOne));
    bench.pass(2 * MINUTE);
    let first = bench.job();
    bench.skip(7 * SECOND);
    let timing = Timing::Every { interval: MINUTE, anchor: Some(START + 30_000) };
    bench.save(with(definition("s", timing), |it| it.overlap = Overlap::BufferOne));
    assert_eq!(verdicts(&bench.decisions("s")), [(Verdict::Fired, 1, 1), (Verdict::Replaced, 2, 2)]);
    bench.succeed(&first);
    assert!(bench.jobs().is_empty());
}

#[test]
fn a_cancelled_run_is_final_at_once_while_it_waits_and_when_its_worker_stops_otherwise() {
    let mut bench = Bench::new();
    bench.save(minutely(Overlap::Skip));
    let (run, _) = bench.run_now("s");
    assert!(bench.cancel_run(run).is_ok());
    let end = bench.history("s").remove(0);
    assert_eq!((end.id, end.outcome), (run, Outcome::Cancelled));
    assert_eq!(&*end.failure.expect("a reason").message, "cancelled by tester: enough");
    assert_eq!(bench.cancel_run(run), Err(Refusal::RunNotLive));

    bench.worker(1);
    bench.skip(SECOND);
    let (run, _) = bench.run_now("s");
    let job = bench.job();
    assert!(bench.cancel_run(run).is_ok());
    assert_eq!(bench.live(run).expect("live").state, RunState::Cancelling);
    bench.fail(&job, Class::Cancelled);
    assert_eq!(bench.history("s")[0].outcome, Outcome::Cancelled);
}

#[test]
fn a_run_of_another_namespace_is_not_cancelled() {
    let mut bench = Bench::new();
    bench.save(minutely(Overlap::Skip));
    let (id, _) = bench.run_now("s");
    let cancel =
        CancelRun { namespace: "other".into(), id, note: "".into(), request: None, actor: "tester".into() };
    assert_eq!(bench.refused(&Command::CancelRun(cancel)), Refusal::RunNotFound);
}

#[test]
fn changes_are_told_with_who_caused_them() {
    let mut bench = Bench::new();
    bench.save(minutely(Overlap::Skip));
    bench.pause("s", Some(START + 10 * MINUTE));
    bench.pass(11 * MINUTE);
    bench.delete("s", false);
    let told: Vec<(ScheduleChange, String)> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Schedule { change, actor, .. } => Some((*change, actor.to_string())),
            _ => None,
        })
        .collect();
    let by = |change, actor: &str| (change, actor.to_owned());
    assert_eq!(
        told,
        [
            by(ScheduleChange::Created, "tester"),
            by(ScheduleChange::Paused, "tester"),
            by(ScheduleChange::Resumed, "docket"),
            by(ScheduleChange::Deleted, "tester")
        ]
    );
}

#[test]
fn a_time_that_missed_ones_push_out_of_its_place_has_not_fired() {
    for (misfire, became) in [(Misfire::Coalesce, Verdict::Coalesced), (Misfire::Skip, Verdict::Misfire)] {
        let mut bench = Bench::new();
        bench.worker(4);
        bench.save(with(minutely(Overlap::BufferOne), |it| {
            it.misfire = misfire;
            it.max_runs = 2
        }));
        bench.pass(2 * MINUTE);
        let first = bench.job();
        // Nothing was heard for three minutes and a bit: times 3 to 5 are due at once.
        bench.skip(3 * MINUTE + SECOND);
        bench.pass(1);
        let waiting = bench.view("s").active[1];
        assert_eq!(waiting.nominal, START + 5 * MINUTE);
        let expected = [(Verdict::Fired, 1, 1), (Verdict::Overlap, 2, 2), (became, 3, 4)];
        assert_eq!(verdicts(&bench.decisions("s"))[..3], expected, "{misfire:?}");
        bench.succeed(&first);
        assert_eq!(bench.view("s").status, Status::Ended, "max_runs counts what began, and no more");
        assert_eq!(bench.decisions("s").iter().filter(|one| one.verdict == Verdict::Fired).count(), 2);
    }
}

#[test]
fn a_run_that_waits_begins_beside_others_only_up_to_the_bound() {
    let mut bench = Bench::with(Config { live_runs_max: 2, ..Default::default() });
    bench.worker(8);
    bench.save(minutely(Overlap::Allow));
    bench.pass(2 * MINUTE);
    let jobs = bench.jobs();
    bench.save(minutely(Overlap::BufferOne));
    bench.pass(MINUTE);
    bench.save(minutely(Overlap::Allow));
    assert!(bench.jobs().is_empty(), "two are live already");
    bench.succeed(&jobs[0]);
    assert_eq!(bench.job().id.nominal, START + 3 * MINUTE);
}
