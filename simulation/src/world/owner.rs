//! What an app asks for that owns several schedules under one label.

use scheduler_svc::state_machine::{
    definition::{Labels, ScheduleKey},
    timing::Timing,
};

use super::{World, client::Role};
use crate::workload::{self, Mass, NAMESPACE, OWNED, Op};

const IDS: [&str; 6] = ["o0", "o1", "o2", "o3", "o4", "o5"];

impl World {
    /// What it asks for, and about which of its schedules.
    pub(super) fn owner_op(&mut self, index: usize) -> Option<(Op, ScheduleKey)> {
        let now = super::START + self.now as i64;
        let Role::Owner(known) = &self.clients[index].role else { return None };
        let chance = &mut self.sources.app;
        let id = *chance.pick(&IDS);
        let key = ScheduleKey::new(NAMESPACE, id);
        let mass = |change| Op::Mass { change, after: None, done: 0 };
        if self.calm {
            let op = if chance.happens(500) { mass(Mass::Resume) } else { Op::ListOwned };
            return Some((op, key));
        }
        let saved = known.schedules.get(id).is_some_and(|known| known.schedule.is_some());
        let op = match chance.roll(12) {
            0..=4 => {
                let mut definition = workload::definition(chance, id, now);
                // Nothing changes but by its own calls.
                (definition.start, definition.end, definition.max_runs) = (None, None, 0);
                (definition.delete_when_ended, definition.pause_after_failures) = (false, 0);
                if matches!(definition.timing, Timing::At(_)) {
                    definition.timing = Timing::Every { interval: 20_000, anchor: None };
                }
                let labels = [(OWNED, "yes"), ("temper", "steady")];
                definition.labels =
                    Labels::new(&labels.map(|(key, value)| (key.into(), value.into())).into());
                Op::Upsert { definition: Box::new(definition), trial: false, etag: None }
            }
            5 if saved => Op::Get,
            6 | 7 => mass(Mass::Pause { note: format!("p{}", chance.roll(2)) }),
            8 | 9 => mass(Mass::Resume),
            10 if chance.happens(300) => mass(Mass::Delete),
            _ => Op::ListOwned,
        };
        Some((op, key))
    }
}
