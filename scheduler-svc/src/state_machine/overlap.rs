//! What a new run does while others of its schedule are live, and what begins when one of them ends.
//!
//! At most one run of a schedule is [`Phase::Behind`] the others. Its nominal time is not decided until it may begin,
//! since a newer time may take its place: so no time is ever said to have fired whose run never began.

use std::sync::Arc;

use super::{
    StateMachine,
    definition::Overlap,
    failure::{Class, Failure},
    id::{RunId, Trigger},
    output::{Answer, Event},
    run::{Finished, Outcome, Phase, RunKey},
    schedule::{SlotKey, Status, Verdict},
    view::{RunView, ScheduleView},
};
use crate::{
    planted::{Bug, planted},
    store::key::Name,
};

/// What the overlap policy says to one more run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It may begin.
    Free,
    /// It may wait behind those that are live; with `cancel` they are told to stop.
    Behind { cancel: bool },
    /// It must not be, because of this run.
    Taken(RunId),
    /// As many are live as may be; this is the newest.
    Full(RunId),
}

impl StateMachine {
    pub(super) fn room(&self, slot: SlotKey) -> Room {
        if planted(Bug::OverlapUnchecked) {
            return Room::Free;
        }
        let schedule = &self.schedules[slot];
        let Some(newest) = schedule.live().last().map(|key| self.runs[*key].id) else { return Room::Free };
        match schedule.definition.overlap {
            Overlap::Skip => Room::Taken(newest),
            Overlap::BufferOne => Room::Behind { cancel: false },
            Overlap::CancelRunning => Room::Behind { cancel: true },
            Overlap::Allow if planted(Bug::AllowAboveItsCap) => Room::Free,
            Overlap::Allow if schedule.live().len() < self.config.live_runs_max => Room::Free,
            Overlap::Allow => Room::Full(newest),
        }
    }

    /// Puts a run behind the live ones, in the place of the one that waits there.
    pub(super) fn create_behind(
        &mut self,
        slot: SlotKey,
        trigger: Trigger,
        nominal: i64,
        due: i64,
        actor: Option<&Arc<str>>,
    ) -> RunKey {
        let cancel = self.schedules[slot].definition.overlap == Overlap::CancelRunning;
        let waiting = self.behind(slot);
        let others: Vec<RunKey> =
            self.schedules[slot].live().iter().copied().filter(|other| Some(*other) != waiting).collect();
        let key = self.insert_run(slot, trigger, nominal, due, Phase::Behind);
        self.emit_created(key, actor);
        if let Some(waiting) = waiting {
            if planted(Bug::BufferKeepsOldest) && !self.runs[key].decided {
                let kept = (self.runs[waiting].id.trigger, self.runs[waiting].id.nominal);
                self.decide(slot, Verdict::Overlap, (nominal, nominal, Some(1)), Some(kept));
                self.discard(key, Failure::new(Class::Cancelled, "REPLACED", ""));
                return waiting;
            }
            self.replace(waiting, (trigger, nominal));
        }
        for other in others.into_iter().filter(|_| cancel && !planted(Bug::CancelRunningLeavesOld)) {
            self.cancel(other, "a newer run takes its place (overlap CANCEL_RUNNING)");
        }
        key
    }

    /// The run behind the live ones.
    pub(super) fn behind(&self, slot: SlotKey) -> Option<RunKey> {
        let live = self.schedules[slot].live();
        live.iter().copied().find(|key| matches!(self.runs[*key].phase, Phase::Behind))
    }

    /// A newer run has taken the place of one that waited. A time that was not decided is decided now, and its run
    /// leaves no history: else a schedule that is always late would fill it with runs that never began.
    fn replace(&mut self, key: RunKey, newer: (Trigger, i64)) {
        let why = "a newer run took its place before it began";
        if self.runs[key].decided {
            return self.end_waiting(key, Failure::new(Class::Cancelled, "REPLACED", why));
        }
        let (slot, id) = (self.runs[key].schedule, self.runs[key].id);
        // After a load the live runs are not in the order in which they began.
        let live = self.schedules[slot].live().iter().map(|other| &self.runs[*other]);
        let mut begun = live.filter(|other| !matches!(other.phase, Phase::Behind));
        // A pause may have kept it waiting behind nobody.
        let in_the_way = begun.next().map_or(newer, |run| (run.id.trigger, run.id.nominal));
        self.decide(slot, Verdict::Overlap, (id.nominal, id.nominal, Some(1)), Some(in_the_way));
        self.discard(key, Failure::new(Class::Cancelled, "REPLACED", why));
    }

    /// The run of `nominal` is about to be put behind the live ones. One that waits there undecided is replaced before
    /// any time between the two is decided; else it would be said to have fired.
    pub(super) fn clear_the_place(&mut self, slot: SlotKey, nominal: i64) {
        let waiting = self.behind(slot).filter(|key| !self.runs[*key].decided);
        if let (Some(key), Room::Behind { .. }) = (waiting, self.room(slot))
            && !planted(Bug::BufferKeepsOldest)
        {
            self.replace(key, (Trigger::Scheduled, nominal));
        }
    }

    /// Ends a run that never began and whose time was decided otherwise.
    pub(super) fn discard(&mut self, key: RunKey, failure: Failure) {
        self.leave_gates(key);
        let run = self.runs.remove(key);
        self.untally(run.tallied.as_ref());
        let slot = run.schedule;
        self.schedules[slot].past_mut().live.retain(|live| *live != key);
        if run.stored {
            self.delete(&Name::Run(run.id));
        }
        self.forget_generation(slot, run.generation);
        self.touch(slot);
        let finished = Box::new(Finished {
            id: run.id,
            generation: run.generation,
            due: run.due,
            outcome: Outcome::Cancelled,
            attempt: 0,
            attempts: Vec::new(),
            start: None,
            finish: self.now.wall,
            result: Default::default(),
            failure: Some(Box::new(failure)),
            worker_id: self.name(&"".into()),
        });
        if !run.waiters.is_empty() {
            let schedule = Box::new(ScheduleView::of(&self.schedules[slot], self.active_runs(slot)));
            for to in run.waiters {
                let finished = Some(finished.clone());
                let view = RunView::Final { id: run.id, schedule: schedule.clone(), finished };
                self.answer(to, Answer::Run(Box::new(view)));
            }
        }
        self.emit(Event::Discarded { definition: run.definition, finished });
    }

    /// Decides the time of a run that waits behind others: it fires, whatever comes later. Needed before a later time
    /// is decided for another reason than to take its place, so that the log stays in the order of time.
    pub(super) fn decide_behind(&mut self, slot: SlotKey) {
        let Some(key) = self.behind(slot).filter(|key| !self.runs[*key].decided) else { return };
        let nominal = self.runs[key].id.nominal;
        self.runs[key].decided = true;
        self.schedules[slot].past_mut().runs += 1;
        self.decide(slot, Verdict::Fired, (nominal, nominal, Some(1)), Some((Trigger::Scheduled, nominal)));
        self.find_next(slot);
        self.arm(slot);
        self.touch_run(key);
        self.emit_fired(key);
    }

    /// Goes on after something of a schedule has ended or was let go: the run that waits behind the others begins, or
    /// the next missed time, or the next time of a backfill.
    pub(super) fn advance(&mut self, slot: SlotKey) {
        let Some(schedule) = self.schedules.get(slot) else { return };
        if !matches!(schedule.status, Status::Active | Status::Ended) {
            return;
        }
        if let Some(key) = self.behind(slot) {
            let schedule = &self.schedules[slot];
            let allowed = match schedule.definition.overlap {
                Overlap::Allow => self.config.live_runs_max,
                Overlap::Skip | Overlap::BufferOne | Overlap::CancelRunning => 1,
            };
            if schedule.live().len() <= allowed.max(1) {
                self.admit(slot, key);
            }
            return;
        }
        if !self.schedules[slot].live().is_empty() {
            return;
        }
        if self.schedules[slot].rare().catch_up.is_some() && self.schedules[slot].status == Status::Active {
            self.fire_due(slot);
        }
        if self.schedules.get(slot).is_some_and(|schedule| schedule.live().is_empty()) {
            self.backfill_next(slot);
        }
    }

    fn admit(&mut self, slot: SlotKey, key: RunKey) {
        self.decide_behind(slot);
        self.make_ready(key);
        let through = self.schedules[slot].decided_through;
        self.decided(slot, through);
    }
}
