//! TLS with an authority of one's own, a user that may do no more than `docs/redis.md` says, another database, a prefix.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::*;

/// As in `docs/redis.md`. What a later Redis or Sentinel needs besides is said there.
const PERMISSIONS: &str = "+@read +@write +@scripting +@connection +unwatch +info +time +wait";

/// Free now, and as good as free in a moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let command = command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    let output = command.output().expect("openssl is needed for this test (Debian: apt-get install openssl)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) -> PathBuf {
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {KEY} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    openssl(folder, &format!("req {KEY} -keyout server.key -out server.csr -subj /CN=server"));
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").expect("names");
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    folder.join("ca.pem")
}

fn start_with_tls(folder: &Path) -> (Redis, u16) {
    let port = free_port();
    let arguments = format!(
        "--appendonly yes --tls-port {port} --bind 127.0.0.1 --tls-cert-file server.pem --tls-key-file server.key \
         --tls-ca-cert-file ca.pem --tls-auth-clients no"
    );
    (Redis::with(folder, &arguments.split(' ').collect::<Vec<_>>()), port)
}

/// Lets a user of this name at the keys of this prefix, and at nothing else.
pub fn allow(redis: &Redis, user: &str, prefix: &str, more: &str) {
    let keys = format!("~{{{prefix}:0}}:*");
    let permissions = PERMISSIONS.split(' ').chain(more.split_whitespace());
    let command: Vec<&str> =
        ["ACL", "SETUSER", user, "reset", "on", ">s@cret", &keys].into_iter().chain(permissions).collect();
    assert_eq!(redis.ask(&command).expect("acl"), "+OK\r\n");
}

#[test]
fn it_conforms_over_tls_as_a_user_with_the_permissions_that_are_documented() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = fs::read(certificates(folder.path())).expect("an authority");
    let (redis, port) = start_with_tls(folder.path());
    let url = format!("rediss://docket:s%40cret@127.0.0.1:{port}/3");
    for (n, (name, case)) in SUITE.iter().enumerate() {
        eprintln_case(name);
        let prefix = format!("case{n}");
        allow(&redis, "docket", &prefix, "");
        let options = Options {
            ca_pem: Some(authority.clone()),
            prefix,
            address: Address::parse(&url).expect("an address"),
            ..options(&redis)
        };
        case(&Resigning(RedisStore::new(options).expect("a store")));
    }
    let keyspace = redis.ask(&["INFO", "keyspace"]).expect("info");
    assert!(keyspace.contains("db3:") && !keyspace.contains("db0:"), "{keyspace}");
    let denials = redis.ask(&["ACL", "LOG"]).expect("acl");
    assert_eq!(denials, "*0\r\n", "nothing was tried that is not allowed");
}

#[test]
fn a_server_that_is_not_trusted_and_a_user_that_is_not_let_in() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let authority = fs::read(certificates(folder.path())).expect("an authority");
    let stranger = fs::read(certificates(other.path())).expect("an authority");
    let (redis, port) = start_with_tls(folder.path());
    allow(&redis, "docket", "theirs", "");
    let open = |user: &str, ca: Option<&Vec<u8>>| {
        let address = Address::parse(&format!("rediss://{user}@127.0.0.1:{port}")).expect("an address");
        let options = Options { ca_pem: ca.cloned(), address, ..options(&redis) };
        match RedisStore::new(options).expect("a store").open() {
            Err(StoreError::Unknown(why) | StoreError::Fatal(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    for authority in [None, Some(&stranger)] {
        let why = open("docket:s%40cret", authority);
        assert!(why.to_lowercase().contains("certificate"), "{why}");
    }
    let why = open("docket:wr%40ng", Some(&authority));
    assert!(why.contains("WRONGPASS") || why.to_lowercase().contains("authentication failed"), "{why}");
    assert!(!why.contains("wr@ng"), "{why}");
    let why = open("docket:s%40cret", Some(&authority));
    assert!(why.contains("NOPERM") || why.to_lowercase().contains("permission"), "of another prefix: {why}");
}
