//! Commits on their way to the store and back.

use scheduler_svc::store::{Batch, StoreError};

use super::{Event, World, trace};
use crate::{
    judge::{Verdict, moments::Moment},
    store::{Arrived, Fate},
};

/// After it, an owner takes the outcome for unknown and tries again.
pub(super) const PATIENCE: u64 = 250;

impl World {
    pub(crate) fn send_commit(&mut self, scheduler: usize, seq: u64, batch: Batch) {
        let epoch = self.schedulers[scheduler].epoch;
        // The first time it is sent, it has just been closed.
        let heard = self.schedulers[scheduler].pipeline.machine().now();
        self.sealed.entry((epoch, seq)).or_insert((self.now, heard));
        let fate = if self.is_cut_off(scheduler) { Fate::LostBefore } else { self.fate() };
        let there = self.sources.store.between(1, self.profile.commit);
        trace!(self, "scheduler {scheduler} commits {seq}: {} writes, {fate:?}", batch.len());
        if fate != Fate::Answered {
            self.judge.compared.ambiguous_commits += 1;
        }
        let arrives = match fate {
            Fate::Late => PATIENCE + self.sources.store.between(1, 2_000),
            Fate::Answered | Fate::LostBefore | Fate::LostAfter | Fate::Breaks => there,
        };
        if fate != Fate::LostBefore {
            self.after(arrives, Event::CommitArrives { scheduler, epoch, seq, batch, fate });
        }
        if matches!(fate, Fate::LostBefore | Fate::LostAfter | Fate::Late) {
            let outcome = Err(StoreError::Unknown("no answer".into()));
            self.after(PATIENCE + 50, Event::CommitAnswered { scheduler, seq, outcome });
        }
    }

    pub(super) fn fate(&mut self) -> Fate {
        let trouble = self.profile.store_trouble;
        if self.calm || !self.sources.store.happens(trouble) {
            return Fate::Answered;
        }
        self.sources.store.weigh(&[
            (4, Fate::LostBefore),
            (4, Fate::LostAfter),
            (3, Fate::Late),
            (1, Fate::Breaks),
        ])
    }

    /// A commit that the pipeline asked for outside of its turn.
    pub(crate) fn resume_commit(&mut self, scheduler: usize, seq: u64, batch: Batch) {
        self.schedulers[scheduler].in_flight = Some(seq);
        self.send_commit(scheduler, seq, batch);
    }

    pub(crate) fn commit_arrives(
        &mut self,
        scheduler: usize,
        epoch: u64,
        seq: u64,
        batch: &Batch,
        fate: Fate,
    ) -> Verdict {
        let arrived = self.store.commit(epoch, seq, batch);
        trace!(self, "store: commit {seq} of epoch {epoch}: {arrived:?}");
        let written = arrived == Arrived::Written;
        let judged = if written { self.judge_commit(scheduler, epoch, seq, batch) } else { Ok(()) };
        let outcome = match (fate, arrived) {
            (Fate::Breaks, _) => Err(StoreError::Fatal("the disk is gone".into())),
            (Fate::Answered, Arrived::Refused(error)) => Err(error),
            (Fate::Answered, Arrived::Written | Arrived::Known) => Ok(()),
            (Fate::LostBefore | Fate::LostAfter | Fate::Late, _) => return judged,
        };
        let back = self.sources.store.between(1, self.profile.commit);
        self.after(back, Event::CommitAnswered { scheduler, seq, outcome });
        judged
    }

    pub(super) fn judge_commit(&mut self, scheduler: usize, epoch: u64, seq: u64, batch: &Batch) -> Verdict {
        let moment = self.moment(scheduler, epoch, seq);
        let (trace, now) = (&mut self.trace, self.now);
        self.judge.committed(&moment, batch, &mut |text| trace.line(now, text))
    }

    fn moment(&self, scheduler: usize, epoch: u64, seq: u64) -> Moment {
        let process = &self.schedulers[scheduler];
        let sealed = |seq: u64| self.sealed.get(&(epoch, seq)).copied();
        let (closed, heard) = sealed(seq).unwrap_or_default();
        Moment {
            epoch,
            heard,
            sealed: closed,
            // After a panic a machine goes on with the time of the one before.
            sealed_before: sealed(seq - 1)
                .map_or(process.born, |(before, heard)| before.min(process.born + heard.elapsed)),
            zero: super::START + self.hosts[process.host].offset,
            heard_again: process.heard_again,
        }
    }
}
