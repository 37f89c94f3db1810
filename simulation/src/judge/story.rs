//! What a run has been through, as far as it decides what may come next.

use scheduler_svc::state_machine::{
    failure::{Class, Failure},
    run::{Attempt, Finished, Outcome, Run},
    schedule::{Schedule, Status},
};

use super::{Verdict, holds, moments::Moment};

/// A run that is to blame for so many lost workers has failed.
pub const LOSSES_MAX: u32 = 3;
pub const INTERRUPTIONS_MAX: u32 = 100;
/// Why a lease of what was set aside ends: with the process.
pub const SET_ASIDE: &str = "SET_ASIDE";

#[derive(Clone, Debug, Default)]
pub struct Story {
    pub failures: u32,
    /// It was on a worker that was lost, and no attempt has ended otherwise since.
    suspect: bool,
    pub losses: u32,
    pub interruptions: u32,
    pub ended: bool,
    pub ended_at: u64,
    /// Tokens whose outcome was taken, in order.
    pub accepted: Vec<u64>,
    /// The next attempt must not begin before this true time, as long as this epoch lasts.
    backoff: Option<(u64, u64)>,
}

impl Story {
    pub fn spend(&mut self, failure: &Failure) {
        if &*failure.code == SET_ASIDE {
            return;
        }
        let lost = &*failure.code == "WORKER_LOST";
        let blamed = lost && self.suspect;
        self.suspect = match failure.class {
            Class::Lost => self.suspect || lost,
            _ => false,
        };
        match failure.class {
            // A revoked consent counts as transient when the user has acted since (R5); else it ends the run.
            Class::Transient | Class::Timeout | Class::Reauthorize => self.failures += 1,
            Class::Lost if blamed => self.losses += 1,
            Class::Lost | Class::Interrupted => self.interruptions += 1,
            Class::Throttled | Class::Permanent | Class::Cancelled | Class::Superseded => {}
        }
    }

    /// After a failure the next attempt waits: `min_backoff` doubled per failure, at most `max_backoff`, ±20 %.
    pub fn backs_off(&mut self, moment: &Moment, run: &Run, ended: &[Attempt], began: u32) -> Verdict {
        if began > 0
            && let Some((until, _)) = self.backoff.filter(|(_, epoch)| *epoch == moment.epoch)
        {
            holds("a failed attempt is followed by its backoff", moment.sealed >= until, || {
                format!("{} began again at {}, not before {until}", run.id, moment.sealed)
            })?;
        }
        let failure = ended.last().and_then(|last| last.failure.as_ref());
        let counted = failure.filter(|failure| matches!(failure.class, Class::Transient | Class::Timeout));
        self.backoff = counted.map(|failure| {
            let retry = run.definition.retry;
            let doubled = u64::from(retry.min_backoff) << (self.failures.max(1) - 1).min(20);
            let base = doubled.min(retry.max_backoff.into()) * 4 / 5;
            let wait = if failure.retry_after > 0 { failure.retry_after.into() } else { base };
            (moment.sealed_before + wait, moment.epoch)
        });
        Ok(())
    }

    /// A revoked consent pauses the schedule (R5). Where the budget was spent as well it cannot be told apart.
    pub fn pauses(&self, finished: &Finished, before: Option<&Run>, schedule: Option<&Schedule>) -> Verdict {
        let revoked = finished.failure.as_ref().is_some_and(|failure| failure.class == Class::Reauthorize);
        let max = before.map_or(0, |before| before.definition.retry.max_attempts);
        let goes_on = schedule.is_some_and(|schedule| schedule.status == Status::Active);
        let wrong = finished.outcome == Outcome::Failed && revoked && self.failures < max && goes_on;
        holds("R5 a revoked consent pauses the schedule", !wrong, || {
            format!("{} ended with {:?}, and {:?}", finished.id, finished.failure, schedule)
        })
    }
}
