//! What operators do: set, list and delete limits.

use std::{collections::BTreeMap, ops::Bound};

use super::limit::{Limit, LimitName};
use crate::{
    planted::{Bug, planted},
    record,
    state_machine::{
        StateMachine,
        command::{DeleteLimit, ListLimits, SetLimit},
        id::ReplyTo,
        output::{Answer, Refusal},
        request::{Asked, Seen},
        view::LimitView,
    },
    store::key::Name,
};

impl StateMachine {
    pub(in crate::state_machine) fn set_limit(&mut self, to: ReplyTo, set: &SetLimit) {
        let name = LimitName::new(&set.namespace, &set.key);
        match self.seen(&set.namespace, set.request.as_ref()) {
            Asked::New => {}
            Asked::Before(_) if self.gates.limits.get(&name).is_none() => {
                return self.refuse(to, Refusal::LimitNotFound);
            }
            Asked::Before(_) => return self.answer_limit(to, &name),
            Asked::Otherwise => return self.refuse(to, Refusal::RequestIdReused),
        }
        if !self.gates.limits.has_room(&name) {
            return self.refuse(to, Refusal::TooManyLimits);
        }
        if self.gates.limits.get(&name) != Some(set.limit) {
            self.put(&limit_name(&name), record::limit(&set.limit));
            self.gates.limits.set(name.clone(), set.limit);
            self.recheck(name.clone());
        }
        self.remember(&set.namespace, set.request.as_ref(), Seen::count(1));
        self.answer_limit(to, &name);
    }

    /// Also lifts a closing of that very key, so that an operator can open what throttling has closed.
    pub(in crate::state_machine) fn delete_limit(&mut self, to: ReplyTo, delete: &DeleteLimit) {
        match self.seen(&delete.namespace, delete.request.as_ref()) {
            Asked::New => {}
            Asked::Before(_) => return self.answer(to, Answer::LimitDeleted),
            Asked::Otherwise => return self.refuse(to, Refusal::RequestIdReused),
        }
        let name = LimitName::new(&delete.namespace, &delete.key);
        let closed = self.gates.closed.contains(&name);
        let was_set = self.gates.limits.remove(&name);
        if !was_set && !closed {
            return self.refuse(to, Refusal::LimitNotFound);
        }
        if was_set {
            self.delete(&limit_name(&name));
        }
        if closed && let Some(gate) = self.gates.by_name.get(&name).copied() {
            let now = self.now;
            if let Some(closing) = &mut self.gates.gates[gate].closing {
                closing.until = now.elapsed as i64;
                let value = record::closing(closing, now.wall);
                self.put(&super::settle::closing_name(&name), value);
            }
            self.settle_gate(gate);
        }
        self.recheck(name);
        self.remember(&delete.namespace, delete.request.as_ref(), Seen::count(1));
        self.answer(to, Answer::LimitDeleted);
    }

    /// Limits that are set, and keys that are closed, in the order of keys.
    pub(in crate::state_machine) fn list_limits(&mut self, to: ReplyTo, list: &ListLimits) {
        let key = |key: &str| LimitName::new(&list.namespace, key);
        let start = match &list.after {
            Some(after) if after.as_ref() >= &*list.prefix => Bound::Excluded(key(after)),
            _ => Bound::Included(key(&list.prefix)),
        };
        let listed =
            |name: &&LimitName| name.namespace == list.namespace && name.key.starts_with(&*list.prefix);
        let most = list.limit + 1;
        let limits = self.gates.limits.range(start.clone()).map(|(name, _)| name);
        let closed = self.gates.closed.range((start, Bound::Unbounded));
        let found = limits.take_while(listed).take(most).chain(closed.take_while(listed).take(most));
        let mut found: BTreeMap<&LimitName, LimitView> =
            found.map(|name| (name, self.limit_view(name))).collect();
        let more = found.len() > list.limit;
        while found.len() > list.limit {
            found.pop_last();
        }
        let limits: Vec<LimitView> = found.into_values().collect();
        let next = limits.last().filter(|_| more).map(|last| last.key.clone());
        self.answer(to, Answer::Limits { limits, next });
    }

    fn answer_limit(&mut self, to: ReplyTo, name: &LimitName) {
        let view = self.limit_view(name);
        self.answer(to, Answer::Limit(Box::new(view)));
    }

    fn limit_view(&self, name: &LimitName) -> LimitView {
        let gate = self.gates.by_name.get(name).map(|gate| &self.gates.gates[*gate]);
        let now = self.now.elapsed;
        let closing = gate.and_then(|gate| gate.closing.as_deref());
        let closed = closing.filter(|closing| closing.is_closed(now));
        let limit = self.gates.limits.of(name);
        let slow = closing.filter(|_| closed.is_none()).and_then(|c| c.allowed(limit.as_ref(), now));
        let reason = match (closed, slow, limit) {
            (Some(closed), ..) => closed.reason.clone(),
            (None, Some(allowed), _) => {
                format!("slow start: {allowed} at once and {allowed} starts per 10 s").into()
            }
            (None, None, Some(Limit { max_running: Some(0), .. })) => "closed: max_running is 0".into(),
            (None, None, _) => "".into(),
        };
        LimitView {
            namespace: name.namespace.clone(),
            key: name.key.clone(),
            limit: self.gates.limits.get(name),
            running: gate.map_or(0, |gate| gate.running),
            closed_until: closed.map(|closed| self.now.wall + (closed.until - now as i64)),
            reason,
        }
    }

    // --- load ------------------------------------------------------------------------------------------------

    pub(in crate::state_machine) fn restore_limit(&mut self, name: LimitName, limit: Limit) {
        if !planted(Bug::LimitLostAtLoad) {
            self.gates.limits.set(name, limit);
        }
    }
}

pub(super) fn limit_name(name: &LimitName) -> Name {
    Name::Limit { namespace: name.namespace.to_string(), key: name.key.to_string() }
}
