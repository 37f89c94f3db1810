//! Closes a gate when its provider says that it is asked too often.

use super::{
    GateKey, Gates, Report,
    closing::{CLOSING_MAX, Closing, REPORTERS, WINDOW},
    hash,
    limit::LimitName,
    settle::closing_name,
};
use crate::{
    planted::{Bug, planted},
    record,
    state_machine::{
        StateMachine,
        failure::{Class, Failure, THROTTLED_DEFAULT},
        id::Uid,
        output::Event,
        run::RunKey,
        schedule::Status,
    },
};

impl StateMachine {
    /// Hears a failed attempt's report: one that is throttled and names a key may close its gate. Returns what is wrong
    /// with a report that names a key which is none of the run's own.
    pub(in crate::state_machine) fn hear_throttled(
        &mut self,
        run: RunKey,
        token: u64,
        failure: &Failure,
    ) -> Option<Box<str>> {
        if failure.class != Class::Throttled || failure.limit.is_empty() || planted(Bug::ThrottleUnheard) {
            return None;
        }
        let definition = self.runs[run].definition.clone();
        if !definition.limits.contains(&failure.limit) {
            let text = "failure.limit: names none of the run's own limits; it counts for this run alone";
            return Some(text.into());
        }
        let name = LimitName::new(&definition.key.namespace, &failure.limit);
        let gate = self.gates.by_name.get(&name).copied()?;
        let retry_after = if failure.retry_after == 0 { THROTTLED_DEFAULT } else { failure.retry_after };
        let schedule = &self.schedules[self.runs[run].schedule];
        let report = Report { schedule: schedule.uid, at: self.now.elapsed, retry_after: retry_after.into() };
        let still = schedule.status != Status::Deleted && schedule.definition.limits.contains(&failure.limit);
        let users = self.gates.schedules_with(&name, still);
        let span = self.gates.hear(gate, token, report, users)?;
        self.close_gate(gate, span, failure);
        None
    }

    fn close_gate(&mut self, key: GateKey, span: u64, failure: &Failure) {
        let reason = format!("throttled: {} {}", failure.code, failure.message);
        let until = self.now.elapsed as i64 + span as i64;
        let closing = Closing::new(until, span, self.next_token, reason.trim_end().into());
        let wall = self.now.wall + span as i64;
        let name = self.gates.gates[key].name.clone();
        self.put(&closing_name(&name), record::closing(&closing, wall));
        self.emit(Event::GateClosed {
            namespace: name.namespace.clone(),
            key: name.key.clone(),
            until: wall,
            reason: closing.reason.clone(),
        });
        self.gates.closed.insert(name);
        self.gates.gates[key].closing = Some(Box::new(closing));
        self.settle_gate(key);
    }
}

impl Gates {
    /// How many schedules have a key. `counted` says whether the reporting one is among those that are counted.
    fn schedules_with(&self, name: &LimitName, counted: bool) -> usize {
        let count = self.uses.get(&hash(&name.namespace, &name.key)).copied().unwrap_or(0) as usize;
        count + usize::from(!counted)
    }

    /// Takes a report down. Returns for how long the gate is to close, if this is the report that closes it.
    fn hear(&mut self, gate: GateKey, token: u64, report: Report, schedules: usize) -> Option<u64> {
        let gate = &mut self.gates[gate];
        if gate.closing.as_ref().is_some_and(|closing| token <= closing.token) {
            // The attempt began before the closing: it says nothing about what came after.
            return None;
        }
        let same = |other: &Report, uid: Uid| other.schedule == uid;
        let former = gate.reports.iter().find(|other| same(other, report.schedule)).copied();
        gate.reports.retain(|other| report.at - other.at < WINDOW && !same(other, report.schedule));
        let again = former.filter(|former| report.at - former.at < WINDOW);
        let retry_after =
            again.map_or(report.retry_after, |former| former.retry_after.max(report.retry_after));
        gate.reports.push(Report { retry_after, ..report });
        if gate.reports.len() < REPORTERS.min(schedules) {
            return None;
        }
        let longest = gate.reports.iter().map(|report| report.retry_after).max();
        gate.reports.clear();
        longest.map(|longest| longest.min(CLOSING_MAX))
    }
}
