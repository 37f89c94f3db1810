//! Rings of history: their sizes, what they take, and what gives way.

use super::{bench::*, *};
use crate::{
    record,
    state_machine::{
        Config,
        command::Command,
        history::{Kept, Ring, UNIT},
        output::Answer,
        run::Outcome,
    },
    store::{Key, key::Name},
};

fn keeping(runs: u8, failed_runs: u8, decisions: u8) -> Config {
    Config { history: Kept { runs, failed_runs, decisions }, ..Config::default() }
}

/// One run of the schedule, from its trigger to its end.
fn run(bench: &mut Bench, id: &str, outcome: Outcome) {
    bench.run_now(id);
    let job = bench.job();
    match outcome {
        Outcome::Succeeded => bench.succeed(&job),
        _ => bench.fail(&job, crate::state_machine::failure::Class::Permanent),
    };
    bench.pass(SECOND);
}

fn runs(bench: &mut Bench, id: &str, succeeded: usize, failed: usize) {
    (0..succeeded).for_each(|_| run(bench, id, Outcome::Succeeded));
    (0..failed).for_each(|_| run(bench, id, Outcome::Failed));
}

/// How many ends are kept: those that succeeded, and the others.
fn kept(bench: &mut Bench, id: &str) -> (usize, usize) {
    let history = bench.history(id);
    let succeeded = history.iter().filter(|end| end.outcome == Outcome::Succeeded).count();
    (succeeded, history.len() - succeeded)
}

fn metered(bench: &mut Bench) -> (u64, u64) {
    match bench.call(&Command::GetStatus { namespace: "default".into() }) {
        Answer::Status(view) => (view.history_bytes, view.history_trimmed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn h_a_ring_of_another_size_is_found_and_leaves_nothing_behind() {
    let mut bench = Bench::with(keeping(10, 5, 16));
    bench.save(definition("a", every(DAY)));
    bench.worker(1);
    runs(&mut bench, "a", 13, 7);
    assert_eq!(kept(&mut bench, "a"), (10, 5));
    for (size, found, then) in [(3, (10, 5), (3, 5)), (100, (3, 5), (5, 5)), (1, (5, 5), (1, 5))] {
        bench.config.history.runs = size;
        bench.restart(0);
        bench.worker(1);
        assert_eq!(kept(&mut bench, "a"), found, "nothing is lost by the setting alone");
        runs(&mut bench, "a", 2, 0);
        assert_eq!(kept(&mut bench, "a"), then, "{size}");
    }
    bench.config.history.failed_runs = 2;
    bench.restart(0);
    bench.delete("a", false);
    assert_eq!(bench.kept(), 0, "{:?}", bench.records.keys());
    assert_eq!(metered(&mut bench), (0, 0));
}

#[test]
fn h_decisions_have_their_size_and_the_newest_is_always_there() {
    for (size, expected) in [(1, 1), (2, 2), (5, 5)] {
        let mut bench = Bench::with(keeping(10, 10, size));
        bench.save(definition("a", every(MINUTE)));
        for _ in 0..8 {
            bench.pass(MINUTE);
            bench.pause("a", None);
            bench.pass(MINUTE);
            bench.resume("a", false);
        }
        let decisions = bench.decisions("a");
        assert_eq!(decisions.len(), expected);
        assert!(decisions.windows(2).all(|pair| pair[0].last < pair[1].first));
    }
}

#[test]
fn h_a_namespace_may_have_sizes_of_its_own() {
    let own = Kept { runs: 2, ..Kept::default() };
    let history_of = Box::leak(Box::new([("shop".into(), own)]));
    let mut bench = Bench::with(Config { history_of, ..Config::default() });
    let mut elsewhere = definition("a", every(MINUTE));
    elsewhere.key.namespace = "shop".into();
    bench.save(elsewhere);
    bench.save(definition("a", every(MINUTE)));
    bench.worker(2);
    for _ in 0..5 {
        bench.pass(MINUTE);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
    }
    assert_eq!(kept(&mut bench, "a"), (5, 0));
    let shop = bench
        .machine
        .index
        .get(&crate::state_machine::definition::ScheduleKey::new("shop", "a"))
        .expect("a slot");
    assert_eq!(bench.machine.schedules[shop].past().rings.numbers(Ring::Succeeded), 3..5);
}

#[test]
fn h_the_meter_is_the_sum_of_what_is_stored() {
    let mut bench = Bench::with(keeping(3, 3, 4));
    for id in ["a", "b"] {
        bench.save(definition(id, every(DAY)));
    }
    bench.worker(1);
    runs(&mut bench, "a", 5, 2);
    runs(&mut bench, "b", 1, 4);
    bench.pass(2 * DAY);
    let (bytes, trimmed) = metered(&mut bench);
    assert_eq!((bytes, trimmed), (bench.cold_bytes(), 0));
    assert!(bytes >= 10 * UNIT);
    bench.restart(0);
    assert_eq!(metered(&mut bench).0, bytes, "the same after a load");
}

#[test]
fn h_over_the_bound_the_oldest_shrink_first_and_are_counted() {
    let mut bench = Bench::new();
    let ids: Vec<String> = (0..60).map(|n| format!("mb-{n:03}")).collect();
    for id in &ids {
        bench.save(definition(id, every(DAY)));
    }
    bench.worker(1);
    for id in &ids {
        runs(&mut bench, id, 3, 0);
    }
    let (full, _) = metered(&mut bench);
    let one = full / 60;
    bench.config.history_bytes_max = full - 20 * one;
    bench.restart(0);
    bench.worker(1);
    runs(&mut bench, "mb-059", 1, 0);
    let (bytes, trimmed) = metered(&mut bench);
    assert!(bytes <= bench.config.history_bytes_max && bytes > full - 40 * one, "{bytes} of {full}");
    assert_eq!(bytes, bench.cold_bytes());
    let shrunk: Vec<usize> = (0..60).filter(|n| kept(&mut bench, &ids[*n]).0 < 3).collect();
    assert_eq!(shrunk, (0..shrunk.len()).collect::<Vec<_>>(), "those that ran longest ago");
    assert!(shrunk.iter().all(|n| kept(&mut bench, &ids[*n]).0 == 1), "the last end stays");
    assert_eq!(trimmed, 2 * shrunk.len() as u64);
    assert_eq!(kept(&mut bench, "mb-059").0, 4);
}

#[test]
fn h_p3_a_bound_that_nothing_fits_into_comes_to_an_end_in_bounded_turns() {
    let mut bench = Bench::new();
    for n in 0..300 {
        bench.save(definition(&format!("mb-{n}"), every(MINUTE)));
    }
    bench.worker(300);
    for _ in 0..3 {
        bench.pass(MINUTE);
        bench.jobs().iter().for_each(|job| drop(bench.succeed(job)));
    }
    bench.config.history_bytes_max = 1;
    bench.restart(0);
    let (mut turns, mut more) = (0, true);
    while more {
        let output = bench.machine.seal();
        turns += 1;
        assert!(output.writes.len() <= 32 * 4, "{} writes in a turn", output.writes.len());
        more = bench.machine.has_more();
        bench.machine.check().expect("sound");
    }
    assert_eq!(bench.machine.history.bytes(), 0);
    assert!(turns >= 10, "{turns}");
}

#[test]
fn h_rings_of_an_earlier_program_begin_anew_and_leave_nothing_behind() {
    let mut bench = Bench::new();
    let (view, _) = bench.save(definition("a", every(DAY)));
    bench.worker(1);
    runs(&mut bench, "a", 14, 3);
    // As it numbered them: modulo ten.
    let state = Key::new(&Name::State(view.uid));
    bench.records.insert(state.clone(), record::tests::as_former(&bench.records[&state]));
    let rings = bench.view("a").rings;
    for number in rings.numbers(Ring::Succeeded) {
        let value = bench.records.remove(&Key::new(&Name::Succeeded(view.uid, number))).expect("a record");
        bench.records.insert(Key::new(&Name::Succeeded(view.uid, number % 10)), value);
    }
    let mut other = Bench::new();
    other.records = bench.records.clone();
    bench.restart(0);
    bench.worker(1);
    assert_eq!(metered(&mut bench), (0, 0));
    runs(&mut bench, "a", 1, 0);
    assert_eq!(kept(&mut bench, "a"), (1, 0));
    assert_eq!(metered(&mut bench).0, bench.cold_bytes());
    other.restart(0);
    other.delete("a", false);
    assert_eq!(other.kept(), 0);
}
