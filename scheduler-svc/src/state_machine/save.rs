//! Saving schedules: what an upsert makes, changes, or leaves as it is.

use std::{mem, sync::Arc};

use super::{
    StateMachine,
    command::Upsert,
    crowd,
    definition::{Definition, Misfire},
    id::{ReplyTo, Uid},
    output::{Answer, Change, Refusal, ScheduleChange},
    poison,
    request::{Asked, Seen},
    retime::{anchor, begin, retime, same_times},
    schedule::{Dirty, Schedule, SlotKey, Status, Verdict},
    timing::Timing,
    view::ScheduleView,
};
use crate::planted::{Bug, planted};

/// What came of saving a definition.
pub enum Saved {
    Stored(SlotKey, Change),
    /// Only checked: what there would be.
    Checked(Box<Schedule>, Change),
}

impl StateMachine {
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

    pub(super) fn check_etag(&self, slot: Option<SlotKey>, etag: Option<&str>) -> Result<(), Refusal> {
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
}
