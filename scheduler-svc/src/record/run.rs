//! Records of runs, live and final.

use std::sync::Arc;

use bytes::Bytes;
use docket::stored::v1 as stored;
use prost::Message as _;

use super::{Unreadable, bytes, read_trigger};
use crate::state_machine::{
    definition::Definition,
    failure::{Budget, Class, Failure},
    id::{RunId, Uid},
    run::{Attempt, Finished, Lease, Outcome, Phase, Run},
    schedule::SlotKey,
};

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
