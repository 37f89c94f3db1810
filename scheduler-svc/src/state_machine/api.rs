//! What users do to schedules: save, delete, pause, resume, trigger.

use std::{mem, sync::Arc};

use super::{
    StateMachine,
    command::{Delete, Pause as PauseCommand, Resume, TriggerNow, Upsert},
    crowd,
    definition::{Definition, Misfire},
    failure::{Class, Failure},
    id::{ReplyTo, RunId, Trigger, Uid},
    output::{Answer, Change, Event, Refusal, ScheduleChange},
    overlap::Room,
    poison,
    request::{Asked, Seen},
    retime::{anchor, begin, retime, same_times},
    run::Phase,
    schedule::{Dirty, Pause, PauseReason, Schedule, SlotKey, Status, Verdict},
    timing::Timing,
    view::{RunView, ScheduleView},
};
use crate::planted::{Bug, planted};

/// What came of saving a definition.
pub enum Saved {
    Stored(SlotKey, Change),
    /// Only checked: what there would be.
    Checked(Box<Schedule>, Change),
}

impl StateMachine {
    // --- upsert ----------------------------------------------------------------------------------------------

    pub(super) fn upsert(&mut self, to: ReplyTo, upsert: &Upsert) {
        let namespace = &upsert.definition.key.namespace;
        poison::trip(poison::At::Command, &upsert.definition.key.id);
        let seen = match self.seen(namespace, upsert.request.as_ref()) {
            Asked::New => None,
            Asked::Before(seen) => Some(seen),
            Asked::Otherwise => return self.refuse(to, Refusal::RequestIdReused),
        };
        let slot = self.index.get(&upsert.definition.key);
        if let Some(seen) = seen {
            return match slot {
                Some(slot) if seen.is_of_another(self.schedules[slot].uid) => {
                    self.refuse(to, Refusal::ScheduleReplaced);
                }
                Some(slot) => self.answer_upserted(to, slot, seen.change.unwrap_or(Change::Unchanged)),
                None => self.refuse(to, Refusal::ScheduleNotFound),
            };
        }
        if let Some(slot) = slot.filter(|_| upsert.create_only) {
            let etag = self.schedules[slot].etag();
            return self.refuse(to, Refusal::ScheduleExists { etag });
        }
        if let Err(refusal) = self.check_etag(slot, upsert.etag.as_deref()) {
            return self.refuse(to, refusal);
        }
        match self.save(&upsert.definition, upsert.uid, upsert.validate_only, &upsert.actor) {
            Err(refusal) => self.refuse(to, refusal),
            Ok(Saved::Stored(slot, change)) => {
                self.remember(
                    namespace,
                    upsert.request.as_ref(),
                    Seen::change(change).about(self.schedules[slot].uid),
                );
                self.answer_upserted(to, slot, change);
            }
            Ok(Saved::Checked(schedule, change)) => self.answer_view(to, &schedule, change),
        }
    }

    /// Creates or replaces. `uid` is for a schedule that is new. With `validate_only` nothing is changed.
    pub(super) fn save(
        &mut self,
        definition: &Definition,
        uid: Uid,
        validate_only: bool,
        actor: &Arc<str>,
    ) -> Result<Saved, Refusal> {
        let definition = self.intern(definition.clone());
        let Some(slot) = self.index.get(&definition.key) else {
            return self.create(definition, uid, validate_only, actor);
        };
        let schedule = &self.schedules[slot];
        if *schedule.definition != definition || schedule.status == Status::Quarantined {
            return self.update(slot, definition, uid, validate_only, actor);
        }
        if validate_only {
            return Ok(Saved::Checked(Box::new(schedule.clone()), Change::Unchanged));
        }
        self.schedules[slot].acted = self.next_token;
        Ok(Saved::Stored(slot, Change::Unchanged))
    }

    fn create(
        &mut self,
        definition: Definition,
        uid: Uid,
        validate_only: bool,
        actor: &Arc<str>,
    ) -> Result<Saved, Refusal> {
        let now = self.now.wall;
        self.check_room(&definition.key.namespace)?;
        let (anchor, decided_through) =
            (anchor(&definition.timing).unwrap_or(now), begin(&definition.timing, now));
        let next = definition.times(anchor).next(decided_through);
        if next.is_none() {
            return Err(Refusal::NeverFires);
        }
        let schedule = Schedule {
            anchor,
            decided_through,
            next,
            dirty: Dirty { state: true, definition: true, listed: false },
            ..Schedule::new(uid, Arc::new(definition), now)
        };
        if validate_only {
            return Ok(Saved::Checked(Box::new(schedule), Change::Created));
        }
        let slot = self.insert_schedule(schedule);
        self.touch(slot);
        self.arm(slot);
        self.emit_schedule(slot, ScheduleChange::Created, actor);
        Ok(Saved::Stored(slot, Change::Created))
    }

    /// Whether the namespace takes one more schedule.
    pub(super) fn check_room(&self, namespace: &Arc<str>) -> Result<(), Refusal> {
        let limit = self.config.schedules_per_namespace;
        let full = self.index.len_of(namespace) >= limit;
        if full { Err(Refusal::TooManySchedules { limit }) } else { Ok(()) }
    }

    fn update(
        &mut self,
        slot: SlotKey,
        definition: Definition,
        uid: Uid,
        validate_only: bool,
        actor: &Arc<str>,
    ) -> Result<Saved, Refusal> {
        let now = self.now.wall;
        let new_timing = !same_times(&self.schedules[slot].definition, &definition);
        if !validate_only && !self.settle_for_update(slot, new_timing) {
            return self.create(definition, uid, validate_only, actor);
        }
        let mut changed = self.schedules[slot].clone();
        let old = mem::replace(&mut changed.definition, Arc::new(definition));
        changed.anchor = anchor(&changed.definition.timing).unwrap_or_else(|| match old.timing {
            Timing::Every { .. } => changed.anchor,
            Timing::Cron(_) | Timing::At(_) => now,
        });
        let replaced = if new_timing {
            retime(&mut changed, &old, self.schedules[slot].anchor, now)
        } else {
            Vec::new()
        };
        changed.next = changed.times().next(changed.decided_through);
        let spent = changed.definition.max_runs > 0 && changed.past().runs >= changed.definition.max_runs;
        if changed.next.is_none() || spent {
            return Err(Refusal::NeverFires);
        }
        if matches!(changed.status, Status::Ended | Status::Quarantined) {
            changed.status = Status::Active;
            changed.set_rare(|rare| rare.quarantine = None);
        }
        (changed.generation, changed.revision, changed.updated) =
            (changed.generation + 1, changed.revision + 1, now);
        if validate_only {
            return Ok(Saved::Checked(Box::new(changed), Change::Updated));
        }
        changed.acted = self.next_token;
        if new_timing {
            // What is left of them names times of a timing that is no more.
            changed.set_rare(|rare| (rare.catch_up, rare.backfill) = (None, Box::default()));
        }
        if !matches!(changed.definition.misfire, Misfire::All { .. }) {
            // What was still to be caught up on one by one is due at once.
            changed.set_rare(|rare| rare.catch_up = None);
        }
        self.exchange(slot, changed);
        self.replace_behind(slot);
        for range in replaced {
            self.decide(slot, Verdict::Replaced, range, None);
        }
        self.arm(slot);
        self.emit_schedule(slot, ScheduleChange::Updated, actor);
        self.release_held(slot);
        self.advance(slot);
        Ok(Saved::Stored(slot, Change::Updated))
    }

    /// Puts a changed schedule in the place of what it was.
    pub(super) fn exchange(&mut self, slot: SlotKey, mut changed: Schedule) {
        changed.dirty = Dirty { state: true, definition: true, listed: false };
        if changed.status != Status::Quarantined {
            self.drop_unreadable(changed.uid);
        }
        let former = mem::replace(&mut self.schedules[slot], changed);
        let current = &self.schedules[slot].definition;
        self.gates.count_uses(Some(&former.definition), Some(current));
        self.crowds.count_uses(Some(&former.definition), Some(current));
        self.touch(slot);
        self.forget_generation(slot, former.generation);
    }

    /// What was due before a change is decided by what held then. Returns whether the schedule still exists.
    pub(super) fn settle_for_update(&mut self, slot: SlotKey, new_timing: bool) -> bool {
        if !self.settle(slot) {
            return false;
        }
        match self.schedules[slot].status {
            Status::Paused if new_timing => self.skip(slot, Verdict::Paused, self.now.wall),
            // The times since max_runs was reached; else a higher bound would catch up on them.
            Status::Ended => self.skip(slot, Verdict::Limit, self.now.wall),
            Status::Active | Status::Paused | Status::Quarantined | Status::Deleted => {}
        }
        true
    }

    /// Equal texts share memory.
    pub(super) fn intern(&mut self, mut definition: Definition) -> Definition {
        definition.key.namespace = self.name(&definition.key.namespace);
        definition.tenant = self.name(&definition.tenant);
        if let Some(known) = self.terms.get(&definition.terms) {
            definition.terms = known;
            return definition;
        }
        definition.task.kind = self.name(&definition.task.kind);
        definition.timing = self.crons.intern(definition.timing.clone());
        definition.terms = self.terms.share(definition.terms);
        definition
    }

    fn check_etag(&self, slot: Option<SlotKey>, etag: Option<&str>) -> Result<(), Refusal> {
        let Some(etag) = etag else { return Ok(()) };
        let current = slot.map(|slot| self.schedules[slot].etag()).unwrap_or_default();
        if current == etag || planted(Bug::EtagIgnored) {
            Ok(())
        } else {
            Err(Refusal::EtagMismatch { current })
        }
    }

    fn answer_upserted(&mut self, to: ReplyTo, slot: SlotKey, change: Change) {
        let schedule = self.schedules[slot].clone();
        self.answer_view(to, &schedule, change);
    }

    fn answer_view(&mut self, to: ReplyTo, schedule: &Schedule, change: Change) {
        let active = schedule.live().iter().map(|key| self.runs[*key].id).collect();
        let no_worker = !self.has_worker(&schedule.definition);
        let crowd = self.others_in_crowd(&schedule.definition);
        let schedule = Box::new(ScheduleView::of(schedule, active));
        self.answer(to, Answer::Upserted { schedule, change, no_worker, crowd });
    }

    /// How many others are due in the same seconds. The schedule itself may be counted with them, or not yet.
    fn others_in_crowd(&self, definition: &Definition) -> u32 {
        let saved = self.index.get(&definition.key).map(|slot| &self.schedules[slot].definition);
        let itself = saved.is_some_and(|saved| crowd::same(saved, definition));
        self.crowds.of(definition).saturating_sub(u32::from(itself))
    }

    // --- delete ----------------------------------------------------------------------------------------------

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

    // --- pause and resume ------------------------------------------------------------------------------------

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

    // --- trigger ---------------------------------------------------------------------------------------------

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
