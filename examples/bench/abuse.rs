//! What an honest client waits for while others attack: the attacks of tests/abuse.rs, over and over for some seconds.
//!
//! Attackers bring their own processors: here they get the second half of this machine's, and the service and its honest
//! client the first, before the attack as well.

#[path = "../../tests/abuse/attacks.rs"]
mod attacks;
#[path = "../../tests/abuse/frames.rs"]
mod frames;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use docket::schedule::v1 as pb;
use tokio::time::sleep;

use crate::harness::{Plan, Scheduler, Service};

/// With and without the attack by turns, so that what else the machine does touches both.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(2);
const BETWEEN_CALLS: Duration = Duration::from_millis(2);
/// How long an attacker keeps what is still open.
const HELD: Duration = Duration::from_secs(60);
const ATTACKS: [&str; 10] = [
    "rapid reset",
    "CONTINUATION flood",
    "PING flood",
    "SETTINGS flood",
    "10 000 idle streams",
    "slow readers",
    "headers that do not end",
    "malformed messages",
    "bytes that are no HTTP/2",
    "connections",
];

/// What these do is to stay, and they are measured when they are there.
const STAY: [&str; 3] = ["10 000 idle streams", "slow readers", "headers that do not end"];
const THERE: &str = "there";

pub async fn abuse(row: fn(&str, String, &str)) -> anyhow::Result<()> {
    let processors = Processors::of_this_machine()?;
    processors.keep_to_first_half()?;
    let only = std::env::args().nth(2);
    for name in ATTACKS.into_iter().filter(|name| only.as_deref().is_none_or(|only| only == *name)) {
        let folder = tempfile::tempdir()?;
        let service = Plan::new("scheduler-svc", folder.path()).start()?;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            alone.extend(calls(&service).await?);
            let _attacker = Attacker::start(name, service.grpc, &processors)?;
            beside.extend(calls(&service).await?);
        }
        let (before, during) = (p99(alone)?, p99(beside)?);
        let peak = service.peak_kib() >> 10;
        let times = during.as_secs_f64() / before.as_secs_f64();
        row(
            &format!("p99 beside {name}"),
            format!("{:.2} ms", during.as_secs_f64() * 1e3),
            &format!(
                "less than 2 × {:.2} ms; here {times:.1} ×; peak {peak} MiB",
                before.as_secs_f64() * 1e3
            ),
        );
    }
    Ok(())
}

/// What calls took that are made one after the other.
async fn calls(service: &Service) -> anyhow::Result<Vec<Duration>> {
    let mut client = Scheduler::connect(service)?.status;
    let begin = Instant::now();
    let mut took = Vec::new();
    while begin.elapsed() < TURN {
        let call = Instant::now();
        client.get_status(pb::GetStatusRequest::default()).await.context("an honest call")?;
        took.push(call.elapsed());
        sleep(BETWEEN_CALLS).await;
    }
    Ok(took)
}

fn p99(mut took: Vec<Duration>) -> anyhow::Result<Duration> {
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().context("no call")
}

/// A process; killed when dropped.
struct Attacker(Child);

impl Attacker {
    fn start(name: &str, to: SocketAddr, processors: &Processors) -> anyhow::Result<Self> {
        let bench = std::env::current_exe()?;
        let mut attacker = Command::new("taskset");
        attacker.arg("-c").arg(&processors.second_half).arg(bench).args(["attack", name, &to.to_string()]);
        let mut attacker = Self(attacker.stdout(Stdio::piped()).spawn().context("taskset, of util-linux")?);
        if STAY.contains(&name) {
            let said = attacker.0.stdout.take().context("its output")?;
            BufReader::new(said).lines().next().context("it has ended")??;
        }
        Ok(attacker)
    }
}

/// As taskset lists them.
struct Processors {
    first_half: String,
    second_half: String,
}

impl Processors {
    fn of_this_machine() -> anyhow::Result<Self> {
        let all = std::thread::available_parallelism()?.get();
        anyhow::ensure!(all > 1, "attackers need a processor of their own");
        let half = all / 2;
        Ok(Self { first_half: format!("0-{}", half - 1), second_half: format!("{half}-{}", all - 1) })
    }

    /// This process, and whatever it starts from now on.
    fn keep_to_first_half(&self) -> anyhow::Result<()> {
        let this = std::process::id().to_string();
        let kept = Command::new("taskset").args(["-a", "-c", "-p", &self.first_half, &this]).output();
        anyhow::ensure!(kept.context("taskset, of util-linux")?.status.success(), "taskset failed");
        Ok(())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Attacks until it is killed.
pub async fn attack(name: &str, to: SocketAddr) -> anyhow::Result<()> {
    loop {
        let held = match name {
            "rapid reset" => attacks::rapid_reset(to).await,
            "CONTINUATION flood" => attacks::continuation_flood(to).await,
            "PING flood" => attacks::ping_flood(to).await,
            "SETTINGS flood" => attacks::settings_flood(to).await,
            "10 000 idle streams" => attacks::idle_streams(to).await,
            "slow readers" => attacks::slow_readers(to).await,
            "headers that do not end" => attacks::endless_headers(to).await,
            "malformed messages" => attacks::malformed_messages(to).await,
            "bytes that are no HTTP/2" => attacks::noise(to).await,
            "connections" => attacks::connections(to).await,
            unknown => anyhow::bail!("no attack is called {unknown}"),
        };
        if STAY.contains(&name) {
            println!("{THERE}");
            sleep(HELD).await;
        }
        drop(held);
    }
}
