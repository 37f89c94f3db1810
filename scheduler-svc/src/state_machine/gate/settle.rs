//! Opens gates that may let runs pass again, says when to look at the others, and forgets what is not needed.

use std::ops::Bound;

use bytes::Bytes;

use super::{GateKey, closing::Closing, limit::LimitName};
use crate::{
    record,
    state_machine::{
        StateMachine,
        output::Event,
        run::RunKey,
        timer::{ElapsedTimer, Now},
    },
    store::key::Name,
};

/// Gates that one turn looks at after a change of a pattern.
const RECHECKS_PER_TURN: usize = 1_000;

impl StateMachine {
    /// A lease is over: its permits are free.
    pub(in crate::state_machine) fn free_permits(&mut self, run: RunKey) {
        if self.runs[run].definition.limits.is_empty() {
            return;
        }
        for gate in self.gates.stop(run) {
            self.settle_gate(gate);
        }
    }

    /// A run is final.
    pub(in crate::state_machine) fn leave_gates(&mut self, run: RunKey) {
        if self.runs[run].definition.limits.is_empty() {
            return;
        }
        for gate in self.gates.leave(run) {
            self.settle_gate(gate);
        }
    }

    pub(in crate::state_machine) fn gate_timer(&mut self, gate: GateKey) {
        self.gates.gates[gate].timer = None;
        self.settle_gate(gate);
    }

    /// Brings everything that follows from a gate's state up to date.
    pub(in crate::state_machine) fn settle_gate(&mut self, key: GateKey) {
        let now = self.now.elapsed;
        self.gates.refresh(key, now);
        self.settle_closing(key);
        if self.gates.block(key, now).is_none() {
            self.queue.open(key);
        }
        let waits = self.queue.waits_at(key);
        let wanted = self.gates.next_look(key, waits, now);
        let gate = &mut self.gates.gates[key];
        if gate.timer != wanted {
            let former = std::mem::replace(&mut gate.timer, wanted);
            if let Some(at) = former {
                self.timers.clear(at, ElapsedTimer::Gate(key));
            }
            if let Some(at) = wanted {
                self.timers.set(at, ElapsedTimer::Gate(key));
            }
        }
        if self.gates.gates[key].users == 0 && wanted.is_none() {
            self.drop_gate(key);
        }
    }

    /// Says that a gate has opened again, and drops a closing that is of no more use.
    fn settle_closing(&mut self, key: GateKey) {
        let now = self.now.elapsed;
        let gate = &mut self.gates.gates[key];
        let limit = gate.limit;
        let Some(closing) = gate.closing.as_mut().filter(|closing| !closing.is_closed(now)) else { return };
        let name = gate.name.clone();
        let over = closing.over(limit.as_ref()) <= now as i64;
        // Attempts from before the closing may still report, and must be known as such.
        let forget = over && gate.running == 0;
        if !std::mem::replace(&mut closing.reopened, true) {
            self.gates.closed.remove(&name);
            let (namespace, key) = (name.namespace.clone(), name.key.clone());
            self.emit(Event::GateReopened { namespace, key });
        }
        if forget {
            self.gates.gates[key].closing = None;
            self.delete(&closing_name(&name));
        }
    }

    fn drop_gate(&mut self, key: GateKey) {
        let gate = self.gates.gates.remove(key);
        self.gates.by_name.remove(&gate.name);
        self.gates.closed.remove(&gate.name);
        self.queue.forget(key);
        if gate.closing.is_some() {
            self.delete(&closing_name(&gate.name));
        }
    }

    // --- limits change ---------------------------------------------------------------------------------------

    /// A limit has changed: looks at the gates that it may count for, those of a pattern in turns.
    pub(super) fn recheck(&mut self, name: LimitName) {
        if name.prefix().is_none() {
            if let Some(gate) = self.gates.by_name.get(&name).copied() {
                self.settle_gate(gate);
            }
            return;
        }
        self.gates.rechecks.retain(|(pending, _)| *pending != name);
        self.gates.rechecks.push_back((name, None));
    }

    /// Returns whether it stopped at its bound.
    pub(in crate::state_machine) fn recheck_gates(&mut self) -> bool {
        let Some((pattern, after)) = self.gates.rechecks.pop_front() else { return false };
        let prefix = pattern.prefix().unwrap_or_default();
        let start = after
            .map_or_else(|| Bound::Included(LimitName::new(&pattern.namespace, prefix)), Bound::Excluded);
        let matches = |name: &LimitName| name.namespace == pattern.namespace && name.key.starts_with(prefix);
        let gates = self.gates.by_name.range((start, Bound::Unbounded));
        let gates = gates.take_while(|(name, _)| matches(name)).take(RECHECKS_PER_TURN);
        let gates: Vec<(LimitName, GateKey)> = gates.map(|(name, gate)| (name.clone(), *gate)).collect();
        for (_, gate) in &gates {
            self.settle_gate(*gate);
        }
        if gates.len() == RECHECKS_PER_TURN {
            let last = gates.into_iter().next_back().map(|(name, _)| name);
            self.gates.rechecks.push_front((pattern, last));
        }
        !self.gates.rechecks.is_empty()
    }

    // --- load ------------------------------------------------------------------------------------------------

    /// A closing from the store. It lasts no longer than it was to last, whatever the clock says (rule P6).
    pub(in crate::state_machine) fn restore_closing(
        &mut self,
        name: LimitName,
        stored: record::StoredClosing,
    ) {
        let left = stored.until.saturating_sub(self.now.wall).min(stored.span as i64);
        let until = self.now.elapsed as i64 + left;
        let mut closing = Closing::new(until, stored.span, stored.token, stored.reason);
        closing.reopened = left <= 0;
        if !closing.reopened {
            self.gates.closed.insert(name.clone());
        }
        self.next_token = self.next_token.max(stored.token);
        let gate = self.gates.gate(name);
        self.gates.gates[gate].closing = Some(Box::new(closing));
        // Looked at once the runs are there; a gate that nobody uses may be forgotten then.
        self.gates.gates[gate].timer = Some(self.now.elapsed);
        self.timers.set(self.now.elapsed, ElapsedTimer::Gate(gate));
    }
}

pub(super) fn closing_name(name: &LimitName) -> Name {
    Name::Closing { namespace: name.namespace.to_string(), key: name.key.to_string() }
}

impl super::Gates {
    /// Limits that are set, and keys that throttling has closed.
    pub(in crate::state_machine) fn records(&self, now: Now, add: &mut impl FnMut(&Name, Bytes)) {
        for (name, limit) in self.limits.iter() {
            add(&super::manage::limit_name(name), record::limit(limit));
        }
        for (_, gate) in &self.gates {
            let Some(closing) = &gate.closing else { continue };
            let until = now.wall + (closing.until - now.elapsed as i64);
            add(&closing_name(&gate.name), record::closing(closing, until));
        }
    }

    /// When something about a gate will change by itself that somebody has to know of.
    fn next_look(&self, key: GateKey, waits: bool, now: u64) -> Option<u64> {
        let gate = &self.gates[key];
        let limit = gate.limit;
        let closing = gate.closing.as_ref().and_then(|closing| {
            if closing.is_closed(now) {
                return Some(closing.until.unsigned_abs());
            }
            let over = closing.over(limit.as_ref());
            // Whoever waits is let in stage by stage.
            let stage = Some(closing.next_stage(now)).filter(|_| waits);
            (over > now as i64).then(|| stage.unwrap_or(over.unsigned_abs()))
        });
        let rate = limit.filter(|limit| limit.rate > 0).zip(gate.bucket);
        let bucket = rate.and_then(|(limit, bucket)| {
            let start = Some(bucket.next_start(limit.rate)).filter(|_| waits && !bucket.has_start());
            let full = Some(bucket.when_full(limit.rate, limit.burst)).filter(|_| gate.users == 0);
            start.or(full).filter(|at| *at > now)
        });
        closing.into_iter().chain(bucket).min()
    }
}
