//! One suite for every store. A store passes when each of these holds on a fresh one.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Key, Store, StoreError, Write,
    embedded::EmbeddedStore,
    key::Name,
    memory::{Fault, MemoryStore},
};
use crate::state_machine::id::Uid;

fn put(name: &Name, value: &str) -> Write {
    Write { key: Key::new(name), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn remove(name: &Name) -> Write {
    Write { key: Key::new(name), value: None }
}

fn state(n: u128) -> Name {
    Name::State(Uid(n))
}

fn cold(n: u128) -> Name {
    Name::Succeeded(Uid(n), 0)
}

fn hot_of(store: &dyn Store) -> Vec<(Key, Bytes)> {
    let mut hot = store.open().expect("open").hot;
    hot.sort();
    hot
}

/// Hot records come back from `open`, cold ones only by key.
fn keeps_what_is_committed(store: &dyn Store) {
    let opened = store.open().expect("open");
    assert_eq!((opened.seq, opened.hot.len()), (0, 0));
    let batch = Arc::new(vec![put(&state(1), "a"), put(&state(2), "b"), put(&cold(1), "c")]);
    store.commit(opened.epoch, 1, batch).expect("commit");
    let read = store.read(&[Key::new(&cold(2)), Key::new(&cold(1))]).expect("read");
    assert_eq!(read, [None, Some(Bytes::from_static(b"c"))]);
    let hot = hot_of(store);
    assert_eq!(hot, [(Key::new(&state(1)), "a".into()), (Key::new(&state(2)), "b".into())]);
}

fn deletes_and_replaces(store: &dyn Store) {
    let epoch = store.open().expect("open").epoch;
    store.commit(epoch, 1, Arc::new(vec![put(&state(1), "a"), put(&cold(1), "c")])).expect("commit");
    store
        .commit(epoch, 2, Arc::new(vec![remove(&state(1)), put(&state(2), "b"), remove(&cold(1))]))
        .expect("commit");
    store.commit(epoch, 3, Arc::new(vec![put(&state(2), "B"), remove(&state(9))])).expect("commit");
    assert_eq!(store.read(&[Key::new(&cold(1))]).expect("read"), [None]);
    assert_eq!(hot_of(store), [(Key::new(&state(2)), "B".into())]);
}

/// O1: whoever opened last is the owner, and nobody else writes.
fn fences_former_owners(store: &dyn Store) {
    let first = store.open().expect("open");
    store.commit(first.epoch, 1, Arc::new(vec![put(&state(1), "a")])).expect("commit");
    let second = store.open().expect("open");
    assert!(second.epoch > first.epoch);
    assert_eq!(second.seq, 1);
    let refused = store.commit(first.epoch, 2, Arc::new(vec![put(&state(1), "stale")]));
    assert_eq!(refused, Err(StoreError::Fenced));
    store.commit(second.epoch, 2, Arc::new(vec![put(&state(2), "b")])).expect("commit");
    assert_eq!(hot_of(store).len(), 2);
}

/// P2: the same batch with the same sequence may be sent again.
fn takes_a_repeated_commit_once(store: &dyn Store) {
    let epoch = store.open().expect("open").epoch;
    let batch = Arc::new(vec![put(&state(1), "a")]);
    store.commit(epoch, 1, batch.clone()).expect("commit");
    store.commit(epoch, 1, batch).expect("repeated");
    store.commit(epoch, 2, Arc::new(vec![put(&state(1), "b")])).expect("next");
    assert_eq!(store.open().expect("open").seq, 2);
}

/// A hole in the history is never accepted.
fn refuses_a_gap(store: &dyn Store) {
    let epoch = store.open().expect("open").epoch;
    let refused = store.commit(epoch, 2, Arc::new(vec![put(&state(1), "a")]));
    assert!(matches!(refused, Err(StoreError::Fatal(_) | StoreError::Lost)), "{refused:?}");
    assert!(hot_of(store).is_empty());
}

/// A ring's slots are records of their own, whatever the store makes of them.
fn keeps_slots_of_rings_apart(store: &dyn Store) {
    let epoch = store.open().expect("open").epoch;
    let slot = |n| Name::Succeeded(Uid(1), n);
    let batch = (0..10).map(|n| put(&slot(n), &format!("run {n}"))).collect();
    store.commit(epoch, 1, Arc::new(batch)).expect("commit");
    store.commit(epoch, 2, Arc::new(vec![put(&slot(3), "newer"), remove(&slot(4))])).expect("commit");
    let keys: Vec<Key> = (2..6).map(|n| Key::new(&slot(n))).collect();
    let read = store.read(&keys).expect("read");
    assert_eq!(read, [Some("run 2".into()), Some("newer".into()), None, Some("run 5".into())]);
    let all = (0..10).map(|n| remove(&slot(n))).collect();
    store.commit(epoch, 3, Arc::new(all)).expect("commit");
    assert_eq!(store.read(&keys).expect("read"), [None, None, None, None]);
}

/// More writes than a server takes as the arguments of one command.
fn takes_large_batches(store: &dyn Store) {
    let epoch = store.open().expect("open").epoch;
    let batch: Vec<Write> = (0..20_000).map(|n| put(&state(n), "a state")).collect();
    store.commit(epoch, 1, Arc::new(batch)).expect("commit");
    let gone: Vec<Write> = (0..19_000).map(|n| remove(&state(n))).collect();
    store.commit(epoch, 2, Arc::new(gone)).expect("commit");
    assert_eq!(hot_of(store).len(), 1_000);
}

/// Every cold record once and no hot one, page by page.
fn lists_its_history(store: &dyn Store) {
    let epoch = store.open().expect("open").epoch;
    let slot = |n: u128| Name::Decision(Uid(n / 3), (n % 3) as u32);
    let mut written: Vec<Write> = (0..3_000).map(|n| put(&slot(n), &format!("decision {n}"))).collect();
    store.commit(epoch, 1, Arc::new(written.clone())).expect("commit");
    store.commit(epoch, 2, Arc::new(vec![put(&state(1), "hot"), remove(&slot(8))])).expect("commit");
    written.remove(8);
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = store.scan(from.as_ref()).expect("a page");
        found.extend(page.records.into_iter().map(|(key, value)| Write { key, value: Some(value) }));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    found.sort_by(|one, other| one.key.cmp(&other.key));
    written.sort_by(|one, other| one.key.cmp(&other.key));
    assert!(found == written, "{} of {} records", found.len(), written.len());
}

/// A copy is above all that its source has told.
fn outranks_what_it_is_told_to(store: &dyn Store) {
    store.outrank(41);
    let first = store.open().expect("open").epoch;
    assert_eq!(first, 42);
    store.commit(first, 1, Arc::new(vec![put(&state(1), "a")])).expect("commit");
    store.outrank(7);
    assert_eq!(store.open().expect("open").epoch, 43);
}

pub(super) type Case = fn(&dyn Store);

pub(super) const SUITE: &[(&str, Case)] = &[
    ("keeps_what_is_committed", keeps_what_is_committed),
    ("deletes_and_replaces", deletes_and_replaces),
    ("fences_former_owners", fences_former_owners),
    ("takes_a_repeated_commit_once", takes_a_repeated_commit_once),
    ("refuses_a_gap", refuses_a_gap),
    ("keeps_slots_of_rings_apart", keeps_slots_of_rings_apart),
    ("takes_large_batches", takes_large_batches),
    ("lists_its_history", lists_its_history),
    ("outranks_what_it_is_told_to", outranks_what_it_is_told_to),
];

#[test]
fn memory_store_conforms() {
    for (name, case) in SUITE {
        eprintln_case(name);
        case(&MemoryStore::default());
    }
}

#[test]
fn embedded_store_conforms() {
    for (name, case) in SUITE {
        eprintln_case(name);
        let folder = tempfile::tempdir().expect("a folder");
        case(&EmbeddedStore::new(folder.path()).expect("a store"));
    }
}

/// Shown when a case fails.
#[allow(clippy::print_stderr)]
pub(super) fn eprintln_case(name: &str) {
    eprintln!("case {name}");
}

#[test]
fn an_embedded_store_survives_its_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = EmbeddedStore::new(folder.path()).expect("a store");
    let epoch = first.open().expect("open").epoch;
    first.commit(epoch, 1, Arc::new(vec![put(&state(1), "a"), put(&cold(1), "c")])).expect("commit");
    drop(first);
    let second = EmbeddedStore::new(folder.path()).expect("a store");
    let opened = second.open().expect("open");
    assert_eq!((opened.epoch, opened.seq, opened.hot.len()), (epoch + 1, 1, 1));
    assert_eq!(second.read(&[Key::new(&cold(1))]).expect("read"), [Some(Bytes::from_static(b"c"))]);
}

#[test]
fn an_embedded_store_that_resigns_has_all_of_it_in_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = EmbeddedStore::new(folder.path()).expect("a store");
    let epoch = first.open().expect("open").epoch;
    first.commit(epoch, 1, Arc::new(vec![put(&state(1), "a"), put(&cold(1), "c")])).expect("commit");
    first.resign();
    let keyspaces = std::fs::read_dir(folder.path().join("keyspaces")).expect("keyspaces");
    let with_tables = keyspaces.filter(|keyspace| {
        let tables = keyspace.as_ref().expect("a keyspace").path().join("tables");
        std::fs::read_dir(tables).expect("a folder").next().is_some()
    });
    assert_eq!(with_tables.count(), 4, "owner, hot, cold, and fjall's own");
    drop(first);
    let second = EmbeddedStore::new(folder.path()).expect("a store");
    let opened = second.open().expect("open");
    assert_eq!((opened.epoch, opened.seq, opened.hot.len()), (epoch + 1, 1, 1));
    assert_eq!(second.read(&[Key::new(&cold(1))]).expect("read"), [Some(Bytes::from_static(b"c"))]);
    second.resign();
    second.commit(opened.epoch, 2, Arc::new(vec![put(&state(2), "b")])).expect("a commit after it");
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = EmbeddedStore::new(folder.path()).expect("a store");
    let Err(StoreError::Fatal(why)) = EmbeddedStore::new(folder.path()) else { panic!("opened twice") };
    assert!(why.contains("open in another process"), "{why}");
}

#[test]
fn a_memory_store_fails_as_it_is_told() {
    let store = MemoryStore::default();
    let epoch = store.open().expect("open").epoch;
    store.inject([Fault::LostBefore, Fault::LostAfter]);
    let batch = Arc::new(vec![put(&state(1), "a")]);
    assert!(matches!(store.commit(epoch, 1, batch.clone()), Err(StoreError::Unknown(_))));
    assert!(store.state_is_empty());
    assert!(matches!(store.commit(epoch, 1, batch.clone()), Err(StoreError::Unknown(_))));
    store.commit(epoch, 1, batch).expect("the third time");
    assert_eq!(store.open().expect("open").seq, 1);
}
