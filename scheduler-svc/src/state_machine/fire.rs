//! Nominal times become decisions: fired, or skipped and why. Every time gets exactly one.

use std::sync::Arc;

use super::{
    StateMachine,
    definition::Misfire,
    history::Ring,
    id::{RunId, Trigger},
    output::{Event, ScheduleChange},
    overlap::Room,
    poison,
    run::{Phase, Run, RunKey},
    schedule::{Decision, SlotKey, Status, Verdict},
};
use crate::planted::{Bug, planted};

impl StateMachine {
    /// Decides every time of a schedule that is due by now. Any change of a schedule begins here, so that a change
    /// never reaches back over what was due before it. Returns whether the schedule still exists.
    pub(super) fn settle(&mut self, slot: SlotKey) -> bool {
        match self.schedules[slot].status {
            Status::Active => self.fire_due(slot),
            Status::Paused if self.schedules[slot].pause_is_over(self.now.wall) => self.pause_over(slot),
            // What a pause skips is decided when it ends: until then a catch-up run may be asked for.
            Status::Paused | Status::Ended | Status::Quarantined | Status::Deleted => {}
        }
        self.schedules.contains(slot)
    }

    pub(super) fn fire_due(&mut self, slot: SlotKey) {
        let schedule = &self.schedules[slot];
        poison::trip(poison::At::Timer, &schedule.definition.key.id);
        let last_due = schedule.last_due(self.now.wall);
        if schedule.is_catching_up() {
            return self.arm(slot);
        }
        let Some(first) = schedule.next.filter(|next| *next <= last_due) else {
            self.schedules[slot].set_rare(|rare| rare.catch_up = None);
            return self.arm(slot);
        };
        let times = schedule.times();
        let following = times.next(first).filter(|next| *next <= last_due);
        let latest = match following {
            None => first,
            Some(_) => times.latest(first, last_due).unwrap_or(first),
        };
        match schedule.definition.misfire {
            Misfire::Coalesce if planted(Bug::CoalescesIntoFirst) => self.fire_latest(slot, first, first),
            Misfire::Coalesce => self.fire_latest(slot, first, latest),
            Misfire::Skip => self.fire_on_time(slot, first, latest),
            Misfire::All { window, max_runs } => self.fire_all(slot, (first, latest), window, max_runs),
        }
    }

    /// The latest time runs and stands for those before it.
    pub(super) fn fire_latest(&mut self, slot: SlotKey, first: i64, latest: i64) {
        if latest > first {
            self.clear_the_place(slot, latest);
            self.decide_behind(slot);
        }
        if self.schedules[slot].status != Status::Active {
            // The run that waited was the last one that max_runs allows.
            return;
        }
        match self.room(slot) {
            Room::Taken(live) => self.decide_range(slot, Verdict::Overlap, first, latest, Some(live)),
            Room::Full(live) => self.decide_range(slot, Verdict::Capped, first, latest, Some(live)),
            room => {
                if latest > first {
                    self.coalesce(slot, first, latest);
                }
                self.fire(slot, latest, room);
            }
        }
        self.decided(slot, latest);
    }

    /// Misfire `coalesce`: the run of the latest missed time stands for those before it.
    fn coalesce(&mut self, slot: SlotKey, first: i64, latest: i64) {
        let last = self.schedules[slot].times().latest(first - 1, latest - 1).unwrap_or(first);
        let id = self.schedules[slot].run_id(Trigger::Scheduled, latest);
        self.decide_range(slot, Verdict::Coalesced, first, last, Some(id));
    }

    pub(super) fn fire(&mut self, slot: SlotKey, nominal: i64, room: Room) {
        let due = nominal.saturating_add(self.schedules[slot].definition.spread_offset());
        self.note_lateness(due);
        if let Room::Behind { .. } = room {
            self.create_behind(slot, Trigger::Scheduled, nominal, due, None);
            return;
        }
        self.decide_behind(slot);
        self.schedules[slot].past_mut().runs += 1;
        self.decide(slot, Verdict::Fired, (nominal, nominal, Some(1)), Some((Trigger::Scheduled, nominal)));
        self.create_run(slot, Trigger::Scheduled, nominal, due, None);
    }

    /// A run that may begin. `actor` asked for it, if somebody did.
    pub(super) fn create_run(
        &mut self,
        slot: SlotKey,
        trigger: Trigger,
        nominal: i64,
        due: i64,
        actor: Option<&Arc<str>>,
    ) -> RunKey {
        let key = self.insert_run(slot, trigger, nominal, due, Phase::Ready(None));
        self.make_ready(key);
        self.emit_created(key, actor);
        key
    }

    pub(super) fn emit_created(&mut self, key: RunKey, actor: Option<&Arc<str>>) {
        let run = Box::new(self.told_view(key));
        self.emit(Event::Created { run, actor: actor.cloned(), at: self.now.wall });
    }

    pub(super) fn insert_run(
        &mut self,
        slot: SlotKey,
        trigger: Trigger,
        nominal: i64,
        due: i64,
        phase: Phase,
    ) -> RunKey {
        let schedule = &self.schedules[slot];
        let decided = !(matches!(phase, Phase::Behind) && trigger == Trigger::Scheduled);
        let run = Run {
            id: schedule.run_id(trigger, nominal),
            schedule: slot,
            definition: schedule.definition.clone(),
            generation: schedule.generation,
            due,
            created: self.now.wall,
            phase,
            arrival: self.queue.arrival(),
            attempt: 0,
            budget: Default::default(),
            attempts: Vec::new(),
            first_start: None,
            progress: None,
            checkpoint: None,
            partial: Default::default(),
            failure: None,
            suspect: false,
            last_token: 0,
            lost_token: 0,
            waiters: Vec::new(),
            decided,
            dirty: false,
            stored: false,
            tallied: None,
        };
        let key = self.runs.insert(run);
        self.schedules[slot].past_mut().live.push(key);
        self.touch_run(key);
        self.touch(slot);
        if decided {
            self.emit_fired(key);
        }
        key
    }

    pub(super) fn emit_fired(&mut self, key: RunKey) {
        let run = &self.runs[key];
        let (id, definition, due) = (run.id, run.definition.clone(), run.due);
        self.totals.fire(id.trigger);
        self.emit(Event::Fired { id, definition, due, at: self.now.wall });
    }

    /// Records what became of all times from `first` to `last`, both among them.
    pub(super) fn decide_range(
        &mut self,
        slot: SlotKey,
        verdict: Verdict,
        first: i64,
        last: i64,
        run: Option<RunId>,
    ) {
        self.decide_behind(slot);
        let count = self.schedules[slot].times().count(first - 1, last);
        self.decide(slot, verdict, (first, last, count), run.map(|run| (run.trigger, run.nominal)));
    }

    /// Records what became of a range of times: first, last, and how many.
    pub(super) fn decide(
        &mut self,
        slot: SlotKey,
        verdict: Verdict,
        (first, last, count): (i64, i64, Option<u64>),
        run: Option<(Trigger, i64)>,
    ) {
        let time = self.now.wall;
        let schedule = &mut self.schedules[slot];
        if let Some(older) = schedule.record(Decision { verdict, first, last, count, time, run }) {
            self.keep_record(slot, Ring::Decisions, crate::record::decision(&older));
        }
        self.touch(slot);
    }

    /// Moves on: all up to `through` has its decision.
    pub(super) fn decided(&mut self, slot: SlotKey, through: i64) {
        let schedule = &mut self.schedules[slot];
        schedule.decided_through = schedule.decided_through.max(through);
        self.find_next(slot);
        self.touch(slot);
        self.arm(slot);
        self.remove_if_over(slot);
    }

    /// The first time that is not decided. A schedule that has none has ended.
    pub(super) fn find_next(&mut self, slot: SlotKey) {
        let schedule = &mut self.schedules[slot];
        schedule.next = schedule.times().next(schedule.decided_through);
        if planted(Bug::ClockBackFiresAgain) {
            schedule.next = schedule.times().next(schedule.decided_through.min(self.now.wall));
        }
        let max_runs = if planted(Bug::MaxRunsIgnored) { 0 } else { schedule.definition.max_runs };
        if max_runs > 0 && schedule.past().runs >= max_runs {
            schedule.next = None;
        }
        if schedule.next.is_none() && schedule.status == Status::Active {
            schedule.status = Status::Ended;
            let actor = self.own_name();
            self.emit_schedule(slot, ScheduleChange::Ended, &actor);
        }
    }

    /// Times that were due by `through` and that nothing fired for.
    pub(super) fn skip(&mut self, slot: SlotKey, verdict: Verdict, through: i64) {
        let schedule = &self.schedules[slot];
        let after = schedule.decided_through;
        let times = schedule.times();
        // A time inside a pause whose due time is still to come is not decided yet.
        let through = schedule.last_due(through);
        let Some((first, last)) = times.next(after).zip(times.latest(after, through)) else { return };
        self.decide_range(slot, verdict, first, last, None);
        let schedule = &mut self.schedules[slot];
        schedule.decided_through = last;
        schedule.set_rare(|rare| rare.catch_up = None);
        schedule.next = schedule.times().next(last);
    }

    /// Sets the timers that the schedule's state asks for, and clears those that it does not.
    pub(super) fn arm(&mut self, slot: SlotKey) {
        let schedule = &mut self.schedules[slot];
        let wanted = schedule.timer(slot);
        let armed = std::mem::replace(&mut schedule.armed, wanted);
        if armed == wanted && wanted.is_none_or(|(at, timer)| self.timers.has_wall(at, timer)) {
            return;
        }
        if let Some((at, timer)) = armed {
            self.timers.clear_wall(at, timer);
        }
        if let Some((at, timer)) = wanted {
            self.timers.set_wall(at, timer);
        }
    }

    fn note_lateness(&mut self, due: i64) {
        const KEPT: usize = 1_000;
        if self.lateness.len() == KEPT {
            self.lateness.pop_front();
        }
        self.lateness.push_back(self.now.wall.saturating_sub(due).max(0));
    }
}
