//! From a `ScheduleRecord` to a snapshot that can be restored.

use std::sync::Arc;

use docket::{errors::Violation, schedule::v1 as pb};
use prost_types::Timestamp;

use super::{field, known, refuse};
use crate::{
    grpc::{export::REASON_BYTES, text},
    state_machine::{
        definition::Definition,
        id::Uid,
        schedule::{Pause, PauseReason, Span, Status},
        snapshot::Snapshot,
        timing::Timing,
    },
};

const NOTE_BYTES: usize = 1 << 10;
const ACTOR_BYTES: usize = 256;
/// How far the clock of the server that exported may be ahead.
const AHEAD: i64 = 3_600_000;
/// Of counters that go on growing here, so that none overflows.
const COUNT_MAX: i64 = i32::MAX as i64;
const RUNS_MAX: i64 = 1 << 53;
/// As for backfills that users ask for.
const BACKFILL_RANGES: usize = 64;

/// `definition` is that of the record's schedule; `now` is this server's wall clock.
pub fn snapshot(
    record: &pb::ScheduleRecord,
    schedule: &pb::Schedule,
    definition: Definition,
    now: i64,
) -> Result<Snapshot, Violation> {
    let created = required("schedule.create_time", schedule.create_time.as_ref())?;
    let status = status(schedule)?;
    let snapshot = Snapshot {
        uid: uid(&schedule.uid)?,
        generation: count("schedule.generation", schedule.generation, 1)?,
        revision: count("revision", record.revision, 1)?,
        created,
        updated: required("schedule.update_time", schedule.update_time.as_ref())?,
        anchor: anchor(record, &definition.timing, created)?,
        status,
        pause: pause(schedule.pause.as_ref(), status)?,
        quarantine: Some(text::clean(&record.quarantine_reason, REASON_BYTES))
            .filter(|why| status == Status::Quarantined && !why.is_empty())
            .map(Into::into),
        decided_through: required("decided_through", record.decided_through.as_ref())
            .and_then(|time| passed("decided_through", time, now))?,
        waiting: passed_time("waiting_time", record.waiting_time.as_ref(), now)?,
        last_manual: passed_time("last_manual_time", record.last_manual_time.as_ref(), now)?.unwrap_or(0),
        runs: number("run_count", record.run_count, 0, RUNS_MAX)?.unsigned_abs(),
        failures: count("failures", record.failures, 0)?,
        catch_up: passed_time("catch_up_through", record.catch_up_through.as_ref(), now)?,
        backfill: backfill(&record.backfill, now)?,
        active: Vec::new(),
        definition: Arc::new(definition),
    };
    names_its_times(&snapshot)?;
    Ok(snapshot)
}

fn required(field: &str, time: Option<&Timestamp>) -> Result<i64, Violation> {
    match field::optional_time(field, time)? {
        Some(time) => Ok(time),
        None => refuse(field, "is required in mode RESTORE; ExportSchedules gives it"),
    }
}

fn passed(field: &str, time: i64, now: i64) -> Result<i64, Violation> {
    if time > now.saturating_add(AHEAD) {
        return refuse(field, "is more than 1 h ahead of this server's clock; compare both clocks");
    }
    Ok(time)
}

fn passed_time(field: &str, time: Option<&Timestamp>, now: i64) -> Result<Option<i64>, Violation> {
    field::optional_time(field, time)?.map(|time| passed(field, time, now)).transpose()
}

fn count(field: &str, value: i64, least: i64) -> Result<u32, Violation> {
    Ok(number(field, value, least, COUNT_MAX)? as u32)
}

fn number(field: &str, value: i64, least: i64, most: i64) -> Result<i64, Violation> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    refuse(field, &format!("must be {least} to {most}"))
}

fn uid(text: &str) -> Result<Uid, Violation> {
    if text.is_empty() {
        return refuse("schedule.uid", "is required in mode RESTORE; use UPSERT for schedules that are new");
    }
    let uid = u128::from_str_radix(text, 16).ok().map(Uid).filter(|uid| uid.to_string() == text);
    uid.ok_or_else(|| Violation::new("schedule.uid", "must be 32 lower-case hexadecimal digits"))
}

fn status(schedule: &pb::Schedule) -> Result<Status, Violation> {
    match pb::ScheduleState::try_from(schedule.state) {
        Ok(pb::ScheduleState::Active) => Ok(Status::Active),
        Ok(pb::ScheduleState::Paused) => Ok(Status::Paused),
        Ok(pb::ScheduleState::Ended) => Ok(Status::Ended),
        Ok(pb::ScheduleState::Quarantined) => Ok(Status::Quarantined),
        Ok(pb::ScheduleState::Unspecified) | Err(_) => {
            refuse("schedule.state", "must be one of ACTIVE, PAUSED, ENDED, QUARANTINED in mode RESTORE")
        }
    }
}

fn pause(pause: Option<&pb::Pause>, status: Status) -> Result<Option<Pause>, Violation> {
    let pause = match (pause, status) {
        (Some(pause), Status::Paused) => pause,
        (None, Status::Paused) => return refuse("schedule.pause", "is required in state PAUSED"),
        (Some(_), _) => return refuse("schedule.pause", "belongs to state PAUSED only: leave it out"),
        (None, _) => return Ok(None),
    };
    known("schedule.pause.reason", pause.reason, |n| pb::PauseReason::try_from(n).is_ok())?;
    let reason = match pause.reason() {
        pb::PauseReason::Requested => PauseReason::Requested,
        pb::PauseReason::Reauthorize => PauseReason::Reauthorize,
        pb::PauseReason::Failures => PauseReason::Failures,
        pb::PauseReason::Unspecified => {
            return refuse("schedule.pause.reason", "must be one of REQUESTED, REAUTHORIZE, FAILURES");
        }
    };
    Ok(Some(Pause {
        reason,
        note: field::note("schedule.pause.note", &pause.note, NOTE_BYTES)?,
        actor: (*field::note("schedule.pause.actor", &pause.actor, ACTOR_BYTES)?).into(),
        time: required("schedule.pause.time", pause.time.as_ref())?,
        until: field::optional_time("schedule.pause.until", pause.until.as_ref())?,
    }))
}

/// The anchor that the user set; else the one that the schedule had, without which it would lose its phase.
fn anchor(record: &pb::ScheduleRecord, timing: &Timing, created: i64) -> Result<i64, Violation> {
    match timing {
        Timing::Every { anchor: Some(anchor), .. } => Ok(*anchor),
        Timing::Every { anchor: None, .. } => required("anchor", record.anchor.as_ref()),
        Timing::Cron(_) | Timing::At(_) => {
            Ok(field::optional_time("anchor", record.anchor.as_ref())?.unwrap_or(created))
        }
    }
}

fn backfill(ranges: &[pb::BackfillRange], now: i64) -> Result<Box<[Span]>, Violation> {
    field::count("backfill", ranges.len(), BACKFILL_RANGES)?;
    let mut spans: Vec<Span> = Vec::with_capacity(ranges.len());
    for (index, range) in ranges.iter().enumerate() {
        let from = required(&format!("backfill[{index}].from"), range.from.as_ref())?;
        let field = format!("backfill[{index}].to");
        let to = required(&field, range.to.as_ref()).and_then(|to| passed(&field, to, now))?;
        if from >= to || spans.last().is_some_and(|last| last.to > from) {
            return refuse(&format!("backfill[{index}]"), "must not be empty, and later than the one before");
        }
        spans.push(Span { from, to });
    }
    Ok(spans.into())
}

/// Times that are to run must be times of the schedule.
fn names_its_times(snapshot: &Snapshot) -> Result<(), Violation> {
    let times = snapshot.definition.times(snapshot.anchor);
    if let Some(waiting) = snapshot.waiting
        && (waiting > snapshot.decided_through || !times.names(waiting))
    {
        return refuse("waiting_time", "must be a time of the schedule, not after decided_through");
    }
    for (index, span) in snapshot.backfill.iter().enumerate() {
        if !matches!(times.count(span.from - 1, span.to - 1), Some(1..)) {
            let remedy = "must name 1 to 10 000 times of the schedule; leave it out, or split it";
            return refuse(&format!("backfill[{index}]"), remedy);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
