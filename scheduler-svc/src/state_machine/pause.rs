//! Pausing and resuming schedules, and what becomes of their runs and times meanwhile.

use std::sync::Arc;

use super::{
    StateMachine,
    command::{Pause as PauseCommand, Resume},
    definition::Misfire,
    failure::{Class, Failure},
    id::ReplyTo,
    output::{Answer, Event, Refusal, ScheduleChange},
    request::Seen,
    run::Phase,
    schedule::{Pause, PauseReason, SlotKey, Status, Verdict},
};
use crate::planted::{Bug, planted};

impl StateMachine {
    pub(super) fn pause_schedule(&mut self, to: ReplyTo, command: &PauseCommand) {
        let request = command.request.as_ref();
        let Some((slot, seen)) = self.named(to, &command.key, request) else { return };
        let changed = match &seen {
            Some(seen) => seen.count > 0,
            None => self.begin_pause(slot, &command.note, command.until, &command.actor),
        };
        if seen.is_none() {
            let seen = Seen::count(changed.into()).about(self.schedules[slot].uid);
            self.remember(&command.key.namespace, request, seen);
        }
        let schedule = Box::new(self.view(slot));
        self.answer(to, Answer::Paused { schedule, changed });
    }

    /// Returns whether anything has changed.
    pub(super) fn begin_pause(
        &mut self,
        slot: SlotKey,
        note: &str,
        until: Option<i64>,
        actor: &Arc<str>,
    ) -> bool {
        let pause = Pause {
            reason: PauseReason::Requested,
            note: note.into(),
            actor: actor.clone(),
            time: self.now.wall,
            until,
        };
        let schedule = &self.schedules[slot];
        let same = schedule.pause().is_some_and(|now| (now.note == pause.note) && now.until == pause.until);
        if schedule.status != Status::Active && (schedule.status != Status::Paused || same) {
            return false;
        }
        self.pause(slot, pause);
        true
    }

    pub(super) fn pause(&mut self, slot: SlotKey, pause: Pause) {
        let schedule = &mut self.schedules[slot];
        if !matches!(schedule.status, Status::Active | Status::Paused) {
            return;
        }
        let actor = pause.actor.clone();
        schedule.status = Status::Paused;
        schedule.updated = pause.time;
        schedule.revision += 1;
        schedule.set_rare(|rare| rare.pause = Some(pause));
        for key in schedule.past().live.clone() {
            if matches!(self.runs[key].phase, Phase::Ready(Some(_))) && !planted(Bug::PauseHoldsNothing) {
                self.leave_phase(key);
                self.make_ready(key);
            }
        }
        self.touch(slot);
        self.arm(slot);
        self.emit_schedule(slot, ScheduleChange::Paused, &actor);
    }

    pub(super) fn emit_schedule(&mut self, slot: SlotKey, change: ScheduleChange, actor: &Arc<str>) {
        let view = Box::new(self.view(slot));
        self.emit(Event::Schedule { change, view, actor: actor.clone(), at: self.now.wall });
    }

    /// The service itself, as an actor.
    pub(super) fn own_name(&mut self) -> Arc<str> {
        self.name(&"docket".into())
    }

    pub(super) fn resume_schedule(&mut self, to: ReplyTo, command: &Resume) {
        let request = command.request.as_ref();
        let Some((slot, seen)) = self.named(to, &command.key, request) else { return };
        let paused = self.schedules[slot].status == Status::Paused;
        let changed = seen.as_ref().map_or(paused, |seen| seen.count > 0);
        if seen.is_none() {
            let uid = self.schedules[slot].uid;
            if paused {
                self.resume(slot, self.now.wall, command.catch_up, &command.actor);
            }
            self.remember(&command.key.namespace, request, Seen::count(changed.into()).about(uid));
        }
        if !self.schedules.contains(slot) {
            // No time was left, and the schedule was to be deleted then.
            return self.refuse(to, Refusal::ScheduleNotFound);
        }
        let schedule = Box::new(self.view(slot));
        self.answer(to, Answer::Resumed { schedule, changed });
    }

    pub(super) fn pause_over(&mut self, slot: SlotKey) {
        let until = self.schedules[slot].pause().and_then(|pause| pause.until);
        let actor = self.own_name();
        // A time at the very end is not the pause's: "until noon" leaves noon alone.
        self.resume(slot, until.map_or(self.now.wall, |until| until - 1), false, &actor);
    }

    /// Ends a pause as of `at`. Its times are skipped; with `catch_up` the latest of them runs after all.
    pub(super) fn resume(&mut self, slot: SlotKey, at: i64, catch_up: bool, actor: &Arc<str>) {
        let schedule = &self.schedules[slot];
        let latest =
            schedule.times().latest(schedule.decided_through, schedule.last_due(at)).filter(|_| catch_up);
        let through =
            latest.map_or(at, |latest| latest.saturating_add(schedule.definition.spread_offset()) - 1);
        if !planted(Bug::PauseTimesRun) {
            self.skip(slot, Verdict::Paused, through);
        }
        let schedule = &mut self.schedules[slot];
        schedule.status = Status::Active;
        schedule.set_rare(|rare| rare.pause = None);
        schedule.updated = self.now.wall;
        schedule.acted = self.next_token;
        schedule.revision += 1;
        // A row of failures that led to the pause is forgiven with it.
        schedule.past_mut().failures = 0;
        self.touch(slot);
        self.emit_schedule(slot, ScheduleChange::Resumed, actor);
        let through = self.schedules[slot].decided_through;
        self.decided(slot, through);
        if self.schedules.contains(slot) {
            self.catch_up_after_pause(slot, latest);
        }
        if self.schedules.contains(slot) {
            self.settle(slot);
            self.release_held(slot);
            self.advance(slot);
        }
    }

    /// A time that was asked for runs however late it is, which misfire `skip` would not let it.
    fn catch_up_after_pause(&mut self, slot: SlotKey, latest: Option<i64>) {
        let schedule = &self.schedules[slot];
        let Some(latest) = latest.filter(|latest| schedule.next == Some(*latest)) else { return };
        if schedule.status == Status::Active && schedule.definition.misfire == Misfire::Skip {
            self.fire_latest(slot, latest, latest);
        }
    }

    /// A time that waits behind a live run and that a new timing does not name.
    pub(super) fn replace_behind(&mut self, slot: SlotKey) {
        let Some(key) = self.behind(slot).filter(|key| !self.runs[*key].decided) else { return };
        let nominal = self.runs[key].id.nominal;
        if !self.schedules[slot].times().names(nominal) {
            self.decide(slot, Verdict::Replaced, (nominal, nominal, Some(1)), None);
            let why = "the timing was changed before it began";
            self.discard(key, Failure::new(Class::Cancelled, "REPLACED", why));
        }
    }

    /// Runs that a pause held go back into the queue.
    pub(super) fn release_held(&mut self, slot: SlotKey) {
        let held = self.schedules.get(slot).map(|schedule| schedule.past().live.clone());
        for key in held.unwrap_or_default() {
            if matches!(self.runs[key].phase, Phase::Ready(None)) && !planted(Bug::PauseLosesQueued) {
                self.make_ready(key);
            }
        }
    }
}
