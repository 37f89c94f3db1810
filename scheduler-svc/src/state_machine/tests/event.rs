//! What is told of each change (rule R8). That every change is told once is the mirror's to say, after each step of
//! each test.

use super::{bench::*, *};
use crate::state_machine::{
    command::{BulkChange, Command, Page, RetryRuns},
    definition::Overlap,
    failure::Class,
    output::{Event, ScheduleChange},
    schedule::Span,
    timing::Timing,
    view::{LiveRun, RunState, Wait},
};

/// What was told since the last look: the kind, and who asked or what it waits for.
fn told(bench: &mut Bench) -> Vec<String> {
    let told = std::mem::take(&mut bench.events).into_iter();
    told.filter_map(|event| match event {
        Event::Created { run, actor, .. } => {
            Some(format!("created {} {}", letter(&run), actor.as_deref().unwrap_or("-")))
        }
        Event::Started { run, .. } => Some(format!("started {}", run.attempt)),
        Event::Retrying { run, .. } => Some(format!("retrying {}", run.attempt)),
        Event::Finished { finished, .. } => Some(format!("finished {:?}", finished.outcome)),
        Event::Discarded { finished, .. } => Some(format!("discarded {:?}", finished.outcome)),
        Event::Schedule { change, actor, .. } => Some(format!("{change:?} {actor}")),
        _ => None,
    })
    .collect()
}

fn letter(run: &LiveRun) -> &'static str {
    match run.id.trigger {
        crate::state_machine::id::Trigger::Scheduled => "s",
        crate::state_machine::id::Trigger::Manual => "m",
        crate::state_machine::id::Trigger::Backfill => "b",
    }
}

#[test]
fn r8_the_life_of_a_run_is_told() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.worker(1);
    bench.pass(HOUR);
    let job = bench.job();
    bench.fail(&job, Class::Transient);
    bench.pass(MINUTE);
    let job = bench.job();
    bench.succeed(&job);
    assert_eq!(
        told(&mut bench),
        ["Created tester", "created s -", "started 1", "retrying 1", "started 2", "finished Succeeded"]
    );
}

#[test]
fn r8_a_retry_tells_why_and_until_when() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.fail(&job, Class::Throttled);
    let Some(Event::Retrying { run, at }) =
        bench.events.iter().rfind(|e| matches!(e, Event::Retrying { .. }))
    else {
        panic!("{:?}", bench.events)
    };
    assert_eq!(*at, START);
    assert_eq!(run.state, RunState::Queued(Some(Wait::Backoff { until: START + MINUTE })));
    assert_eq!(run.failure.as_ref().map(|failure| failure.class), Some(Class::Throttled));
    assert_eq!((run.attempt, run.attempts.len()), (1, 1));
}

#[test]
fn r8_a_lost_worker_is_told_of_its_runs() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(DAY)));
    bench.silent_worker(1);
    bench.run_now("a");
    bench.events.clear();
    bench.pass(MINUTE);
    assert_eq!(told(&mut bench), ["retrying 1"]);
}

#[test]
fn r8_runs_that_somebody_asked_for_name_who() {
    let mut bench = Bench::new();
    bench.save(definition("a", Timing::Every { interval: HOUR, anchor: Some(START - DAY) }));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.fail(&job, Class::Permanent);
    let retry = RetryRuns {
        namespace: "default".into(),
        ids: vec![job.id],
        page: Page { last: true, ..Page::default() },
        request: None,
        actor: "another".into(),
    };
    bench.events.clear();
    bench.call(&Command::RetryRuns(Box::new(retry)));
    assert_eq!(told(&mut bench), ["created m another", "started 1"]);
    let job = bench.job();
    bench.succeed(&job);
    bench.events.clear();
    bench.backfill("a", Span { from: START - 2 * HOUR, to: START }).expect("accepted");
    assert_eq!(told(&mut bench), ["created b -", "started 1"]);
}

#[test]
fn r8_a_run_behind_others_is_told_when_it_comes_and_when_it_is_replaced() {
    let mut bench = Bench::new();
    let mut definition = definition("a", every(MINUTE));
    definition.overlap = Overlap::BufferOne;
    bench.save(definition);
    bench.worker(1);
    bench.pass(3 * MINUTE);
    assert_eq!(
        told(&mut bench),
        ["Created tester", "created s -", "started 1", "created s -", "created s -", "discarded Cancelled"]
    );
    let job = bench.job();
    bench.succeed(&job);
    assert_eq!(told(&mut bench), ["finished Succeeded", "started 1"]);
    bench.pass(MINUTE);
    bench.delete("a", true);
    assert_eq!(told(&mut bench), ["created s -", "Deleted tester", "discarded Cancelled"]);
}

#[test]
fn r8_an_end_that_deletes_is_told_as_both() {
    let mut bench = Bench::new();
    let mut once = definition("a", Timing::At(START + MINUTE));
    once.delete_when_ended = true;
    bench.save(once);
    bench.worker(1);
    bench.pass(2 * MINUTE);
    let job = bench.job();
    bench.succeed(&job);
    assert_eq!(
        told(&mut bench),
        [
            "Created tester",
            "created s -",
            "Ended docket",
            "started 1",
            "finished Succeeded",
            "Deleted docket"
        ]
    );
}

#[test]
fn r8_a_failure_is_told_before_the_pause_that_it_leads_to() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.events.clear();
    bench.fail(&job, Class::Reauthorize);
    assert_eq!(told(&mut bench), ["finished Failed", "Paused docket"]);
}

#[test]
fn r8_what_changes_nothing_is_not_told() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.pause("a", None);
    bench.events.clear();
    bench.save(definition("a", every(HOUR)));
    bench.pause("a", None);
    let mut trial = bench.upsert(definition("a", every(MINUTE)));
    trial.validate_only = true;
    bench.send_upsert(trial);
    assert_eq!(told(&mut bench), Vec::<String>::new());
    bench.resume("a", false);
    bench.resume("a", false);
    assert_eq!(told(&mut bench), ["Resumed tester"]);
}

#[test]
fn r8_changes_of_many_are_told_one_by_one() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c"] {
        bench.save(definition(id, every(HOUR)));
    }
    let (run, _) = bench.run_now("b");
    bench.events.clear();
    let pause = bench.bulk("", BulkChange::Pause { note: "n".into(), until: None });
    bench.call(&pause);
    assert_eq!(told(&mut bench), ["Paused tester"; 3]);
    bench.cancel_run(run).expect("cancelled");
    let delete = bench.bulk("", BulkChange::Delete { cancel_running: false });
    bench.call(&delete);
    assert_eq!(
        told(&mut bench),
        ["finished Cancelled", "Deleted tester", "Deleted tester", "Deleted tester"]
    );
}

#[test]
fn p4_a_schedule_that_is_set_aside_is_told() {
    let mut bench = Bench::new();
    let uid = bench.save(definition("a", every(HOUR))).0.uid;
    bench.events.clear();
    bench.call(&Command::SetAside { uid, why: "it broke".into() });
    let Some(Event::Schedule { change: ScheduleChange::Quarantined, view, .. }) = bench.events.first() else {
        panic!("{:?}", bench.events)
    };
    assert_eq!(view.quarantine.as_deref(), Some("it broke"));
}
