//! A million schedules in one stream, and back.

use std::time::{Duration, Instant};

use docket::schedule::v1 as pb;
use futures_util::{StreamExt as _, stream};

use super::{harness::Scheduler, schedule};

/// Schedules of one message.
const PER_MESSAGE: usize = 1_000;

type Row = fn(&str, String, &str);

/// `IMPORT` sets how many.
pub async fn imports(row: Row) -> anyhow::Result<()> {
    let count: usize = std::env::var("IMPORT").ok().map_or(Ok(1_000_000), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let stage = crate::stage(folder.path());
    let service = stage.plan.start()?;
    let scheduler = Scheduler::connect(&service)?;
    let rate = |elapsed: Duration| format!("{:.0}/s", count as f64 / elapsed.as_secs_f64());
    let goal = "at least 20 × 5.6k: 100k/s";
    let (elapsed, answer) = import(&scheduler, count, "0 2 * * *").await?;
    anyhow::ensure!(answer.created == count as i64, "{answer:?}");
    row(&format!("import, one stream: create {count}"), rate(elapsed), goal);
    let (elapsed, answer) = import(&scheduler, count, "0 2 * * *").await?;
    anyhow::ensure!(answer.unchanged == count as i64, "{answer:?}");
    row(&format!("import, one stream: unchanged {count}"), rate(elapsed), goal);
    row(&format!("export, one stream: {count}"), rate(export(&scheduler, count).await?), "");
    Ok(())
}

async fn import(
    scheduler: &Scheduler,
    count: usize,
    cron: &'static str,
) -> anyhow::Result<(Duration, pb::ImportSchedulesResponse)> {
    let options = pb::ImportOptions { mode: pb::ImportMode::Upsert.into(), ..Default::default() };
    let first = pb::ImportSchedulesRequest { options: Some(options), schedules: Vec::new() };
    let record = move |n: usize| pb::ScheduleRecord {
        schedule: Some(schedule(format!("user-{n:08}"), cron)),
        ..Default::default()
    };
    let message = move |from: usize| {
        let schedules = (from..count.min(from + PER_MESSAGE)).map(record).collect();
        pb::ImportSchedulesRequest { options: None, schedules }
    };
    let messages = stream::iter((0..count).step_by(PER_MESSAGE).map(message));
    let messages = stream::iter([first]).chain(messages);
    let begin = Instant::now();
    let answer = scheduler.schedules.clone().import_schedules(messages).await?.into_inner();
    Ok((begin.elapsed(), answer))
}

async fn export(scheduler: &Scheduler, count: usize) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let request = pb::ExportSchedulesRequest::default();
    let mut messages = scheduler.schedules.clone().export_schedules(request).await?.into_inner();
    let mut exported = 0;
    while let Some(message) = messages.message().await? {
        exported += message.schedules.len();
    }
    anyhow::ensure!(exported == count, "only {exported} of {count} came");
    Ok(begin.elapsed())
}
