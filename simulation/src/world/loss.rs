//! A store that loses what it had committed while its owner lives (rule O7): the owner writes everything anew.
//!
//! The judge is shown what that comes to, as commits: the batch that met the loss, then whatever differs between what
//! was there and what the owner writes. So an owner that has forgotten anything seems to delete it.

use std::sync::Arc;

use scheduler_svc::store::{Snapshot, StoreError};

use super::{Event, World, storage::PATIENCE, trace};
use crate::{
    judge::Verdict,
    store::{Arrived, Fate},
};

impl World {
    pub(super) fn send_everything(&mut self, scheduler: usize, seq: u64, snapshot: Arc<Snapshot>) {
        let epoch = self.schedulers[scheduler].epoch;
        self.schedulers[scheduler].in_flight = Some(seq);
        let heard = self.schedulers[scheduler].pipeline.machine().now();
        self.sealed.entry((epoch, seq)).or_insert((self.now, heard));
        let fate = self.fate();
        trace!(
            self,
            "scheduler {scheduler} writes everything as {seq}: {} records, {fate:?}",
            snapshot.hot.len()
        );
        let there = self.sources.store.between(1, self.profile.commit);
        if matches!(fate, Fate::Answered | Fate::LostAfter) {
            self.after(there, Event::EverythingArrives { scheduler, epoch, seq, snapshot, fate });
        }
        if fate != Fate::Answered {
            self.judge.compared.ambiguous_commits += 1;
            let outcome = Err(StoreError::Unknown("no answer".into()));
            self.after(PATIENCE + 50, Event::CommitAnswered { scheduler, seq, outcome });
        }
    }

    pub(super) fn everything_arrives(
        &mut self,
        scheduler: usize,
        (epoch, seq): (u64, u64),
        snapshot: &Snapshot,
        fate: Fate,
    ) -> Verdict {
        let (arrived, written) = self.store.restore(epoch, seq, snapshot);
        trace!(self, "store: everything as {seq} of epoch {epoch}: {arrived:?}");
        if arrived == Arrived::Written {
            self.judge.compared.restores += 1;
        }
        for (seq, batch) in written {
            self.judge_commit(scheduler, epoch, seq, &batch)?;
        }
        if fate == Fate::Answered {
            let outcome = if let Arrived::Refused(error) = arrived { Err(error) } else { Ok(()) };
            let back = self.sources.store.between(1, self.profile.commit);
            self.after(back, Event::CommitAnswered { scheduler, seq, outcome });
        }
        Ok(())
    }
}
