//! The store on a real Redis that is killed, emptied, cut short and taken over.

#[path = "../../../../tests/harness/power.rs"]
mod power;
#[path = "../../../../tests/harness/proxy.rs"]
mod proxy;
#[path = "../../../../tests/harness/redis.rs"]
mod server;

mod ack;
mod memory;
mod replica;
mod secure;
mod sentinel;
mod trouble;

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use server::Redis;

use super::*;
use crate::{
    state_machine::id::Uid,
    store::{
        Write,
        conformance::{SUITE, eprintln_case},
        key::Name,
    },
};

fn options(redis: &Redis) -> Options {
    Options {
        term: Duration::from_millis(1_500),
        grant: Duration::ZERO,
        courtesy: Duration::ZERO,
        ..Options::new(Address::parse(&redis.url()).expect("an address"))
    }
}

fn store(redis: &Redis) -> RedisStore {
    RedisStore::new(options(redis)).expect("a store")
}

fn put(n: u128, value: &str) -> Write {
    Write { key: Key::new(&Name::State(Uid(n))), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn cold(n: u128, value: &str) -> Write {
    Write {
        key: Key::new(&Name::Succeeded(Uid(n), 0)),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    Arc::new(writes.into_iter().collect())
}

/// Sends a commit until it is known what became of it, as the committer does.
fn commit(store: &RedisStore, epoch: u64, seq: u64, batch: &Batch) -> Result<(), StoreError> {
    loop {
        match store.commit(epoch, seq, batch.clone()) {
            Err(StoreError::Unknown(_)) => std::thread::sleep(Duration::from_millis(5)),
            outcome => return outcome,
        }
    }
}

/// Opens once the lease of a former owner has ended.
fn open(store: &RedisStore) -> Opened {
    loop {
        match store.open() {
            Err(StoreError::Held { left, .. }) => std::thread::sleep(left),
            opened => return opened.expect("open"),
        }
    }
}

fn hot(store: &RedisStore) -> Vec<(Key, Bytes)> {
    let mut hot = open(store).hot;
    hot.sort();
    hot
}

/// The suite opens a store twice without waiting; here an owner that comes back resigns first.
struct Resigning(RedisStore);

impl Store for Resigning {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn open(&self) -> Result<Opened, StoreError> {
        self.0.resign();
        self.0.open()
    }
    fn commit(&self, epoch: u64, seq: u64, batch: Batch) -> Result<(), StoreError> {
        self.0.commit(epoch, seq, batch)
    }
    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.0.read(keys)
    }
    fn scan(&self, from: Option<&Cursor>) -> Result<Page, StoreError> {
        self.0.scan(from)
    }
    fn outrank(&self, epoch: u64) {
        self.0.outrank(epoch);
    }
}

#[test]
fn redis_store_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    for (n, (name, case)) in SUITE.iter().enumerate() {
        eprintln_case(name);
        let options = Options { prefix: format!("case{n}"), ..options(&redis) };
        case(&Resigning(RedisStore::new(options).expect("a store")));
    }
}

#[test]
fn o1_a_lease_keeps_others_out_and_a_new_owner_fences_the_old_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let (first, second) = (store(&redis), store(&redis));
    let old = open(&first);
    first.commit(old.epoch, 1, batch([put(1, "a")])).expect("commit");
    assert!(first.trusted());
    let Err(StoreError::Held { left, .. }) = second.open() else { panic!("two owners") };
    assert!(left <= Duration::from_millis(1_500));
    // It stops renewing, as a process that is stopped does.
    first.inner.lease.lose();
    let new = open(&second);
    assert_eq!((new.epoch, new.seq, new.hot.len()), (old.epoch + 1, 1, 1));
    assert_eq!(first.commit(old.epoch, 2, batch([put(1, "stale")])), Err(StoreError::Fenced));
    assert!(first.deposed() && !first.trusted());
    second.commit(new.epoch, 2, batch([put(2, "b")])).expect("commit");
    assert_eq!(redis.ask(&["HGET", "{docket:0}:owner", "seq"]).expect("seq"), "$1\r\n2\r\n");
}

/// Redis before 8 cannot say when a grant is on disk: it is given time, but for one after a clean resignation.
#[test]
fn o3_a_grant_is_on_disk_before_it_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let with = |grant: Duration| RedisStore::new(Options { grant, ..options(&redis) }).expect("a store");
    let (first, second) = (with(Duration::ZERO), with(Duration::from_secs(3_600)));
    first.open().expect("open");
    first.resign();
    assert_eq!(second.open().expect("nobody holds it, and nothing is to wait for").epoch, 2);
    second.inner.lease.lose();
    let (third, grant) = (with(Duration::from_millis(700)), Duration::from_millis(700));
    while third.owner().is_some() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = std::time::Instant::now();
    open(&third);
    assert!(begun.elapsed() >= grant || tells_fsync(&redis));
}

fn tells_fsync(redis: &Redis) -> bool {
    redis.ask(&["WAITAOF", "0", "0", "0"]).is_ok_and(|answer| !answer.starts_with('-'))
}

/// Killed by -9, Redis loses nothing that it had written to its log; the owner goes on under the same epoch.
#[test]
fn o7_redis_is_killed_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut redis = Redis::start(folder.path());
    let store = store(&redis);
    let epoch = open(&store).epoch;
    for seq in 1..=20 {
        commit(&store, epoch, seq, &batch([put(seq.into(), "x")])).expect("commit");
    }
    redis.kill();
    assert!(matches!(store.commit(epoch, 21, batch([put(21, "x")])), Err(StoreError::Unknown(_))));
    assert!(!store.health().available, "status says so");
    redis.restart();
    commit(&store, epoch, 21, &batch([put(21, "x")])).expect("commit");
    assert!(store.health().available);
    store.resign();
    assert_eq!(hot(&store).len(), 21);
}

/// The tail of the log is lost at each place: on the border of a record, and inside of one.
#[test]
fn o7_a_lost_tail_is_sent_again() {
    for cut in [1, 37, 400, 1_500] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut redis = Redis::start(folder.path());
        let store = store(&redis);
        let epoch = open(&store).epoch;
        for seq in 1..=30 {
            commit(&store, epoch, seq, &batch([put(seq.into(), "x"), cold(seq.into(), "y")]))
                .expect("commit");
        }
        redis.kill();
        let log = redis.log();
        let file = fs::File::options().write(true).open(&log).expect("the log");
        file.set_len(file.metadata().expect("size").len() - cut).expect("cut");
        redis.restart();
        commit(&store, epoch, 31, &batch([put(31, "x")])).expect("commit");
        let keys: Vec<Key> = (1..=30).map(|n| cold(n, "").key).collect();
        let history = store.read(&keys).expect("read");
        assert!(history.iter().all(Option::is_some), "history is sent again too (cut {cut})");
        store.resign();
        assert_eq!(hot(&store).len(), 31, "cut {cut}");
    }
}

/// The files of Redis itself as a backup. No scheduler runs meanwhile, so nobody knows better than they do.
#[test]
fn o7_files_of_an_older_redis_are_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut redis = Redis::start(folder.path());
    let files = folder.path().join("appendonlydir");
    let backup = folder.path().join("backup");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        fs::create_dir_all(to).expect("a folder");
        for file in fs::read_dir(from).expect("files") {
            let file = file.expect("a file");
            fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
        }
    };
    let write = |redis: &Redis, n: u128| {
        let store = store(redis);
        let opened = open(&store);
        commit(&store, opened.epoch, opened.seq + 1, &batch([put(n, "x"), cold(n, "y")])).expect("commit");
        store.resign();
        opened.epoch
    };
    write(&redis, 1);
    redis.kill();
    copy(&files, &backup);
    redis.restart();
    let newest = (2..5).map(|n| write(&redis, n)).max().expect("an epoch");
    redis.kill();
    fs::remove_dir_all(&files).expect("remove");
    copy(&backup, &files);
    redis.restart();
    let restored = store(&redis);
    let opened = open(&restored);
    assert_eq!((opened.hot.len(), opened.seq), (1, 1));
    assert!(opened.epoch < newest, "workers that have seen {newest} are told to restart");
    assert_eq!(restored.read(&[cold(1, "").key, cold(2, "").key]).expect("read"), [Some("y".into()), None]);
}

/// Empty after a restart, or an older backup than the last batches reach: the owner writes everything anew.
#[test]
fn o7_o8_an_emptied_store_is_written_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let store = store(&redis);
    let epoch = open(&store).epoch;
    let all: Vec<Write> = (0..5_000).map(|n| put(n, "x")).collect();
    commit(&store, epoch, 1, &batch(all.clone())).expect("commit");
    redis.ask(&["FLUSHALL"]).expect("flush");
    let next = batch([put(9_999, "z")]);
    assert_eq!(commit(&store, epoch, 2, &next), Err(StoreError::Lost));
    let mut everything: Vec<(Key, Bytes)> =
        all.into_iter().filter_map(|write| Some((write.key, write.value?))).collect();
    everything.push((put(9_999, "").key, "z".into()));
    let snapshot = Arc::new(Snapshot { hot: everything.clone(), cold: batch([cold(3, "run")]) });
    store.restore(epoch, 3, snapshot.clone()).expect("restore");
    commit(&store, epoch, 4, &batch([put(1, "y")])).expect("goes on under its own epoch");
    assert_eq!(store.read(&[cold(3, "").key]).expect("read"), [Some("run".into())]);
    // Once more, with the generation of the first snapshot in place.
    redis.ask(&["DEL", "{docket:0}:owner"]).expect("del");
    assert_eq!(commit(&store, epoch, 5, &batch([])), Err(StoreError::Lost));
    store.restore(epoch, 6, snapshot).expect("restore");
    store.resign();
    everything.sort();
    let opened = open(&store);
    assert!(opened.epoch > epoch && opened.seq == 6);
    let mut found = opened.hot;
    found.sort();
    assert_eq!(found, everything);
}

/// A record of an earlier owner that Redis fell back to, with nothing in it that this owner has not seen.
#[test]
fn o2_an_owner_takes_back_a_record_that_forgot_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let (first, second) = (store(&redis), store(&redis));
    let old = open(&first).epoch;
    commit(&first, old, 1, &batch([put(1, "a")])).expect("commit");
    let record = redis.ask(&["HGET", "{docket:0}:owner", "owner"]).expect("owner");
    let nonce = record.lines().nth(1).expect("a nonce").to_owned();
    first.resign();
    let new = open(&second).epoch;
    let rewind = ["HSET", "{docket:0}:owner", "owner", &nonce, "epoch", &old.to_string(), "seq", "1"];
    redis.ask(&rewind).expect("rewind");
    assert_eq!(commit(&second, new, 2, &batch([put(2, "b")])), Err(StoreError::Lost));
    let snapshot = Snapshot { hot: vec![(put(1, "").key, "a".into())], cold: batch([]) };
    second.restore(new, 3, Arc::new(snapshot)).expect("restore");
    commit(&second, new, 4, &batch([put(2, "b")])).expect("commit");
}

#[test]
fn noscript_a_foreign_key_and_an_evicting_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let store = store(&redis);
    let epoch = open(&store).epoch;
    redis.ask(&["SCRIPT", "FLUSH"]).expect("flush");
    commit(&store, epoch, 1, &batch([put(1, "a")])).expect("the script is loaded again");
    let key = layout::Keys::new("docket").hot(0, layout::bucket(&put(2, "").key));
    redis.ask(&["SET", &key, "mine"]).expect("set");
    let Err(StoreError::Fatal(why)) = commit(&store, epoch, 2, &batch([put(2, "b"), put(3, "c")])) else {
        panic!("written over somebody's key")
    };
    assert!(why.contains("store.prefix") && why.contains(&key), "{why}");
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).expect("config");
    store.resign();
    let Err(StoreError::Fatal(why)) = store.open() else { panic!("records may be thrown away") };
    assert!(why.contains("noeviction"), "{why}");
}

/// A server that stands still answers late or never; what was asked is asked again.
#[test]
fn o6_a_shard_that_hangs_and_a_server_that_stands_still() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let (first, second) = (store(&redis), store(&redis));
    let epoch = open(&first).epoch;
    redis.signal("-STOP");
    assert!(first.trusted(), "for a while");
    while first.trusted() {
        std::thread::sleep(Duration::from_millis(20));
    }
    redis.signal("-CONT");
    // Only a foreign epoch makes an owner drop its state.
    commit(&first, epoch, 1, &batch([put(1, "a")])).expect("commit");
    while !first.trusted() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(matches!(second.open(), Err(StoreError::Held { .. })));
}

#[test]
fn s5_a_store_of_a_later_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let store = store(&redis);
    open(&store);
    store.resign();
    redis.ask(&["HSET", "{docket:0}:owner", "reader", "99"]).expect("hset");
    let before = redis.ask(&["HGETALL", "{docket:0}:owner"]).expect("record");
    let Err(StoreError::Fatal(why)) = store.open() else { panic!("it cannot read that") };
    assert!(why.contains("format 99"), "{why}");
    assert_eq!(redis.ask(&["HGETALL", "{docket:0}:owner"]).expect("record"), before);
}

/// A process that has seen an epoch does not take an older store for the truth (rule O7).
#[test]
fn o7_an_older_store_is_refused_without_a_word_of_the_operator() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let first = store(&redis);
    open(&first);
    first.resign();
    redis.ask(&["FLUSHALL"]).expect("flush");
    let Err(StoreError::Fatal(why)) = first.open() else { panic!("an emptied store was taken") };
    assert!(why.contains("store.accept_older"), "{why}");
    let options = Options { accept_older: true, ..options(&redis) };
    let bold = RedisStore::new(options).expect("a store");
    bold.inner.seen.store(7, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bold.open().expect("open").epoch, 8, "above all that was seen");
}
