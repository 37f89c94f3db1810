//! First figures, with real processes on loopback: unary upserts, imports, the herd, a change of leaders, and a start
//! with a million schedules.
//!
//! `make bench` builds everything for release and runs this. Client, scheduler and worker share the machine. The store
//! is the embedded one; with `STORE=redis` it is a Redis of its own with `appendfsync everysec`.

#![allow(clippy::print_stdout)]

mod abuse;
mod failover;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod import;
mod start;

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use chrono::{DateTime, Timelike as _, Utc};
use docket::schedule::v1::{self as pb, schedule::Timing};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use harness::{Plan, Scheduler, redis::Redis};

const IN_FLIGHT: usize = 64;
const UPSERTS: usize = 20_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let herd: usize = std::env::var("HERD").ok().map_or(Ok(50_000), |n| n.parse())?;
    let only = std::env::args().nth(1);
    if only.as_deref() == Some("attack") {
        let (name, to) = (std::env::args().nth(2), std::env::args().nth(3));
        return abuse::attack(&name.context("which?")?, to.context("whom?")?.parse()?).await;
    }
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    println!("{:<44} {:>14}   goal (client, scheduler and worker on 2 cores)", "work", "measured");
    if wanted("upsert") {
        upserts().await?;
    }
    if wanted("import") {
        import::imports(row).await?;
    }
    if wanted("herd") {
        herd_of(herd).await?;
    }
    if wanted("failover") {
        failover::failover(row).await?;
    }
    if wanted("start") {
        start::start(row).await?;
    }
    // Last: from here on this process keeps to half of the processors.
    if wanted("abuse") {
        abuse::abuse(row).await?;
    }
    Ok(())
}

/// A scheduler to be, and the Redis that it keeps its state in, if any.
struct Stage {
    plan: Plan,
    _redis: Option<Redis>,
}

fn stage(folder: &Path) -> Stage {
    let plan = Plan::new("scheduler-svc", folder);
    if std::env::var("STORE").is_ok_and(|store| store == "redis") {
        let redis = Redis::start(&folder.join("redis"));
        return Stage { plan: plan.set("DOCKET_STORE__URL", redis.url()), _redis: Some(redis) };
    }
    Stage { plan, _redis: None }
}

fn row(work: &str, measured: String, goal: &str) {
    println!("{work:<44} {measured:>14}   {goal}");
}

fn schedule(id: String, cron: &str) -> pb::Schedule {
    pb::Schedule {
        schedule_id: id,
        timing: Some(Timing::Cron(pb::Cron {
            expressions: vec![cron.into()],
            time_zone: "Europe/Berlin".into(),
            ..pb::Cron::default()
        })),
        task: Some(pb::Task { kind: "noop".into(), ..pb::Task::default() }),
        ..pb::Schedule::default()
    }
}

async fn upsert_all(scheduler: &Scheduler, count: usize, cron: &str) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    stream::iter(0..count)
        .map(|n| {
            let (mut client, schedule) =
                (scheduler.schedules.clone(), schedule(format!("user-{n:08}"), cron));
            async move {
                let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
                client.upsert_schedule(request).await.map(|_| ())
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(begin.elapsed())
}

async fn upserts() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = stage(folder.path());
    let service = stage.plan.start()?;
    let scheduler = Scheduler::connect(&service)?;
    let rate = |elapsed: Duration| format!("{:.0}/s", UPSERTS as f64 / elapsed.as_secs_f64());
    let created = upsert_all(&scheduler, UPSERTS, "0 2 * * *").await?;
    row("upsert, unary, 64 in flight: create 20k", rate(created), "at least 4 × 5.6k = 22k/s");
    let changed = upsert_all(&scheduler, UPSERTS, "0 3 * * *").await?;
    row("upsert, unary, 64 in flight: change 20k", rate(changed), "at least 4 × 6.3k = 25k/s");
    let same = upsert_all(&scheduler, UPSERTS, "0 3 * * *").await?;
    row("upsert, unary, 64 in flight: unchanged 20k", rate(same), "");
    Ok(())
}

/// All schedules due at one second, until the last report is durable.
async fn herd_of(count: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = stage(folder.path());
    let service = stage.plan.start()?;
    let scheduler = Scheduler::connect(&service)?;
    // Time enough to save them all, and to let the store's background work settle.
    let due = Utc::now() + Duration::from_secs(12 + count as u64 / 10_000);
    let due = due.with_nanosecond(0).context("a whole second")?;
    let local = due.with_timezone(&chrono_tz::Europe::Berlin);
    let cron = format!("{} {} {} * * *", local.second(), local.minute(), local.hour());
    upsert_all(&scheduler, count, &cron).await?;
    let worker = Plan::new("worker-svc", folder.path())
        .set("DOCKET_SCHEDULER__URL", format!("http://{}", service.grpc))
        .set("DOCKET_WORKER__SLOTS", 10_000)
        .set("DOCKET_WORKER__KINDS", "noop")
        .start()?;
    let left =
        due.signed_duration_since(Utc::now()).to_std().context("saving took too long; use a smaller HERD")?;
    tokio::time::sleep(left).await;
    let elapsed = drained(&scheduler, count, due).await?;
    let rate = count as f64 / elapsed.as_secs_f64();
    row(
        &format!("herd, {count} due at one instant"),
        format!("{rate:.0} runs/s"),
        "at least 20k/s now, 20 × 3.2k = 64k/s in the end",
    );
    let mut lateness = start_lateness(&scheduler, due).await?;
    lateness.sort_unstable();
    let at = |share: f64| lateness[((lateness.len() - 1) as f64 * share) as usize];
    row("herd, from due to handed out, p50", format!("{} ms", at(0.5)), "");
    row("herd, from due to handed out, p99", format!("{} ms", at(0.99)), "at most 1/20 of 13 s = 650 ms");
    drop(worker);
    Ok(())
}

/// From the due time until the scheduler has made the last report durable.
async fn drained(scheduler: &Scheduler, count: usize, due: DateTime<Utc>) -> anyhow::Result<Duration> {
    let mut status = scheduler.status.clone();
    let due = SystemTime::from(due);
    loop {
        let answer = status.get_status(pb::GetStatusRequest::default()).await?.into_inner();
        let elapsed = SystemTime::now().duration_since(due).unwrap_or_default();
        if answer.runs_succeeded >= count as i64 {
            return Ok(elapsed);
        }
        anyhow::ensure!(
            elapsed < Duration::from_secs(120),
            "only {} of {count} runs came",
            answer.runs_succeeded
        );
        // Often enough for the figure, rare enough not to be part of the load.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Milliseconds from due time to the start of each run.
async fn start_lateness(scheduler: &Scheduler, due: DateTime<Utc>) -> anyhow::Result<Vec<i64>> {
    let (mut lateness, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListRunsRequest { page_size: 1_000, page_token, ..Default::default() };
        let page = scheduler.runs.clone().list_runs(request).await?.into_inner();
        let started = page.runs.iter().filter_map(|run| run.start_time);
        lateness.extend(
            started.map(|at| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000 - due.timestamp_millis()),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(lateness);
        }
    }
}
