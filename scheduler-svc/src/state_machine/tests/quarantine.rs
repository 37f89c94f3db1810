//! Rule P4: what was set aside, what is left of it after a restart, and what becomes of records that cannot be read.

use bytes::Bytes;

use super::{bench::*, limit::with_limits, *};
use crate::{
    state_machine::{
        command::{Command, GetRun},
        definition::Overlap,
        output::{Action, Answer, Receipt},
        schedule::Status,
        view::RunView,
    },
    store::{Key, key::Name},
};

/// Makes a record unreadable.
fn garble(bench: &mut Bench, name: &Name) -> Key {
    let key = Key::new(name);
    let former = bench.records.insert(key.clone(), Bytes::from_static(b"\xff\xff\xff"));
    assert!(former.is_some(), "{name:?}");
    key
}

#[test]
fn p4_a_run_whose_record_cannot_be_read_is_dropped_when_its_schedule_is_saved_again() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let (id, _) = bench.run_now("a");
    let run = garble(&mut bench, &Name::Run(id));
    bench.restart(0);
    assert_eq!(bench.view("a").status, Status::Quarantined);
    bench.restart(0);
    assert_eq!(bench.view("a").status, Status::Quarantined);
    bench.save(definition("a", every(HOUR)));
    assert!(!bench.records.contains_key(&run));
    bench.restart(0);
    assert_eq!(bench.view("a").status, Status::Active, "not set aside by the same record again");
}

#[test]
fn p4_a_definition_that_cannot_be_read_goes_with_the_runs_that_it_held() {
    let mut bench = Bench::new();
    let (view, _) = bench.save(definition("a", every(HOUR)));
    bench.run_now("a");
    bench.save(with(definition("a", every(HOUR)), |it| it.priority = 2));
    let pinned = garble(&mut bench, &Name::Definition(view.uid, 1));
    bench.restart(0);
    assert_eq!(bench.view("a").status, Status::Quarantined);
    bench.save(definition("a", every(HOUR)));
    assert!(!bench.records.contains_key(&pinned) && bench.view("a").active.is_empty());
    bench.restart(0);
    assert_eq!(bench.view("a").status, Status::Active);
    assert!(bench.machine.unreadable().is_empty());
}

#[test]
fn p4_records_that_cannot_be_read_go_with_their_schedule() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let (id, _) = bench.run_now("a");
    let run = garble(&mut bench, &Name::Run(id));
    bench.restart(0);
    bench.delete("a", false);
    assert!(!bench.records.contains_key(&run));
}

#[test]
fn p4_a_deleted_schedule_whose_last_run_cannot_be_read_is_gone() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    bench.worker(1);
    let (id, _) = bench.run_now("a");
    bench.job();
    bench.delete("a", false);
    garble(&mut bench, &Name::Run(id));
    bench.restart(0);
    bench.commit();
    assert_eq!(bench.kept(), 0);
}

#[test]
fn p4_a_name_stays_with_its_schedule_when_the_state_of_a_deleted_one_cannot_be_read() {
    let mut bench = Bench::new();
    let (former, _) = bench.save(definition("a", every(HOUR)));
    bench.worker(1);
    bench.run_now("a");
    let job = bench.job();
    bench.delete("a", false);
    let (current, _) = bench.save(definition("a", every(MINUTE)));
    garble(&mut bench, &Name::State(former.uid));
    bench.restart(0);
    let view = bench.view("a");
    assert_eq!((view.uid, view.status), (current.uid, Status::Active));
    let hello = bench.hello("one", 1, vec![held(&job)]);
    bench.open(hello);
    assert_eq!(
        bench.succeed(&job),
        Receipt::Accepted { next_attempt: None },
        "its last run ends as it would"
    );
    assert!(!bench.records.contains_key(&Key::new(&Name::State(former.uid))));
}

#[test]
fn p4_what_is_set_aside_gives_its_lease_back_at_a_restart_and_hears_a_late_report() {
    let mut bench = Bench::new();
    let (view, _) = bench.save(with_limits("a", &["k"]));
    bench.worker(2);
    bench.run_now("a");
    let job = bench.job();
    bench.call(&Command::SetAside { uid: view.uid, why: "w".into() });
    // Permits are counted there (`check`). The second start finds what the first one has written.
    for _ in 0..2 {
        bench.restart(0);
        bench.commit();
        let get = Command::GetRun(GetRun { namespace: "default".into(), id: job.id, wait: false });
        let Answer::Run(view) = bench.call(&get) else { panic!("no run") };
        let RunView::Live(run) = *view else { panic!("it is final") };
        let attempt = run.attempts.first().expect("the attempt that was let go");
        assert_eq!(attempt.failure.as_ref().map(|failure| &*failure.code), Some("SET_ASIDE"));
        assert_eq!(run.attempts.len(), 1);
    }
    assert_eq!(bench.succeed(&job), Receipt::Accepted { next_attempt: None }, "rule W6");
    assert!(bench.view("a").active.is_empty());
}

#[test]
fn p4_a_lease_that_the_machine_panics_over_ends_though_its_schedule_is_set_aside() {
    let mut bench = Bench::new();
    let overlap = Overlap::BufferOne;
    let (view, _) = bench.save(with(definition("a", every(MINUTE)), |it| it.overlap = overlap));
    bench.worker(1);
    bench.pass(2 * MINUTE);
    let job = bench.job();
    bench.cancel_run(job.id).expect("cancelled");
    bench.call(&Command::SetAside { uid: view.uid, why: "w".into() });
    bench.restart(0);
    assert_eq!(bench.view("a").active.len(), 2, "one that is to stop goes on to do so");
    // Its timer is what is left to panic over.
    bench.call(&Command::SetAside { uid: view.uid, why: "w".into() });
    assert!(!bench.view("a").active.contains(&job.id));
    let hello = bench.hello("one", 1, vec![held(&job)]);
    let (_, orders) = bench.open(hello);
    assert_eq!(orders[0].action, Action::Drop);
}

#[test]
fn r1_a_schedule_that_begins_anew_makes_no_run_that_is_live() {
    let mut bench = Bench::new();
    let overlap = Overlap::Allow;
    let (view, _) = bench.save(with(definition("a", every(MINUTE)), |it| it.overlap = overlap));
    bench.pass(2 * MINUTE);
    let (manual, _) = bench.run_now("a");
    garble(&mut bench, &Name::State(view.uid));
    // The clock was set back: the same times come again.
    bench.now.wall -= 2 * MINUTE;
    bench.restart(0);
    bench.save(with(definition("a", every(MINUTE)), |it| it.overlap = overlap));
    let (again, created) = bench.run_now("a");
    assert!(created && again != manual);
    bench.pass(MINUTE);
    let mut live = bench.view("a").active;
    live.sort_unstable();
    let count = live.len();
    live.dedup();
    assert_eq!((live.len(), count), (4, 4), "two scheduled ones, two manual ones: {live:?}");
}
