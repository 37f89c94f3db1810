//! Everything that is to be in a store, for one that has lost it (rule O7): what all writes so far have come to.

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    StateMachine,
    run::{Phase, Run},
};
use crate::{
    planted::{Bug, planted},
    record,
    store::{Key, key::Name},
};

impl StateMachine {
    /// All hot records. Not bounded: the caller does nothing else meanwhile.
    pub fn records(&self) -> Vec<(Key, Bytes)> {
        let mut records = Vec::with_capacity(2 * self.schedules.len() + self.runs.len() + 1);
        let mut add = |name: &Name, value: Bytes| records.push((Key::new(name), value));
        add(&Name::Meta, record::meta(&self.archives));
        for (_, schedule) in self.schedules.iter() {
            add(&Name::State(schedule.uid), record::state(schedule));
            let mut generations = HashSet::from([schedule.generation]);
            add(
                &Name::Definition(schedule.uid, schedule.generation),
                record::definition(&schedule.definition),
            );
            for run in schedule.live().iter().map(|key| &self.runs[*key]) {
                if generations.insert(run.generation) {
                    add(&Name::Definition(schedule.uid, run.generation), record::definition(&run.definition));
                }
            }
        }
        let backs_off = |run: &Run| matches!(run.phase, Phase::Backoff { .. });
        for (_, run) in
            self.runs.iter().filter(|(_, run)| !(backs_off(run) && planted(Bug::SnapshotWithoutBackoff)))
        {
            add(&Name::Run(run.id), record::run(run));
        }
        for ((namespace, id), seen) in self.requests.all() {
            let name = Name::Request { namespace: namespace.to_string(), id: id.to_string() };
            add(&name, record::request(seen));
        }
        self.gates.records(self.now, &mut add);
        records
    }
}
