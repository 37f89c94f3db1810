//! Schedules come back, with what is derived of them: next times, the index of names, timers.

use std::{cmp::Ordering, mem, sync::Arc};

use bytes::Bytes;

use super::{
    definitions::Definitions,
    parts, readable,
    texts::{Known, Near, Texts},
};
use crate::{
    planted::{Bug, planted},
    record::{self, Unreadable},
    state_machine::{
        StateMachine,
        crowd::Crowds,
        definition::ScheduleKey,
        gate::Gates,
        hash,
        id::Uid,
        index::Index,
        schedule::{Schedule, SlotKey, Status},
    },
    store::key::Name,
};

impl StateMachine {
    pub(super) fn load_definitions(&mut self, stored: Vec<((Uid, u32), Bytes)>) -> Definitions {
        let count = stored.len();
        let texts = Texts::new(Known {
            crons: mem::take(&mut self.crons),
            terms: mem::take(&mut self.terms),
            names: mem::take(&mut self.names),
        });
        let (read, _) = parts::map(stored, |near: &mut Near, (of, value)| {
            let name = Name::Definition(of.0, of.1);
            (of, readable(&name, || texts.definition(near, value)))
        });
        let mut definitions = Vec::with_capacity(count);
        for (of, definition) in read {
            if let Some(definition) = self.noted(definition) {
                definitions.push((of, definition));
            } else {
                self.unreadable_of.entry(of.0).or_default().push(Name::Definition(of.0, of.1));
            }
        }
        Known { crons: self.crons, terms: self.terms, names: self.names } = texts.into_inner();
        Definitions::new(definitions)
    }

    fn add_uses(&mut self, uses: Uses) {
        self.gates.add_uses(uses.gates);
        self.crowds.add(uses.crowds);
    }

    /// Returns those whose state cannot be read.
    pub(super) fn load_schedules(
        &mut self,
        states: Vec<(Uid, Bytes)>,
        definitions: &Definitions,
    ) -> Vec<Uid> {
        let count = states.len();
        let (mut named, mut timers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut unknown = Vec::new();
        let (read, met) = parts::map(states, |met: &mut Met, (uid, value)| {
            let read = readable(&Name::State(uid), || read_schedule(uid, value, definitions, &mut met.near));
            read.map(|(schedule, stored_next)| {
                (met.name(&schedule), schedule.timer(ANY_SLOT), stored_next, schedule)
            })
            .map_err(|error| (uid, error))
        });
        met.into_iter().for_each(|met| self.add_uses(met.uses));
        self.reserve(count);
        for schedule in read {
            match schedule {
                Ok((name, timer, stored_next, mut schedule)) => {
                    let has_moved = self.former_tzdb.is_some() && stored_next != schedule.next;
                    let slot = self.schedules.next();
                    schedule.armed = timer.map(|(at, timer)| (at, timer.of(slot)));
                    named.extend(name.map(|key| Named::new(key, slot)));
                    timers.extend(schedule.armed);
                    self.moved.extend(has_moved.then_some(slot));
                    self.history.add(&schedule);
                    self.schedules.insert(schedule);
                }
                Err((uid, error)) => {
                    self.unreadable.push(error);
                    unknown.push(uid);
                }
            }
        }
        // What takes much memory is made here: this thread has read the store, and left room free.
        let Self { schedules, by_uid, index, timers: armed, .. } = self;
        let find_by_uid = || {
            for (slot, schedule) in schedules.iter() {
                by_uid.insert_unique(hash(schedule.uid), slot, |slot| hash(schedules[*slot].uid));
            }
        };
        parts::both(find_by_uid, || {
            parts::sort(&mut named);
            *index = Index::of(named.into_iter().map(|Named { key, slot, .. }| (key, slot)).collect());
            parts::sort(&mut timers);
            armed.set_all_wall(timers);
        });
        unknown
    }
}

/// A timer's, before its schedule has one.
const ANY_SLOT: SlotKey = 0;

/// A name to be sorted. Many are compared by their beginnings alone, without a look into the memory of the text.
#[derive(PartialEq, Eq)]
struct Named {
    beginning: u128,
    key: ScheduleKey,
    slot: SlotKey,
}

impl Named {
    fn new(key: ScheduleKey, slot: SlotKey) -> Self {
        let mut beginning = [0; 16];
        let length = key.id.len().min(beginning.len());
        beginning[..length].copy_from_slice(&key.id.as_bytes()[..length]);
        Self { beginning: u128::from_be_bytes(beginning), key, slot }
    }
}

impl Ord for Named {
    /// As the keys.
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.key.namespace, &other.key.namespace) && self.beginning != other.beginning {
            return self.beginning.cmp(&other.beginning);
        }
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What the named schedules of one part share with others.
#[derive(Default)]
struct Uses {
    gates: Gates,
    crowds: Crowds,
}

/// What one part has met.
#[derive(Default)]
struct Met {
    /// Where the last definition was found.
    near: usize,
    uses: Uses,
}

impl Met {
    /// The name by which it is to be found, if it is; then it counts.
    fn name(&mut self, schedule: &Schedule) -> Option<ScheduleKey> {
        let named = schedule.status != Status::Deleted;
        named.then(|| {
            let definition = &*schedule.definition;
            self.uses.gates.count_uses(None, Some(definition));
            self.uses.crowds.count_uses(None, Some(definition));
            definition.key.clone()
        })
    }
}

/// With its next time as it was stored.
fn read_schedule(
    uid: Uid,
    value: Bytes,
    definitions: &Definitions,
    near: &mut usize,
) -> Result<(Schedule, Option<i64>), Unreadable> {
    let mut schedule = record::read_state(uid, value, |generation| definitions.get(uid, generation, near))?;
    if planted(Bug::DecidedForgottenAtLoad) {
        schedule.decided_through -= 3_600_000;
    }
    if planted(Bug::QuarantineLostAtLoad) && schedule.status == Status::Quarantined {
        schedule.status = Status::Active;
    }
    let stored_next = schedule.next;
    schedule.next = schedule.times().next(schedule.decided_through);
    if schedule.definition.max_runs > 0 && schedule.past().runs >= schedule.definition.max_runs {
        schedule.next = None;
    }
    Ok((schedule, stored_next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_their_keys_are() {
        let long = "a-mailbox-of-many-letters";
        let ids = ["", "a", "a\u{1}", "ab", "b", "ä", long, &format!("{long}-1"), &long[..16], &long[..15]];
        let namespaces: [Arc<str>; 2] = ["one".into(), "other".into()];
        let keys = namespaces.iter().flat_map(|namespace| {
            ids.iter().map(|id| ScheduleKey { namespace: namespace.clone(), id: (*id).into() })
        });
        let mut keys: Vec<ScheduleKey> = keys.collect();
        let mut named: Vec<Named> = keys.iter().map(|key| Named::new(key.clone(), 0)).collect();
        keys.sort();
        named.sort();
        assert!(named.iter().map(|named| &named.key).eq(&keys));
    }
}
