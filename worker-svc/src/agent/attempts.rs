//! One attempt, from the job that brought it to the outcome that is to be reported.

use docket::schedule::v1::{self as pb, report::Outcome as Reported};
use prost::Message as _;

use super::{Agent, Attempt, Checkpoint, Effect, Key, Stop, millis};
use crate::{
    kind::{Outcome, Progress},
    planted::{Bug, planted},
};

/// As much of a progress note as the scheduler keeps.
const NOTE_BYTES: usize = 256;
/// Of one report. Several times what the scheduler takes, which has the last word on what is too much; beyond it a
/// report would not even get there.
const REPORT_BYTES: usize = 64 << 10;

impl Agent {
    pub(super) fn take(&mut self, now: u64, job: pb::DueJob) {
        let key = Key { run_id: job.run_id.clone(), attempt: job.attempt };
        self.awaited.remove(&key);
        if self.attempts.contains_key(&key) {
            return;
        }
        let timeout = job.timeout.as_ref().map_or(600_000, millis);
        let attempt = Attempt {
            token: job.lease_token,
            kind: job.task.as_ref().map(|task| task.kind.clone()).unwrap_or_default(),
            deadline: now.saturating_add(timeout),
            stop: None,
            progress: None,
            outcome: None,
            checkpoint: None,
        };
        self.attempts.insert(key.clone(), attempt);
        if self.drain_until.is_some() && !planted(Bug::StartsWhileDraining) {
            // It has not started: back at once.
            return self.ended(now, &key, interrupted());
        }
        self.effects.push(Effect::Start(Box::new(job)));
    }

    pub(super) fn stop_late(&mut self, now: u64) {
        let unsure = self.assured + self.lease <= now && !planted(Bug::UnsureGoesOn);
        let drained = self.drain_until.is_some_and(|until| until <= now);
        if drained {
            self.drain_until = Some(u64::MAX);
        }
        for (key, attempt) in
            self.attempts.iter_mut().filter(|(_, a)| a.outcome.is_none() && a.stop.is_none())
        {
            let why = if attempt.deadline <= now && !planted(Bug::DeadlineIgnored) {
                Stop::TimedOut
            } else if unsure && !self.profile.guarded.contains(&attempt.kind) {
                Stop::Unsure
            } else if drained {
                Stop::Interrupted
            } else {
                continue;
            };
            attempt.stop = Some(why);
            self.effects.push(Effect::Stop(key.clone()));
        }
    }

    pub(super) fn stop(&mut self, key: &Key, why: Stop) {
        if why == Stop::Cancelled && planted(Bug::IgnoresCancel)
            || why == Stop::Dropped && planted(Bug::IgnoresDrop)
        {
            return;
        }
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        if attempt.outcome.is_some() {
            if why == Stop::Dropped {
                self.attempts.remove(key);
            }
            return;
        }
        // Dropping wins over everything: nothing will be reported.
        if attempt.stop.is_none() {
            self.effects.push(Effect::Stop(key.clone()));
        }
        if attempt.stop.is_none() || why == Stop::Dropped {
            attempt.stop = Some(why);
        }
    }

    pub fn progressed(&mut self, key: &Key, progress: Progress) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            let Progress { done, total, mut note } = progress;
            note.truncate(note.floor_char_boundary(NOTE_BYTES));
            attempt.progress = Some(pb::Progress { done, total, note });
        }
    }

    /// Goes with the next heartbeat, once. One of over 16 KiB would be ignored by the scheduler.
    pub fn checkpointed(&mut self, key: &Key, bytes: bytes::Bytes) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            let known = attempt.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.known);
            let version = attempt.checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.version + 1);
            attempt.checkpoint = Some(Checkpoint { bytes, version, known });
        }
    }

    /// The job has returned, or was never started.
    pub fn ended(&mut self, now: u64, key: &Key, outcome: Outcome) {
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        if attempt.stop == Some(Stop::Dropped) {
            self.attempts.remove(key);
            return;
        }
        let outcome = explain(outcome, attempt.stop);
        let mut report = report_of(key, attempt.token, outcome);
        if report.encoded_len() > REPORT_BYTES {
            let text = format!("the job's outcome is {} bytes; at most {REPORT_BYTES}", report.encoded_len());
            let failure = Outcome::failure(pb::FailureClass::Permanent, "OUTCOME_TOO_LARGE", text);
            report = report_of(key, attempt.token, failure);
        }
        attempt.outcome = Some(Box::new(report));
        self.outbox.push_back(key.clone());
        self.report(now);
    }
}

fn report_of(key: &Key, lease_token: i64, outcome: Outcome) -> pb::Report {
    let outcome = match outcome {
        Outcome::Failure { .. } if planted(Bug::ReportsSuccess) => {
            Outcome::Success { result: Default::default() }
        }
        outcome => outcome,
    };
    let (outcome, partial_result, checkpoint) = match outcome {
        Outcome::Success { result } => (Reported::Success(pb::Success { result: Some(result) }), None, None),
        Outcome::Failure { failure, partial, checkpoint } => {
            (Reported::Failure(failure), partial, checkpoint)
        }
    };
    pb::Report {
        run_id: key.run_id.clone(),
        attempt: key.attempt - i32::from(planted(Bug::ReportsUnderWrongAttempt)),
        lease_token,
        outcome: Some(outcome),
        partial_result,
        checkpoint,
    }
}

/// An attempt that was asked to stop has usually failed; the reason is then ours to say.
fn explain(outcome: Outcome, stop: Option<Stop>) -> Outcome {
    let (Outcome::Failure { partial, checkpoint, .. }, Some(stop)) = (&outcome, stop) else { return outcome };
    let failure = match stop {
        Stop::Cancelled => failure(pb::FailureClass::Cancelled, "CANCELLED", "stopped on request"),
        Stop::TimedOut => {
            failure(pb::FailureClass::Timeout, "ATTEMPT_TIMEOUT", "the attempt took longer than task.timeout")
        }
        Stop::Unsure => failure(
            pb::FailureClass::Interrupted,
            "LEASE_UNSURE",
            "the scheduler was not heard of for a lease's term",
        ),
        Stop::Interrupted | Stop::Dropped => {
            return Outcome::Failure {
                failure: interrupted_failure(),
                partial: partial.clone(),
                checkpoint: checkpoint.clone(),
            };
        }
    };
    Outcome::Failure { failure, partial: partial.clone(), checkpoint: checkpoint.clone() }
}

fn interrupted() -> Outcome {
    Outcome::Failure { failure: interrupted_failure(), partial: None, checkpoint: None }
}

fn interrupted_failure() -> pb::Failure {
    failure(
        pb::FailureClass::Interrupted,
        "WORKER_STOPPING",
        "the worker stopped before the attempt was finished",
    )
}

fn failure(class: pb::FailureClass, code: &str, message: &str) -> pb::Failure {
    pb::Failure {
        class: class.into(),
        code: code.into(),
        message: message.into(),
        retry_after: None,
        limit: String::new(),
    }
}
