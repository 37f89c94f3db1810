//! Copies between stores in memory and in folders; those with Redis are in `tests/moving.rs`.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{
    state_machine::id::{RunId, Trigger, Uid},
    store::{Batch, Page, embedded::EmbeddedStore, memory::MemoryStore},
};

fn put(name: &Name, value: &str) -> Write {
    Write { key: Key::new(name), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

/// Something of every kind.
fn everything(schedules: u128) -> Vec<Write> {
    let mut writes = vec![
        put(&Name::Meta, "meta"),
        put(&Name::Request { namespace: "shop".into(), id: "r".into() }, "seen"),
        put(&Name::Limit { namespace: "shop".into(), key: "l".into() }, "limit"),
        put(&Name::Closing { namespace: "shop".into(), key: "c".into() }, "closed"),
    ];
    for uid in (0..schedules).map(Uid) {
        writes.push(put(&Name::Definition(uid, 1), "definition"));
        writes.push(put(&Name::State(uid), "state"));
        writes.push(put(&Name::Run(RunId { uid, trigger: Trigger::Manual, nominal: 7 }), "run"));
        for slot in 0..3 {
            writes.push(put(&Name::Decision(uid, slot), "decision"));
            writes.push(put(&Name::Succeeded(uid, slot), "succeeded"));
            writes.push(put(&Name::Unsucceeded(uid, slot), "failed"));
        }
    }
    writes
}

fn fill(store: &dyn Store, writes: Vec<Write>) -> u64 {
    let opened = store.open().expect("open");
    store.commit(opened.epoch, opened.seq + 1, Arc::new(writes)).expect("commit");
    opened.epoch
}

/// All that is there, and under which epoch.
fn content(store: &dyn Store) -> (Moved, u64, bool) {
    let opened = store.open().expect("open");
    let marked = opened.hot.iter().any(|(key, _)| key.name() == Some(Name::Copying));
    (survey(store, &opened.hot, Place::Target).expect("a survey"), opened.epoch, marked)
}

/// Ends the process at its `n`th commit, as far as the other store can tell.
struct Dying {
    inner: MemoryStore,
    commits: AtomicU32,
}

impl Store for Dying {
    fn kind(&self) -> &'static str {
        "dying"
    }
    fn open(&self) -> Result<Opened, StoreError> {
        self.inner.open()
    }
    fn commit(&self, epoch: u64, seq: u64, batch: Batch) -> Result<(), StoreError> {
        let left =
            self.commits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| StoreError::Fatal("killed".into()))?;
        self.inner.commit(epoch, seq, batch)
    }
    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.inner.read(keys)
    }
    fn scan(&self, from: Option<&Cursor>) -> Result<Page, StoreError> {
        self.inner.scan(from)
    }
    fn outrank(&self, epoch: u64) {
        self.inner.outrank(epoch);
    }
}

#[test]
fn everything_moves_and_the_target_outranks_its_source() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [source, target] =
        [&folders[0], &folders[1]].map(|folder| EmbeddedStore::new(folder.path()).expect("a store"));
    source.outrank(30);
    let epoch = fill(&source, everything(1_000));
    let moved = copy(&source, &target, &Options::default()).expect("a copy");
    assert_eq!(
        (moved.count("schedules"), moved.count("live runs"), moved.count("failed runs")),
        (1_000, 1_000, 3_000)
    );
    drop(target);
    // What was written is sound to the checks of a start.
    let target = EmbeddedStore::new(folders[1].path()).expect("a store");
    let (found, above, marked) = content(&target);
    assert_eq!((found == moved, marked), (true, false));
    assert!(above > epoch, "workers would ignore it: {above} after {epoch}");
    assert!(content(&source).0 == moved, "the source is as it was");
}

#[test]
fn a_copy_that_dies_anywhere_leaves_nothing_that_is_taken_for_whole() {
    let source = MemoryStore::default();
    fill(&source, everything(500));
    let whole = content(&source).0;
    let old = vec![put(&Name::State(Uid(9_999)), "old"), put(&Name::Decision(Uid(9_999), 1), "old")];
    for commits in 0.. {
        let target = Dying { inner: MemoryStore::default(), commits: AtomicU32::new(commits) };
        fill(&target.inner, old.clone());
        let before = content(&target).0;
        let replace = Options { replace: true, ..Options::default() };
        if copy(&source, &target, &replace).is_ok() {
            assert!(commits > 4, "it took several commits");
            break;
        }
        let (found, _, marked) = content(&target);
        assert!(marked || found == before, "after {commits} commits it passes for a store: {found}");
        target.commits.store(1_000, Ordering::Relaxed);
        // A target that is marked is nobody's; one that is not yet has to be given up again.
        let again = Options { replace: !marked, ..Options::default() };
        copy(&source, &target, &again).expect("once more");
        let (found, _, marked) = content(&target);
        assert!(found == whole && !marked, "after {commits} commits: {found}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (source, target, empty) = (MemoryStore::default(), MemoryStore::default(), MemoryStore::default());
    fill(&source, everything(2));
    fill(&target, vec![put(&Name::State(Uid(1)), "other")]);
    let refused = copy(&source, &target, &Options::default()).expect_err("not empty").to_string();
    assert_eq!(
        refused,
        "the target holds 1 schedules: name an empty one, or give up what it holds by --replace"
    );
    assert!(matches!(copy(&empty, &target, &Options::default()), Err(CopyError::Nothing)));
    fill(&source, vec![mark(Some(Bytes::new()))]);
    assert!(matches!(copy(&source, &empty, &Options::default()), Err(CopyError::Unfinished)));
    let odd = MemoryStore::default();
    fill(&odd, vec![Write { key: Key::from_bytes(b"\0\0zz"), value: Some(Bytes::new()) }]);
    assert!(matches!(copy(&odd, &empty, &Options::default()), Err(CopyError::Unknown(_))));
    // A scheduler that has started there once and saved nothing.
    fill(&empty, vec![put(&Name::Meta, "meta")]);
    let (clean, above) = (MemoryStore::default(), Options { above: 70, ..Options::default() });
    fill(&clean, everything(1));
    copy(&clean, &empty, &above).expect("an empty store");
    assert!(content(&empty).1 > 70);
}

#[test]
fn a_marked_store_is_not_loaded() {
    use crate::state_machine::{Config, StateMachine, timer::Now};
    let hot = vec![(Key::new(&Name::Copying), Bytes::new())];
    let refused =
        StateMachine::load(Config::default(), 1, Now { wall: 0, elapsed: 0 }, hot).expect_err("a half copy");
    assert!(refused.to_string().contains("copy into this store is not finished"), "{refused}");
}
