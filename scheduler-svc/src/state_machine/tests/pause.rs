//! Rules R4 and R5: pause, resume, delete.

use super::{bench::*, *};
use crate::state_machine::{
    command::{Command, GetRun},
    definition::Misfire,
    failure::Class,
    id::ReplyTo,
    output::{Answer, Body, Receipt, Refusal},
    run::Outcome,
    schedule::{PauseReason, Status, Verdict},
    timing::Timing,
    view::{RunState, RunView, Wait},
};

#[test]
fn r4_nothing_is_assigned_after_pause() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let (id, _) = bench.run_now("a");
    assert!(bench.pause("a", None));
    bench.worker(1);
    bench.pass(3 * HOUR);
    assert!(bench.jobs().is_empty());
    assert_eq!(bench.live(id).expect("held").state, RunState::Queued(Some(Wait::Paused)));
    let trigger = bench.trigger("a");
    assert_eq!(bench.refused(&trigger), Refusal::SchedulePaused);
    assert!(bench.resume("a", false));
    assert_eq!(bench.job().id, id, "held, not lost");
    assert!(!bench.resume("a", false));
}

#[test]
fn r4_a_run_in_backoff_is_held_through_a_pause() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(DAY)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.fail(&job, Class::Transient);
    bench.pause("a", None);
    bench.restart(0);
    bench.worker(1);
    bench.pass(HOUR);
    assert!(bench.jobs().is_empty());
    bench.resume("a", false);
    assert_eq!(bench.job().attempt, 2);
}

#[test]
fn r4_a_running_run_goes_on_through_a_pause_and_retries_after_it() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(DAY)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.pause("a", None);
    bench.fail(&job, Class::Interrupted);
    assert!(bench.jobs().is_empty());
    bench.resume("a", false);
    let again = bench.job();
    assert_eq!(bench.succeed(&again), Receipt::Accepted { next_attempt: None });
}

#[test]
fn times_of_a_pause_are_skipped() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.pause("a", None);
    bench.pass(5 * HOUR + MINUTE);
    bench.resume("a", false);
    assert!(bench.fired().is_empty());
    let log = bench.decisions("a");
    assert_eq!((log[0].verdict, log[0].first, log[0].count), (Verdict::Paused, START + HOUR, Some(5)));
    assert_eq!(bench.view("a").next, Some(START + 6 * HOUR));
}

#[test]
fn catch_up_runs_the_latest_time_of_the_pause() {
    let mut bench = Bench::new();
    let mut spread = definition("a", every(HOUR));
    spread.spread = 60_000;
    bench.save(spread.clone());
    bench.pause("a", None);
    bench.pass(3 * HOUR + 2 * MINUTE);
    // Neither a refused call nor another definition takes the catch-up run away.
    let trigger = bench.trigger("a");
    bench.refused(&trigger);
    spread.priority = 2;
    bench.save(spread);
    bench.resume("a", true);
    assert_eq!(bench.fired(), [START + 3 * HOUR]);
    let log: Vec<_> = bench.decisions("a").into_iter().map(|d| (d.verdict, d.count)).collect();
    assert_eq!(log, [(Verdict::Paused, Some(2)), (Verdict::Fired, Some(1))]);
}

#[test]
fn catch_up_of_a_pause_without_times_runs_nothing() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.pause("a", None);
    bench.pass(10 * MINUTE);
    bench.resume("a", true);
    assert!(bench.fired().is_empty());
    assert_eq!(bench.view("a").next, Some(START + HOUR));
}

#[test]
fn a_pause_ends_by_itself_at_its_time() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.pause("a", Some(START + 150 * MINUTE));
    bench.pass(4 * HOUR);
    assert_eq!(bench.fired(), [START + 3 * HOUR]);
    assert_eq!(bench.view("a").status, Status::Active);
}

#[test]
fn what_came_after_a_pause_that_ended_during_an_outage_is_caught_up() {
    let by_wake = |bench: &mut Bench| {
        bench.wake();
    };
    let by_command = |bench: &mut Bench| {
        bench.pause("a", None);
    };
    for act in [&by_wake as &dyn Fn(&mut Bench), &by_command] {
        let mut bench = Bench::new();
        bench.save(definition("a", every(HOUR)));
        bench.pause("a", Some(START + 150 * MINUTE));
        bench.restart(5 * HOUR);
        act(&mut bench);
        let log: Vec<_> = bench.decisions("a").into_iter().map(|d| (d.verdict, d.count)).collect();
        assert_eq!(
            log,
            [(Verdict::Paused, Some(2)), (Verdict::Coalesced, Some(2)), (Verdict::Fired, Some(1))]
        );
    }
}

#[test]
fn a_one_shot_that_fell_into_a_pause_is_gone_after_it() {
    let mut bench = Bench::new();
    let mut once = definition("a", Timing::At(START + HOUR));
    once.delete_when_ended = true;
    bench.save(once);
    bench.pause("a", None);
    bench.pass(2 * HOUR);
    let resume = Command::Resume(crate::state_machine::command::Resume {
        key: key("a"),
        catch_up: false,
        request: None,
        actor: "tester".into(),
    });
    assert_eq!(bench.refused(&resume), Refusal::ScheduleNotFound);
    assert!(bench.kept() == 0);
}

#[test]
fn r4_delete_cancels_what_waits_and_lets_the_rest_finish() {
    let mut bench = Bench::new();
    let uid = bench.save(definition("a", every(HOUR))).0.uid;
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.delete("a", false);
    bench.judge.deleted.insert(uid);
    assert!(bench.gone("a"));
    bench.save(definition("a", every(MINUTE)));
    bench.restart(0);
    assert_eq!(bench.view("a").definition.timing, every(MINUTE), "the name is the new one's");
    assert_eq!(bench.succeed(&job), Receipt::Accepted { next_attempt: None });
    assert_eq!(bench.kept(), 2, "nothing is left of the old one");
}

#[test]
fn r4_nothing_of_a_deleted_schedule_is_tried_again() {
    for class in [Class::Transient, Class::Throttled, Class::Interrupted] {
        let mut bench = Bench::new();
        let uid = bench.save(definition("a", every(HOUR))).0.uid;
        bench.worker(1);
        bench.run_now("a");
        let job = bench.job();
        bench.delete("a", false);
        bench.judge.deleted.insert(uid);
        assert_eq!(bench.fail(&job, class), Receipt::Accepted { next_attempt: None });
        bench.pass(HOUR);
        assert!(bench.jobs().is_empty() && bench.kept() == 0);
    }
}

#[test]
fn r4_a_worker_lost_after_the_delete_ends_the_run() {
    let mut bench = Bench::new();
    let uid = bench.save(definition("a", every(HOUR))).0.uid;
    bench.silent_worker(1);
    bench.run_now("a");
    bench.jobs();
    bench.delete("a", false);
    bench.judge.deleted.insert(uid);
    bench.pass(20 * SECOND);
    assert!(bench.kept() == 0);
}

#[test]
fn w9_delete_with_cancel_running_asks_the_worker_until_it_obeys() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let session = bench.worker(1);
    let (id, _) = bench.run_now("a");
    let job = bench.job();
    let get = GetRun { namespace: "default".into(), id, wait: true };
    let waiting = bench.apply(&Command::GetRun(get));
    bench.delete("a", true);
    let pushed = bench.messages.iter().any(|(to, message)| {
        *to == session && matches!(&message.body, Body::Cancel { id: cancelled, .. } if *cancelled == id)
    });
    assert!(pushed);
    for _ in 0..2 {
        let (orders, _) = bench.beat(session, 3, vec![held(&job)]);
        assert_eq!(orders.len(), 1, "said again until it is obeyed");
    }
    assert!(bench.reply(waiting).is_none());
    assert_eq!(bench.fail(&job, Class::Cancelled), Receipt::Accepted { next_attempt: None });
    let Some(Ok(Answer::Run(view))) = bench.reply(waiting) else { panic!("the waiter hears the end") };
    let RunView::Final { finished: Some(finished), .. } = *view else { panic!("final") };
    assert_eq!(finished.outcome, Outcome::Cancelled);
    assert!(bench.kept() == 0);
}

#[test]
fn w9_a_worker_that_does_not_obey_loses_its_lease() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let session = bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.delete("a", true);
    for _ in 0..14 {
        bench.pass(5 * SECOND);
        bench.beat(session, 9, vec![held(&job)]);
    }
    assert!(bench.kept() == 0);
    let (orders, _) = bench.beat(session, 9, vec![held(&job)]);
    assert_eq!(orders[0].action, crate::state_machine::output::Action::Drop);
}

#[test]
fn r5_reauthorize_pauses_at_once_with_its_reason() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.fail(&job, Class::Reauthorize);
    let pause = bench.view("a").pause.expect("a pause");
    assert_eq!((pause.reason, &*pause.note), (PauseReason::Reauthorize, "a reason"));
    assert_eq!(bench.history("a")[0].outcome, Outcome::Failed);
}

#[test]
fn r5_an_attempt_from_before_the_reconnect_counts_as_transient() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(DAY)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.pass(SECOND);
    let mut other = definition("a", every(DAY));
    other.priority = 1;
    bench.save(other);
    assert!(matches!(bench.fail(&job, Class::Reauthorize), Receipt::Accepted { next_attempt: Some(_) }));
    assert_eq!(bench.view("a").status, Status::Active);
    bench.pass(MINUTE);
    let again = bench.job();
    bench.fail(&again, Class::Reauthorize);
    assert_eq!(bench.view("a").status, Status::Paused, "this attempt began after it");
}

#[test]
fn a_row_of_failures_pauses_if_the_user_wants_it() {
    let mut bench = Bench::new();
    let mut strict = definition("a", every(HOUR));
    strict.pause_after_failures = 2;
    bench.save(strict);
    bench.worker(1);
    for class in [Class::Permanent, Class::Cancelled, Class::Permanent] {
        assert_eq!(bench.view("a").status, Status::Active);
        bench.pass(HOUR);
        let job = bench.job();
        bench.fail(&job, class);
    }
    assert_eq!(bench.view("a").pause.expect("a pause").reason, PauseReason::Failures);
    bench.resume("a", false);
    bench.pass(HOUR);
    let job = bench.job();
    bench.fail(&job, Class::Permanent);
    assert_eq!(bench.view("a").status, Status::Active, "the count starts again");
}

#[test]
fn what_was_due_before_failures_paused_the_schedule_is_not_skipped_for_the_pause() {
    let mut bench = Bench::new();
    bench.save(with(definition("a", every(HOUR)), |it| it.pause_after_failures = 1));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    // The process could not run; the report is what it hears first.
    bench.skip(HOUR + MINUTE);
    bench.fail(&job, Class::Permanent);
    assert_eq!(bench.view("a").status, Status::Paused);
    let due = bench.decisions("a").remove(0);
    assert_eq!((due.verdict, due.count), (Verdict::Fired, Some(1)));
    bench.resume("a", false);
    assert!(bench.decisions("a").iter().all(|entry| entry.verdict != Verdict::Paused));
}

#[test]
fn a_pause_by_the_user_is_not_replaced_by_failures() {
    let mut bench = Bench::new();
    let mut strict = definition("a", every(DAY));
    strict.pause_after_failures = 1;
    bench.save(strict);
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.pause("a", Some(START + HOUR));
    bench.fail(&job, Class::Permanent);
    let pause = bench.view("a").pause.expect("a pause");
    assert_eq!((pause.reason, pause.until), (PauseReason::Requested, Some(START + HOUR)));
}

#[test]
fn waiters_are_bounded_and_the_oldest_is_answered_first() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let (id, _) = bench.run_now("a");
    let get = Command::GetRun(GetRun { namespace: "default".into(), id, wait: true });
    let waiting: Vec<ReplyTo> = (0..1_001).map(|_| bench.apply(&get)).collect();
    assert!(bench.reply(waiting[0]).is_some());
    assert!(bench.reply(waiting[1]).is_none());
    bench.delete("a", false);
    assert!(waiting[1..].iter().all(|to| bench.reply(*to).is_some()));
}

#[test]
fn r4_a_pause_until_noon_leaves_noon_alone() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.pause("a", Some(START + 2 * HOUR));
    bench.pass(2 * HOUR);
    assert_eq!(bench.fired(), [START + 2 * HOUR]);
    let log: Vec<_> = bench.decisions("a").iter().map(|one| (one.verdict, one.last)).collect();
    assert_eq!(log, [(Verdict::Paused, START + HOUR), (Verdict::Fired, START + 2 * HOUR)]);
}

#[test]
fn catch_up_runs_the_latest_time_of_the_pause_however_late_it_is() {
    for misfire in [Misfire::Coalesce, Misfire::Skip, Misfire::All { window: 60_000, max_runs: 2 }] {
        let mut bench = Bench::new();
        bench.save(with(definition("a", every(HOUR)), |it| it.misfire = misfire));
        bench.pause("a", None);
        bench.pass(3 * HOUR + 10 * MINUTE);
        bench.resume("a", true);
        assert_eq!(bench.fired(), [START + 3 * HOUR], "{misfire:?}");
        let log: Vec<_> = bench.decisions("a").into_iter().map(|d| (d.verdict, d.count)).collect();
        assert_eq!(log, [(Verdict::Paused, Some(2)), (Verdict::Fired, Some(1))], "{misfire:?}");
    }
}

#[test]
fn catch_up_of_a_pause_asks_the_overlap_policy() {
    let mut bench = Bench::new();
    bench.save(with(definition("a", every(HOUR)), |it| it.misfire = Misfire::Skip));
    bench.run_now("a");
    bench.pause("a", None);
    bench.pass(3 * HOUR + 10 * MINUTE);
    bench.resume("a", true);
    let log: Vec<_> = bench.decisions("a").into_iter().map(|d| (d.verdict, d.count)).collect();
    assert_eq!(log, [(Verdict::Paused, Some(2)), (Verdict::Overlap, Some(1))]);
}
