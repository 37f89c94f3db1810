//! What must always hold of gates; a part of [`StateMachine::check`](crate::state_machine::StateMachine::check).

use std::collections::HashMap;

use super::{GateKey, limit::LimitName};
use crate::state_machine::StateMachine;

impl StateMachine {
    /// Permits are live leases; what is set aside is really blocked, and nothing else is.
    pub(in crate::state_machine) fn check_gates(&self) -> Result<(), String> {
        let (mut users, mut running) = (HashMap::new(), HashMap::new());
        for (key, run) in &self.runs {
            let gates = self.gates.of(key);
            let namespace = &run.definition.key.namespace;
            for limit in &run.definition.limits {
                let gate = self.gates.by_name.get(&LimitName::new(namespace, limit));
                if gate.is_none_or(|gate| !gates.contains(gate)) {
                    // A run that was held from its fire on has not come to its gates yet.
                    if !gates.is_empty() || run.lease().is_some() {
                        return Err(format!("{}: has no gate for its limit {limit}", run.id));
                    }
                }
            }
            for gate in gates {
                *users.entry(*gate).or_insert(0) += 1;
                *running.entry(*gate).or_insert(0) += u32::from(run.lease().is_some());
            }
        }
        if let Some(stray) = self.gates.of_run.keys().find(|run| !self.runs.contains(**run)) {
            return Err(format!("gates know run {stray}, which does not exist"));
        }
        let held = |counts: &HashMap<GateKey, u32>, key| counts.get(&key).copied().unwrap_or(0);
        for (key, gate) in &self.gates.gates {
            let name = &gate.name.key;
            if self.gates.by_name.get(&gate.name) != Some(&key) {
                return Err(format!("gate {name}: not found by its name"));
            }
            if (gate.users, gate.running) != (held(&users, key), held(&running, key)) {
                return Err(format!(
                    "gate {name}: {} users, {} running; runs: {}, leases: {}",
                    gate.users,
                    gate.running,
                    held(&users, key),
                    held(&running, key)
                ));
            }
            if gate.users == 0 && gate.timer.is_none() {
                return Err(format!("gate {name}: nobody needs it"));
            }
        }
        let mut uses = super::Gates::default();
        for slot in self.index.slots() {
            uses.count_uses(None, Some(&self.schedules[slot].definition));
        }
        if uses.uses != self.gates.uses {
            return Err("schedules are not counted by their limits".into());
        }
        self.check_aside()
    }

    fn check_aside(&self) -> Result<(), String> {
        for (_, lane) in self.queue.lanes() {
            for (run, gates) in lane.grouped() {
                if gates.iter().any(|gate| !self.gates.of(run).contains(gate)) {
                    return Err(format!("run {run} waits for a gate that is not its own"));
                }
            }
            for key in lane.shut() {
                let Some(gate) = self.gates.gates.get(key) else {
                    return Err(format!("runs wait before gate {key}, which does not exist"));
                };
                // A timer that is due, or a change that is being looked at, has not been heard of yet.
                let pending =
                    gate.timer.is_some_and(|at| at <= self.now.elapsed) || !self.gates.rechecks.is_empty();
                let block = self.gates.block(key, self.now.elapsed);
                if block.is_none() && !pending {
                    return Err(format!("gate {}: runs wait before it, and it is open", gate.name.key));
                }
                let until = block.and_then(|block| block.until);
                if until.is_some() && gate.timer.is_none_or(|at| Some(at) > until) && !pending {
                    return Err(format!("gate {}: nobody will look when it opens", gate.name.key));
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(in crate::state_machine) fn restore_limit_for_tests(
        &mut self,
        key: &str,
        limit: super::limit::Limit,
    ) {
        self.restore_limit(LimitName::new(&"default".into(), key), limit);
    }

    pub(in crate::state_machine) fn gate_has_timer(&self, key: GateKey, at: u64) -> bool {
        self.gates.gates.get(key).is_some_and(|gate| gate.timer == Some(at))
    }
}
