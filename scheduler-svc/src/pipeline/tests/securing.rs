//! Rule O10 on the pure loop: which answers wait, for what, and what happens meanwhile.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::{
    state_machine::command::{Delete, Import, ImportItem, Page, RetryRuns, TriggerNow},
    store::Key,
};

impl Bench {
    fn securing() -> Self {
        let mut bench = Self::new();
        let machine = StateMachine::new(Config::default(), bench.epoch, bench.now);
        bench.pipeline = Pipeline::new(machine, 0).secure_changes();
        bench.settle();
        bench
    }

    /// What came of a question; then commits until there is nothing left to do.
    fn secured(&mut self, outcome: Result<u64, StoreError>) {
        match self.pipeline.secured(outcome) {
            Some(Step::Release(output)) => self.release(output),
            None => {}
            other => panic!("{other:?}"),
        }
        self.settle();
    }
}

fn delete(n: u64) -> Command {
    Command::Delete(Delete {
        key: ScheduleKey::new("default", &format!("s{n}")),
        cancel_running: false,
        etag: None,
        request: None,
        actor: "".into(),
    })
}

#[test]
fn o10_an_answer_to_a_change_waits_until_its_commit_is_secured() {
    let mut bench = Bench::securing();
    let to = bench.apply(&upsert(1));
    bench.settle();
    assert_eq!((bench.asked.clone(), bench.released.is_empty()), (vec![1], true));
    assert!(!bench.pipeline.is_idle(), "a shard that stops waits for it");
    bench.secured(Ok(1));
    assert_eq!(bench.released, [to]);
    assert!(bench.pipeline.is_idle());
}

#[test]
fn o10_reads_and_fires_do_not_wait_and_commits_go_on() {
    let mut bench = Bench::securing();
    bench.apply(&upsert(1));
    bench.settle();
    let seen = bench.apply(&Command::GetSchedule(ScheduleKey::new("default", "s1")));
    bench.settle();
    assert_eq!(bench.released, [seen], "a read may show what is not secured yet");
    bench.now.wall += 60_000;
    bench.now.elapsed += 60_000;
    bench.pipeline.wake(bench.now);
    bench.settle();
    assert!(bench.events.iter().any(|event| matches!(event, Event::Fired { .. })), "a fire never waits");
    assert_eq!(bench.store.open().expect("open").seq, 2);
}

#[test]
fn o10_one_question_at_a_time_covers_all_that_waits() {
    let mut bench = Bench::securing();
    let calls: Vec<u64> = (1..=5)
        .map(|n| {
            let to = bench.apply(&upsert(n));
            bench.settle();
            to
        })
        .collect();
    assert_eq!(bench.asked, [1], "one is under way");
    // When the store looked, the third commit was there too.
    bench.secured(Ok(3));
    assert_eq!((bench.released.clone(), bench.asked.clone()), (calls[..3].to_vec(), vec![1, 5]));
    bench.secured(Ok(5));
    assert_eq!(bench.released, calls);
    assert_eq!(bench.asked, [1, 5], "nothing waits any more");
}

#[test]
fn o10_a_change_that_changes_nothing_waits_for_what_it_found() {
    let mut bench = Bench::securing();
    bench.apply(&upsert(1));
    bench.settle();
    // Repeated by a client that got no answer; and a delete of what was never there.
    bench.apply(&upsert(1));
    bench.apply(&delete(9));
    bench.settle();
    assert!(bench.released.is_empty(), "they say that things are so");
    bench.secured(Ok(1));
    assert_eq!(bench.released.len(), 3);
    let again = bench.apply(&upsert(1));
    bench.settle();
    assert_eq!(
        (bench.released.last(), bench.asked.len()),
        (Some(&again), 1),
        "what it found is secured already"
    );
}

#[test]
fn o10_a_question_that_fails_is_asked_again() {
    let mut bench = Bench::securing();
    let first = bench.apply(&upsert(1));
    bench.settle();
    let second = bench.apply(&upsert(2));
    bench.settle();
    for _ in 0..3 {
        bench.secured(Err(StoreError::Unknown("no replica".into())));
    }
    assert_eq!((bench.asked.clone(), bench.released.is_empty()), (vec![1, 2, 2, 2], true));
    bench.secured(Ok(2));
    assert_eq!(bench.released, [first, second]);
}

/// The store has lost commits while nobody writes: an empty commit finds out, and everything is written anew.
#[test]
fn o10_a_loss_that_is_found_out_while_waiting_is_repaired() {
    let mut bench = Bench::securing();
    let to = bench.apply(&upsert(1));
    bench.settle();
    bench.store.inject([Fault::Emptied]);
    bench.secured(Err(StoreError::Lost));
    assert_eq!((bench.restored, bench.released.is_empty()), (1, true));
    assert_eq!(bench.asked, [1, 1]);
    bench.secured(Ok(3));
    assert_eq!(bench.released, [to]);
    bench.reload();
    bench.view(1);
}

#[test]
fn o10_only_the_end_of_a_call_of_many_pages_waits() {
    let mut bench = Bench::securing();
    let page = |last| {
        Command::RetryRuns(Box::new(RetryRuns {
            namespace: "default".into(),
            ids: Vec::new(),
            page: Page { last, ..Page::default() },
            request: None,
            actor: "".into(),
        }))
    };
    let Command::Upsert(saved) = upsert(1) else { panic!("an upsert") };
    let item = ImportItem::Save(Box::new(saved.definition.clone()), saved.uid);
    let import = Import { items: vec![item], validate_only: false, actor: "".into() };
    let imported = bench.apply(&Command::Import(Box::new(import)));
    bench.settle();
    let first = bench.apply(&page(false));
    bench.settle();
    assert_eq!(bench.released, [imported, first], "the caller within the service goes on");
    let last = bench.apply(&page(true));
    let end = bench.apply(&Command::Confirm);
    bench.settle();
    assert_eq!(bench.released, [imported, first]);
    bench.secured(Ok(1));
    assert_eq!(bench.released, [imported, first, last, end]);
    assert!(matches!(bench.answers.last(), Some(Ok(Answer::Confirmed))));
}

#[test]
fn o10_a_panic_leaves_what_waits_waiting() {
    poisoned(poison::At::Command, "s2", |_| {
        let mut bench = Bench::securing();
        let first = bench.apply(&upsert(1));
        bench.settle();
        let (second, third) = (bench.apply(&upsert(2)), bench.apply(&upsert(3)));
        bench.settle();
        assert_eq!(bench.released, [second], "what was not applied needs no wait");
        assert!(bench.pipeline.keeps(ReplyTo(first)) && bench.pipeline.keeps(ReplyTo(third)));
        bench.secured(Ok(2));
        assert_eq!(bench.released, [second, first, third]);
    });
}

#[test]
fn o10_what_a_reopened_store_does_not_have_is_never_answered() {
    let mut bench = Bench::securing();
    let first = bench.apply(&upsert(1));
    bench.settle();
    let lost = bench.apply(&upsert(2));
    bench.settle();
    let machine = StateMachine::new(Config::default(), 2, bench.now);
    bench.pipeline.reloaded(machine, 1);
    assert!(bench.pipeline.keeps(ReplyTo(first)) && !bench.pipeline.keeps(ReplyTo(lost)));
    if let Some(Step::Release(output)) = bench.pipeline.secured(Ok(1)) {
        bench.release(output);
    }
    assert_eq!(bench.released, [first]);
}

#[test]
fn o10_a_deposed_owner_answers_nothing_that_waits() {
    let mut bench = Bench::securing();
    bench.apply(&upsert(1));
    bench.settle();
    bench.pipeline.depose();
    bench.secured(Ok(1));
    assert!(bench.released.is_empty());
}

#[test]
fn p3_what_waits_is_bounded() {
    let mut bench = Bench::securing();
    bench.apply(&upsert(1));
    bench.settle();
    let trigger = TriggerNow { key: ScheduleKey::new("default", "none"), request: None, actor: "".into() };
    for _ in 0..100_002 {
        while !bench.pipeline.has_room() {
            bench.settle();
        }
        bench.apply(&Command::Trigger(trigger.clone()));
    }
    bench.settle();
    let refused = bench.answers.iter().filter(|reply| matches!(reply, Err(Refusal::Unsecured))).count();
    assert_eq!((refused, bench.released.len()), (3, 3), "they are told at once, and repeat it");
}

/// A store whose disk lags behind, and a leader and a disk that may go at any moment.
#[derive(Default)]
struct Lagging {
    memory: BTreeMap<Key, Bytes>,
    disk: BTreeMap<Key, Bytes>,
    seq: u64,
}

impl Lagging {
    fn commit(&mut self, seq: u64, batch: &Batch) {
        self.seq = seq;
        for write in batch.iter() {
            match &write.value {
                Some(value) => self.memory.insert(write.key.clone(), value.clone()),
                None => self.memory.remove(&write.key),
            };
        }
    }

    /// What is there after the loss of everything but the disk.
    fn survivors(&self, now: Now) -> Vec<u64> {
        let hot = self.disk.iter().filter(|(key, _)| !key.is_cold());
        let hot = hot.map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut machine = StateMachine::load(Config::default(), 9, now, hot).expect("load");
        let key = |n| ScheduleKey::new("default", &format!("s{n}"));
        for n in 0..KEYS {
            machine.apply(now, ReplyTo(n), &Command::GetSchedule(key(n)));
        }
        let replies = machine.seal().replies.into_iter();
        replies.filter(|(_, reply)| reply.is_ok()).map(|(to, _)| to.0).collect()
    }
}

const KEYS: u64 = 20;

/// By chance: changes, reads, commits, syncs that begin and end in between. At any moment the last answer about each
/// schedule is true of the disk alone, unless a later change is under way.
#[test]
fn o10_what_was_answered_survives_the_loss_of_leader_and_memory() {
    let mut compared = 0;
    for seed in 0..40 {
        let mut state = seed * 2 + 1;
        let mut draw = |of: u64| {
            state = u64::wrapping_add(
                u64::wrapping_mul(state, 6_364_136_223_846_793_005),
                1_442_695_040_888_963_407,
            );
            (state >> 33) % of
        };
        let mut bench = Bench::securing();
        let mut store = Lagging::default();
        let mut calls: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
        let (mut in_flight, mut sync) = (None, None);
        for _ in 0..400 {
            match draw(6) {
                0 | 1 => {
                    let (n, saves) = (draw(KEYS), draw(3) > 0);
                    let to = bench.apply(&if saves { upsert(n) } else { delete(n) });
                    calls.insert(to, (n, saves));
                }
                2 if in_flight.is_none() => in_flight = bench.rest(),
                3 => {
                    if let Some((seq, batch)) = in_flight.take() {
                        store.commit(seq, &batch);
                        bench.finish(Ok(()));
                    }
                }
                // The sync begins with what is in memory then, and may fail.
                4 if sync.is_none() && !bench.asked.is_empty() => {
                    sync = Some((store.seq, store.memory.clone()))
                }
                5 => {
                    let failed = draw(4) == 0;
                    if let Some((seq, memory)) = sync.take() {
                        bench.asked.clear();
                        let outcome = if failed {
                            Err(StoreError::Unknown("slow".into()))
                        } else {
                            store.disk = memory;
                            Ok(seq)
                        };
                        if let Some(Step::Release(output)) = bench.pipeline.secured(outcome) {
                            bench.release(output);
                        }
                    }
                }
                _ => {}
            }
            compared += judge(&bench, &calls, &store);
        }
    }
    assert!(compared > 10_000, "{compared}");
}

/// How many schedules were compared.
fn judge(bench: &Bench, calls: &BTreeMap<u64, (u64, bool)>, store: &Lagging) -> usize {
    let survivors = store.survivors(bench.now);
    let mut compared = 0;
    for n in 0..KEYS {
        let mut about = calls.iter().filter(|(_, (of, _))| *of == n).map(|(to, (_, saves))| (to, *saves));
        let Some((last, saved)) = about.next_back() else { continue };
        if bench.released.contains(last) {
            assert_eq!(survivors.contains(&n), saved, "s{n} after call {last}");
            compared += 1;
        }
    }
    compared
}

/// Nothing of it costs anything where `store.ack` asks for no more than a commit.
#[test]
fn o10_without_it_nothing_waits() {
    let mut bench = Bench::new();
    let to = bench.apply(&upsert(1));
    bench.settle();
    assert_eq!((bench.released.clone(), bench.asked.is_empty()), (vec![to], true));
    assert!(bench.pipeline.secured(Ok(1)).is_none());
}
