//! From what the machine shows to what clients read.

use bytes::Bytes;
use docket::{schedule::v1 as pb, trace::TraceParent};
use prost::Message as _;
use prost_types::{Duration, Struct, Timestamp};

use crate::state_machine::{
    command::Progress,
    definition::{Definition, Misfire, Overlap},
    failure::{Class, Failure},
    id::{RunId, Trigger, Uid},
    output::Job,
    run::{Attempt, Finished, Outcome},
    schedule::{Decision, Pause, PauseReason, Status, Verdict},
    timing::{CronSource, Fold, Gap, Timing},
    view::{LiveRun, RunState, ScheduleView, Wait, WaitKind},
};

pub fn timestamp(millis: i64) -> Timestamp {
    Timestamp { seconds: millis.div_euclid(1000), nanos: (millis.rem_euclid(1000) * 1_000_000) as i32 }
}

pub fn duration(millis: i64) -> Duration {
    Duration { seconds: millis / 1000, nanos: (millis % 1000 * 1_000_000) as i32 }
}

fn optional_duration(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| duration(millis.into()))
}

/// Bytes that the edge encoded itself.
fn structure(bytes: &[u8]) -> Option<Struct> {
    if bytes.is_empty() { None } else { Struct::decode(bytes).ok() }
}

/// `last_run` and `last_success` are for the caller to fill in, from history.
pub fn schedule(view: &ScheduleView) -> pb::Schedule {
    let definition = &view.definition;
    let due = view.next.map(|next| next.saturating_add(definition.spread_offset()));
    pb::Schedule {
        task: Some(task(definition)),
        namespace: definition.key.namespace.to_string(),
        schedule_id: definition.key.id.to_string(),
        timing: Some(timing(&definition.timing)),
        spread: optional_duration(definition.spread),
        overlap: overlap(definition.overlap).into(),
        misfire: Some(misfire(definition.misfire)),
        retry: Some(pb::Retry {
            max_attempts: definition.retry.max_attempts as i32,
            min_backoff: optional_duration(definition.retry.min_backoff),
            max_backoff: optional_duration(definition.retry.max_backoff),
        }),
        tenant: definition.tenant.to_string(),
        limits: limits(definition),
        priority: definition.priority.into(),
        start_time: definition.start.map(timestamp),
        end_time: definition.end.map(timestamp),
        max_runs: definition.max_runs as i64,
        pause_after_failures: definition.pause_after_failures as i32,
        delete_when_ended: definition.delete_when_ended,
        labels: definition.labels.to_map(),
        uid: view.uid.to_string(),
        etag: view.etag.clone(),
        generation: view.generation.into(),
        state: state(view.status).into(),
        pause: view.pause.as_ref().map(pause),
        next_time: due.map(timestamp),
        next_nominal_time: view.next.map(timestamp),
        last_run: None,
        last_success: None,
        active_run_ids: view.active.iter().map(RunId::to_string).collect(),
        create_time: Some(timestamp(view.created)),
        update_time: Some(timestamp(view.updated)),
    }
}

fn timing(timing: &Timing) -> pb::schedule::Timing {
    match timing {
        Timing::Cron(cron) => {
            let CronSource { expressions, time_zone, gap, fold } = cron.source().clone();
            let gap = match gap {
                Gap::NextValid => pb::GapPolicy::NextValid,
                Gap::Shift => pb::GapPolicy::Shift,
                Gap::Skip => pb::GapPolicy::Skip,
            };
            let fold = match fold {
                Fold::First => pb::FoldPolicy::First,
                Fold::Last => pb::FoldPolicy::Last,
                Fold::Both => pb::FoldPolicy::Both,
            };
            pb::schedule::Timing::Cron(pb::Cron {
                expressions,
                time_zone,
                gap: gap.into(),
                fold: fold.into(),
            })
        }
        Timing::Every { interval, anchor } => pb::schedule::Timing::Every(pb::Every {
            interval: Some(duration(*interval)),
            anchor: anchor.map(timestamp),
        }),
        Timing::At(at) => pb::schedule::Timing::At(timestamp(*at)),
    }
}

fn overlap(overlap: Overlap) -> pb::OverlapPolicy {
    match overlap {
        Overlap::Skip => pb::OverlapPolicy::Skip,
        Overlap::BufferOne => pb::OverlapPolicy::BufferOne,
        Overlap::Allow => pb::OverlapPolicy::Allow,
        Overlap::CancelRunning => pb::OverlapPolicy::CancelRunning,
    }
}

fn misfire(misfire: Misfire) -> pb::Misfire {
    let (mode, window, max_runs) = match misfire {
        Misfire::Coalesce => (pb::MisfireMode::Coalesce, 0, 0),
        Misfire::Skip => (pb::MisfireMode::Skip, 0, 0),
        Misfire::All { window, max_runs } => (pb::MisfireMode::All, window, max_runs),
    };
    pb::Misfire { mode: mode.into(), window: optional_duration(window), max_runs: max_runs as i32 }
}

fn task(Definition { input, terms, .. }: &Definition) -> pb::Task {
    let task = &terms.task;
    pb::Task {
        kind: task.kind.to_string(),
        args: structure(input.args()),
        payload: Bytes::copy_from_slice(input.payload()),
        timeout: optional_duration(task.timeout),
        queue_timeout: optional_duration(task.queue_timeout),
    }
}

fn limits(definition: &Definition) -> Vec<String> {
    definition.limits.iter().map(|limit| limit.to_string()).collect()
}

pub fn state(status: Status) -> pb::ScheduleState {
    match status {
        Status::Active => pb::ScheduleState::Active,
        Status::Paused => pb::ScheduleState::Paused,
        Status::Ended | Status::Deleted => pb::ScheduleState::Ended,
        Status::Quarantined => pb::ScheduleState::Quarantined,
    }
}

fn pause(pause: &Pause) -> pb::Pause {
    let reason = match pause.reason {
        PauseReason::Requested => pb::PauseReason::Requested,
        PauseReason::Reauthorize => pb::PauseReason::Reauthorize,
        PauseReason::Failures => pb::PauseReason::Failures,
    };
    pb::Pause {
        reason: reason.into(),
        note: pause.note.to_string(),
        actor: pause.actor.to_string(),
        time: Some(timestamp(pause.time)),
        until: pause.until.map(timestamp),
    }
}

pub fn trigger(trigger: Trigger) -> pb::Trigger {
    match trigger {
        Trigger::Scheduled => pb::Trigger::Scheduled,
        Trigger::Manual => pb::Trigger::Manual,
        Trigger::Backfill => pb::Trigger::Backfill,
    }
}

pub fn live_run(run: &LiveRun) -> pb::Run {
    let state = match &run.state {
        RunState::Queued(_) => pb::RunState::Queued,
        RunState::Running => pb::RunState::Running,
        RunState::Cancelling => pb::RunState::Cancelling,
    };
    let wait = match &run.state {
        RunState::Queued(cause) => cause.as_ref().map(wait),
        RunState::Running | RunState::Cancelling => None,
    };
    let mut attempts: Vec<pb::Attempt> = run.attempts.iter().map(attempt).collect();
    if let Some(start) = run.attempt_start {
        attempts.push(pb::Attempt {
            attempt: run.attempt as i32,
            worker_id: run.worker_id.as_deref().unwrap_or_default().into(),
            start_time: Some(timestamp(start)),
            end_time: None,
            failure: None,
        });
    }
    pb::Run {
        state: state.into(),
        wait,
        attempt: run.attempt as i32,
        attempts,
        worker_id: run.worker_id.as_deref().unwrap_or_default().into(),
        start_time: run.first_start.map(timestamp),
        progress: run.progress.as_ref().map(progress),
        failure: run.failure.as_ref().map(failure),
        has_checkpoint: run.has_checkpoint,
        ..pinned_run(run.id, &run.definition, run.generation, run.due)
    }
}

/// What a run takes from its definition.
fn pinned_run(id: RunId, definition: &Definition, generation: u32, due: i64) -> pb::Run {
    pb::Run {
        task: Some(task(definition)),
        tenant: definition.tenant.to_string(),
        limits: limits(definition),
        labels: definition.labels.to_map(),
        max_attempts: definition.retry.max_attempts as i32,
        ..bare_run(id, definition, generation, due)
    }
}

fn bare_run(id: RunId, definition: &Definition, generation: u32, due: i64) -> pb::Run {
    let run_id = id.to_string();
    pb::Run {
        namespace: definition.key.namespace.to_string(),
        schedule_id: definition.key.id.to_string(),
        schedule_uid: id.uid.to_string(),
        generation: generation.into(),
        trigger: trigger(id.trigger).into(),
        nominal_time: Some(timestamp(id.nominal)),
        due_time: Some(timestamp(due)),
        trace_id: format!("{:032x}", TraceParent::of_run(&run_id, true).trace_id),
        run_id,
        ..pb::Run::default()
    }
}

/// A final run. Its task is known only while the schedule's definition is the one that it was fired from.
pub fn finished_run(view: &ScheduleView, finished: &Finished) -> pb::Run {
    let Finished { id, generation, due, .. } = *finished;
    let base = if generation == view.generation {
        pinned_run(id, &view.definition, generation, due)
    } else {
        bare_run(id, &view.definition, generation, due)
    };
    ended(base, finished)
}

/// A final run whose definition is at hand.
pub fn ended_run(definition: &Definition, finished: &Finished) -> pb::Run {
    ended(pinned_run(finished.id, definition, finished.generation, finished.due), finished)
}

fn ended(base: pb::Run, finished: &Finished) -> pb::Run {
    pb::Run {
        state: outcome(finished.outcome).into(),
        attempt: finished.attempt as i32,
        attempts: finished.attempts.iter().map(attempt).collect(),
        worker_id: finished.worker_id.to_string(),
        start_time: finished.start.map(timestamp),
        finish_time: Some(timestamp(finished.finish)),
        result: structure(&finished.result),
        failure: finished.failure.as_deref().map(failure),
        ..base
    }
}

pub fn summary(finished: &Finished) -> pb::RunSummary {
    pb::RunSummary {
        run_id: finished.id.to_string(),
        state: outcome(finished.outcome).into(),
        nominal_time: Some(timestamp(finished.id.nominal)),
        finish_time: Some(timestamp(finished.finish)),
        result: structure(&finished.result),
        failure: finished.failure.as_deref().map(failure),
    }
}

pub fn outcome(outcome: Outcome) -> pb::RunState {
    match outcome {
        Outcome::Succeeded => pb::RunState::Succeeded,
        Outcome::Failed => pb::RunState::Failed,
        Outcome::Cancelled => pb::RunState::Cancelled,
    }
}

fn wait(wait: &Wait) -> pb::Wait {
    let (key, until) = match wait {
        Wait::Backoff { until } => (String::new(), Some(*until)),
        Wait::Limit { key, until, .. } => (key.to_string(), *until),
        Wait::NoWorker | Wait::NoSlot | Wait::Paused | Wait::Overlap => (String::new(), None),
    };
    pb::Wait { cause: wait_cause(wait.into()).into(), key, until: until.map(timestamp) }
}

pub fn wait_cause(kind: WaitKind) -> pb::WaitCause {
    match kind {
        WaitKind::NoWorker => pb::WaitCause::NoWorker,
        WaitKind::NoSlot => pb::WaitCause::NoSlot,
        WaitKind::Backoff => pb::WaitCause::Backoff,
        WaitKind::Paused => pb::WaitCause::Paused,
        WaitKind::Overlap => pb::WaitCause::Overlap,
        WaitKind::Limit => pb::WaitCause::Limit,
    }
}

fn attempt(attempt: &Attempt) -> pb::Attempt {
    pb::Attempt {
        attempt: attempt.attempt as i32,
        worker_id: attempt.worker_id.to_string(),
        start_time: Some(timestamp(attempt.start)),
        end_time: Some(timestamp(attempt.end)),
        failure: attempt.failure.as_deref().map(failure),
    }
}

fn progress(progress: &Progress) -> pb::Progress {
    pb::Progress { done: progress.done, total: progress.total, note: progress.note.to_string() }
}

pub fn failure(failure: &Failure) -> pb::Failure {
    pb::Failure {
        class: class(failure.class).into(),
        code: failure.code.to_string(),
        message: failure.message.to_string(),
        retry_after: optional_duration(failure.retry_after),
        limit: failure.limit.to_string(),
    }
}

fn class(class: Class) -> pb::FailureClass {
    match class {
        Class::Transient => pb::FailureClass::Transient,
        Class::Throttled => pb::FailureClass::Throttled,
        Class::Reauthorize => pb::FailureClass::Reauthorize,
        Class::Permanent => pb::FailureClass::Permanent,
        Class::Lost => pb::FailureClass::Lost,
        Class::Timeout => pb::FailureClass::Timeout,
        Class::Cancelled => pb::FailureClass::Cancelled,
        Class::Interrupted => pb::FailureClass::Interrupted,
        Class::Superseded => pb::FailureClass::Superseded,
    }
}

pub fn decision(uid: Uid, decision: &Decision) -> pb::Decision {
    let run = decision.run.map(|(trigger, nominal)| RunId { uid, trigger, nominal }.to_string());
    pb::Decision {
        first_nominal_time: Some(timestamp(decision.first)),
        last_nominal_time: Some(timestamp(decision.last)),
        count: decision.count.map_or(0, |count| count as i64),
        verdict: verdict(decision.verdict).into(),
        detail: detail(decision, run.as_deref()),
        run_id: run.unwrap_or_default(),
        actor: String::new(),
        decide_time: Some(timestamp(decision.time)),
    }
}

fn verdict(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Fired => pb::Verdict::Fired,
        Verdict::Overlap => pb::Verdict::Overlap,
        Verdict::Paused => pb::Verdict::Paused,
        Verdict::Misfire => pb::Verdict::Misfire,
        Verdict::Coalesced => pb::Verdict::Coalesced,
        Verdict::Limit => pb::Verdict::Limit,
        Verdict::Ended => pb::Verdict::Ended,
        Verdict::Replaced => pb::Verdict::Replaced,
        Verdict::Deleted => pb::Verdict::Deleted,
        Verdict::Capped => pb::Verdict::Capped,
    }
}

fn detail(decision: &Decision, run: Option<&str>) -> String {
    let run = run.unwrap_or("another run");
    match decision.verdict {
        Verdict::Fired => String::new(),
        Verdict::Overlap => format!("{run} was still live"),
        Verdict::Paused => "the schedule was paused".into(),
        Verdict::Misfire => "missed while the service was down".into(),
        Verdict::Coalesced => format!("missed while the service was down; {run} stands for it"),
        Verdict::Limit => "max_runs was reached".into(),
        Verdict::Ended => "the schedule had ended".into(),
        Verdict::Replaced => "the timing was changed before it was due".into(),
        Verdict::Deleted => "the schedule was deleted".into(),
        Verdict::Capped => "more than the bound allows".into(),
    }
}

/// `traces`: the share of runs whose trace is sampled.
pub fn due_job(job: &Job, traces: f64) -> pb::DueJob {
    let definition = &job.definition;
    let run_id = job.id.to_string();
    pb::DueJob {
        namespace: definition.key.namespace.to_string(),
        schedule_id: definition.key.id.to_string(),
        trigger: trigger(job.id.trigger).into(),
        nominal_time: Some(timestamp(job.id.nominal)),
        due_time: Some(timestamp(job.due)),
        attempt: job.attempt as i32,
        max_attempts: definition.retry.max_attempts as i32,
        lease_token: job.token as i64,
        timeout: Some(duration(definition.task.timeout.into())),
        task: Some(task(definition)),
        tenant: definition.tenant.to_string(),
        limits: limits(definition),
        labels: definition.labels.to_map(),
        checkpoint: job.checkpoint.clone().unwrap_or_default(),
        traceparent: TraceParent::of_run(&run_id, true).sampled_at(traces).to_string(),
        tracestate: String::new(),
        run_id,
    }
}
