//! What the operator asks for: limits, by key and by pattern.

use scheduler_svc::state_machine::gate::limit::Limit;

use super::{World, client::Role};
use crate::workload::Op;

const NAMES: [&str; 6] = ["provider:a", "provider:b", "provider:*", "mailbox:*", "mailbox:s0", "*"];

impl World {
    pub(super) fn operator_op(&mut self, index: usize) -> Option<Op> {
        let Role::Operator(known) = &self.clients[index].role else { return None };
        let chance = &mut self.sources.app;
        if self.calm {
            // Nothing stays held back.
            let first = known.limits.keys().next().cloned();
            return Some(first.map_or(Op::ListLimits, |key| Op::DeleteLimit { key }));
        }
        let key = (*chance.pick(&NAMES)).to_owned();
        Some(match chance.roll(8) {
            0 | 1 => Op::DeleteLimit { key },
            2 | 3 => Op::ListLimits,
            _ => {
                let max_running = *chance.pick(&[None, None, Some(0), Some(1), Some(1), Some(2), Some(5)]);
                let rate = *chance.pick(&[0, 0, 100_000, 333_333, 1_000_000]);
                let limit = Limit { max_running, rate, burst: chance.between(1, 3) as u32 };
                Op::SetLimit { key, limit }
            }
        })
    }
}
