//! Schedules come back, with what is derived of them: next times, the index of names, timers.

use std::mem;

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
        id::Uid,
        index::Index,
        schedule::{Schedule, Status},
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
        self.reserve(states.len());
        let (mut named, mut timers) = (Vec::with_capacity(states.len()), Vec::with_capacity(states.len()));
        let mut unknown = Vec::new();
        let (read, met) = parts::map(states, |met: &mut Met, (uid, value)| {
            let read = readable(&Name::State(uid), || read_schedule(uid, value, definitions, &mut met.near));
            read.map(|(schedule, stored_next)| (met.name(&schedule), schedule, stored_next))
                .map_err(|error| (uid, error))
        });
        met.into_iter().for_each(|met| self.add_uses(met.uses));
        for schedule in read {
            match schedule {
                Ok((name, schedule, stored_next)) => {
                    let has_moved = self.former_tzdb.is_some() && stored_next != schedule.next;
                    let slot = self.add_schedule(schedule);
                    named.extend(name.map(|name| (name, slot)));
                    let timer = self.schedules[slot].timer(slot);
                    self.schedules[slot].armed = timer;
                    timers.extend(timer);
                    self.moved.extend(has_moved.then_some(slot));
                }
                Err((uid, error)) => {
                    self.unreadable.push(error);
                    unknown.push(uid);
                }
            }
        }
        parts::sort(&mut named);
        parts::sort(&mut timers);
        self.index = Index::of(named);
        self.timers.set_all_wall(timers);
        unknown
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
