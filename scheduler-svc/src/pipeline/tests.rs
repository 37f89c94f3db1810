//! Rules P1 to P3 on the pure loop, with a store that fails as it is told.

mod securing;

use std::sync::Arc;

use super::*;
use crate::{
    state_machine::{
        Config,
        command::{Command, Upsert},
        definition::ScheduleKey,
        id::Uid,
        output::{Answer, Event, Refusal, Reply},
        poison,
        schedule::Status,
        tests::bench::{definition, every},
        view::ScheduleView,
    },
    store::{
        Store,
        memory::{Fault, MemoryStore},
    },
};

struct Bench {
    pipeline: Pipeline,
    store: MemoryStore,
    epoch: u64,
    now: Now,
    next: u64,
    released: Vec<u64>,
    answers: Vec<Reply>,
    /// How often everything was written anew.
    restored: u32,
    /// What was to be secured.
    asked: Vec<u64>,
    events: Vec<Event>,
}

fn upsert(n: u64) -> Command {
    let definition = definition(&format!("s{n}"), every(60_000));
    let uid = Uid(u128::from(n) + 1);
    Command::Upsert(Box::new(Upsert {
        definition,
        uid,
        etag: None,
        create_only: false,
        request: None,
        validate_only: false,
        actor: "".into(),
    }))
}

fn read() -> Command {
    Command::GetStatus { namespace: "default".into() }
}

impl Bench {
    fn new() -> Self {
        let store = MemoryStore::default();
        let epoch = store.open().expect("open").epoch;
        let now = Now { wall: 1_795_392_000_000, elapsed: 1_000 };
        let machine = StateMachine::new(Config::default(), epoch, now);
        let mut bench = Self {
            pipeline: Pipeline::new(machine, 0),
            store,
            epoch,
            now,
            next: 0,
            released: Vec::new(),
            answers: Vec::new(),
            restored: 0,
            asked: Vec::new(),
            events: Vec::new(),
        };
        bench.rest();
        bench
    }

    fn apply(&mut self, command: &Command) -> u64 {
        self.next += 1;
        self.pipeline.apply(self.now, ReplyTo(self.next), command.clone());
        self.next
    }

    fn release(&mut self, output: Output) {
        for (to, reply) in output.replies {
            self.released.push(to.0);
            self.answers.push(reply);
        }
        self.events.extend(output.events);
    }

    /// Steps until there is nothing to do but wait, or a commit begins. Returns that commit.
    fn rest(&mut self) -> Option<(u64, Batch)> {
        loop {
            match self.pipeline.step() {
                Step::Commit { seq, batch } => return Some((seq, batch)),
                Step::Release(output) => self.release(output),
                Step::Reload => self.reload(),
                Step::Secure { seq } => self.asked.push(seq),
                Step::Restore { .. } => panic!("only an outcome asks for it"),
                Step::Wait(_) => return None,
            }
        }
    }

    fn reload(&mut self) {
        let opened = self.store.open().expect("open");
        self.epoch = opened.epoch;
        let machine =
            StateMachine::load(Config::default(), opened.epoch, self.now, opened.hot).expect("load");
        machine.check().expect("sound");
        self.pipeline.reloaded(machine, opened.seq);
    }

    /// Steps and commits until nothing is left to do.
    fn settle(&mut self) {
        while let Some((seq, batch)) = self.rest() {
            let outcome = self.store.commit(self.epoch, seq, batch);
            self.finish(outcome);
        }
    }

    fn view(&mut self, n: u64) -> ScheduleView {
        self.apply(&Command::GetSchedule(ScheduleKey::new("default", &format!("s{n}"))));
        self.settle();
        match self.answers.pop().expect("an answer") {
            Ok(Answer::Schedule(view)) => *view,
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, outcome: Result<(), StoreError>) -> Option<(u64, Batch)> {
        match self.pipeline.committed(outcome) {
            Some(Step::Release(output)) => {
                self.release(output);
                None
            }
            Some(Step::Commit { seq, batch }) => Some((seq, batch)),
            Some(Step::Restore { seq, snapshot }) => {
                self.restored += 1;
                let outcome = self.store.restore(self.epoch, seq, snapshot);
                self.finish(outcome)
            }
            Some(Step::Wait(_) | Step::Reload | Step::Secure { .. }) | None => None,
        }
    }
}

#[test]
fn p1_nothing_is_said_before_its_commit() {
    let mut bench = Bench::new();
    let to = bench.apply(&upsert(1));
    let (seq, batch) = bench.rest().expect("a commit");
    assert!(bench.released.is_empty() && seq == 1);
    bench.store.commit(bench.epoch, seq, batch).expect("commit");
    bench.finish(Ok(()));
    assert_eq!(bench.released, [to]);
    assert!(bench.rest().is_none() && bench.pipeline.is_idle());
}

#[test]
fn p1_reads_and_no_ops_wait_for_the_commit_in_flight() {
    let mut bench = Bench::new();
    let written = bench.apply(&upsert(1));
    bench.rest().expect("a commit");
    let (seen, equal) = (bench.apply(&read()), bench.apply(&upsert(1)));
    assert!(bench.rest().is_none());
    assert!(bench.released.is_empty(), "what they saw is not durable yet");
    bench.finish(Ok(()));
    assert!(bench.rest().is_none(), "nothing to write for them");
    assert_eq!(bench.released, [written, seen, equal]);
}

#[test]
fn p1_reads_of_a_quiet_machine_need_no_commit() {
    let mut bench = Bench::new();
    let to = bench.apply(&read());
    assert!(bench.rest().is_none());
    assert_eq!(bench.released, [to]);
}

#[test]
fn p2_an_unknown_outcome_is_retried_with_the_same_bytes_and_sequence() {
    for fault in [Fault::LostBefore, Fault::LostAfter] {
        let mut bench = Bench::new();
        bench.store.inject([fault, fault]);
        let first = bench.apply(&upsert(1));
        let (seq, batch) = bench.rest().expect("a commit");
        let mut outcome = bench.store.commit(bench.epoch, seq, batch.clone());
        let second = bench.apply(&upsert(2));
        for _ in 0..2 {
            let (again, same) = bench.finish(outcome.clone()).expect("sent again");
            assert!(again == seq && Arc::ptr_eq(&same, &batch), "new commands wait for the next");
            assert!(bench.released.is_empty());
            outcome = bench.store.commit(bench.epoch, again, same);
        }
        assert_eq!(outcome, Ok(()));
        bench.finish(outcome);
        assert_eq!(bench.released, [first]);
        let (next, batch) = bench.rest().expect("the next");
        assert_eq!(next, seq + 1);
        let outcome = bench.store.commit(bench.epoch, next, batch);
        bench.finish(outcome);
        assert_eq!(bench.released, [first, second]);
    }
}

/// What was in flight and what was gathered since are part of what is written anew, and are said once it is durable.
#[test]
fn o7_a_store_that_lost_everything_gets_everything() {
    let mut bench = Bench::new();
    let first = bench.apply(&upsert(1));
    bench.settle();
    bench.store.inject([Fault::Emptied]);
    let second = bench.apply(&upsert(2));
    let (seq, batch) = bench.rest().expect("a commit");
    let third = bench.apply(&upsert(3));
    let outcome = bench.store.commit(bench.epoch, seq, batch);
    assert_eq!(outcome, Err(StoreError::Lost));
    assert_eq!(bench.released, [first]);
    assert!(bench.finish(outcome).is_none());
    assert_eq!((bench.restored, bench.released.clone()), (1, vec![first, second, third]));
    let fourth = bench.apply(&upsert(4));
    bench.settle();
    assert_eq!(bench.released.last(), Some(&fourth));
    bench.reload();
    for n in 1..=4 {
        bench.view(n);
    }
}

/// An owner that has not renewed its lease speaks only with a commit that confirms it (rule O5).
#[test]
fn o5_without_trust_even_a_read_is_confirmed_by_a_commit() {
    let mut bench = Bench::new();
    bench.pipeline.trust(false);
    bench.apply(&read());
    let (seq, batch) = bench.rest().expect("a commit that writes nothing");
    assert!(batch.is_empty() && bench.released.is_empty());
    bench.store.open().expect("another owner");
    let outcome = bench.store.commit(bench.epoch, seq, batch);
    bench.finish(outcome);
    assert_eq!(bench.pipeline.halted(), Some(&Halt::Fenced));
    assert!(bench.released.is_empty(), "it was not the owner any more");
}

#[test]
fn a_fenced_pipeline_halts_and_says_nothing() {
    let mut bench = Bench::new();
    bench.apply(&upsert(1));
    let (seq, batch) = bench.rest().expect("a commit");
    bench.apply(&read());
    bench.store.open().expect("another owner");
    let outcome = bench.store.commit(bench.epoch, seq, batch);
    assert!(bench.finish(outcome).is_none());
    assert_eq!(bench.pipeline.halted(), Some(&Halt::Fenced));
    bench.now.wall += 3_600_000;
    bench.pipeline.wake(bench.now);
    assert!(bench.rest().is_none() && bench.released.is_empty() && !bench.pipeline.has_room());
}

#[test]
fn a_store_that_fails_halts_with_its_reason() {
    let mut bench = Bench::new();
    bench.apply(&upsert(1));
    bench.rest().expect("a commit");
    bench.finish(Err(StoreError::Fatal("disk full".into())));
    assert_eq!(bench.pipeline.halted(), Some(&Halt::Failed("disk full".into())));
}

#[test]
fn p3_gathering_is_bounded_and_timers_leave_room_for_commands() {
    let mut bench = Bench::new();
    for n in 0..7_000 {
        if !bench.pipeline.has_room() {
            assert_eq!(n, 5_000);
            let (seq, batch) = bench.rest().expect("a commit");
            bench.store.commit(bench.epoch, seq, batch).expect("commit");
            bench.finish(Ok(()));
        }
        bench.apply(&upsert(n));
    }
    let (seq, batch) = bench.rest().expect("a commit");
    bench.finish(bench.store.commit(bench.epoch, seq, batch));
    assert!(bench.rest().is_none());
    bench.apply(&upsert(9_000));
    bench.rest().expect("a commit in flight");
    bench.now.wall += 60_000;
    bench.now.elapsed += 60_000;
    for _ in 0..10 {
        bench.pipeline.wake(bench.now);
    }
    assert!(bench.pipeline.has_room(), "seven thousand are due, and heartbeats are heard");
    assert!(matches!(bench.pipeline.step(), Step::Wait(Wake { wall: None, elapsed: None })), "no busy loop");
    bench.finish(Ok(()));
    let (_, batch) = bench.rest().expect("the first of the herd");
    assert!((5_000..=6_000 * 3).contains(&batch.len()), "{}", batch.len());
}

#[test]
fn a_timer_that_is_due_is_handled_while_a_commit_is_in_flight() {
    let mut bench = Bench::new();
    bench.apply(&upsert(1));
    bench.rest().expect("a commit");
    let Step::Wait(wake) = bench.pipeline.step() else { panic!("wait") };
    assert_eq!(wake.wall, Some(bench.now.wall + 60_000));
    bench.now.wall += 60_000;
    bench.pipeline.wake(bench.now);
    bench.finish(Ok(()));
    assert_eq!(bench.rest().expect("the fire").0, 2);
}

/// Runs `test` with poison in the machine, and takes it out again.
fn poisoned(at: poison::At, schedule_id: &str, test: impl FnOnce(&mut Bench)) {
    let mut bench = Bench::new();
    poison::arm(at, schedule_id);
    test(&mut bench);
    poison::disarm();
}

#[test]
fn p4_a_command_that_panics_is_answered_and_its_neighbours_are_applied() {
    poisoned(poison::At::Command, "s2", |bench| {
        let calls: Vec<u64> = (1..=3).map(|n| bench.apply(&upsert(n))).collect();
        assert!(!bench.pipeline.has_room(), "new calls wait until it is over");
        bench.settle();
        assert!(bench.pipeline.has_room());
        assert_eq!(bench.released, [calls[0], calls[1], calls[2]]);
        let refused: Vec<bool> =
            bench.answers.iter().map(|answer| matches!(answer, Err(Refusal::Poisonous))).collect();
        assert_eq!(refused, [false, true, false]);
        assert_eq!(bench.view(3).status, Status::Active);
    });
}

#[test]
fn p4_a_panic_while_a_commit_is_in_flight_waits_for_its_outcome() {
    poisoned(poison::At::Command, "s2", |bench| {
        let first = bench.apply(&upsert(1));
        let (seq, batch) = bench.rest().expect("a commit");
        bench.apply(&upsert(2));
        let third = bench.apply(&upsert(3));
        assert!(matches!(bench.pipeline.step(), Step::Wait(_)));
        let outcome = bench.store.commit(bench.epoch, seq, batch);
        bench.finish(outcome);
        assert_eq!(bench.released, [first], "what is durable is said");
        bench.settle();
        assert_eq!(bench.released.last(), Some(&third));
    });
}

#[test]
fn p4_a_timer_that_panics_sets_its_schedule_aside_and_others_fire() {
    poisoned(poison::At::Timer, "s2", |bench| {
        for n in 1..=3 {
            bench.apply(&upsert(n));
        }
        bench.settle();
        bench.now.wall += 60_000;
        bench.now.elapsed += 60_000;
        for _ in 0..3 {
            bench.pipeline.wake(bench.now);
            bench.settle();
        }
        assert_eq!(bench.view(1).active.len(), 1);
        assert_eq!(bench.view(3).active.len(), 1);
        let aside = bench.view(2);
        assert_eq!((aside.status, aside.active.len()), (Status::Quarantined, 0));
        assert!(aside.quarantine.expect("a reason").contains("poison at Timer"));
        poison::disarm();
        bench.apply(&upsert(2));
        bench.settle();
        assert_eq!(bench.view(2).status, Status::Active, "saving it again releases it");
    });
}

#[test]
fn p4_a_caller_that_repeats_a_poisonous_command_ends_no_process() {
    poisoned(poison::At::Command, "s2", |bench| {
        for _ in 0..30 {
            bench.apply(&upsert(2));
            bench.settle();
        }
        assert_eq!(bench.pipeline.halted(), None);
        bench.apply(&upsert(1));
        bench.settle();
        assert_eq!(bench.view(1).status, Status::Active);
    });
}

#[test]
fn p4_panics_that_nothing_explains_end_the_process_at_last() {
    let mut bench = Bench::new();
    for _ in 0..=10 {
        bench.pipeline.guarded(false, |_| panic!("a bug"));
        bench.settle();
    }
    assert_eq!(bench.pipeline.halted(), Some(&Halt::Failed("panicked again and again: a bug".into())));
}
