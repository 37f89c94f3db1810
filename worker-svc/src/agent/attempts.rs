//! One attempt, from the job that brought it to the outcome that is to be reported.

use docket::schedule::v1::{self as pb, report::Outcome as Reported};

use super::{Agent, Attempt, Effect, Key, Stop};
use crate::kind::{Outcome, Progress};

impl Agent {
    pub(super) fn take(&mut self, now: u64, job: pb::DueJob) {
        let key = Key { run_id: job.run_id.clone(), attempt: job.attempt };
        if self.attempts.contains_key(&key) {
            return;
        }
        let timeout = job.timeout.map_or(600_000, |t| {
            t.seconds.max(0).unsigned_abs() * 1000 + u64::from(t.nanos.max(0).unsigned_abs()) / 1_000_000
        });
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
        if self.drain_until.is_some() {
            // It has not started: back at once.
            return self.ended(now, &key, interrupted());
        }
        self.effects.push(Effect::Start(Box::new(job)));
    }

    pub(super) fn stop_late(&mut self, now: u64) {
        let unsure = self.assured + self.lease <= now;
        let drained = self.drain_until.is_some_and(|until| until <= now);
        if drained {
            self.drain_until = Some(u64::MAX);
        }
        for (key, attempt) in
            self.attempts.iter_mut().filter(|(_, a)| a.outcome.is_none() && a.stop.is_none())
        {
            let why = if attempt.deadline <= now {
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
            let Progress { done, total, note } = progress;
            attempt.progress = Some(pb::Progress { done, total, note });
        }
    }

    pub fn checkpointed(&mut self, key: &Key, checkpoint: bytes::Bytes) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            attempt.checkpoint = Some(checkpoint);
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
        let (outcome, partial_result, checkpoint) = match outcome {
            Outcome::Success { result } => {
                (Reported::Success(pb::Success { result: Some(result) }), None, None)
            }
            Outcome::Failure { failure, partial, checkpoint } => {
                (Reported::Failure(failure), partial, checkpoint)
            }
        };
        attempt.outcome = Some(Box::new(pb::Report {
            run_id: key.run_id.clone(),
            attempt: key.attempt,
            lease_token: attempt.token,
            outcome: Some(outcome),
            partial_result,
            checkpoint,
        }));
        self.outbox.push_back(key.clone());
        self.report(now);
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
