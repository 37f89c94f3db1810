//! From a client's `Schedule` to a `Definition` that can only be valid. Checked once, here.

use std::sync::Arc;

use docket::{
    errors::Violation,
    schedule::v1::{self as pb, schedule::Timing as PbTiming},
};
use prost::Message as _;

use super::field;
use crate::state_machine::{
    definition::{
        Caller, DEFAULT_PRIORITY, Definition, Input, Labels, Misfire, Overlap, Retry, ScheduleKey, Task,
        Terms,
    },
    timing::{Cron, CronError, CronSource, Fold, Gap, Times, Timing},
};

const DAY: i64 = 86_400_000;
const TASK_BYTES: usize = 16 << 10;
const EXPRESSIONS: usize = 8;
const LIMITS: usize = 8;
const LABELS: usize = 16;
const LABEL_BYTES: usize = 63;

fn refuse<T>(field: &str, remedy: &str) -> Result<T, Violation> {
    Err(Violation::new(field, remedy))
}

/// `default_spread` (milliseconds) is the server's, for schedules that say nothing.
pub fn schedule(
    namespace: &str,
    schedule: &pb::Schedule,
    default_spread: u32,
) -> Result<Definition, Violation> {
    field::id("schedule.namespace", namespace)?;
    let id = field::id("schedule.schedule_id", &schedule.schedule_id)?;
    let start = field::optional_time("schedule.start_time", schedule.start_time.as_ref())?;
    let end = field::optional_time("schedule.end_time", schedule.end_time.as_ref())?;
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return refuse("schedule.end_time", "must be later than start_time");
    }
    let timing = timing(schedule)?;
    has_a_time(&timing, start, end)?;
    let (task, input) = task(schedule.task.as_ref())?;
    let terms = Terms {
        timing,
        task,
        spread: spread(schedule, default_spread)?,
        overlap: overlap(schedule)?,
        misfire: misfire(schedule.misfire.as_ref())?,
        retry: retry(schedule.retry.as_ref())?,
        priority: priority(schedule.priority)?,
        start,
        end,
        max_runs: u64::try_from(schedule.max_runs)
            .map_err(|_| Violation::new("schedule.max_runs", "must be 0 (unlimited) or more"))?,
        pause_after_failures: u32::try_from(schedule.pause_after_failures)
            .map_err(|_| Violation::new("schedule.pause_after_failures", "must be 0 (never) or more"))?,
        delete_when_ended: schedule.delete_when_ended,
    };
    Ok(Definition {
        key: ScheduleKey::new(namespace, id),
        terms: terms.into(),
        input,
        tenant: field::optional_id("schedule.tenant", &schedule.tenant)?.into(),
        limits: limits(&schedule.limits)?,
        labels: Labels::new(&labels("schedule.labels", &schedule.labels)?),
        saved_by: Caller::default(),
    })
}

pub fn timing(schedule: &pb::Schedule) -> Result<Timing, Violation> {
    match &schedule.timing {
        None => refuse("schedule.timing", "is required: set one of cron, every and at"),
        Some(PbTiming::Cron(timing)) => cron(timing),
        Some(PbTiming::Every(every)) => {
            let field = "schedule.every.interval";
            if every.interval.is_none() {
                return refuse(field, "is required, as in \"3600s\"");
            }
            let interval = field::millis(field, every.interval.as_ref(), 1_000, 366 * DAY, 0)?;
            Ok(Timing::Every {
                interval,
                anchor: field::optional_time("schedule.every.anchor", every.anchor.as_ref())?,
            })
        }
        Some(PbTiming::At(at)) => Ok(Timing::At(field::time("schedule.at", at)?)),
    }
}

/// Bounds that leave no time at all are a mistake, whenever the schedule is saved.
fn has_a_time(timing: &Timing, start: Option<i64>, end: Option<i64>) -> Result<(), Violation> {
    let field = match (start, end) {
        (_, Some(_)) => "schedule.end_time",
        (Some(_), None) => "schedule.start_time",
        (None, None) => return Ok(()),
    };
    let anchor = match timing {
        // Counted from the creation, which is not known here.
        Timing::Every { anchor: None, .. } => return Ok(()),
        Timing::Every { anchor: Some(anchor), .. } => *anchor,
        Timing::Cron(_) | Timing::At(_) => 0,
    };
    match (Times { timing, anchor, start, end }).next(-1) {
        Some(_) => Ok(()),
        None => refuse(field, "leaves the timing no time at all; widen start_time and end_time"),
    }
}

fn cron(timing: &pb::Cron) -> Result<Timing, Violation> {
    if timing.expressions.is_empty() {
        return refuse("schedule.cron.expressions", "needs at least one, as in \"0 2 * * *\"");
    }
    field::count("schedule.cron.expressions", timing.expressions.len(), EXPRESSIONS)?;
    let gap = match timing.gap() {
        pb::GapPolicy::Unspecified | pb::GapPolicy::NextValid => Gap::NextValid,
        pb::GapPolicy::Shift => Gap::Shift,
        pb::GapPolicy::Skip => Gap::Skip,
    };
    let fold = match timing.fold() {
        pb::FoldPolicy::Unspecified | pb::FoldPolicy::First => Fold::First,
        pb::FoldPolicy::Last => Fold::Last,
        pb::FoldPolicy::Both => Fold::Both,
    };
    known("schedule.cron.gap", timing.gap, |n| pb::GapPolicy::try_from(n).is_ok())?;
    known("schedule.cron.fold", timing.fold, |n| pb::FoldPolicy::try_from(n).is_ok())?;
    let (expressions, time_zone) = (timing.expressions.clone(), timing.time_zone.clone());
    match Cron::new(CronSource { expressions, time_zone, gap, fold }) {
        Ok(cron) => Ok(Timing::Cron(Arc::new(cron))),
        Err(CronError::Expression(index, error)) => {
            let text = super::text::clean(&timing.expressions[index], 64);
            // The error repeats the part that is wrong.
            let why = super::text::clean(&error.to_string(), 400);
            refuse(&format!("schedule.cron.expressions[{index}]"), &format!("`{text}` {why}"))
        }
        Err(CronError::TimeZone(remedy)) => {
            let text = super::text::clean(&timing.time_zone, 64);
            refuse("schedule.cron.time_zone", &format!("`{text}` {remedy}"))
        }
    }
}

fn known(field: &str, number: i32, is_known: impl Fn(i32) -> bool) -> Result<(), Violation> {
    if is_known(number) { Ok(()) } else { refuse(field, "is a value that this server does not know") }
}

fn task(task: Option<&pb::Task>) -> Result<(Task, Input), Violation> {
    let Some(task) = task else { return refuse("schedule.task", "is required, with at least a kind") };
    let kind = field::id("schedule.task.kind", &task.kind)?;
    task.args.as_ref().map_or(Ok(()), |args| field::json("schedule.task.args", args))?;
    let args = task.args.as_ref().map(|args| args.encode_to_vec()).unwrap_or_default();
    field::bytes("schedule.task.args", args.len() + task.payload.len(), TASK_BYTES)?;
    let timeout = field::millis("schedule.task.timeout", task.timeout.as_ref(), 1_000, DAY, 600_000)?;
    let queue_timeout =
        field::millis("schedule.task.queue_timeout", task.queue_timeout.as_ref(), 1_000, DAY, 0)?;
    let input = Input::new(&args, &task.payload);
    let task = Task { kind: kind.into(), timeout: timeout as u32, queue_timeout: queue_timeout as u32 };
    Ok((task, input))
}

pub fn spread(schedule: &pb::Schedule, default: u32) -> Result<u32, Violation> {
    Ok(field::millis("schedule.spread", schedule.spread.as_ref(), 0, DAY, default.into())? as u32)
}

fn overlap(schedule: &pb::Schedule) -> Result<Overlap, Violation> {
    known("schedule.overlap", schedule.overlap, |n| pb::OverlapPolicy::try_from(n).is_ok())?;
    Ok(match schedule.overlap() {
        pb::OverlapPolicy::Unspecified | pb::OverlapPolicy::Skip => Overlap::Skip,
        pb::OverlapPolicy::BufferOne => Overlap::BufferOne,
        pb::OverlapPolicy::Allow => Overlap::Allow,
        pb::OverlapPolicy::CancelRunning => Overlap::CancelRunning,
    })
}

fn misfire(misfire: Option<&pb::Misfire>) -> Result<Misfire, Violation> {
    let Some(misfire) = misfire else { return Ok(Misfire::Coalesce) };
    known("schedule.misfire.mode", misfire.mode, |n| pb::MisfireMode::try_from(n).is_ok())?;
    if misfire.mode() == pb::MisfireMode::All {
        let window = field::millis("schedule.misfire.window", misfire.window.as_ref(), 1_000, DAY, DAY)?;
        let max_runs = field::number("schedule.misfire.max_runs", misfire.max_runs, 1, 1_000, 100)?;
        return Ok(Misfire::All { window: window as u32, max_runs });
    }
    for (field, is_set) in [
        ("schedule.misfire.window", misfire.window.is_some()),
        ("schedule.misfire.max_runs", misfire.max_runs != 0),
    ] {
        if is_set {
            return Err(Violation::new(field, "belongs to mode ALL only: leave it out, or set the mode"));
        }
    }
    Ok(if misfire.mode() == pb::MisfireMode::Skip { Misfire::Skip } else { Misfire::Coalesce })
}

fn retry(retry: Option<&pb::Retry>) -> Result<Retry, Violation> {
    let default = Retry::default();
    let Some(retry) = retry else { return Ok(default) };
    let max_attempts =
        field::number("schedule.retry.max_attempts", retry.max_attempts, 1, 100, default.max_attempts)?;
    let backoff = |field: &str, value, default: u32| field::millis(field, value, 1_000, DAY, default.into());
    let min = backoff("schedule.retry.min_backoff", retry.min_backoff.as_ref(), default.min_backoff)?;
    let max = backoff(
        "schedule.retry.max_backoff",
        retry.max_backoff.as_ref(),
        default.max_backoff.max(min as u32),
    )?;
    if min > max {
        return refuse("schedule.retry.max_backoff", "must be at least min_backoff");
    }
    Ok(Retry { max_attempts, min_backoff: min as u32, max_backoff: max as u32 })
}

fn limits(limits: &[String]) -> Result<Box<[Box<str>]>, Violation> {
    field::count("schedule.limits", limits.len(), LIMITS)?;
    let check = |(index, limit): (usize, &String)| {
        field::id(&format!("schedule.limits[{index}]"), limit).map(Into::into)
    };
    limits.iter().enumerate().map(check).collect()
}

fn priority(priority: i32) -> Result<u8, Violation> {
    Ok(field::number("schedule.priority", priority, 1, 9, DEFAULT_PRIORITY.into())? as u8)
}

pub fn labels(
    field: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<std::collections::BTreeMap<String, String>, Violation> {
    field::count(field, labels.len(), LABELS)?;
    for (key, value) in labels {
        if key.is_empty() || key.len() > LABEL_BYTES || value.len() > LABEL_BYTES {
            return Err(Violation::new(
                field,
                format!("keys are 1 to {LABEL_BYTES} bytes, values at most {LABEL_BYTES}"),
            ));
        }
        if !super::text::is_clean(key) || !super::text::is_clean(value) {
            return Err(Violation::new(field, "must not hold control or direction characters"));
        }
    }
    Ok(labels.clone())
}

pub mod record;

#[cfg(test)]
mod bad_input;
