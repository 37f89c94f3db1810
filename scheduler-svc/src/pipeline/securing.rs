//! Answers to changes wait until their commit is where `store.ack` asks for: on the store's disk, or at a replica (rule
//! O10). Commits go on meanwhile, and so does everything else that is said: fires, jobs, receipts, answers to reads.
//!
//! ```text
//!   committed ──► answers to changes wait ──Secure──► the store looks ──secured(through)──► released
//! ```
//!
//! One question is under way at any time, about everything that waits by then. So however many commits come while the
//! store looks, one more question covers them all.
//!
//! What holds: an answer to a change leaves after its own commit, and each one before it, is secured; also when it
//! changed nothing, since it says that things are so. A read may be answered before, and show a change that is not
//! secured yet. Answers to changes keep their order among themselves.

use std::collections::{HashSet, VecDeque};

use super::{Halt, Pipeline, Step};
use crate::{
    state_machine::{
        id::ReplyTo,
        output::{Answer, Output, Refusal, Reply},
    },
    store::StoreError,
};

/// Answers that wait. While the store secures nothing for long, those that come after get an error at once: their
/// callers have most often gone anyway.
const HELD_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub struct Securing {
    /// Callers of changes that were told nothing yet.
    changes: HashSet<ReplyTo>,
    /// In the order of the commits that they wait for.
    held: VecDeque<(u64, ReplyTo, Reply)>,
    /// Everything up to this commit is secured.
    through: u64,
    /// Whether the store is looking.
    asking: bool,
}

impl Securing {
    pub(super) fn changes(&mut self, to: ReplyTo) {
        self.changes.insert(to);
    }

    /// The reply if it need not wait for this commit.
    fn pass(&mut self, seq: u64, to: ReplyTo, reply: Reply) -> Option<(ReplyTo, Reply)> {
        // The caller comes back with the next page, or is told that nothing was applied.
        let is_last = match &reply {
            Ok(Answer::Progress { next, .. }) => next.is_none(),
            Err(Refusal::Poisonous) => false,
            Ok(_) | Err(_) => true,
        };
        if !is_last || seq <= self.through || !self.changes.contains(&to) {
            self.changes.remove(&to);
            return Some((to, reply));
        }
        if self.held.len() >= HELD_MAX {
            self.changes.remove(&to);
            return Some((to, Err(Refusal::Unsecured)));
        }
        self.held.push_back((seq, to, reply));
        None
    }

    fn release(&mut self, through: u64) -> Vec<(ReplyTo, Reply)> {
        self.through = self.through.max(through);
        let ready = self.held.partition_point(|(seq, ..)| *seq <= self.through);
        let ready: Vec<_> = self.held.drain(..ready).map(|(_, to, reply)| (to, reply)).collect();
        for (to, _) in &ready {
            self.changes.remove(to);
        }
        ready
    }

    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn keeps(&self, to: ReplyTo) -> bool {
        self.changes.contains(&to)
    }

    /// The store was opened anew, and its last commit is this one: what came after it has not happened.
    pub(super) fn reloaded(&mut self, seq: u64) {
        self.through = self.through.min(seq);
        while let Some((_, to, _)) = self.held.pop_back_if(|(of, ..)| *of > seq) {
            self.changes.remove(&to);
        }
    }
}

impl Pipeline {
    /// Answers to changes wait for [`Self::secured`].
    #[must_use]
    pub fn secure_changes(mut self) -> Self {
        self.securing = Some(Securing::default());
        self
    }

    /// Keeps back the answers that have to wait for the last commit.
    pub(super) fn hold_back(&mut self, mut output: Output) -> Output {
        if let Some(securing) = &mut self.securing {
            let replies = output.replies.into_iter();
            output.replies = replies.filter_map(|(to, reply)| securing.pass(self.seq, to, reply)).collect();
        }
        output
    }

    /// The question to ask the store, if answers wait and none is under way.
    pub(super) fn ask_to_secure(&mut self) -> Option<Step> {
        let securing = self.securing.as_mut().filter(|securing| !securing.asking)?;
        let (seq, ..) = securing.held.back()?;
        securing.asking = true;
        Some(Step::Secure { seq: *seq })
    }

    /// What came of [`Step::Secure`]: through which commit everything is secured. Whatever went wrong, it is asked again.
    pub fn secured(&mut self, outcome: Result<u64, StoreError>) -> Option<Step> {
        let securing = self.securing.as_mut()?;
        securing.asking = false;
        match outcome {
            Ok(through) => {
                let replies = securing.release(through);
                (self.halted.is_none()).then(|| Step::Release(Output { replies, ..Output::default() }))
            }
            Err(StoreError::Unknown(_) | StoreError::Held { .. }) => None,
            Err(StoreError::Lost) => {
                // Whether there is something to write or not: the next commit finds out, and has it repaired.
                (self.unconfirmed, self.changed) = (true, true);
                None
            }
            Err(StoreError::Fenced) => self.halt(Halt::Fenced),
            Err(StoreError::Fatal(why)) => self.halt(Halt::Failed(why)),
        }
    }
}
