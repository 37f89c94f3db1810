//! A start with a million schedules, and what they cost while nothing is due.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use docket::schedule::v1 as pb;

use crate::{
    failover::{fill, show, until_fired},
    harness::{Scheduler, Service},
};

/// How long the idle scheduler is watched.
const IDLE: Duration = Duration::from_secs(20);

/// `SCHEDULES` sets how many.
pub async fn start(row: fn(&str, String, &str)) -> anyhow::Result<()> {
    let count: usize = std::env::var("SCHEDULES").ok().map_or(Ok(1_000_000), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let stage = crate::stage(folder.path());
    let mut first = stage.plan.start()?;
    let empty = resident(&first)?;
    fill(&Scheduler::connect(&first)?, count).await?;
    first.terminate()?;
    let begun = SystemTime::now();
    let service = stage.plan.start()?;
    let gap = until_fired(&service, begun).await?;
    row(&format!("start with {count} schedules, first fire"), show(gap), "at most 3 s embedded, 5 s Redis");
    let log = fs::read_to_string(&service.log)?;
    let told = log.rsplit_once("load_ms=").and_then(|(_, rest)| rest.split_whitespace().next());
    row("of which loading", format!("{} ms", told.context("load_ms in the log")?), "");
    let each = resident(&service)?.saturating_sub(empty) / count as u64;
    row("resident memory per schedule", format!("{each} B"), "at most 500 B at 1 M");
    let scheduler = Scheduler::connect(&service)?;
    let mut took = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        scheduler.status.clone().get_forecast(pb::GetForecastRequest::default()).await?;
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    row("forecast of 24 h, median of 5", format!("{:.0} ms", took[2].as_secs_f64() * 1e3), "");
    let before = busy(&service)?;
    tokio::time::sleep(IDLE).await;
    let share = (busy(&service)? - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    row("idle, but for one schedule of every second", format!("{share:.2} % of a core"), "at most 1 %");
    Ok(())
}

/// Bytes.
fn resident(service: &Service) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Time of processors that it has used, in user and kernel.
fn busy(service: &Service) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.pid()))?;
    let (_, after) = stat.rsplit_once(')').context("a name in parentheses")?;
    let ticks: Vec<u64> = after.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    // 100 per second on Linux, whatever the kernel's own.
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}
