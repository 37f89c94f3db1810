//! kill -9 of a process that commits, at random moments and at each of its calls to the disk.

#![allow(clippy::print_stdout)] // How the child tells what was acknowledged.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    faulty::{Disk, EIO, ENOSPC, EROFS},
    model,
};

const FOLDER: &str = "DOCKET_TEST_FOLDER";
const COMMITS: &str = "DOCKET_TEST_COMMITS";

/// Not a test by itself: the process that is killed. It tells of each commit that was acknowledged.
#[test]
fn child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let commits = env::var(COMMITS).expect("a number").parse().expect("a number");
    let store = model::open(Path::new(&folder)).expect("a store");
    let opened = model::check(&store).expect("a sound store");
    println!("\nopen {} {}", opened.epoch, opened.seq);
    model::commit(&store, &opened, commits, |seq| println!("committed {seq}"));
}

fn spawn(folder: &Path, commits: u64, environment: &[(&str, String)]) -> Child {
    Command::new(env::current_exe().expect("own path"))
        .args(["--exact", "kill::child", "--nocapture"])
        .env(FOLDER, folder)
        .env(COMMITS, commits.to_string())
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a child")
}

/// What a child has told of, and what its epoch was.
#[derive(Debug, Default)]
struct Told {
    epoch: u64,
    seq: u64,
}

/// Listens until the child has told of `enough` commits, or ends.
fn listen(child: &mut Child, told: &mut Told, enough: u64) {
    let out = child.stdout.as_mut().expect("its output");
    let mut commits = 0;
    for line in BufReader::with_capacity(1, out).lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words[at].parse().expect("a number");
        match words[0] {
            "open" => {
                assert!(number(1) > told.epoch, "epochs grow: {line} after {told:?}");
                assert!(number(2) == told.seq || number(2) == told.seq + 1, "{line} after {told:?}");
                *told = Told { epoch: number(1), seq: number(2) };
            }
            "committed" => {
                told.seq = number(1);
                commits += 1;
            }
            _ => {}
        }
        if commits >= enough {
            return;
        }
    }
}

#[test]
fn p1_every_acknowledged_commit_survives_kills_at_random_moments() {
    let folder = model::scratch();
    let mut random = StdRng::seed_from_u64(4);
    let mut told = Told::default();
    for _ in 0..20 {
        let mut child = spawn(folder.path(), u64::MAX >> 1, &[]);
        listen(&mut child, &mut told, random.random_range(1..120));
        // It goes on meanwhile, so the kill comes anywhere in the next commits.
        (0..random.random_range(0..200_000)).for_each(|n| _ = std::hint::black_box(n));
        child.kill().expect("a kill");
        listen(&mut child, &mut told, u64::MAX);
        child.wait().expect("an end");
    }
    let store = model::open(folder.path()).expect("the lock went with its owner");
    let opened = model::check(&store).expect("a sound store");
    assert!(opened.seq == told.seq || opened.seq == told.seq + 1, "{opened:?} after {told:?}");
}

/// From the first call, which creates the folder, on: a write is cut in half, anything else is not done. Every fifth
/// call, or as DOCKET_TEST_STEP says.
#[test]
fn a_kill_at_any_call_to_the_disk_leaves_a_folder_that_opens() {
    let scratch = model::scratch();
    let step = env::var("DOCKET_TEST_STEP").map_or(5, |step| step.parse().expect("a number"));
    let mut calls = 0;
    for n in (1..).step_by(step) {
        let folder = scratch.path().join(n.to_string());
        let disk = Disk::new(&folder, scratch.path());
        let mut environment = disk.environment().to_vec();
        environment.push(("FAULT_KILL", n.to_string()));
        let mut told = Told::default();
        let mut child = spawn(&folder, 2, &environment);
        listen(&mut child, &mut told, u64::MAX);
        let was_killed = !child.wait().expect("an end").success();
        // Once more, now from what the first kill has left.
        let mut child = spawn(&folder, 2, &environment);
        listen(&mut child, &mut told, u64::MAX);
        child.wait().expect("an end");
        let store = model::open(&folder).unwrap_or_else(|error| panic!("call {n}: {error}"));
        let opened = model::check(&store).expect("a sound store");
        assert!(opened.seq == told.seq || opened.seq == told.seq + 1, "call {n}: {opened:?} after {told:?}");
        if !was_killed {
            break;
        }
        calls = n;
    }
    assert!(calls > 100, "only {calls} calls were seen");
}

/// Tables are written in the background. When that fails no later commit is acknowledged, and none that was is lost.
#[test]
fn p2_a_table_that_cannot_be_written_ends_the_commits() {
    for (kinds, errno) in [("w", ENOSPC), ("s", EIO), ("o", EROFS)] {
        let (folder, scratch) = (model::scratch(), model::scratch());
        let mut told = Told::default();
        listen(&mut spawn(folder.path(), 2, &[]), &mut told, u64::MAX);
        let disk = Disk::new(&folder.path().join("keyspaces"), scratch.path());
        disk.fail(kinds, errno);
        let mut child = spawn(folder.path(), 100_000, &disk.environment());
        listen(&mut child, &mut told, u64::MAX);
        assert!(!child.wait().expect("an end").success(), "{kinds}: it went on");
        let store = model::open(folder.path()).expect("a store");
        let opened = model::check(&store).expect("a sound store");
        assert!(opened.seq == told.seq || opened.seq == told.seq + 1, "{opened:?} after {told:?}");
    }
}
