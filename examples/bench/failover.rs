//! How long nothing fires when the leader is killed, or told to stop, among many schedules on Redis.

use std::time::{Duration, Instant, SystemTime};

use docket::schedule::v1 as pb;
use futures_util::stream;

use crate::harness::{Plan, Scheduler, Service, redis::Redis};

const IDLE: usize = 100_000;
const PER_MESSAGE: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn failover(row: fn(&str, String, &str)) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let redis = Redis::start(&folder.path().join("redis"));
    let plan = |name: &str| {
        Plan::new("scheduler-svc", &folder.path().join(name)).set("DOCKET_STORE__URL", redis.url())
    };
    let mut first = plan("first").start()?;
    fill(&Scheduler::connect(&first)?, IDLE).await?;
    let mut second = plan("second").start()?;
    first.kill();
    let gap = until_fired(&second, SystemTime::now()).await?;
    row("leader killed (-9), next fire, 100k schedules", show(gap), "at most 6 s");
    let third = plan("third").start()?;
    // The standby has to have seen who leads.
    let told = SystemTime::now();
    let ended = std::thread::spawn(move || second.terminate());
    let gap = until_fired(&third, told).await?;
    row(
        "leader told to stop, next fire, 100k schedules",
        show(gap),
        "at most 1 s (of an every-second schedule: + 1 s)",
    );
    anyhow::ensure!(ended.join().is_ok(), "the former leader did not end");
    Ok(())
}

pub fn show(gap: Duration) -> String {
    format!("{:.1} s", gap.as_secs_f64())
}

/// Saves so many schedules: daily ones, and one of every second, `tick`.
pub async fn fill(scheduler: &Scheduler, count: usize) -> anyhow::Result<()> {
    let options = pb::ImportOptions { mode: pb::ImportMode::Upsert.into(), ..Default::default() };
    let first = pb::ImportSchedulesRequest { options: Some(options), schedules: Vec::new() };
    let record = |schedule| pb::ScheduleRecord { schedule: Some(schedule), ..Default::default() };
    let cron = |n: usize| format!("{} {} * * *", n % 60, n / 60 % 24);
    let idle = move |n: usize| record(with_argument(crate::schedule(format!("user-{n:011}"), &cron(n))));
    let interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let tick = pb::Schedule {
        schedule_id: "tick".into(),
        timing: Some(pb::schedule::Timing::Every(pb::Every { interval, anchor: None })),
        task: Some(pb::Task { kind: "noop".into(), ..Default::default() }),
        ..Default::default()
    };
    let daily = count - 1;
    let pages = (0..daily).step_by(PER_MESSAGE).map(move |from| pb::ImportSchedulesRequest {
        options: None,
        schedules: (from..daily.min(from + PER_MESSAGE)).map(idle).collect(),
    });
    let last = pb::ImportSchedulesRequest { options: None, schedules: vec![record(tick)] };
    let messages = stream::iter([first].into_iter().chain(pages).chain([last]));
    let answer = scheduler.schedules.clone().import_schedules(messages).await?.into_inner();
    anyhow::ensure!(answer.created == count as i64, "{answer:?}");
    Ok(())
}

/// As a sync of a mailbox has it: its own id, the one argument.
fn with_argument(mut schedule: pb::Schedule) -> pb::Schedule {
    let id = prost_types::value::Kind::StringValue(schedule.schedule_id.clone());
    let fields = [("mailbox_id".into(), prost_types::Value { kind: Some(id) })].into();
    schedule.task.get_or_insert_default().args = Some(prost_types::Struct { fields });
    schedule
}

/// From `since` to the first decision that `service`, or whoever it passes the call on to, has made after it.
pub async fn until_fired(service: &Service, since: SystemTime) -> anyhow::Result<Duration> {
    let mut schedules = Scheduler::connect(service)?.schedules;
    let begin = Instant::now();
    loop {
        anyhow::ensure!(begin.elapsed() < PATIENCE, "nothing fires");
        let request = pb::ExplainScheduleRequest { schedule_id: "tick".into(), ..Default::default() };
        if let Ok(answer) = schedules.explain_schedule(request).await {
            let newest = answer.into_inner().decisions.into_iter().next();
            let Some(at) = newest.and_then(|decision| decision.decide_time) else { continue };
            let at = SystemTime::try_from(at)?;
            if let Ok(gap) = at.duration_since(since) {
                return Ok(gap);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
