//! Outcomes that were acknowledged a moment ago (rule O10).
//!
//! A scheduler does not wait for its store's disk before it acknowledges an outcome. If leader and store go down together,
//! the next leader may know nothing of it, and would have the run done again. So what was acknowledged within the last
//! [`KEPT`] milliseconds before contact was lost is listed in the next hello beside what is held. A leader of a new epoch
//! orders to drop what it knows to be over; the rest is reported once more.

use std::collections::{VecDeque, btree_map::Entry};

use docket::schedule::v1 as pb;
use prost::Message as _;

use super::{Agent, Attempt, Key};

/// Twice and more what a store may lose.
const KEPT: u64 = 10_000;
/// Entries of a hello that the scheduler takes.
const LISTED_MAX: usize = 10_000;
/// So that a hello stays below the 4 MiB of a message, and memory bounded; the oldest go first.
const NUMBER_MAX: usize = 4_096;
const BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Remembered {
    outcomes: VecDeque<Outcome>,
    bytes: usize,
}

#[derive(Debug)]
struct Outcome {
    key: Key,
    attempt: Attempt,
    bytes: usize,
    at: u64,
}

impl Remembered {
    fn push(&mut self, now: u64, key: Key, attempt: Attempt) {
        let bytes = attempt.outcome.as_deref().map_or(0, pb::Report::encoded_len);
        self.bytes += bytes;
        self.outcomes.push_back(Outcome { key, attempt, bytes, at: now });
        self.forget_old(now);
    }

    /// The leader was heard at this time: what it acknowledged long before is safe.
    pub(super) fn forget_old(&mut self, now: u64) {
        let goes = |outcome: &Outcome| outcome.at + KEPT < now;
        while self.outcomes.len() > NUMBER_MAX
            || self.bytes > BYTES_MAX
            || self.outcomes.front().is_some_and(goes)
        {
            let Some(oldest) = self.outcomes.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }

    /// Leaves room for so many that are held, the oldest go first.
    pub(super) fn make_room(&mut self, held: usize) {
        while self.outcomes.len() > LISTED_MAX.saturating_sub(held) {
            self.bytes -= self.outcomes.pop_front().map_or(0, |oldest| oldest.bytes);
        }
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.outcomes.iter().any(|outcome| outcome.key == *key)
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = pb::HeldRun> + '_ {
        self.outcomes.iter().map(|outcome| pb::HeldRun {
            run_id: outcome.key.run_id.clone(),
            attempt: outcome.key.attempt,
            lease_token: outcome.attempt.token,
            progress: None,
            checkpoint: None,
        })
    }
}

impl Agent {
    /// The scheduler has taken the outcome.
    pub(super) fn remember(&mut self, now: u64, key: Key) {
        if let Some(attempt) = self.attempts.remove(&key) {
            self.remembered.push(now, key, attempt);
        }
    }

    /// Another leader: what it does not order to drop is to be reported again.
    pub(super) fn take_back(&mut self) {
        self.remembered.bytes = 0;
        for Outcome { key, attempt, .. } in self.remembered.outcomes.drain(..) {
            if let Entry::Vacant(free) = self.attempts.entry(key) {
                self.outbox.push_back(free.key().clone());
                free.insert(attempt);
            }
        }
    }
}
