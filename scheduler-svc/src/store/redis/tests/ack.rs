//! Rule O10 on a real Redis: what `store.ack` promises holds when the power is cut, or the master is gone for good.

use super::{
    power::Power,
    replica::{self, until},
    *,
};

/// Whether this server has a WAITAOF that can be believed.
fn tells(redis: &Redis) -> bool {
    let info = redis.ask(&["INFO", "server"]).expect("info");
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).expect("a version");
    let numbers: Vec<u32> = version.trim().split('.').filter_map(|part| part.parse().ok()).collect();
    numbers >= vec![8, 0]
}

fn asking(redis: &Redis, ack: Ack) -> RedisStore {
    let options = Options { ack, patience: Duration::from_millis(2_200), ..options(redis) };
    RedisStore::new(options).expect("a store")
}

/// Asks until it is so, as the shard does.
fn secure(store: &RedisStore, epoch: u64, seq: u64) -> u64 {
    loop {
        match store.secure(epoch, seq) {
            Err(StoreError::Unknown(_)) => std::thread::sleep(Duration::from_millis(5)),
            outcome => return outcome.expect("secured"),
        }
    }
}

fn write(store: &RedisStore, epoch: u64, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        commit(store, epoch, seq, &batch([put(seq.into(), "x"), cold(seq.into(), "y")])).expect("commit");
    }
}

/// Nothing is left but what Redis had synced, and no leader that could write it again.
#[test]
fn o10_what_is_secured_on_disk_survives_a_cut_of_the_power() {
    for fsync in ["everysec", "always"] {
        let (folder, tools) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let power = Power::new(tools.path());
        let arguments = ["--appendonly", "yes", "--appendfsync", fsync];
        let mut redis = Redis::within(folder.path(), &arguments, power.environment());
        let first = asking(&redis, Ack::Disk);
        assert!(first.secures());
        let epoch = open(&first).epoch;
        write(&first, epoch, 1..=5);
        if fsync == "everysec" {
            power.hold_syncs();
            write(&first, epoch, 6..=9);
            let Err(StoreError::Unknown(why)) = first.secure(epoch, 9) else { panic!("nothing is synced") };
            assert!(why.contains("store.ack = disk"), "{why}");
            let health = first.health();
            assert!(
                !health.available && health.detail.contains("changes are not acknowledged"),
                "{health:?}"
            );
            power.release_syncs();
        } else {
            write(&first, epoch, 6..=9);
        }
        let through = secure(&first, epoch, 9);
        assert!(through >= 9 && first.health().available);
        write(&first, epoch, 10..=20);
        redis.kill();
        drop(first);
        power.cut(&redis.log());
        redis.restart();
        let found = hot(&store(&redis)).len() as u64;
        assert!((through..=20).contains(&found), "{fsync}: {found} of {through} secured and 20 written");
    }
}

/// The log has lost its tail before anybody asked. Waiting for the disk finds that out, though nothing is committed.
#[test]
fn o10_a_lost_tail_is_found_out_before_anything_is_taken_for_safe() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut redis = Redis::start(folder.path());
    let first = asking(&redis, Ack::Disk);
    let epoch = open(&first).epoch;
    write(&first, epoch, 1..=30);
    redis.kill();
    let file = fs::File::options().write(true).open(redis.log()).expect("the log");
    file.set_len(file.metadata().expect("size").len() - 700).expect("cut");
    redis.restart();
    let lost = redis.ask(&["HGET", "{docket:0}:owner", "seq"]).expect("seq");
    assert_ne!(lost, "$2\r\n30\r\n");
    assert!(secure(&first, epoch, 30) >= 30);
    assert_eq!(redis.ask(&["HGET", "{docket:0}:owner", "secured"]).expect("seq"), "$2\r\n30\r\n");
    redis.ask(&["FLUSHALL"]).expect("flush");
    let lost = loop {
        match first.secure(epoch, 30) {
            Err(StoreError::Unknown(_)) => std::thread::sleep(Duration::from_millis(5)),
            outcome => break outcome,
        }
    };
    assert_eq!(lost, Err(StoreError::Lost), "a commit has it written anew");
}

#[test]
fn o10_a_former_owner_secures_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let (first, second) = (asking(&redis, Ack::Disk), store(&redis));
    let epoch = open(&first).epoch;
    write(&first, epoch, 1..=2);
    first.inner.lease.lose();
    open(&second);
    assert_eq!(first.secure(epoch, 2), Err(StoreError::Fenced));
    assert!(first.deposed());
}

#[test]
fn o10_a_server_that_cannot_give_it_is_refused_with_the_remedy() {
    let refused = |arguments: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let redis = Redis::with(folder.path(), arguments);
        match asking(&redis, Ack::Disk).open() {
            Err(StoreError::Fatal(why)) => why,
            // It says so itself, each time.
            Ok(opened) if tells(&redis) => format!("opened {}", opened.epoch),
            other => panic!("{arguments:?}: {other:?}"),
        }
    };
    assert!(refused(&["--appendonly", "no"]).contains("set appendonly yes"));
    let why = refused(&["--appendonly", "yes", "--appendfsync", "no"]);
    assert!(why.contains("set appendfsync everysec or always") || why == "opened 1", "{why}");
    let why = refused(&["--appendonly", "yes", "--no-appendfsync-on-rewrite", "yes"]);
    assert!(why.contains("set no-appendfsync-on-rewrite no") || why == "opened 1", "{why}");
}

/// The master is gone with the leader; a replica takes its place.
#[test]
fn o10_what_is_secured_at_a_replica_survives_master_and_leader() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut master, second) = replica::pair(folder.path());
    let first = asking(&master, Ack::Replica);
    let epoch = open(&first).epoch;
    write(&first, epoch, 1..=5);
    let through = secure(&first, epoch, 5);
    second.signal("-STOP");
    write(&first, epoch, 6..=9);
    let Err(StoreError::Unknown(why)) = first.secure(epoch, 9) else { panic!("nobody else has it") };
    assert!(why.contains("no replica has taken the last commits"), "{why}");
    assert!(!first.health().available);
    master.kill();
    drop(first);
    second.signal("-CONT");
    assert_eq!(second.ask(&["REPLICAOF", "NO", "ONE"]).expect("replicaof"), "+OK\r\n");
    let opened = open(&store(&second));
    assert!((through..=9).contains(&opened.seq), "{} of {through}", opened.seq);
    assert!(opened.hot.len() as u64 >= through);
}

/// The whole shard: a change waits for the replica, everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn o10_fires_and_reads_go_on_while_a_change_waits_for_a_replica() {
    use crate::{
        shard,
        state_machine::{
            Config,
            command::{Command, Upsert},
            output::Answer,
            tests::bench,
        },
    };
    struct Deaf;
    impl shard::Observer for Deaf {
        fn observe(&self, _: &crate::state_machine::output::Event) {}
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (master, second) = replica::pair(folder.path());
    let options = Options { ack: Ack::Replica, patience: Duration::from_millis(200), ..options(&master) };
    let store = Arc::new(RedisStore::new(options).expect("a store"));
    let running = {
        let store: Arc<dyn Store> = store.clone();
        tokio::task::spawn_blocking(move || shard::start(store, Config::default(), Deaf)).await
    };
    let shard = running.expect("no panic").expect("a shard").handle;
    let save = |name: &str| {
        let command = Command::Upsert(Box::new(Upsert {
            definition: bench::definition(name, bench::every(1_000)),
            uid: Uid(rand::random()),
            etag: None,
            create_only: false,
            request: None,
            validate_only: false,
            actor: "".into(),
        }));
        let shard = shard.clone();
        tokio::spawn(async move { shard.call(command, None).await })
    };
    save("first").await.expect("no panic").expect("a replica is there");
    second.signal("-STOP");
    let waits = save("second");
    // It is there, and it fires; nobody was told that it is safe.
    loop {
        let get = Command::GetSchedule(bench::key("second"));
        if let Ok(Answer::Schedule(view)) = shard.call(get, None).await
            && !view.active.is_empty()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!waits.is_finished(), "no replica has it");
    until("a status that says why", || shard.store_health().detail.contains("store.ack = replica"));
    second.signal("-CONT");
    waits.await.expect("no panic").expect("it is acknowledged");
    until("a healthy store", || shard.store_health().available);
}
