//! Disk records: the one place that knows both the machine's types and the stored protobuf (format level 1).
//!
//! What is read holds nothing of the bytes that it was read from: a store may keep many records in one allocation.

mod limit;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use docket::{stored::v1 as stored, trace::TraceParent};
use prost::Message as _;
use smallvec::SmallVec;

use crate::state_machine::{
    definition::{Caller, Definition, Input, Labels, Misfire, Overlap, Retry, ScheduleKey, Task, Terms},
    failure::{Budget, Class, Failure},
    history::{Rings, Sizes},
    id::{RunId, Trigger, Uid},
    request::Seen,
    run::{Attempt, Finished, Lease, Outcome, Phase, Run},
    schedule::{Decision, LastRun, Past, Pause, PauseReason, Rare, Schedule, SlotKey, Span, Status, Verdict},
    timing::{Compiled, Cron, CronSource, Fold, Gap, TZDB, Timing},
};

pub use limit::{StoredClosing, closing, limit, read_closing, read_limit};

/// The level that this program writes.
pub const FORMAT: u32 = 1;

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl From<prost::DecodeError> for Unreadable {
    fn from(error: prost::DecodeError) -> Self {
        Self(error.to_string())
    }
}

impl From<&str> for Unreadable {
    fn from(why: &str) -> Self {
        Self(why.into())
    }
}

fn bytes(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

// --- meta ----------------------------------------------------------------------------------------------------

/// What holds for the whole store.
#[derive(Debug)]
pub struct Meta {
    /// Version of the tz database that next times were computed with.
    pub tzdb: String,
    /// Archive id by namespace.
    pub archives: BTreeMap<String, Box<str>>,
}

pub fn meta(archives: &BTreeMap<String, Box<str>>) -> Bytes {
    bytes(&stored::Meta {
        format: FORMAT,
        least_reader: FORMAT,
        tzdb: TZDB.into(),
        archives: archives.iter().map(|(namespace, id)| (namespace.clone(), id.to_string())).collect(),
    })
}

/// # Errors
/// Also when a newer program wrote what this one does not understand.
pub fn read_meta(value: Bytes) -> Result<Meta, Unreadable> {
    let meta = stored::Meta::decode(&*value)?;
    if meta.least_reader > FORMAT {
        return Err(Unreadable(format!(
            "the store has format level {}; this program reads up to {FORMAT}: use a newer one",
            meta.least_reader
        )));
    }
    let archives = meta.archives.into_iter().map(|(namespace, id)| (namespace, id.into())).collect();
    Ok(Meta { tzdb: meta.tzdb, archives })
}

// --- definition ----------------------------------------------------------------------------------------------

pub fn definition(definition: &Definition) -> Bytes {
    use stored::definition::Timing as Stored;
    let timing = match &definition.timing {
        Timing::Cron(cron) => {
            let CronSource { expressions, time_zone, gap, fold } = cron.source().clone();
            Stored::Cron(stored::Cron { expressions, time_zone, gap: gap as u32, fold: fold as u32 })
        }
        Timing::Every { interval, anchor } => {
            Stored::Every(stored::Every { interval: *interval, anchor: *anchor })
        }
        Timing::At(at) => Stored::At(*at),
    };
    let Task { kind, timeout, queue_timeout } = &definition.task;
    let (misfire, misfire_window, misfire_max_runs) = match definition.misfire {
        Misfire::Coalesce => (1, 0, 0),
        Misfire::Skip => (2, 0, 0),
        Misfire::All { window, max_runs } => (3, window, max_runs),
    };
    bytes(&stored::Definition {
        namespace: definition.key.namespace.to_string(),
        schedule_id: definition.key.id.to_string(),
        timing: Some(timing),
        kind: kind.to_string(),
        args: Bytes::copy_from_slice(definition.input.args()),
        payload: Bytes::copy_from_slice(definition.input.payload()),
        timeout: *timeout,
        queue_timeout: *queue_timeout,
        spread: definition.spread,
        overlap: definition.overlap as u32,
        misfire,
        misfire_window,
        misfire_max_runs,
        max_attempts: definition.retry.max_attempts,
        min_backoff: definition.retry.min_backoff,
        max_backoff: definition.retry.max_backoff,
        tenant: definition.tenant.to_string(),
        limits: definition.limits.iter().map(|limit| limit.to_string()).collect(),
        priority: definition.priority.into(),
        start: definition.start,
        end: definition.end,
        max_runs: definition.max_runs,
        pause_after_failures: definition.pause_after_failures,
        delete_when_ended: definition.delete_when_ended,
        labels: definition.labels.to_map(),
        traceparent: definition.saved_by.ids().map(traceparent).unwrap_or_default(),
    })
}

/// `compile` tells what a cron text means.
pub fn read_definition(
    value: Bytes,
    compile: impl FnOnce(CronSource) -> Compiled,
) -> Result<Definition, Unreadable> {
    use stored::definition::Timing as Stored;
    let stored = stored::Definition::decode(value)?;
    let timing = match stored.timing.ok_or("a definition without timing")? {
        Stored::Cron(cron) => Timing::Cron(read_cron(cron, compile)?),
        Stored::Every(every) if every.interval > 0 => {
            Timing::Every { interval: every.interval, anchor: every.anchor }
        }
        Stored::Every(_) => return Err("an interval below 1 ms".into()),
        Stored::At(at) => Timing::At(at),
    };
    let terms = Terms {
        timing,
        task: Task { kind: stored.kind.into(), timeout: stored.timeout, queue_timeout: stored.queue_timeout },
        spread: stored.spread,
        overlap: Overlap::from_number(stored.overlap).ok_or("an unknown overlap policy")?,
        misfire: match stored.misfire {
            1 => Misfire::Coalesce,
            2 => Misfire::Skip,
            3 => Misfire::All { window: stored.misfire_window, max_runs: stored.misfire_max_runs },
            _ => return Err("an unknown misfire mode".into()),
        },
        retry: Retry {
            max_attempts: stored.max_attempts,
            min_backoff: stored.min_backoff,
            max_backoff: stored.max_backoff,
        },
        priority: u8::try_from(stored.priority).map_err(|_| "a priority above 255")?,
        start: stored.start,
        end: stored.end,
        max_runs: stored.max_runs,
        pause_after_failures: stored.pause_after_failures,
        delete_when_ended: stored.delete_when_ended,
    };
    Ok(Definition {
        key: ScheduleKey { namespace: stored.namespace.into(), id: stored.schedule_id.into() },
        terms: terms.into(),
        input: Input::new(&stored.args, &stored.payload),
        tenant: stored.tenant.into(),
        limits: stored.limits.into_iter().map(Into::into).collect(),
        labels: Labels::new(&stored.labels),
        saved_by: read_caller(&stored.traceparent),
    })
}

fn traceparent((trace_id, span_id): (u128, u64)) -> String {
    TraceParent { trace_id, span_id, sampled: true }.to_string()
}

/// Without it a trace lacks a link, and nothing else.
fn read_caller(traceparent: &str) -> Caller {
    let parent = TraceParent::parse(traceparent);
    parent.map_or_else(Caller::default, |parent| Caller::new(parent.trace_id, parent.span_id))
}

fn read_cron(
    cron: stored::Cron,
    compile: impl FnOnce(CronSource) -> Compiled,
) -> Result<Arc<Cron>, Unreadable> {
    let gap = [Gap::NextValid, Gap::Shift, Gap::Skip].into_iter().find(|gap| *gap as u32 == cron.gap);
    let fold = [Fold::First, Fold::Last, Fold::Both].into_iter().find(|fold| *fold as u32 == cron.fold);
    let source = CronSource {
        expressions: cron.expressions,
        time_zone: cron.time_zone,
        gap: gap.ok_or("an unknown gap policy")?,
        fold: fold.ok_or("an unknown fold policy")?,
    };
    compile(source).map_err(|error| Unreadable(format!("{error:?}")))
}

// --- state ---------------------------------------------------------------------------------------------------

pub fn state(schedule: &Schedule) -> Bytes {
    bytes(&stored::State {
        generation: schedule.generation,
        revision: schedule.revision,
        created: schedule.created,
        updated: schedule.updated,
        anchor: schedule.anchor,
        status: schedule.status as u32,
        pause: schedule.pause().map(|pause| stored::Pause {
            reason: pause.reason as u32,
            note: pause.note.to_string(),
            actor: pause.actor.to_string(),
            time: pause.time,
            until: pause.until,
        }),
        decided_through: schedule.decided_through,
        decision: schedule.past().decision.as_ref().map(store_decision),
        decisions: schedule.past().rings.decisions,
        succeeded: schedule.past().rings.succeeded,
        unsucceeded: schedule.past().rings.unsucceeded,
        last_manual: schedule.rare().last_manual,
        runs: schedule.past().runs,
        failures: schedule.past().failures,
        catch_up: schedule.rare().catch_up,
        backfill: schedule.rare().backfill.iter().flat_map(|range| [range.from, range.to]).collect(),
        acted: schedule.acted,
        quarantine: schedule.rare().quarantine.as_deref().unwrap_or_default().into(),
        next: schedule.next,
        numbered: !schedule.past().rings.former,
        kept_decisions: schedule.past().rings.kept_decisions.into(),
        kept_succeeded: schedule.past().rings.kept_succeeded.into(),
        sizes: Bytes::copy_from_slice(schedule.past().sizes.as_bytes()),
        last_run: schedule.past().last_run.map(|last| stored::LastRun {
            trigger: last.trigger as u32,
            nominal: last.nominal,
            token: last.token,
            succeeded: last.succeeded,
            slot: last.slot,
        }),
    })
}

/// `definition` knows those of the schedule by generation.
pub fn read_state(
    uid: Uid,
    value: Bytes,
    definition: impl FnOnce(u32) -> Option<Arc<Definition>>,
) -> Result<Schedule, Unreadable> {
    let stored = stored::State::decode(&*value)?;
    let definition = definition(stored.generation).ok_or("a schedule without its definition")?;
    let statuses = [Status::Active, Status::Paused, Status::Ended, Status::Quarantined, Status::Deleted];
    let rings = read_rings(&stored)?;
    let mut schedule = Schedule {
        generation: stored.generation,
        revision: stored.revision,
        updated: stored.updated,
        anchor: stored.anchor,
        status: statuses.into_iter().find(|s| *s as u32 == stored.status).ok_or("an unknown status")?,
        decided_through: stored.decided_through,
        next: stored.next,
        acted: stored.acted,
        ..Schedule::new(uid, definition, stored.created)
    };
    schedule.set_past(Past {
        live: SmallVec::new(),
        decision: stored.decision.map(load_decision).transpose()?,
        last_run: stored.last_run.map(read_last_run).transpose()?,
        rings,
        sizes: Sizes::from_bytes(&stored.sizes),
        runs: stored.runs,
        failures: stored.failures,
    });
    let pause = stored.pause.map(read_pause).transpose()?;
    schedule.set_rare(|rare| {
        *rare = Rare {
            pause,
            quarantine: Some(stored.quarantine).filter(|why| !why.is_empty()).map(Into::into),
            catch_up: stored.catch_up,
            backfill: stored
                .backfill
                .chunks_exact(2)
                .map(|pair| Span { from: pair[0], to: pair[1] })
                .collect(),
            last_manual: stored.last_manual,
        };
    });
    Ok(schedule)
}

fn read_rings(stored: &stored::State) -> Result<Rings, Unreadable> {
    let kept = |number: usize| u8::try_from(number).map_err(|_| "more history than can be kept");
    let written = [stored.decisions, stored.succeeded, stored.unsucceeded];
    let kept_succeeded = stored.kept_succeeded as usize;
    let unsucceeded = stored.sizes.len().checked_sub(kept_succeeded).ok_or("ends without their sizes")?;
    Ok(Rings {
        decisions: stored.decisions,
        succeeded: stored.succeeded,
        unsucceeded: stored.unsucceeded,
        kept_decisions: kept(stored.kept_decisions as usize)?,
        kept_succeeded: kept(kept_succeeded)?,
        kept_unsucceeded: kept(unsucceeded)?,
        former: !stored.numbered && written != [0; 3],
    })
}

fn read_pause(pause: stored::Pause) -> Result<Pause, Unreadable> {
    let reasons = [PauseReason::Requested, PauseReason::Reauthorize, PauseReason::Failures];
    Ok(Pause {
        reason: reasons.into_iter().find(|r| *r as u32 == pause.reason).ok_or("an unknown pause reason")?,
        note: pause.note.into(),
        actor: pause.actor.into(),
        time: pause.time,
        until: pause.until,
    })
}

fn read_last_run(last: stored::LastRun) -> Result<LastRun, Unreadable> {
    let stored::LastRun { trigger, nominal, token, succeeded, slot } = last;
    Ok(LastRun { trigger: read_trigger(trigger)?, nominal, token, succeeded, slot })
}

fn read_trigger(number: u32) -> Result<Trigger, Unreadable> {
    Trigger::from_number(number).ok_or_else(|| "an unknown trigger".into())
}

// --- decisions -----------------------------------------------------------------------------------------------

pub fn decision(decision: &Decision) -> Bytes {
    bytes(&store_decision(decision))
}

fn store_decision(decision: &Decision) -> stored::Decision {
    let (trigger, nominal) = decision.run.map_or((0, 0), |(trigger, nominal)| (trigger as u32, nominal));
    stored::Decision {
        verdict: decision.verdict as u32,
        first: decision.first,
        last: decision.last,
        count: decision.count.unwrap_or(0),
        time: decision.time,
        trigger,
        nominal,
    }
}

pub fn read_decision(value: Bytes) -> Result<Decision, Unreadable> {
    load_decision(stored::Decision::decode(&*value)?)
}

fn load_decision(stored: stored::Decision) -> Result<Decision, Unreadable> {
    let run =
        (stored.trigger != 0).then(|| read_trigger(stored.trigger).map(|trigger| (trigger, stored.nominal)));
    Ok(Decision {
        verdict: Verdict::from_number(stored.verdict).ok_or("an unknown verdict")?,
        first: stored.first,
        last: stored.last,
        count: Some(stored.count).filter(|count| *count > 0),
        time: stored.time,
        run: run.transpose()?,
    })
}

// --- runs ----------------------------------------------------------------------------------------------------

pub fn run(run: &Run) -> Bytes {
    let (phase, until) = match &run.phase {
        Phase::Ready(_) => (0, 0),
        Phase::Backoff { until, .. } => (1, *until),
        Phase::Running(_) => (2, 0),
        Phase::Cancelling { .. } => (3, 0),
        Phase::Behind => (4, 0),
    };
    let lease = run.lease();
    bytes(&stored::Run {
        generation: run.generation,
        due: run.due,
        created: run.created,
        phase,
        until,
        attempt: run.attempt,
        failures: run.budget.failures,
        losses: run.budget.losses,
        interruptions: run.budget.interruptions,
        throttled: run.budget.throttled,
        attempts: run.attempts.iter().map(store_attempt).collect(),
        checkpoint: run.checkpoint.clone(),
        partial: run.partial.clone(),
        last_token: run.last_token,
        lost_token: run.lost_token,
        token: lease.map_or(0, |lease| lease.token),
        worker_id: lease.map(|lease| lease.worker_id.to_string()).unwrap_or_default(),
        instance: lease.map(|lease| lease.instance.to_string()).unwrap_or_default(),
        attempt_start: lease.map_or(0, |lease| lease.start),
        first_start: run.first_start,
        cancel_note: match &run.phase {
            Phase::Cancelling { note, .. } => note.to_string(),
            Phase::Behind | Phase::Ready(_) | Phase::Backoff { .. } | Phase::Running(_) => String::new(),
        },
        failure: run.failure.as_deref().map(store_failure),
        undecided: !run.decided,
        suspect: run.suspect,
    })
}

/// The run's schedule is for the caller to set; `definition` knows those of it by generation.
pub fn read_run(
    id: RunId,
    value: Bytes,
    definition: impl FnOnce(u32) -> Option<Arc<Definition>>,
) -> Result<Run, Unreadable> {
    let stored = stored::Run::decode(&*value)?;
    let definition = definition(stored.generation).ok_or("a run without its definition")?;
    let lease = Lease {
        session: None,
        worker_id: stored.worker_id.into(),
        instance: stored.instance.into(),
        token: stored.token,
        sequence: 0,
        seen: 0,
        start: stored.attempt_start,
        timer: 0,
    };
    let phase = match stored.phase {
        0 => Phase::Ready(None),
        1 => Phase::Backoff { until: stored.until, timer: 0 },
        2 => Phase::Running(lease),
        3 => Phase::Cancelling { lease, note: stored.cancel_note.into() },
        4 => Phase::Behind,
        _ => return Err("an unknown phase".into()),
    };
    Ok(Run {
        id,
        schedule: SlotKey::MAX,
        definition,
        generation: stored.generation,
        due: stored.due,
        created: stored.created,
        phase,
        arrival: 0,
        attempt: stored.attempt,
        budget: Budget {
            failures: stored.failures,
            losses: stored.losses,
            interruptions: stored.interruptions,
            throttled: stored.throttled,
        },
        attempts: stored.attempts.into_iter().map(read_attempt).collect::<Result<_, _>>()?,
        first_start: stored.first_start,
        progress: None,
        checkpoint: stored.checkpoint,
        partial: stored.partial,
        failure: stored.failure.map(read_failure).transpose()?.map(Box::new),
        suspect: stored.suspect,
        last_token: stored.last_token,
        lost_token: stored.lost_token,
        waiters: Vec::new(),
        decided: !stored.undecided,
        dirty: false,
        stored: true,
        tallied: None,
    })
}

pub fn finished(finished: &Finished) -> Bytes {
    let plain = plain_attempt(finished).is_some_and(|plain| *finished.attempts == [plain]);
    let attempts = finished.attempts.iter().filter(|_| !plain);
    bytes(&stored::Finished {
        trigger: finished.id.trigger as u32,
        nominal: finished.id.nominal,
        generation: finished.generation,
        due: finished.due,
        outcome: finished.outcome as u32,
        attempt: finished.attempt,
        attempts: attempts.map(store_attempt).collect(),
        plain,
        start: finished.start,
        finish: finished.finish,
        result: finished.result.clone(),
        failure: finished.failure.as_deref().map(store_failure),
        worker_id: finished.worker_id.to_string(),
    })
}

pub fn read_finished(uid: Uid, value: Bytes) -> Result<Finished, Unreadable> {
    let stored = stored::Finished::decode(&*value)?;
    let outcomes = [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled];
    let plain = stored.plain;
    let mut finished = Finished {
        id: RunId { uid, trigger: read_trigger(stored.trigger)?, nominal: stored.nominal },
        generation: stored.generation,
        due: stored.due,
        outcome: outcomes.into_iter().find(|o| *o as u32 == stored.outcome).ok_or("an unknown outcome")?,
        attempt: stored.attempt,
        attempts: stored.attempts.into_iter().map(read_attempt).collect::<Result<_, _>>()?,
        start: stored.start,
        finish: stored.finish,
        result: stored.result,
        failure: stored.failure.map(read_failure).transpose()?.map(Box::new),
        worker_id: stored.worker_id.into(),
    };
    if plain {
        finished.attempts = plain_attempt(&finished).into_iter().collect();
    }
    Ok(finished)
}

/// The one attempt of a run whose end tells all of it.
fn plain_attempt(finished: &Finished) -> Option<Attempt> {
    Some(Attempt {
        attempt: finished.attempt,
        worker_id: finished.worker_id.clone(),
        start: finished.start?,
        end: finished.finish,
        failure: None,
    })
}

fn store_attempt(attempt: &Attempt) -> stored::Attempt {
    stored::Attempt {
        attempt: attempt.attempt,
        worker_id: attempt.worker_id.to_string(),
        start: attempt.start,
        end: attempt.end,
        failure: attempt.failure.as_deref().map(store_failure),
    }
}

fn read_attempt(stored: stored::Attempt) -> Result<Attempt, Unreadable> {
    Ok(Attempt {
        attempt: stored.attempt,
        worker_id: stored.worker_id.into(),
        start: stored.start,
        end: stored.end,
        failure: stored.failure.map(read_failure).transpose()?.map(Box::new),
    })
}

fn store_failure(failure: &Failure) -> stored::Failure {
    stored::Failure {
        class: failure.class as u32,
        code: failure.code.to_string(),
        message: failure.message.to_string(),
        retry_after: failure.retry_after,
        limit: failure.limit.to_string(),
    }
}

fn read_failure(stored: stored::Failure) -> Result<Failure, Unreadable> {
    Ok(Failure {
        class: Class::from_number(stored.class).ok_or("an unknown failure class")?,
        code: stored.code.into(),
        message: stored.message.into(),
        retry_after: stored.retry_after,
        limit: stored.limit.into(),
    })
}

// --- requests ------------------------------------------------------------------------------------------------

pub fn request(seen: &Seen) -> Bytes {
    let uid = seen.run.map(|run| run.uid).or(seen.schedule).map_or(0, |uid| uid.0);
    bytes(&stored::Request {
        body: Bytes::copy_from_slice(&seen.body),
        time: seen.time,
        change: seen.change.map_or(0, |change| change as u32),
        trigger: seen.run.map_or(0, |run| run.trigger as u32),
        nominal: seen.run.map_or(0, |run| run.nominal),
        uid_high: (uid >> 64) as u64,
        uid_low: uid as u64,
        created: seen.created,
        count: seen.count,
        skipped: seen.skipped,
        after: seen.after.to_string(),
        complete: seen.complete,
    })
}

pub fn read_request(value: Bytes) -> Result<Seen, Unreadable> {
    use crate::state_machine::output::Change;
    let stored = stored::Request::decode(&*value)?;
    let uid = Uid(u128::from(stored.uid_high) << 64 | u128::from(stored.uid_low));
    let run = (stored.trigger != 0).then(|| {
        Ok::<_, Unreadable>(RunId { uid, trigger: read_trigger(stored.trigger)?, nominal: stored.nominal })
    });
    Ok(Seen {
        body: stored.body.as_ref().try_into().map_err(|_| "a digest that is not 16 bytes")?,
        time: stored.time,
        change: Change::from_number(stored.change),
        schedule: Some(uid).filter(|uid| uid.0 != 0 && stored.trigger == 0),
        run: run.transpose()?,
        created: stored.created,
        count: stored.count,
        skipped: stored.skipped,
        after: stored.after.into(),
        complete: stored.complete,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn meta_of(tzdb: &str) -> Bytes {
        bytes(&stored::Meta {
            format: FORMAT,
            least_reader: FORMAT,
            tzdb: tzdb.into(),
            archives: BTreeMap::new(),
        })
    }

    /// A state as it was before records lay under their numbers.
    pub fn as_former(state: &Bytes) -> Bytes {
        let state = stored::State::decode(state.clone()).expect("a state");
        let (kept, sizes) = (0, Bytes::new());
        bytes(&stored::State { numbered: false, kept_decisions: kept, kept_succeeded: kept, sizes, ..state })
    }

    /// A state whose next time is another one.
    pub fn with_next(state: &Bytes, next: i64) -> Bytes {
        let state = stored::State::decode(state.clone()).expect("a state");
        bytes(&stored::State { next: Some(next), ..state })
    }
}
