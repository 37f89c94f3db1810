//! Troubles that pass: nothing is acknowledged while they last, and nothing is lost or doubled after.

use std::{io::Write as _, os::unix::net::UnixStream};

use super::{
    proxy::{Fault, Proxy},
    replica::until,
    *,
};

/// An owner whose lease is long, so that only commits talk to Redis.
fn quiet(redis: &Redis, address: &str) -> RedisStore {
    let address = Address::parse(address).expect("an address");
    RedisStore::new(Options { address, term: Duration::from_secs(30), ..options(redis) }).expect("a store")
}

/// A commit is refused with this word, the status says so, and it goes on once the trouble has ended.
fn waits(redis: &Redis, store: &RedisStore, epoch: u64, seq: u64, word: &str, end: impl FnOnce()) {
    let outcome = store.commit(epoch, seq, batch([put(seq.into(), "b")]));
    let Err(StoreError::Unknown(why)) = outcome else { panic!("{word}: {outcome:?}") };
    assert!(why.to_lowercase().contains(&word.to_lowercase()), "{word}: {why}");
    let health = store.health();
    assert!(!health.available && !health.detail.is_empty(), "{health:?}");
    end();
    commit(store, epoch, seq, &batch([put(seq.into(), "b")])).expect("it goes on");
    let found = redis.ask(&["HGET", "{docket:0}:owner", "seq"]).expect("seq");
    assert_eq!(found.lines().nth(1), Some(seq.to_string().as_str()));
}

/// OOM, READONLY, NOREPLICAS, MASTERDOWN.
#[test]
fn troubles_that_pass_are_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let store = quiet(&redis, &redis.url());
    let epoch = open(&store).epoch;
    commit(&store, epoch, 1, &batch([put(1, "a")])).expect("commit");
    let troubles = [
        ("OOM", "OOM", vec!["CONFIG SET maxmemory 1"], vec!["CONFIG SET maxmemory 0"]),
        ("READONLY", "READONLY", vec!["REPLICAOF 127.0.0.1 1"], vec!["REPLICAOF NO ONE"]),
        (
            "NOREPLICAS",
            "NOREPLICAS",
            vec!["CONFIG SET min-replicas-to-write 1"],
            vec!["CONFIG SET min-replicas-to-write 0"],
        ),
        // A write to a replica without its master is first of all one to a replica.
        (
            "MASTERDOWN",
            "READONLY",
            vec!["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"],
            vec!["REPLICAOF NO ONE"],
        ),
    ];
    for (seq, (name, word, begin, end)) in (2..).zip(troubles) {
        let say = |commands: Vec<&str>| {
            for command in commands {
                let command: Vec<&str> = command.split(' ').collect();
                assert_eq!(redis.ask(&command).expect("an answer"), "+OK\r\n", "{command:?}");
            }
        };
        say(begin);
        if name == "MASTERDOWN" {
            until("a replica without data", || {
                redis.ask(&["GET", "x"]).is_ok_and(|answer| answer.starts_with("-MASTERDOWN"))
            });
        }
        waits(&redis, &store, epoch, seq, word, || say(end));
    }
}

/// BUSY: somebody else's script runs for long.
#[test]
fn a_busy_server_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::with(folder.path(), &["--appendonly", "yes", "--busy-reply-threshold", "10"]);
    let store = quiet(&redis, &redis.url());
    let epoch = open(&store).epoch;
    commit(&store, epoch, 1, &batch([put(1, "a")])).expect("commit");
    let mut other = UnixStream::connect(redis.socket()).expect("a connection");
    other.write_all(b"EVAL \"while true do end\" 0\r\n").expect("a script");
    until("a busy server", || redis.ask(&["PING"]).is_ok_and(|answer| answer.starts_with("-BUSY")));
    waits(&redis, &store, epoch, 2, "BUSY", || {
        assert_eq!(redis.ask(&["SCRIPT", "KILL"]).expect("an answer"), "+OK\r\n");
    });
}

/// LOADING: Redis was restarted with much to read.
#[test]
fn a_server_that_loads_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut redis = Redis::with(folder.path(), &["--appendonly", "yes", "--rdbcompression", "no"]);
    let store = quiet(&redis, &redis.url());
    let epoch = open(&store).epoch;
    let large = "x".repeat(4_096);
    commit(&store, epoch, 1, &batch((0..200).map(|n| put(n, &large)))).expect("commit");
    redis.ask(&["BGREWRITEAOF"]).expect("rewrite");
    until("a log that is one dump", || {
        let info = redis.ask(&["INFO", "persistence"]).unwrap_or_default();
        info.contains("aof_rewrite_in_progress:0")
            && !info.contains("aof_base_size:0\r")
            && info.contains("aof_last_bgrewrite_status:ok")
            && info.contains("aof_rewrites:1")
    });
    redis.kill();
    // Slower by a second for each key, and it answers in between.
    redis.add(&["--key-load-delay", "1000000", "--loading-process-events-interval-bytes", "1024"]);
    redis.begin();
    until("a server that loads", || redis.ask(&["PING"]).is_ok_and(|answer| answer.starts_with("-LOADING")));
    let outcome = store.commit(epoch, 2, batch([put(2, "b")]));
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "the old connection: {outcome:?}");
    waits(&redis, &store, epoch, 2, "loading", || {
        redis.ask(&["CONFIG", "SET", "key-load-delay", "0"]).expect("config");
    });
    store.resign();
    assert_eq!(hot(&store).len(), 200);
}

/// The connection is reset within an answer, at each of its bytes: whoever asked does not know whether it was done.
#[test]
fn an_answer_that_is_cut_off_is_as_good_as_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let proxy = Proxy::start(&folder.path().join("proxy"), &redis.socket());
    let store = quiet(&redis, &proxy.url());
    let epoch = open(&store).epoch;
    commit(&store, epoch, 1, &batch([put(1, "a")])).expect("commit");
    let before = proxy.answered();
    commit(&store, epoch, 2, &batch([put(2, "b")])).expect("commit");
    let answer = proxy.answered() - before;
    assert!((10..40).contains(&answer), "{answer} bytes");
    for (seq, bytes) in (3..).zip(0..answer) {
        proxy.set(Fault::CutAfter(bytes));
        let outcome = store.commit(epoch, seq, batch([put(seq.into(), "c")]));
        assert!(matches!(outcome, Err(StoreError::Unknown(_))), "after {bytes}: {outcome:?}");
        assert_eq!(proxy.fault(), Fault::None, "it was cut");
        commit(&store, epoch, seq, &batch([put(seq.into(), "c")])).expect("the same once more");
    }
    store.resign();
    assert_eq!(hot(&store).len(), answer + 2);
}

/// The same while the state is loaded, at places all over the answers.
#[test]
fn o9_a_load_that_is_cut_off_is_begun_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let direct = store(&redis);
    let epoch = open(&direct).epoch;
    commit(&direct, epoch, 1, &batch((0..500).map(|n| put(n, "value")))).expect("commit");
    direct.resign();
    let proxy = Proxy::start(&folder.path().join("proxy"), &redis.socket());
    let opener = || store_at(&redis, &proxy);
    let whole = opener();
    assert_eq!(open(&whole).hot.len(), 500);
    whole.resign();
    let all = proxy.answered();
    let mut cuts = 0;
    for part in 1..8 {
        proxy.set(Fault::CutAfter(all * part / 8));
        let store = opener();
        match store.open() {
            Err(StoreError::Unknown(_)) => cuts += 1,
            // The renewal of its lease was hit instead.
            Ok(opened) => {
                assert_eq!(opened.hot.len(), 500);
                store.resign();
            }
            Err(other) => panic!("part {part}: {other:?}"),
        }
        proxy.set(Fault::None);
        let again = loop {
            match store.open() {
                // The lease of what was cut off is cut to this.
                Err(StoreError::Held { left, .. }) if left <= Duration::from_millis(1) => {
                    std::thread::sleep(left);
                }
                opened => break opened.expect("nobody else holds it"),
            }
        };
        assert_eq!(again.hot.len(), 500);
        store.resign();
    }
    assert!(cuts > 2, "{cuts}");
}

fn store_at(redis: &Redis, proxy: &Proxy) -> RedisStore {
    let address = Address::parse(&proxy.url()).expect("an address");
    RedisStore::new(Options { address, ..options(redis) }).expect("a store")
}

/// Answers come late: the owner is not believed without a commit meanwhile, and the commit is done once.
#[test]
fn o5_a_server_that_is_slow_beyond_the_lease() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let proxy = Proxy::start(&folder.path().join("proxy"), &redis.socket());
    let store = Arc::new(store_at(&redis, &proxy));
    let epoch = open(&store).epoch;
    commit(&store, epoch, 1, &batch([put(1, "a")])).expect("commit");
    until("a renewal", || store.trusted());
    proxy.set(Fault::Hold);
    let late = {
        let store = store.clone();
        std::thread::spawn(move || store.commit(epoch, 2, batch([put(2, "b")])))
    };
    until("an end of the trust", || !store.trusted());
    assert!(!late.is_finished(), "nothing is acknowledged");
    proxy.set(Fault::None);
    assert_eq!(late.join().expect("no panic"), Ok(()), "late, and once");
    until("a renewal", || store.trusted());
    commit(&store, epoch, 3, &batch([put(3, "c")])).expect("commit");
    store.resign();
    assert_eq!(hot(&store).len(), 3);
}
