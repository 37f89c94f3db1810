//! The scheduler as a real process on a disk that fails: it says why, stops, and keeps what it promised.

#[path = "harness/faulty.rs"]
mod faulty;
mod harness;

use std::{
    error::Error as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use docket::{
    errors::{self, Reason},
    schedule::v1 as pb,
};
use faulty::{Disk, EACCES, EIO, ENOSPC, EROFS};
use futures_util::future::join_all;
use harness::{Plan, Scheduler, Service};
use tonic::Status;

/// Fires every second and needs no worker: its decision log has to be without holes and doubles.
const TICKING: &str = "ticking";

struct World {
    _folder: tempfile::TempDir,
    plan: Plan,
    disk: Disk,
    service: Service,
    scheduler: Scheduler,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut plan = Plan::new("scheduler-svc", folder.path());
        let disk = Disk::new(&plan.folder.join("data"), folder.path());
        for (key, value) in disk.environment() {
            plan = plan.set(key, value);
        }
        let service = plan.start().expect("scheduler-svc");
        plan = plan.set("DOCKET_GRPC__LISTEN", service.grpc).set("DOCKET_HTTP__LISTEN", service.http);
        let scheduler = Scheduler::connect(&service).expect("clients");
        Self { _folder: folder, plan, disk, service, scheduler }
    }

    async fn upsert(&self, id: &str) -> Result<pb::Schedule, Status> {
        let seconds = if id == TICKING { 1 } else { 86_400 };
        let every = pb::Every { interval: Some(prost_types::Duration { seconds, nanos: 0 }), anchor: None };
        let schedule = pb::Schedule {
            schedule_id: id.into(),
            timing: Some(pb::schedule::Timing::Every(every)),
            task: Some(pb::Task { kind: "noop".into(), ..Default::default() }),
            ..Default::default()
        };
        let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
        let answer = self.scheduler.schedules.clone().upsert_schedule(request).await?;
        Ok(answer.into_inner().schedule.expect("a schedule"))
    }

    async fn get(&self, id: &str) -> pb::Schedule {
        let request = pb::GetScheduleRequest { schedule_id: id.into(), ..Default::default() };
        let answer = self.scheduler.schedules.clone().get_schedule(request).await.expect("a schedule");
        answer.into_inner().schedule.expect("a schedule")
    }

    async fn decisions(&self) -> Vec<pb::Decision> {
        let request = pb::ExplainScheduleRequest { schedule_id: TICKING.into(), ..Default::default() };
        let answer = self.scheduler.schedules.clone().explain_schedule(request).await.expect("explained");
        answer.into_inner().decisions
    }

    /// Each time once, and none left out.
    async fn decides_every_time_once(&self) {
        let decisions = self.decisions().await;
        let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
        let first = decisions.iter().map(|one| seconds(one.first_nominal_time)).min().expect("a decision");
        let last = decisions.iter().map(|one| seconds(one.last_nominal_time)).max().expect("a decision");
        let decided: i64 = decisions.iter().map(|one| one.count).sum();
        assert_eq!(decided, last - first + 1, "{decisions:?}");
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.service.log).expect("a log")
    }
}

/// Many clients write; the disk fails; it heals; the scheduler is started again.
async fn a_fault_under_load(kinds: &str, errno: i32, says: &[&str]) {
    let mut world = World::start();
    world.upsert(TICKING).await.expect("before the fault");
    while world.decisions().await.is_empty() {
        tokio::task::yield_now().await;
    }
    let clients = (0..8).map(|client| {
        let world = &world;
        async move {
            let mut acknowledged = Vec::new();
            loop {
                match world.upsert(&format!("c{client}-{}", acknowledged.len())).await {
                    Ok(schedule) => acknowledged.push(schedule),
                    Err(status) => return (acknowledged, status),
                }
                if client == 0 && acknowledged.len() == 20 {
                    world.disk.fail(kinds, errno);
                }
            }
        }
    });
    let (acknowledged, refusals): (Vec<_>, Vec<_>) = join_all(clients).await.into_iter().unzip();
    // A call may also come too late for an answer: then its own client says that the connection is gone.
    let is_told = |status: &&Status| errors::reason_of(status) == Some(Reason::StoreUnavailable);
    assert!(refusals.iter().all(|status| is_told(&status) || status.source().is_some()), "{refusals:?}");
    assert!(refusals.iter().any(|status| is_told(&status)), "{refusals:?}");

    assert_eq!(world.service.wait().expect("an end"), Some(1));
    let log = world.log();
    assert!(says.iter().all(|part| log.contains(part)) && !log.contains("panicked"), "{log}");
    let refused = world.plan.start().err().map(|error| format!("{error:#}")).expect("still broken");
    assert!(says.iter().all(|part| refused.contains(part)), "{refused}");

    world.disk.heal();
    world.service = world.plan.start().expect("a restart");
    for before in acknowledged.into_iter().flatten() {
        let after = world.get(&before.schedule_id).await;
        assert_eq!((after.uid, after.etag), (before.uid, before.etag), "{}", before.schedule_id);
    }
    world.decides_every_time_once().await;
    world.upsert("after").await.expect("it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_full_disk_stops_it_and_loses_nothing() {
    a_fault_under_load("wt", ENOSPC, &["the disk is full: free some space"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_disk_that_turns_read_only_stops_it_and_loses_nothing() {
    a_fault_under_load("wsto", EROFS, &["the file system is read-only"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_failed_sync_stops_it_and_loses_nothing() {
    a_fault_under_load("s", EIO, &["check the disk"]).await;
}

/// What a start says that must not succeed.
fn refusal(folder: &Path, environment: &[(&'static str, String)]) -> String {
    let binary = std::env::current_exe().expect("own path");
    let binary = binary.ancestors().nth(2).expect("target folder").join("scheduler-svc");
    let output = Command::new(binary)
        .env("DOCKET_STORE__URL", format!("embedded:{}", folder.display()))
        .env("DOCKET_GRPC__LISTEN", "127.0.0.1:0")
        .env("DOCKET_HTTP__LISTEN", "127.0.0.1:0")
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked") && text.contains(&folder.display().to_string()), "{text}");
    text
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_with_the_remedy() {
    let scratch = tempfile::tempdir().expect("a folder");
    let file = scratch.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    for folder in [file.clone(), file.join("below")] {
        assert!(refusal(&folder, &[]).contains("a file is in the way"));
    }
    for (kinds, errno, remedy) in [
        ("o", EACCES, "give the folder and all in it to the user"),
        ("o", EROFS, "the file system is read-only"),
        ("w", ENOSPC, "free some space"),
        ("t", ENOSPC, "free some space"),
        ("s", EIO, "check the disk"),
    ] {
        let folder = scratch.path().join("new");
        let disk = Disk::new(&folder, scratch.path());
        disk.fail(kinds, errno);
        let text = refusal(&folder, &disk.environment());
        assert!(text.contains(remedy), "{kinds} {errno}: {text}");
        disk.heal();
        let mut healed = start(&folder);
        assert_eq!(healed.terminate().expect("an end"), Some(0), "nothing is left in the way");
        fs::remove_dir_all(&folder).expect("removed");
    }
}

fn start(folder: &Path) -> Service {
    plan(folder).start().expect("scheduler-svc")
}

fn plan(folder: &Path) -> Plan {
    let parent = folder.parent().expect("a parent");
    Plan::new("scheduler-svc", parent).set("DOCKET_STORE__URL", format!("embedded:{}", folder.display()))
}

#[test]
fn a_damaged_folder_is_refused_with_the_file_and_the_remedy() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("data");
    let mut service = start(&folder);
    service.terminate().expect("an end");
    start(&folder).kill();
    let flip = |file: PathBuf, at: usize| {
        let mut bytes = fs::read(&file).expect("a file");
        bytes[at] ^= 1;
        fs::write(file, bytes).expect("written");
    };
    for (file, at) in [("0.jnl", 60), ("acknowledged", 20), ("keyspaces/2/v0", 40), ("version", 0)] {
        flip(folder.join(file), at);
        let text = refusal(&folder, &[]);
        assert!(
            text.contains(file.rsplit('/').next().expect("a name")) && text.contains("damaged"),
            "{text}"
        );
        flip(folder.join(file), at);
    }
    assert_eq!(start(&folder).terminate().expect("an end"), Some(0), "all is as it was");
}

/// The lock is the process's: it goes with it, however it ends.
#[test]
fn one_process_per_folder_also_after_a_kill() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("data");
    let mut first = start(&folder);
    let text = refusal(&folder, &[]);
    assert!(text.contains("open in another process: stop it first"), "{text}");
    assert!(text.contains(&format!("pid {}", first.pid())), "{text}");
    first.kill();
    let mut second = start(&folder);
    assert_eq!(second.terminate().expect("an end"), Some(0));
}
