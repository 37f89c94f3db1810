//! What a folder has to hold: every commit's content follows from its sequence.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use scheduler_svc::{
    state_machine::id::Uid,
    store::{Batch, Key, Opened, Store as _, StoreError, Write, embedded::EmbeddedStore, key::Name},
};

/// Schedules whose records are written over and over.
const SLOTS: u128 = 40;
/// So that tables are written and merged within a test.
const BUFFER: u64 = 300_000;

/// In memory where that can be had: neither a kill nor rot needs a disk, and there a sync takes no time.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

pub fn open(folder: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::with_buffer(folder, BUFFER)
}

/// One to twelve records, up to some pages each, hot and cold.
pub fn batch(seq: u64) -> Batch {
    let mut random = StdRng::seed_from_u64(seq);
    let writes = (0..random.random_range(1..=12)).map(|_| {
        let uid = Uid(random.random_range(0..SLOTS));
        let name = if random.random_bool(0.7) { Name::State(uid) } else { Name::Succeeded(uid, 0) };
        let size = if random.random_bool(0.1) { 9_000 } else { random.random_range(8..600) };
        let value = || {
            let mut value = vec![seq as u8; size];
            value[..8].copy_from_slice(&seq.to_be_bytes());
            Bytes::from(value)
        };
        Write { key: Key::new(&name), value: (size % 7 > 0).then(value) }
    });
    Arc::new(writes.collect())
}

/// All records after this many commits.
pub fn records(seq: u64) -> BTreeMap<Key, Bytes> {
    let mut records = BTreeMap::new();
    for write in (1..=seq).flat_map(|seq| batch(seq).to_vec()) {
        match write.value {
            Some(value) => records.insert(write.key, value),
            None => records.remove(&write.key),
        };
    }
    records
}

/// Becomes the owner and compares all that is there with what has to be there. Err when the store says no.
pub fn check(store: &EmbeddedStore) -> Result<Opened, StoreError> {
    let mut opened = store.open()?;
    opened.hot.sort();
    let expected = records(opened.seq);
    let hot: Vec<_> = expected.iter().filter(|(key, _)| !key.is_cold()).collect();
    let cold: Vec<_> = (0..SLOTS).map(|slot| Key::new(&Name::Succeeded(Uid(slot), 0))).collect();
    let found = store.read(&cold)?;
    assert!(opened.hot.iter().map(|(key, value)| (key, value)).eq(hot), "hot records at {}", opened.seq);
    for (key, value) in cold.iter().zip(found) {
        assert_eq!(value.as_ref(), expected.get(key), "{key:?} at {}", opened.seq);
    }
    Ok(opened)
}

/// Commits this many, one after the other. Calls `told` after each.
pub fn commit(store: &EmbeddedStore, opened: &Opened, count: u64, mut told: impl FnMut(u64)) {
    for seq in opened.seq + 1..=opened.seq + count {
        store.commit(opened.epoch, seq, batch(seq)).expect("a commit");
        told(seq);
    }
}
