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
    assert!(bench.kept() == 0);
}

#[test]
fn p4_a_record_that_cannot_be_read_sets_its_schedule_aside_and_stops_no_other() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.run_now("a");
    let broken: Vec<_> = bench.records.keys().cloned().collect();
    bench.save(definition("b", every(HOUR)));
    for key in broken {
        let mut hot = bench.records.clone();
        hot.insert(key.clone(), bytes::Bytes::from_static(b"\xff\xff\xff"));
        let machine =
            StateMachine::load(bench.config, 2, bench.now, hot.into_iter().collect()).expect("a start");
        machine.check().expect("sound");
        let named: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(machine.unreadable().iter().any(|record| record.key == named), "it is told");
        let status = |id: &str| machine.index.get(&bench::key(id)).map(|slot| machine.schedules[slot].status);
        assert_eq!(status("b"), Some(Status::Active));
        // Without its definition nobody knows its name; else it is shown, and fires nothing.
        let shown = matches!(status("a"), None | Some(Status::Quarantined));
        assert!(shown && machine.runs.iter().all(|(_, run)| run.lease().is_none()), "{:?}", status("a"));
    }
}

#[test]
fn p4_a_schedule_that_was_set_aside_at_load_goes_on_when_it_is_saved_again() {
    let mut bench = Bench::new();
    let (view, _) = bench.save(definition("a", every(HOUR)));
    let state = crate::store::Key::new(&crate::store::key::Name::State(view.uid));
    bench.records.insert(state, bytes::Bytes::from_static(b"\xff"));
    bench.restart(3 * HOUR);
    assert_eq!(bench.view("a").status, Status::Quarantined);
    let (view, _) = bench.save(definition("a", every(HOUR)));
    assert_eq!(view.status, Status::Active);
    bench.worker(1);
    assert!(bench.jobs().is_empty(), "what was missed is not known, so nothing of it runs");
    bench.pass(HOUR);
    assert_eq!(bench.jobs().len(), 1);
    bench.restart(0);
    assert_eq!(bench.view("a").status, Status::Active);
}

#[test]
fn r9_another_tz_database_computes_times_anew_and_reports_what_moved() {
    let mut bench = Bench::new();
    bench.save(definition("same", cron("0 2 * * *", "Europe/Berlin")));
    let (moved, _) = bench.save(definition("moved", cron("0 3 * * *", "Europe/Berlin")));
    let meta = crate::store::Key::new(&crate::store::key::Name::Meta);
    bench.records.insert(meta.clone(), crate::record::tests::meta_of("2001a"));
    let state = crate::store::Key::new(&crate::store::key::Name::State(moved.uid));
    let other = crate::record::tests::with_next(&bench.records[&state], START + 7 * HOUR);
    bench.records.insert(state, other);
    bench.restart(0);
    bench.save(definition("another", every(HOUR)));
    let told = bench.events.iter().find_map(|event| match event {
        crate::state_machine::output::Event::TimesMoved { former, moved, ids } => Some((former, moved, ids)),
        _ => None,
    });
    assert_eq!(told, Some((&"2001a".into(), &1, &vec![key("moved")])));
    assert_eq!(bench.view("moved").next, moved.next, "computed anew after what was decided");
    let stored = crate::record::read_meta(bench.records[&meta].clone()).expect("meta");
    assert_eq!(stored.tzdb, crate::state_machine::timing::TZDB);
}

#[test]
fn loading_writes_nothing() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.run_now("a");
    let mut machine = bench.loaded();
    assert!(machine.seal().writes.is_empty());
}

#[test]
fn p4_what_was_set_aside_keeps_its_order_and_no_permits_after_a_restart() {
    use crate::state_machine::{command::Command, definition::Overlap};
    let mut bench = Bench::new();
    let limits = Box::new(["k".into()]);
    let overlap = Overlap::BufferOne;
    let (view, _) = bench.save(with(definition("a", every(MINUTE)), |it| {
        it.overlap = overlap;
        it.limits = limits
    }));
    bench.worker(1);
    bench.pass(2 * MINUTE);
    bench.call(&Command::SetAside { uid: view.uid, why: "w".into() });
    // The invariants are checked there: permits are live leases, and one run at a time is not behind others.
    bench.restart(SECOND);
    assert_eq!(bench.view("a").active.len(), 2);
}

#[test]
fn p4_a_run_that_was_cancelled_stays_so_when_its_schedule_is_set_aside_at_a_restart() {
    use crate::state_machine::{command::Command, output::Action};
    let mut bench = Bench::new();
    let (view, _) = bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.cancel_run(job.id).expect("cancelled");
    bench.call(&Command::SetAside { uid: view.uid, why: "w".into() });
    bench.restart(0);
    let hello = bench.hello("one", 1, vec![held(&job)]);
    let (_, orders) = bench.open(hello);
    assert_eq!(orders[0].action, Action::Cancel);
    bench.fail(&job, Class::Cancelled);
    assert!(bench.view("a").active.is_empty());
}

#[test]
fn so_many_that_they_are_read_in_parts_are_all_there_and_in_order() {
    use std::sync::Arc;

    use crate::{
        record,
        state_machine::{id::Uid, schedule::Schedule},
        store::{Key, key::Name},
    };
    const COUNT: u128 = 20_000;
    let mut bench = Bench::new();
    for n in 0..COUNT {
        let timing =
            if n % 3 == 0 { every(HOUR) } else { cron(&format!("{} 2 * * *", n % 60), "Europe/Berlin") };
        // The order of names is not that of uids.
        let definition = Arc::new(definition(&format!("mb-{:05}", n * 7_919 % COUNT), timing));
        let uid = Uid(n << 64 | n);
        let schedule = Schedule::new(uid, definition.clone(), START);
        bench.records.insert(Key::new(&Name::Definition(uid, 1)), record::definition(&definition));
        bench.records.insert(Key::new(&Name::State(uid)), record::state(&schedule));
    }
    let broken = Uid(15_000 << 64 | 15_000);
    bench.records.insert(Key::new(&Name::State(broken)), bytes::Bytes::from_static(b"\xff"));
    bench.restart(0);
    let machine = &bench.machine;
    let ids = machine.index.from("default", std::ops::Bound::Unbounded);
    assert!(ids.map(|(id, _)| id.to_string()).eq((0..COUNT).map(|n| format!("mb-{n:05}"))));
    assert_eq!(machine.unreadable().len(), 1);
    let cron =
        |id: &str| match &machine.schedules[machine.index.get(&key(id)).expect("a slot")].definition.timing {
            Timing::Cron(cron) => Arc::as_ptr(cron),
            other => panic!("{other:?}"),
        };
    let far_apart = |n: u128| format!("mb-{:05}", n * 7_919 % COUNT);
    assert_eq!(cron(&far_apart(1)), cron(&far_apart(1 + 60 * 300)), "equal texts share memory");
    assert_eq!(bench.view(&far_apart(15_000)).status, Status::Quarantined);
    bench.pass(HOUR);
    assert_eq!(bench.fired().len(), COUNT.div_ceil(3) as usize - 1);
}
