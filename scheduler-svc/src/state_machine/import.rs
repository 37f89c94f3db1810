//! Many schedules in one command: saved as users save them, or restored as another server had them.
//!
//! The states of one uid are one history: its counters only grow. So a restore knows which of two states is the later
//! one: it takes a later one, leaves alone what has gone on since, and refuses what has gone two ways. That makes a
//! repeated restore a no-op, and never takes back a decision.

use std::sync::Arc;

use super::{
    StateMachine,
    command::{DeleteNamed, Import, ImportItem},
    definition::Definition,
    difference,
    id::{ReplyTo, Trigger},
    output::{Answer, Change, Conflict, Difference, Imported, Refusal, ScheduleChange},
    poison,
    run::Phase,
    save::Saved,
    schedule::{Past, Schedule, SlotKey, Span, Status},
    snapshot::{Snapshot, derive},
};

/// A change, and the fields of an update that was only checked.
type Outcome = Result<(Change, Vec<&'static str>), Refusal>;

/// How a record stands to the schedule of its uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The schedule has come as far, or further.
    Older,
    Later,
    /// Both were changed since they were one.
    Apart,
}

impl StateMachine {
    pub(super) fn import(&mut self, to: ReplyTo, import: &Import) {
        let mut imported = Imported::default();
        for item in &import.items {
            let id = match item {
                ImportItem::Save(definition, _) => &definition.key.id,
                ImportItem::Restore(snapshot) => &snapshot.definition.key.id,
            };
            poison::trip(poison::At::Command, id);
            match self.import_item(item, import) {
                Ok((change, fields)) => {
                    match change {
                        Change::Created => imported.created += 1,
                        Change::Updated => imported.updated += 1,
                        Change::Unchanged => imported.unchanged += 1,
                    }
                    if import.validate_only && change != Change::Unchanged {
                        imported.differences.push(Difference { id: id.clone(), change, fields });
                    }
                }
                Err(refusal) => imported.refused.push((id.clone(), refusal)),
            }
        }
        self.answer(to, Answer::Imported(Box::new(imported)));
    }

    fn import_item(&mut self, item: &ImportItem, import: &Import) -> Outcome {
        match item {
            ImportItem::Restore(snapshot) => self.restore(snapshot, import.validate_only, &import.actor),
            ImportItem::Save(definition, uid) => {
                match self.save(definition, *uid, import.validate_only, &import.actor)? {
                    Saved::Checked(after, Change::Updated) => {
                        let before = self.index.get(&definition.key).map(|slot| &self.schedules[slot]);
                        let before = before.map(|before| &*before.definition);
                        let fields = before.map(|before| difference::definition(before, &after.definition));
                        Ok((Change::Updated, fields.unwrap_or_default()))
                    }
                    Saved::Checked(_, change) | Saved::Stored(_, change) => Ok((change, Vec::new())),
                }
            }
        }
    }

    pub(super) fn delete_named(&mut self, to: ReplyTo, delete: &DeleteNamed) {
        let mut deleted = 0;
        for (key, uid) in &delete.schedules {
            let slot = self.index.get(key).filter(|slot| self.schedules[*slot].uid == *uid);
            if let Some(slot) = slot {
                self.remove_schedule(slot, false, &delete.actor);
                deleted += 1;
            }
        }
        self.answer(to, Answer::Deleted(deleted));
    }

    // --- restore ---------------------------------------------------------------------------------------------

    fn restore(&mut self, record: &Snapshot, validate_only: bool, actor: &Arc<str>) -> Outcome {
        let of_uid = self.slot_of(record.uid);
        let of_id = self.index.get(&record.definition.key);
        let slot = match (of_uid, of_id) {
            (None, None) => return self.restore_new(record, validate_only, actor),
            (None, Some(other)) => return conflict(Conflict::IdTaken(self.schedules[other].uid)),
            (Some(slot), Some(same)) if slot == same => slot,
            (Some(slot), _) if self.schedules[slot].status == Status::Deleted => {
                return conflict(Conflict::Ending);
            }
            (Some(_), _) => return conflict(Conflict::UidTaken),
        };
        match standing(&self.schedules[slot], record) {
            Standing::Older => Ok((Change::Unchanged, Vec::new())),
            Standing::Apart => conflict(Conflict::Diverged),
            Standing::Later if validate_only => {
                let fields = difference::snapshot(&self.snapshot(slot), record);
                Ok((Change::Updated, fields))
            }
            Standing::Later => self.restore_later(slot, record, actor),
        }
    }

    /// What was due here before is decided by what held here, which may end a pause: then it is to be asked again.
    fn restore_later(&mut self, slot: SlotKey, record: &Snapshot, actor: &Arc<str>) -> Outcome {
        if !self.settle(slot) {
            return self.restore_new(record, false, actor);
        }
        match standing(&self.schedules[slot], record) {
            Standing::Older => Ok((Change::Unchanged, Vec::new())),
            Standing::Apart => conflict(Conflict::Diverged),
            Standing::Later => {
                self.restore_over(slot, record, actor);
                Ok((Change::Updated, Vec::new()))
            }
        }
    }

    fn restore_new(&mut self, record: &Snapshot, validate_only: bool, actor: &Arc<str>) -> Outcome {
        self.check_room(&record.definition.key.namespace)?;
        if record.is_over() {
            return conflict(Conflict::Over);
        }
        if !validate_only {
            let definition = self.intern((*record.definition).clone());
            let slot = self.insert_schedule(record.to_schedule(Arc::new(definition), self.next_token));
            self.touch(slot);
            self.arm(slot);
            self.emit_schedule(slot, ScheduleChange::Created, actor);
            self.go_on(slot, record.waiting);
        }
        Ok((Change::Created, Vec::new()))
    }

    /// The later state takes the place of the one here. What was decided on either side stays decided.
    fn restore_over(&mut self, slot: SlotKey, record: &Snapshot, actor: &Arc<str>) {
        let definition = Arc::new(self.intern((*record.definition).clone()));
        let here = &self.schedules[slot];
        let waiting = record.waiting.filter(|at| *at > here.decided_through);
        let mut later = record.to_schedule(definition, self.next_token);
        later.decided_through = later.decided_through.max(here.decided_through);
        later.set_rare(|rare| {
            rare.last_manual = rare.last_manual.max(here.rare().last_manual);
            rare.backfill = common(&rare.backfill, &here.rare().backfill);
        });
        later.status = record.status;
        if record.revision == here.revision {
            // Only its times have gone on.
            (later.status, later.updated) = (here.status, here.updated);
            later.set_rare(|rare| rare.quarantine.clone_from(&here.rare().quarantine));
        }
        later.armed = here.armed;
        let (runs, failures) = (record.runs.max(here.past().runs), record.failures);
        later.set_past(Past { runs, failures, ..here.past().clone() });
        derive(&mut later);
        // Times that were decided elsewhere change nothing that an event tells.
        let shows = (later.revision, later.status) != (here.revision, here.status);
        self.exchange(slot, later);
        self.replace_behind(slot);
        self.arm(slot);
        // Into the queue or out of it, as a pause on either side says.
        for key in self.schedules[slot].past().live.clone() {
            if matches!(self.runs[key].phase, Phase::Ready(_)) {
                self.leave_phase(key);
                self.make_ready(key);
            }
        }
        if shows {
            self.emit_schedule(slot, ScheduleChange::Updated, actor);
        }
        self.go_on(slot, waiting);
        if self.schedules.contains(slot) {
            self.remove_if_over(slot);
        }
    }

    /// Begins what is to begin at once: what waited behind a run that stayed behind, missed times, a backfill.
    fn go_on(&mut self, slot: SlotKey, waiting: Option<i64>) {
        if let Some(nominal) = waiting {
            let due = nominal.saturating_add(self.schedules[slot].definition.spread_offset());
            self.create_behind(slot, Trigger::Scheduled, nominal, due, None);
        }
        self.advance(slot);
    }
}

/// What is left of a backfill on both sides: the rest has its run on one of them.
fn common(one: &[Span], other: &[Span]) -> Box<[Span]> {
    let overlap = |(a, b): (&Span, &Span)| Span { from: a.from.max(b.from), to: a.to.min(b.to) };
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
    pairs.map(overlap).filter(|span| span.from < span.to).collect()
}

fn conflict(conflict: Conflict) -> Outcome {
    Err(Refusal::Conflict(conflict))
}

fn standing(here: &Schedule, record: &Snapshot) -> Standing {
    let same_definition = same(&here.definition, &record.definition);
    if record.revision < here.revision {
        return Standing::Older;
    }
    if record.revision > here.revision {
        // A generation names one definition; a live run may be pinned to it.
        let grown =
            record.generation > here.generation || record.generation == here.generation && same_definition;
        return if grown { Standing::Later } else { Standing::Apart };
    }
    let gone_on = record.decided_through > here.decided_through
        || record.runs > here.past().runs
        || record.last_manual > here.rare().last_manual;
    match same_definition && record.generation == here.generation && record.pause.as_ref() == here.pause() {
        false => Standing::Apart,
        true if gone_on => Standing::Later,
        true => Standing::Older,
    }
}

fn same(one: &Arc<Definition>, other: &Arc<Definition>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
