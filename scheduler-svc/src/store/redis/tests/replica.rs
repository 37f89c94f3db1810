//! A master and a replica without Sentinel: leases that need a replica, and failovers that lose something.

use std::{path::Path, time::Instant};

use super::{
    proxy::{Fault, Proxy},
    secure::free_port,
    *,
};

const PATIENCE: Duration = Duration::from_secs(20);

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A master and a replica that is in step.
pub fn pair(folder: &Path) -> (Redis, Redis) {
    let port = free_port();
    let start = |name: &str, more: &str| {
        let arguments = format!("--appendonly yes --bind 127.0.0.1 --repl-diskless-sync-delay 0 {more}");
        Redis::with(&folder.join(name), &arguments.split(' ').collect::<Vec<_>>())
    };
    let master = start("master", &format!("--port {port}"));
    let replica = start("replica", &format!("--port {} --replicaof 127.0.0.1 {port}", free_port()));
    until("a replica that is in step", || {
        let info = |redis: &Redis| redis.ask(&["INFO", "replication"]).unwrap_or_default();
        info(&replica).contains("master_link_status:up") && info(&master).contains("state=online")
    });
    (master, replica)
}

fn seq_at(redis: &Redis) -> String {
    redis.ask(&["HGET", "{docket:0}:owner", "seq"]).expect("seq").lines().nth(1).unwrap_or_default().into()
}

/// A master that is alone in its part of the network does not keep its owner: another one may lead elsewhere.
#[test]
fn o6_a_renewal_that_no_replica_has_heard_does_not_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let (master, replica) = pair(folder.path());
    let store = store(&master);
    let epoch = open(&store).epoch;
    commit(&store, epoch, 1, &batch([put(1, "a")])).expect("commit");
    until("a renewal", || store.trusted());
    replica.signal("-STOP");
    until("an end of the trust", || !store.trusted());
    let health = store.health();
    assert!(!health.available && health.detail.contains("no replica has heard the renewal"), "{health:?}");
    commit(&store, epoch, 2, &batch([put(2, "b")])).expect("a commit confirms it all the same");
    replica.signal("-CONT");
    until("a renewal", || store.trusted() && store.health().available);
}

/// With replicas `min-replicas-to-write` is recommended, and its absence is shown.
#[test]
fn o6_a_master_that_takes_writes_without_its_replicas_is_warned_about() {
    let folder = tempfile::tempdir().expect("a folder");
    let (master, _replica) = pair(folder.path());
    let store = store(&master);
    open(&store);
    let health = store.health();
    assert!(health.available && health.detail.contains("set min-replicas-to-write 1"), "{health:?}");
    master.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]).expect("config");
    until("advice that was taken", || store.health() == Health::default());
}

/// The address leads to a replica that was cut off for a while, and was made the master by hand.
#[test]
fn o7_a_failover_to_a_lagging_replica() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut master, replica) = pair(folder.path());
    let proxy = Proxy::start(&folder.path().join("proxy"), &master.socket());
    let address = Address::parse(&proxy.url()).expect("an address");
    let store = RedisStore::new(Options { address, ..options(&master) }).expect("a store");
    let epoch = open(&store).epoch;
    let write = |seq: u64| {
        commit(&store, epoch, seq, &batch([put(seq.into(), "x"), cold(seq.into(), "y")])).expect("commit");
    };
    (1..=10).for_each(write);
    until("a replica that has all", || seq_at(&replica) == "10");
    replica.signal("-STOP");
    (11..=30).for_each(write);
    master.kill();
    replica.signal("-CONT");
    assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]).expect("replicaof"), "+OK\r\n");
    let behind: u64 = seq_at(&replica).parse().expect("a sequence");
    proxy.lead_to(&replica.socket());
    write(31);
    assert!(behind <= 30 && seq_at(&replica) == "31", "it had {behind}");
    let keys: Vec<Key> = (1..=30).map(|n| cold(n, "").key).collect();
    assert!(store.read(&keys).expect("read").iter().all(Option::is_some), "history is sent again too");
    store.resign();
    assert_eq!(hot(&store).len(), 31, "nothing that was acknowledged is lost");
}

/// The same, and the replica has never had anything: all is written anew.
#[test]
fn o7_a_failover_to_an_empty_server() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (mut master, empty) = (Redis::start(folder.path()), Redis::start(other.path()));
    let proxy = Proxy::start(&folder.path().join("proxy"), &master.socket());
    let address = Address::parse(&proxy.url()).expect("an address");
    let store = RedisStore::new(Options { address, ..options(&master) }).expect("a store");
    let epoch = open(&store).epoch;
    commit(&store, epoch, 1, &batch([put(1, "a")])).expect("commit");
    master.kill();
    proxy.lead_to(&empty.socket());
    assert_eq!(commit(&store, epoch, 2, &batch([put(2, "b")])), Err(StoreError::Lost));
    let hot = vec![(put(1, "").key, "a".into()), (put(2, "").key, "b".into())];
    store.restore(epoch, 3, Arc::new(Snapshot { hot, cold: batch([]) })).expect("restore");
    assert_eq!(seq_at(&empty), "3");
}

/// How often somebody has looked at a lease: it is compared with the time.
fn looks(redis: &Redis) -> u64 {
    let info = redis.ask(&["INFO", "commandstats"]).expect("info");
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_time:calls="));
    calls.map_or(0, |calls| calls.split(',').next().and_then(|count| count.parse().ok()).expect("a number"))
}

/// Rule O4: Redis was restarted, so it may have lost a newer lease. The owner that holds the truth comes first.
#[test]
fn o4_after_a_change_of_redis_the_owner_that_was_cut_off_comes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut redis = Redis::start(folder.path());
    let proxies = ["first", "second"].map(|name| Proxy::start(&folder.path().join(name), &redis.socket()));
    let [first, second] = [0, 1].map(|n: usize| {
        let address = Address::parse(&proxies[n].url()).expect("an address");
        let courtesy = Duration::from_secs(60);
        let options = Options { address, courtesy, term: Duration::from_secs(1), ..options(&redis) };
        Arc::new(RedisStore::new(options).expect("a store"))
    });
    let epoch = open(&first).epoch;
    commit(&first, epoch, 1, &batch([put(1, "a")])).expect("commit");
    until("a renewal that names this Redis", || {
        redis.ask(&["HGET", "{docket:0}:owner", "redis"]).is_ok_and(|it| it.starts_with('$') && it.len() > 40)
    });
    proxies[0].set(Fault::Refuse);
    redis.kill();
    redis.restart();
    until("an end of the lease", || second.owner().is_none());
    // Another one sees no lease, and waits.
    let before = looks(&redis);
    let opening = {
        let second = second.clone();
        std::thread::spawn(move || second.open())
    };
    until("several looks", || looks(&redis) > before + 3 || opening.is_finished());
    assert!(!opening.is_finished(), "it waits for whoever may know more");
    proxies[0].set(Fault::None);
    let Err(StoreError::Held { by, .. }) = opening.join().expect("no panic") else { panic!("two owners") };
    assert_eq!(by.epoch, epoch);
    commit(&first, epoch, 2, &batch([put(2, "b")])).expect("it goes on");
}

/// The same, and nobody comes.
#[test]
fn o4_after_the_courtesy_another_one_takes_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut redis = Redis::start(folder.path());
    let first = store(&redis);
    let epoch = open(&first).epoch;
    until("a renewal that names this Redis", || {
        redis.ask(&["HGET", "{docket:0}:owner", "redis"]).is_ok_and(|it| it.len() > 40)
    });
    drop(first);
    redis.kill();
    redis.restart();
    let second = RedisStore::new(Options { courtesy: Duration::from_millis(900), ..options(&redis) });
    let second = second.expect("a store");
    let mut looks = 0;
    let opened = loop {
        match second.open() {
            Err(StoreError::Held { left, .. }) => {
                looks += 1;
                std::thread::sleep(left);
            }
            opened => break opened.expect("open"),
        }
    };
    assert!(looks > 0 && opened.epoch == epoch + 1);
}
