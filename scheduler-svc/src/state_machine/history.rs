//! What became of runs and times: cold records in three rings per schedule (rule H).
//!
//! Each record lies under its number in its ring, counted from 0. A schedule knows how many it has written and how many
//! of the newest are kept; what is more than the setting is deleted in the commit that adds one. So the store never
//! reads to trim, a setting may change at any time, and a ring of another size than today's is found and deleted whole.
//! (A schedule whose state cannot be read has lost its numbers: it begins anew, and the records it had stay.)
//!
//! History is metered: each record counts its key and value in units of 128 bytes, rounded up, and the hot state holds
//! the units of each, so the sum is exact, also after a load. Over the bound, a hand goes round the schedules, in
//! windows: of each window it shrinks the rings of the eighth that was active longest ago, to the newest record each;
//! when a whole round finds no more of these, to nothing. So "the oldest first" holds among neighbours in memory, and
//! over all within a few rounds; it costs no order of all schedules by age.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    StateMachine,
    id::Uid,
    run::{Finished, Outcome},
    schedule::{LastRun, Past, Schedule, SlotKey},
};
use crate::{
    record,
    store::{Key, key::Name},
};

/// What records are metered in, bytes.
pub const UNIT: u64 = 128;
/// Schedules that one turn of the hand looks at.
const WINDOW: SlotKey = 256;
/// Of these it shrinks at most so many.
const SHRUNK: usize = WINDOW as usize / 8;
/// Slots of rings as an earlier program numbered them: modulo these.
const FORMER_RUNS: u32 = 10;
const FORMER_DECISIONS: u32 = 15;

/// How many entries a namespace keeps per schedule. 1 to 100 each, so that the last of each kind is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub runs: u8,
    pub failed_runs: u8,
    /// The newest of them is in the hot state.
    pub decisions: u8,
}

impl Default for Kept {
    fn default() -> Self {
        Self { runs: 10, failed_runs: 10, decisions: 16 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    Decisions,
    /// Runs that succeeded, and runs that did not: so a last success outlives a row of failures.
    Succeeded,
    Unsucceeded,
}

impl Ring {
    pub const ALL: [Self; 3] = [Self::Decisions, Self::Succeeded, Self::Unsucceeded];

    pub fn name(self, uid: Uid, number: u32) -> Name {
        match self {
            Self::Decisions => Name::Decision(uid, number),
            Self::Succeeded => Name::Succeeded(uid, number),
            Self::Unsucceeded => Name::Unsucceeded(uid, number),
        }
    }
}

/// How far a schedule's rings are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// How many entries were ever written to each ring; the number of the next.
    pub decisions: u32,
    pub succeeded: u32,
    pub unsucceeded: u32,
    /// How many of the newest are kept.
    pub kept_decisions: u8,
    pub kept_succeeded: u8,
    pub kept_unsucceeded: u8,
    /// Its records lie where an earlier program put them. They go with the next one.
    pub former: bool,
}

impl Rings {
    /// Numbers of the records that are kept, oldest first.
    pub fn numbers(&self, ring: Ring) -> Range<u32> {
        let (written, kept) = match ring {
            Ring::Decisions => (self.decisions, self.kept_decisions),
            Ring::Succeeded => (self.succeeded, self.kept_succeeded),
            Ring::Unsucceeded => (self.unsucceeded, self.kept_unsucceeded),
        };
        written.saturating_sub(kept.into())..written
    }

    fn of(&mut self, ring: Ring) -> (&mut u32, &mut u8) {
        match ring {
            Ring::Decisions => (&mut self.decisions, &mut self.kept_decisions),
            Ring::Succeeded => (&mut self.succeeded, &mut self.kept_succeeded),
            Ring::Unsucceeded => (&mut self.unsucceeded, &mut self.kept_unsucceeded),
        }
    }

    pub fn kept(&self, ring: Ring) -> usize {
        self.numbers(ring).len()
    }
}

/// Units of each end of a run that is kept: those that succeeded, oldest first, then the others. A decision is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes(SmallVec<[u8; 16]>);

impl Sizes {
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Schedule {
    /// What its history takes, bytes.
    pub fn history_bytes(&self) -> u64 {
        let Past { rings, sizes, .. } = self.past();
        let ends: u64 = sizes.0.iter().map(|units| u64::from(*units)).sum();
        (ends + u64::from(rings.kept_decisions)) * UNIT
    }

    /// A record of so many units is written. Returns its number.
    fn note_record(&mut self, ring: Ring, units: u8) -> u32 {
        let Past { rings, sizes, .. } = self.past_mut();
        match ring {
            Ring::Decisions => {}
            Ring::Succeeded => sizes.0.insert(rings.kept(Ring::Succeeded), units),
            Ring::Unsucceeded => sizes.0.push(units),
        }
        let (written, kept) = rings.of(ring);
        *kept += 1;
        *written += 1;
        *written - 1
    }

    /// The oldest record of a ring goes. Returns its number and units.
    fn forget_oldest(&mut self, ring: Ring) -> (u32, u8) {
        let Past { rings, sizes, .. } = self.past_mut();
        let number = rings.numbers(ring).start;
        let units = match ring {
            Ring::Decisions => 1,
            Ring::Succeeded => sizes.0.remove(0),
            Ring::Unsucceeded => sizes.0.remove(rings.kept(Ring::Succeeded)),
        };
        *rings.of(ring).1 -= 1;
        (number, units)
    }

    /// When something of it was last written into a ring, as near as the hot state knows.
    fn last_active(&self) -> i64 {
        self.past().decision.as_ref().map_or(0, |decision| decision.time).max(self.rare().last_manual)
    }
}

/// The meter, and the hand that goes round.
#[derive(Clone, Debug)]
pub struct History {
    units: u64,
    trimmed: u64,
    /// The slot at which the next window begins.
    hand: SlotKey,
    /// Slots that were passed since a ring was shrunk.
    passed: SlotKey,
    /// To how many records a ring is shrunk: 1, and 0 once that is not enough.
    floor: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { units: 0, trimmed: 0, hand: 0, passed: 0, floor: 1 }
    }
}

impl History {
    /// What all history takes.
    pub fn bytes(&self) -> u64 {
        self.units * UNIT
    }

    /// Records that were given up for the bound, since this process became leader.
    pub fn trimmed(&self) -> u64 {
        self.trimmed
    }

    /// A schedule has come, with what it keeps.
    pub fn add(&mut self, schedule: &Schedule) {
        self.units += schedule.history_bytes() / UNIT;
    }
}

impl StateMachine {
    /// The end of a run.
    pub(super) fn keep_history(&mut self, slot: SlotKey, finished: &Finished, token: u64) {
        let succeeded = finished.outcome == Outcome::Succeeded;
        let ring = if succeeded { Ring::Succeeded } else { Ring::Unsucceeded };
        let number = self.keep_record(slot, ring, record::finished(finished));
        let past = self.schedules[slot].past_mut();
        let (trigger, nominal) = (finished.id.trigger, finished.id.nominal);
        past.last_run = Some(LastRun { trigger, nominal, token, succeeded, slot: number });
        match finished.outcome {
            Outcome::Succeeded => past.failures = 0,
            Outcome::Failed => past.failures += 1,
            Outcome::Cancelled => {}
        }
        self.touch(slot);
    }

    /// Writes a record into a ring, and deletes what is more than its namespace keeps. Returns its number.
    pub(super) fn keep_record(&mut self, slot: SlotKey, ring: Ring, value: Bytes) -> u32 {
        self.forget_former(slot);
        let most = self.most(slot, ring);
        let schedule = &mut self.schedules[slot];
        let number = schedule.past().rings.numbers(ring).end;
        let name = ring.name(schedule.uid, number);
        let bytes = (Key::new(&name).as_bytes().len() + value.len()) as u64;
        let units = match ring {
            Ring::Decisions => 1,
            Ring::Succeeded | Ring::Unsucceeded => u8::try_from(bytes.div_ceil(UNIT)).unwrap_or(u8::MAX),
        };
        self.schedules[slot].note_record(ring, units);
        self.history.units += u64::from(units);
        self.put(&name, value);
        self.shrink(slot, ring, most);
        number
    }

    fn most(&self, slot: SlotKey, ring: Ring) -> usize {
        let namespace = &*self.schedules[slot].definition.key.namespace;
        let own = self.config.history_of.binary_search_by(|(name, _)| (**name).cmp(namespace));
        let kept = own.map_or(self.config.history, |index| self.config.history_of[index].1);
        usize::from(match ring {
            Ring::Decisions => kept.decisions.saturating_sub(1),
            Ring::Succeeded => kept.runs,
            Ring::Unsucceeded => kept.failed_runs,
        })
    }

    /// Deletes the oldest records of a ring until no more than `most` are left. Returns how many.
    fn shrink(&mut self, slot: SlotKey, ring: Ring, most: usize) -> u64 {
        let mut deleted = 0;
        while self.schedules[slot].past().rings.kept(ring) > most {
            let (number, units) = self.schedules[slot].forget_oldest(ring);
            self.history.units -= u64::from(units);
            self.delete(&ring.name(self.schedules[slot].uid, number));
            deleted += 1;
        }
        deleted
    }

    /// A schedule goes, with all of its history.
    pub(super) fn forget_history(&mut self, schedule: &Schedule) {
        self.history.units -= schedule.history_bytes() / UNIT;
        for ring in Ring::ALL {
            schedule
                .past()
                .rings
                .numbers(ring)
                .for_each(|number| self.delete(&ring.name(schedule.uid, number)));
        }
        if schedule.past().rings.former {
            self.delete_former(schedule.uid);
        }
    }

    fn forget_former(&mut self, slot: SlotKey) {
        let schedule = &mut self.schedules[slot];
        if schedule.past().rings.former {
            schedule.past_mut().rings.former = false;
            let uid = schedule.uid;
            self.delete_former(uid);
        }
    }

    fn delete_former(&mut self, uid: Uid) {
        (0..FORMER_DECISIONS).for_each(|number| self.delete(&Ring::Decisions.name(uid, number)));
        for ring in [Ring::Succeeded, Ring::Unsucceeded] {
            (0..FORMER_RUNS).for_each(|number| self.delete(&ring.name(uid, number)));
        }
    }

    // --- the bound -------------------------------------------------------------------------------------------

    /// One turn of the hand, if there is more history than may be. Returns whether another one is needed.
    pub(super) fn trim_history(&mut self) -> bool {
        if self.history.bytes() <= self.config.history_bytes_max {
            self.history.floor = 1;
            return false;
        }
        let History { hand, floor, .. } = self.history;
        let slots = self.schedules.end();
        let window = hand..(hand + WINDOW).min(slots);
        let mut oldest: Vec<(i64, SlotKey)> = window
            .clone()
            .filter_map(|slot| Some((self.schedules.get(slot)?, slot)))
            .filter(|(schedule, _)| Ring::ALL.iter().any(|ring| schedule.past().rings.kept(*ring) > floor))
            .map(|(schedule, slot)| (schedule.last_active(), slot))
            .collect();
        oldest.sort_unstable();
        oldest.truncate(SHRUNK);
        for (_, slot) in &oldest {
            let deleted: u64 = Ring::ALL.iter().map(|ring| self.shrink(*slot, *ring, floor)).sum();
            self.history.trimmed += deleted;
            self.touch(*slot);
        }
        self.history.passed =
            if oldest.is_empty() { self.history.passed + (window.end - window.start) } else { 0 };
        self.history.hand = if window.end == slots { 0 } else { window.end };
        if self.history.passed >= slots {
            (self.history.floor, self.history.passed) = (0, 0);
        }
        self.history.bytes() > self.config.history_bytes_max
    }

    /// # Errors
    /// When the meter is not the sum of what the schedules keep.
    pub(super) fn check_history(&self) -> Result<(), String> {
        let mut units = 0;
        for (_, schedule) in self.schedules.iter() {
            let rings = &schedule.past().rings;
            let ends = rings.kept(Ring::Succeeded) + rings.kept(Ring::Unsucceeded);
            let sizes = &schedule.past().sizes;
            if sizes.0.len() != ends {
                return Err(format!("{}: sizes of {ends} ends: {sizes:?}", schedule.definition.key.id));
            }
            units += schedule.history_bytes() / UNIT;
        }
        if units != self.history.units {
            return Err(format!("history of {units} units is metered as {}", self.history.units));
        }
        Ok(())
    }
}
