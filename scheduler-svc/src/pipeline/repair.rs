//! A store that has lost what it had committed (rule O7): the machine holds everything, so everything is written anew.
//!
//! What was gathered meanwhile is part of it: the snapshot stands for the batch in flight and the one after it, and what
//! both say is said once it is durable.

use std::{collections::BTreeMap, mem, sync::Arc};

use super::{Halt, InFlight, Pipeline, Step, Work};
use crate::{
    state_machine::{StateMachine, output::Output},
    store::{Key, Snapshot, Write},
};

impl Pipeline {
    pub(super) fn write_everything(&mut self) -> Option<Step> {
        let flying = self.in_flight.take()?;
        let Work::Commit(batch) = &flying.work else {
            // Lost once more, while everything was being written: from the beginning.
            return Some(self.in_flight.insert(flying).step());
        };
        let Some(mut sealed) = self.guarded(false, StateMachine::seal) else {
            return self.halt(Halt::Failed("it panicked while the store had to be written anew".into()));
        };
        self.gathered.clear();
        (self.commands, self.timers) = (0, 0);
        self.changed = self.machine.has_more();
        let later = mem::take(&mut sealed.writes);
        let snapshot = Snapshot { hot: self.machine.records(), cold: history(batch.iter().chain(&later)) };
        let (seq, work) = (flying.seq + 1, Work::Restore(Arc::new(snapshot)));
        Some(self.in_flight.insert(InFlight { seq, work, output: both(flying.output, sealed) }).step())
    }
}

/// The history that these batches write: the last word on each key.
fn history<'a>(writes: impl Iterator<Item = &'a Write>) -> Arc<Vec<Write>> {
    let cold: BTreeMap<&Key, &Write> =
        writes.filter(|write| write.key.is_cold()).map(|write| (&write.key, write)).collect();
    Arc::new(cold.into_values().cloned().collect())
}

fn both(mut first: Output, mut second: Output) -> Output {
    first.replies.append(&mut second.replies);
    first.messages.append(&mut second.messages);
    first.closed.append(&mut second.closed);
    first.events.append(&mut second.events);
    first
}
