//! A master, a replica and a Sentinel on loopback: the store follows the master, and what a replica lacks is sent again.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use super::{
    secure::{allow, free_port},
    *,
};

const PATIENCE: Duration = Duration::from_secs(30);
const USER: &str = "docket";

struct Sentinel {
    child: Child,
    port: u16,
}

impl Sentinel {
    fn start(folder: &Path, master: u16) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let port = free_port();
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 1000\n"
        );
        fs::write(folder.join("sentinel.conf"), config).expect("its configuration");
        let child = Command::new(server::binary())
            .args(["sentinel.conf", "--sentinel"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a Sentinel");
        Self { child, port }
    }

    fn ask(&self, command: &str) -> String {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(format!("{command}\r\n").as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        ask().unwrap_or_default()
    }

    fn names(&self, port: u16) -> bool {
        self.ask("SENTINEL GET-MASTER-ADDR-BY-NAME main").contains(&format!("\r\n{port}\r\n"))
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(folder: &Path, port: u16, master: Option<u16>) -> Redis {
    let mut arguments =
        format!("--appendonly yes --bind 127.0.0.1 --port {port} --repl-diskless-sync-delay 0");
    if let Some(master) = master {
        arguments.push_str(&format!(" --replicaof 127.0.0.1 {master}"));
    }
    let redis = Redis::with(folder, &arguments.split(' ').collect::<Vec<_>>());
    allow(&redis, USER, "docket", "+role");
    redis
}

fn has(redis: &Redis, section: &str, text: &str) -> bool {
    redis.ask(&["INFO", section]).is_ok_and(|info| info.contains(text))
}

fn seq_at(redis: &Redis) -> String {
    redis.ask(&["HGET", "{docket:0}:owner", "seq"]).expect("seq").lines().nth(1).unwrap_or_default().into()
}

#[test]
fn o7_the_store_follows_the_master_and_sends_again_what_a_replica_lacks() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = [free_port(), free_port()];
    let first = start(&folder.path().join("first"), ports[0], None);
    let mut second = start(&folder.path().join("second"), ports[1], Some(ports[0]));
    until("a replica that is in step", || has(&second, "replication", "master_link_status:up"));
    let sentinel = Sentinel::start(&folder.path().join("sentinel"), ports[0]);
    // It looks around every 10 s by default.
    until("a Sentinel that is in a hurry", || {
        let faster = "SENTINEL DEBUG INFO-PERIOD 100 PING-PERIOD 100 ASK-PERIOD 100 PUBLISH-PERIOD 100";
        sentinel.ask(faster) == "+OK\r\n"
    });
    until("a Sentinel that knows both", || {
        sentinel.names(ports[0])
            && sentinel.ask("SENTINEL REPLICAS main").contains("master-link-status\r\n$2\r\nok")
    });

    let url = format!("redis+sentinel://{USER}:s%40cret@127.0.0.1:{}/main", sentinel.port);
    let store =
        RedisStore::new(Options { address: Address::parse(&url).expect("an address"), ..options(&first) });
    let store = store.expect("a store");
    let epoch = open(&store).epoch;
    let write = |seq: u64| {
        commit(&store, epoch, seq, &batch([put(seq.into(), "x"), cold(seq.into(), "y")])).expect("commit");
    };
    (1..=10).for_each(write);
    until("a replica that has all", || seq_at(&second) == "10");

    // On purpose: the old master is a replica from then on, and refuses writes.
    assert_eq!(sentinel.ask("SENTINEL FAILOVER main"), "+OK\r\n");
    until("a new master", || sentinel.names(ports[1]) && has(&first, "replication", "role:slave"));
    (11..=15).for_each(write);
    assert_eq!(seq_at(&second), "15", "it is written to the new master");
    until("the old one in step", || {
        seq_at(&first) == "15" && has(&first, "replication", "master_link_status:up")
    });
    until("a Sentinel that sees it", || {
        let replicas = sentinel.ask("SENTINEL REPLICAS main");
        replicas.contains("role-reported\r\n$5\r\nslave")
            && replicas.contains("master-link-status\r\n$2\r\nok")
    });

    // The replica lags: it is cut off, and cannot log in again. Then the master dies.
    first.ask(&["CONFIG", "SET", "masterauth", "wrong"]).expect("config");
    second.ask(&["CLIENT", "KILL", "TYPE", "replica"]).expect("kill");
    (16..=30).for_each(write);
    assert_eq!(seq_at(&first), "15");
    second.kill();
    write(31);
    assert_eq!(seq_at(&first), "31");
    let keys: Vec<Key> = (1..=30).map(|n| cold(n, "").key).collect();
    assert!(store.read(&keys).expect("read").iter().all(Option::is_some), "history is sent again too");
    store.resign();
    assert_eq!(hot(&store).len(), 31, "nothing that was acknowledged is lost");
}
