//! Rules R1 to R3, and how schedules begin and end.

use super::{bench::*, *};
use crate::state_machine::{
    command::{Command, Upsert},
    id::Trigger,
    output::{Answer, Change, Event, Refusal, ScheduleChange},
    run::Outcome,
    schedule::{Status, Verdict},
    timing::Timing,
};

#[test]
fn r1_trigger_while_live_names_the_live_run() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let (first, created) = bench.run_now("a");
    assert!(created);
    assert_eq!(bench.run_now("a"), (first, false));
    assert_eq!((first.trigger, first.nominal), (Trigger::Manual, START));
}

#[test]
fn r1_manual_runs_of_one_millisecond_have_ids_of_their_own() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let session = bench.worker(1);
    let mut nominals = Vec::new();
    for _ in 0..3 {
        nominals.push(bench.run_now("a").0.nominal);
        let job = bench.job();
        bench.succeed(&job);
    }
    bench.set_clock(-HOUR);
    nominals.push(bench.run_now("a").0.nominal);
    assert_eq!(nominals, [START, START + 1, START + 2, START + 3], "session {session}");
}

#[test]
fn r2_upsert_equal_is_unchanged_and_keeps_phase() {
    let mut bench = Bench::new();
    let (before, change) = bench.save(definition("a", every(HOUR)));
    assert_eq!(change, Change::Created);
    bench.pass(20 * MINUTE);
    let (after, change) = bench.save(definition("a", every(HOUR)));
    assert_eq!((change, after.next, &after.etag), (Change::Unchanged, Some(START + HOUR), &before.etag));
    assert_eq!((after.uid, after.generation), (before.uid, 1));
}

#[test]
fn r2_an_update_keeps_phase_pause_and_history() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.worker(1);
    bench.pass(HOUR);
    let job = bench.job();
    bench.succeed(&job);
    bench.pause("a", None);
    let mut other = definition("a", every(HOUR));
    other.priority = 1;
    let (view, change) = bench.save(other);
    assert_eq!((change, view.status, view.generation), (Change::Updated, Status::Paused, 2));
    assert_eq!(bench.history("a").len(), 1);
    bench.resume("a", false);
    assert_eq!(bench.view("a").next, Some(START + 2 * HOUR));
}

#[test]
fn r2_the_etag_moves_with_definition_and_pause_and_not_with_firing() {
    let mut bench = Bench::new();
    let first = bench.save(definition("a", every(MINUTE))).0.etag;
    bench.pass(5 * MINUTE);
    bench.run_now("a");
    assert_eq!(bench.view("a").etag, first);
    bench.pause("a", None);
    let paused = bench.view("a").etag;
    bench.resume("a", false);
    let resumed = bench.view("a").etag;
    let changed = bench.save(definition("a", every(HOUR))).0.etag;
    let all = [&first, &paused, &resumed, &changed];
    assert!((1..4).all(|n| !all[..n].contains(&all[n])), "{all:?}");
}

#[test]
fn an_etag_of_the_past_is_refused() {
    let mut bench = Bench::new();
    let old = bench.save(definition("a", every(HOUR))).0.etag;
    bench.save(definition("a", every(MINUTE)));
    let mut upsert = bench.upsert(definition("a", every(DAY)));
    upsert.etag = Some(old);
    let current = bench.view("a").etag;
    let refusal = bench.refused(&Command::Upsert(Box::new(upsert)));
    assert_eq!(refusal, Refusal::EtagMismatch { current });
    let mut upsert = bench.upsert(definition("new", every(DAY)));
    upsert.etag = Some("x".into());
    let refusal = bench.refused(&Command::Upsert(Box::new(upsert)));
    assert_eq!(refusal, Refusal::EtagMismatch { current: String::new() });
}

#[test]
fn validate_only_changes_nothing() {
    let mut bench = Bench::new();
    let mut upsert = bench.upsert(definition("a", every(HOUR)));
    upsert.validate_only = true;
    upsert.request = request("r", 1);
    assert_eq!(bench.send_upsert(upsert.clone()).1, Change::Created);
    assert!(bench.gone("a") && bench.kept() == 0);
    bench.save(definition("a", every(HOUR)));
    let records = bench.records.clone();
    assert_eq!(bench.send_upsert(upsert.clone()).1, Change::Unchanged);
    upsert.definition = definition("a", every(MINUTE));
    let (view, change) = bench.send_upsert(upsert);
    assert_eq!((change, view.generation, view.next), (Change::Updated, 2, Some(START + MINUTE)));
    assert_eq!(bench.records, records, "not even the request id is remembered");
}

#[test]
fn r3_a_run_keeps_the_task_it_fired_with() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let id = bench.run_now("a").0;
    let mut other = definition("a", every(HOUR));
    other.task.timeout = 5_000;
    bench.save(other);
    bench.restart(0);
    bench.worker(1);
    let job = bench.job();
    assert_eq!((job.id, job.definition.task.timeout), (id, 600_000));
    assert_eq!(bench.kept(), 4, "state, run, and both definitions");
    bench.succeed(&job);
    assert_eq!(bench.kept(), 3, "state, the new definition, and the end of the run");
}

#[test]
fn a_timing_without_a_future_is_refused() {
    let mut bench = Bench::new();
    let upsert = bench.upsert(definition("a", Timing::At(START - 2 * MINUTE)));
    assert_eq!(bench.refused(&Command::Upsert(Box::new(upsert))), Refusal::NeverFires);
    let mut over = definition("a", every(HOUR));
    over.end = Some(START);
    let upsert = bench.upsert(over);
    assert_eq!(bench.refused(&Command::Upsert(Box::new(upsert))), Refusal::NeverFires);
}

#[test]
fn a_one_shot_fires_once_and_ends() {
    let mut bench = Bench::new();
    bench.save(definition("a", Timing::At(START + HOUR)));
    bench.save(definition("just-missed", Timing::At(START - SECOND)));
    bench.pass(DAY);
    assert_eq!(bench.fired(), [START - SECOND, START + HOUR]);
    assert_eq!(bench.view("a").status, Status::Ended);
    assert!(
        bench
            .events
            .iter()
            .any(|event| matches!(event, Event::Schedule { change: ScheduleChange::Ended, .. }))
    );
}

#[test]
fn a_one_shot_saved_over_a_time_that_fired_does_not_fire_again() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(MINUTE)));
    bench.pass(MINUTE + 10 * SECOND);
    let upsert = bench.upsert(definition("a", Timing::At(START + MINUTE)));
    assert_eq!(bench.refused(&Command::Upsert(Box::new(upsert))), Refusal::NeverFires);
}

#[test]
fn start_and_end_bound_the_times() {
    let mut bench = Bench::new();
    let mut bounded = definition("a", every(HOUR));
    (bounded.start, bounded.end) = (Some(START + 90 * MINUTE), Some(START + 4 * HOUR));
    bench.save(bounded);
    bench.worker(1);
    for _ in 0..6 {
        bench.pass(HOUR);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
    }
    assert_eq!(bench.fired(), [START + 2 * HOUR, START + 3 * HOUR]);
    assert_eq!(bench.view("a").status, Status::Ended);
}

#[test]
fn max_runs_ends_and_a_higher_bound_goes_on_without_catching_up() {
    let mut bench = Bench::new();
    let mut twice = definition("a", every(HOUR));
    twice.max_runs = 2;
    bench.save(twice.clone());
    bench.worker(1);
    for _ in 0..10 {
        bench.pass(HOUR);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
    }
    assert_eq!(bench.fired(), [START + HOUR, START + 2 * HOUR]);
    assert_eq!(bench.view("a").status, Status::Ended);
    twice.max_runs = 3;
    let (view, _) = bench.save(twice);
    assert_eq!((view.status, view.next), (Status::Active, Some(START + 11 * HOUR)));
    let last = bench.decisions("a").pop().expect("a decision");
    assert_eq!((last.verdict, last.count), (Verdict::Limit, Some(8)));
}

#[test]
fn delete_when_ended_waits_for_the_last_run() {
    let mut bench = Bench::new();
    let mut once = definition("a", Timing::At(START + HOUR));
    once.delete_when_ended = true;
    bench.save(once);
    bench.worker(1);
    bench.pass(HOUR);
    let job = bench.job();
    assert_eq!(bench.view("a").status, Status::Ended);
    bench.succeed(&job);
    assert!(bench.gone("a"));
    assert!(bench.kept() == 0, "{:?}", bench.records);
}

#[test]
fn overlap_skips_what_a_live_run_covers() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(MINUTE)));
    bench.worker(1);
    bench.pass(MINUTE);
    let job = bench.job();
    bench.pass(3 * MINUTE);
    assert!(bench.jobs().is_empty());
    bench.succeed(&job);
    bench.pass(MINUTE);
    let log: Vec<_> = bench.decisions("a").into_iter().map(|d| (d.verdict, d.count)).collect();
    assert_eq!(log, [(Verdict::Fired, Some(1)), (Verdict::Overlap, Some(3)), (Verdict::Fired, Some(1))]);
}

#[test]
fn h_rings_keep_ten_ends_of_each_kind_and_sixteen_decisions() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(MINUTE)));
    bench.worker(1);
    for n in 0..24 {
        bench.pass(MINUTE);
        let job = bench.job();
        if n < 12 {
            bench.succeed(&job);
        } else {
            bench.fail(&job, crate::state_machine::failure::Class::Permanent);
        }
        bench.pause("a", None);
        bench.pass(MINUTE);
        bench.resume("a", false);
    }
    let history = bench.history("a");
    let failed = history.iter().filter(|end| end.outcome == Outcome::Failed).count();
    assert_eq!((history.len(), failed), (20, 10));
    let nominals: Vec<i64> = history.iter().map(|end| end.id.nominal).collect();
    assert_eq!(nominals[0], START + 47 * MINUTE, "the newest is there");
    let decisions = bench.decisions("a");
    assert_eq!(decisions.len(), 16);
    assert!(decisions.windows(2).all(|pair| pair[0].last < pair[1].first));
    bench.restart(0);
    assert_eq!(bench.history("a"), history);
    assert_eq!(bench.decisions("a"), decisions);
    bench.delete("a", false);
    assert!(bench.kept() == 0, "{:?}", bench.records);
}

#[test]
fn the_namespace_has_its_bound() {
    let mut bench =
        Bench::with(crate::state_machine::Config { schedules_per_namespace: 2, ..Default::default() });
    bench.save(definition("a", every(HOUR)));
    bench.save(definition("b", every(HOUR)));
    let upsert = bench.upsert(definition("c", every(HOUR)));
    let refusal = bench.refused(&Command::Upsert(Box::new(upsert.clone())));
    assert_eq!(refusal, Refusal::TooManySchedules { limit: 2 });
    bench.delete("a", false);
    bench.call(&Command::Upsert(Box::new(upsert)));
}

#[test]
fn create_only_leaves_alone_what_is_there() {
    let mut bench = Bench::new();
    let mut default = bench.upsert(definition("a", every(HOUR)));
    (default.create_only, default.request) = (true, request("r", 1));
    let create = Command::Upsert(Box::new(default.clone()));
    let Answer::Upserted { change: Change::Created, .. } = bench.call(&create) else { panic!("created") };
    let Answer::Upserted { change: Change::Created, .. } = bench.call(&create) else { panic!("repeated") };
    let etag = bench.save(definition("a", every(2 * HOUR))).0.etag;
    default.request = None;
    for validate_only in [false, true] {
        let again = Command::Upsert(Box::new(Upsert { validate_only, ..default.clone() }));
        assert_eq!(bench.refused(&again), Refusal::ScheduleExists { etag: etag.clone() });
    }
    assert_eq!(bench.view("a").definition.timing, every(2 * HOUR));
    bench.delete("a", false);
    assert_eq!(bench.send_upsert(default).1, Change::Created);
}

#[test]
fn the_namespaces_live_runs_have_their_bound() {
    let config = crate::state_machine::Config { live_runs_per_namespace: 2, ..Default::default() };
    let mut bench = Bench::with(config);
    for id in ["a", "b", "c"] {
        bench.save(definition(id, every(HOUR)));
    }
    let (first, _) = bench.run_now("a");
    let (_, created) = bench.run_now("b");
    assert!(created);
    let trigger = bench.trigger("c");
    assert_eq!(bench.refused(&trigger), Refusal::TooManyRuns { limit: 2 });
    assert_eq!(bench.run_now("a"), (first, false), "one that is live already is answered with");
    bench.pass(HOUR);
    let (_, created) = bench.run_now("c");
    assert!(!created, "what is due runs all the same");
}

#[test]
fn a_list_goes_page_by_page() {
    let mut bench = Bench::new();
    for n in 0..7 {
        bench.save(definition(&format!("mb-{n}"), every(HOUR)));
    }
    bench.save(definition("other", every(HOUR)));
    let mut list = crate::state_machine::command::ListSchedules {
        namespace: "default".into(),
        after: None,
        prefix: "mb-".into(),
        labels: Default::default(),
        states: Vec::new(),
        pause_reasons: Vec::new(),
        limit: 3,
    };
    let mut pages = Vec::new();
    loop {
        let Answer::Schedules { schedules, next } = bench.call(&Command::ListSchedules(list.clone())) else {
            panic!("a list")
        };
        pages.push(schedules.len());
        list.after = next;
        if list.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [3, 3, 1]);
}
