//! What else users do to schedules, delete and trigger them, and the schedule that a command names.

use std::{mem, sync::Arc};

use super::{
    StateMachine,
    command::{Delete, TriggerNow},
    failure::{Class, Failure},
    id::{ReplyTo, RunId, Trigger},
    output::{Answer, Refusal, ScheduleChange},
    overlap::Room,
    request::{Asked, Seen},
    schedule::{SlotKey, Status, Verdict},
    view::RunView,
};
use crate::planted::{Bug, planted};

impl StateMachine {
    pub(super) fn delete_schedule(&mut self, to: ReplyTo, delete: &Delete) {
        match self.seen(&delete.key.namespace, delete.request.as_ref()) {
            Asked::New => {}
            Asked::Before(seen) => return self.answer(to, Answer::Deleted(seen.count)),
            Asked::Otherwise => return self.refuse(to, Refusal::RequestIdReused),
        }
        let Some(slot) = self.index.get(&delete.key) else {
            return self.refuse(to, Refusal::ScheduleNotFound);
        };
        if let Err(refusal) = self.check_etag(Some(slot), delete.etag.as_deref()) {
            return self.refuse(to, refusal);
        }
        self.remove_schedule(slot, delete.cancel_running, &delete.actor);
        self.remember(&delete.key.namespace, delete.request.as_ref(), Seen::count(1));
        self.answer(to, Answer::Deleted(1));
    }

    pub(super) fn remove_schedule(&mut self, slot: SlotKey, cancel_running: bool, actor: &Arc<str>) {
        self.hide_schedule(slot);
        self.schedules[slot].status = Status::Deleted;
        self.emit_schedule(slot, ScheduleChange::Deleted, actor);
        self.arm(slot);
        self.touch(slot);
        for key in self.schedules[slot].past().live.clone() {
            let run = &self.runs[key];
            if !run.decided {
                let nominal = run.id.nominal;
                self.decide(slot, Verdict::Deleted, (nominal, nominal, Some(1)), None);
                self.discard(key, Failure::new(Class::Cancelled, "CANCELLED", "its schedule was deleted"));
            } else if run.lease().is_none() && planted(Bug::DeleteLeavesQueued)
                || run.lease().is_some() && planted(Bug::DeleteCancelsNothing)
            {
                continue;
            } else if cancel_running || run.lease().is_none() {
                self.cancel(key, "its schedule was deleted");
            }
        }
        // The last cancelled run has removed it already.
        if self.schedules.get(slot).is_some_and(|schedule| schedule.status == Status::Deleted) {
            self.remove_if_over(slot);
        }
    }

    pub(super) fn trigger(&mut self, to: ReplyTo, command: &TriggerNow) {
        let request = command.request.as_ref();
        let Some((slot, seen)) = self.named(to, &command.key, request) else { return };
        if let Some(seen) = seen {
            let Some(id) = seen.run else { return self.refuse(to, Refusal::RunNotFound) };
            if id.uid != self.schedules[slot].uid && self.run_of(id).is_none() {
                return self.refuse(to, Refusal::ScheduleReplaced);
            }
            let run = Box::new(self.run_view(slot, id));
            return self.answer(to, Answer::Triggered { run, created: seen.created });
        }
        match self.schedules[slot].status {
            Status::Paused => return self.refuse(to, Refusal::SchedulePaused),
            Status::Quarantined => return self.refuse(to, Refusal::ScheduleQuarantined),
            Status::Active | Status::Ended | Status::Deleted => {}
        }
        let room = self.room(slot);
        if let (Room::Free | Room::Behind { .. }, Err(refusal)) =
            (&room, self.room_in_namespace(&command.key.namespace))
        {
            return self.refuse(to, refusal);
        }
        let (id, created) = match room {
            Room::Taken(live) | Room::Full(live) => (live, false),
            Room::Free | Room::Behind { .. } => (self.create_manual(slot, room, &command.actor), true),
        };
        self.remember(&command.key.namespace, request, Seen::run(id, created));
        let run = Box::new(self.run_view(slot, id));
        self.triggered.push((to, run, created));
    }

    pub(super) fn create_manual(&mut self, slot: SlotKey, room: Room, actor: &Arc<str>) -> RunId {
        let now = self.now.wall;
        let nominal = now.max(self.schedules[slot].rare().last_manual + 1);
        self.schedules[slot].set_rare(|rare| rare.last_manual = nominal);
        let key = match room {
            Room::Behind { .. } => self.create_behind(slot, Trigger::Manual, nominal, now, Some(actor)),
            Room::Free | Room::Taken(_) | Room::Full(_) => {
                self.create_run(slot, Trigger::Manual, nominal, now, Some(actor))
            }
        };
        self.schedules[slot].run_id(Trigger::Manual, self.runs[key].id.nominal)
    }

    /// Answers those who triggered a run, once it is known whether a worker has it.
    pub(super) fn answer_triggered(&mut self) {
        for (to, mut run, created) in mem::take(&mut self.triggered) {
            if let RunView::Live(view) = &*run
                && let Some(key) = self.run_of(view.id)
            {
                *run = RunView::Live(Box::new(self.live_view(key)));
            }
            self.answer(to, Answer::Triggered { run, created });
        }
    }

    pub(super) fn run_view(&self, slot: SlotKey, id: RunId) -> RunView {
        match self.run_of(id) {
            Some(key) => RunView::Live(Box::new(self.live_view(key))),
            None => RunView::Final { id, schedule: Box::new(self.view(slot)), finished: None },
        }
    }

    /// The schedule that a command names, settled, and what came of the command if it was asked before. Otherwise it
    /// refuses.
    pub(super) fn named(
        &mut self,
        to: ReplyTo,
        key: &super::definition::ScheduleKey,
        request: Option<&super::command::Request>,
    ) -> Option<(SlotKey, Option<Seen>)> {
        let seen = match self.seen(&key.namespace, request) {
            Asked::New => None,
            Asked::Before(seen) => Some(seen),
            Asked::Otherwise => {
                self.refuse(to, Refusal::RequestIdReused);
                return None;
            }
        };
        let slot = self.index.get(key).filter(|slot| seen.is_some() || self.settle(*slot));
        let Some(slot) = slot else {
            self.refuse(to, Refusal::ScheduleNotFound);
            return None;
        };
        if seen.as_ref().is_some_and(|seen| seen.is_of_another(self.schedules[slot].uid)) {
            self.refuse(to, Refusal::ScheduleReplaced);
            return None;
        }
        Some((slot, seen))
    }
}
