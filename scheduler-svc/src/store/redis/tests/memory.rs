//! What a schedule takes in Redis. `cargo test -p scheduler-svc --lib -- --ignored --nocapture memory_per_schedule`

use std::collections::BTreeMap;

use super::*;
use crate::state_machine::{
    command::Command,
    definition::Input,
    tests::bench::{Bench, cron, definition},
};

const SCHEDULES: u128 = 100_000;
const DAY: i64 = 86_400_000;
/// Of one commit.
const WRITES: usize = 4_000;

/// The records of a daily schedule with an id of 16 bytes and one argument, after so many runs.
fn records(runs: u32) -> BTreeMap<Key, Bytes> {
    let mut bench = Bench::new();
    let mut daily = definition("mailbox-00000001", cron("0 2 * * *", "Europe/Berlin"));
    daily.input = Input::new(b"\x0a\x14\x0a\x0amailbox_id\x12\x06\x1a\x04mb-1", &[]);
    daily.task.kind = "document-sync".into();
    bench.save(daily);
    for _ in 0..runs {
        bench.skip(DAY);
        bench.wake();
        let mut hello = bench.hello("one", 1, Vec::new());
        hello.kinds = vec!["document-sync".into()];
        let session = bench.open(hello).0;
        let job = bench.job();
        bench.skip(2_000);
        bench.succeed(&job);
        bench.apply(&Command::CloseSession(session));
    }
    bench.records
}

/// The same records of another schedule.
fn under(uid: Uid, key: &Key) -> Option<Key> {
    let name = match key.name()? {
        Name::Definition(_, generation) => Name::Definition(uid, generation),
        Name::State(_) => Name::State(uid),
        Name::Decision(_, slot) => Name::Decision(uid, slot),
        Name::Succeeded(_, slot) => Name::Succeeded(uid, slot),
        _ => return None,
    };
    Some(Key::new(&name))
}

fn used(redis: &Redis) -> u64 {
    let info = redis.ask(&["INFO", "memory"]).expect("info");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("used_memory");
    used.trim().parse().expect("bytes")
}

#[test]
#[ignore = "a measurement of some minutes"]
#[allow(clippy::print_stderr)]
fn memory_per_schedule() {
    for (runs, goal) in [(0, 400), (20, 1_200)] {
        let folder = tempfile::tempdir().expect("a folder");
        let redis = Redis::with(folder.path(), &[]);
        let before = used(&redis);
        let template = records(runs);
        let bytes: usize = template.iter().map(|(key, value)| key.as_bytes().len() + value.len()).sum();
        let store = store(&redis);
        let (epoch, mut seq, mut writes) = (open(&store).epoch, 0, Vec::new());
        for n in 0..SCHEDULES {
            // As random ones are spread.
            let uid = Uid(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            let records = template.iter().filter_map(|(key, value)| Some((under(uid, key)?, value.clone())));
            writes.extend(records.map(|(key, value)| Write { key, value: Some(value) }));
            if writes.len() >= WRITES || n + 1 == SCHEDULES {
                seq += 1;
                store.progress();
                commit(&store, epoch, seq, &batch(std::mem::take(&mut writes))).expect("commit");
            }
        }
        drop(store);
        let each = (used(&redis) - before) / SCHEDULES as u64;
        for (key, value) in &template {
            eprintln!("  {:?} {} B", key.name().map(|name| format!("{name:?}")), value.len());
        }
        eprintln!("after {runs} runs: {each} B a schedule of {bytes} B in records; the goal is {goal} B");
    }
}
