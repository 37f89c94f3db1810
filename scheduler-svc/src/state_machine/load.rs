//! Brings a machine back from its hot records.
//!
//! What is derived is computed anew: next times, queues, timers. Deadlines that were stored as wall time are capped at
//! their original span, in case the clock was set back (rule P6). Leases wait a full term for their workers (rule W4).

mod definitions;
mod parts;
mod runs;
mod schedules;
mod texts;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use hashbrown::HashTable;
use slab::Slab;

use super::{
    Config, StateMachine,
    gate::{Gates, limit::LimitName},
    id::{RunId, Trigger, Uid},
    output::Event,
    quarantine::Handling,
    request::{RequestKey, Seen},
    schedule::{Schedule, Status},
    timer::{ElapsedTimer, Now},
    timing::{TZDB, Timing},
};
use definitions::Definitions;

use crate::{
    planted::{Bug, planted},
    record::{self, Unreadable},
    store::{Key, key::Name},
};

/// Records by kind, each in the order of its keys: stores list them in orders of their own, and the same records are to
/// be the same machine, down to the order of what it does for several runs at one instant.
#[derive(Default)]
struct Records {
    definitions: Vec<((Uid, u32), Bytes)>,
    states: Vec<(Uid, Bytes)>,
    runs: Vec<(RunId, Bytes)>,
    /// What there is little of.
    others: Vec<(Key, Name, Bytes)>,
}

impl Records {
    fn of(hot: Vec<(Key, Bytes)>) -> Result<Self, LoadError> {
        let mut records = Self::default();
        for (key, value) in hot {
            match key.name().ok_or_else(|| LoadError::of(&key, "an unknown kind of record"))? {
                Name::Definition(uid, generation) => records.definitions.push(((uid, generation), value)),
                Name::State(uid) => records.states.push((uid, value)),
                Name::Run(id) => records.runs.push((id, value)),
                name => records.others.push((key, name, value)),
            }
        }
        parts::sort(&mut records.definitions);
        parts::sort(&mut records.states);
        parts::sort(&mut records.runs);
        records.others.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        Ok(records)
    }
}

/// What is put to its place after the definitions that it depends on.
#[derive(Default)]
struct Later {
    requests: Vec<(RequestKey, Seen)>,
    closings: Vec<(LimitName, record::StoredClosing)>,
    has_meta: bool,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {key}: {why}")]
pub struct LoadError {
    /// Hexadecimal.
    pub key: String,
    pub why: String,
}

impl LoadError {
    fn new(name: &Name, why: impl Into<String>) -> Self {
        Self::of(&Key::new(name), why)
    }

    fn of(key: &Key, why: impl Into<String>) -> Self {
        let key = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { key, why: why.into() }
    }
}

/// What a record holds; also reading it may panic.
fn readable<T>(name: &Name, read: impl FnOnce() -> Result<T, Unreadable>) -> Result<T, LoadError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| LoadError::new(name, error.0)),
        Err(_) => Err(LoadError::new(name, "reading it panicked")),
    }
}

impl StateMachine {
    pub fn new(config: Config, epoch: u64, now: Now) -> Self {
        Self {
            config,
            epoch,
            now,
            schedules: Default::default(),
            index: Default::default(),
            by_uid: HashTable::new(),
            runs: Slab::new(),
            queue: Default::default(),
            gates: Default::default(),
            sessions: HashMap::new(),
            timers: Default::default(),
            queue_timers: HashMap::new(),
            requests: Default::default(),
            archives: BTreeMap::new(),
            crons: Default::default(),
            terms: Default::default(),
            crowds: Default::default(),
            history: Default::default(),
            pace: Default::default(),
            names: Default::default(),
            triggered: Vec::new(),
            unreadable: Vec::new(),
            unreadable_of: HashMap::new(),
            former_tzdb: None,
            moved: Vec::new(),
            handling: Handling::Nothing,
            // Tokens of a later epoch are larger than all of an earlier one.
            next_token: if planted(Bug::TokensRestart) { 0 } else { epoch << 40 },
            heartbeats: 0,
            totals: Default::default(),
            tally: Default::default(),
            lateness: VecDeque::new(),
            expected_call: now.elapsed,
            lenient_until: now.elapsed,
            has_orphans: false,
            batch: 1,
            out: Default::default(),
            written: HashTable::new(),
            hasher: Default::default(),
            dirty_schedules: Vec::new(),
            dirty_runs: Vec::new(),
            meta_dirty: false,
            meta_pending: false,
            more_to_do: false,
        }
    }

    /// A record that cannot be read is set aside, and its schedule with it; it stays in the store as it is (rule P4).
    ///
    /// # Errors
    /// When the whole store is not for this program: it is of a later format, or not Docket's.
    pub fn load(config: Config, epoch: u64, now: Now, hot: Vec<(Key, Bytes)>) -> Result<Self, LoadError> {
        let Records { definitions, states, runs, others } = Records::of(hot)?;
        let mut machine = Self::new(config, epoch, now);
        machine.gates = Gates::loaded(now.elapsed);
        let mut later = Later::default();
        for (key, name, value) in others {
            machine.load_other(&key, name, value, &mut later)?;
        }
        let Later { mut requests, closings, has_meta } = later;
        machine.meta_pending = !has_meta || machine.former_tzdb.is_some();
        closings.into_iter().for_each(|(name, closing)| machine.restore_closing(name, closing));
        let definitions = machine.load_definitions(definitions);
        let unknown = machine.load_schedules(states, &definitions);
        unknown.iter().for_each(|uid| machine.load_unknown(*uid, &definitions));
        let mut ready = machine.load_runs(runs, &definitions);
        drop(definitions);
        unknown.into_iter().for_each(|uid| machine.learn_from_runs(uid));
        ready.sort_unstable();
        ready.iter().for_each(|(_, key)| machine.restore_run(*key));
        requests.sort_by_key(|(_, seen)| seen.time);
        requests.into_iter().for_each(|(key, seen)| machine.requests.restore(key, seen));
        machine.arm_requests();
        machine.lenient_until = now.elapsed + config.lease;
        machine.timers.set(machine.lenient_until, ElapsedTimer::Orphans);
        machine.close_load();
        let aside = ready.into_iter().map(|(_, key)| key).filter(|key| machine.is_to_let_go(*key));
        aside.collect::<Vec<_>>().into_iter().for_each(|key| machine.set_aside_lease(key));
        let deleted = machine.schedules.iter().filter(|(_, schedule)| schedule.status == Status::Deleted);
        // The record of its last run may be what cannot be read.
        let over: Vec<_> = deleted.filter(|(_, it)| it.live().is_empty()).map(|(slot, _)| slot).collect();
        over.into_iter().for_each(|slot| machine.remove_if_over(slot));
        machine.bind_archive();
        Ok(machine)
    }

    fn load_other(&mut self, of: &Key, name: Name, value: Bytes, later: &mut Later) -> Result<(), LoadError> {
        match &name {
            Name::Meta => {
                let meta = record::read_meta(value).map_err(|error| LoadError::of(of, error.0))?;
                self.archives = meta.archives;
                later.has_meta = true;
                self.former_tzdb = Some(meta.tzdb).filter(|tzdb| tzdb != TZDB);
            }
            Name::Request { namespace, id } => {
                if let Some(seen) = self.noted(readable(&name, || record::read_request(value))) {
                    later.requests.push(((namespace.as_str().into(), id.as_str().into()), seen));
                }
            }
            Name::Limit { namespace, key } => {
                if let Some(limit) = self.noted(readable(&name, || record::read_limit(value))) {
                    self.restore_limit(
                        LimitName { namespace: namespace.as_str().into(), key: key.as_str().into() },
                        limit,
                    );
                }
            }
            Name::Closing { namespace, key } => {
                if let Some(closing) = self.noted(readable(&name, || record::read_closing(value))) {
                    later.closings.push((
                        LimitName { namespace: namespace.as_str().into(), key: key.as_str().into() },
                        closing,
                    ));
                }
            }
            Name::Copying => {
                return Err(LoadError::of(of, "a copy into this store is not finished: run it again"));
            }
            Name::Definition(..) | Name::State(_) | Name::Run(_) => unreachable!("it has a list of its own"),
            Name::Decision(..) | Name::Succeeded(..) | Name::Unsucceeded(..) => {
                return Err(LoadError::of(of, "a cold record among the hot ones"));
            }
        }
        Ok(())
    }

    /// What could not be read is noted.
    fn noted<T>(&mut self, read: Result<T, LoadError>) -> Option<T> {
        read.map_err(|error| self.unreadable.push(error)).ok()
    }

    /// Records that could not be read, for the log and for status.
    pub fn unreadable(&self) -> &[LoadError] {
        &self.unreadable
    }

    /// What stands for a schedule whose state cannot be read: it is shown by its name, and saving it again begins anew.
    /// Without a definition nobody knows its name.
    fn load_unknown(&mut self, uid: Uid, definitions: &Definitions) {
        let last = definitions.last_of(uid).filter(|_| !planted(Bug::UnreadableForgotten));
        let Some((generation, definition)) = last else { return };
        let mut schedule = Schedule::new(uid, definition.clone(), self.now.wall);
        schedule.generation = generation;
        if let Timing::Every { anchor: Some(anchor), .. } = schedule.definition.timing {
            schedule.anchor = anchor;
        }
        // A deleted one stays for its last run. So it is the one whose name belongs to another by now.
        let is_deleted = self.index.get(&schedule.definition.key).is_some();
        if is_deleted {
            schedule.status = Status::Deleted;
        } else {
            schedule.status = Status::Quarantined;
            schedule.set_rare(|rare| rare.quarantine = Some("its state could not be read".into()));
        }
        self.insert_schedule(schedule);
    }

    /// What the live runs of a schedule tell of its lost state: their times have been, wherever the clock has been set.
    fn learn_from_runs(&mut self, uid: Uid) {
        let Some(slot) = self.slot_of(uid) else { return };
        for key in self.schedules[slot].past().live.clone() {
            let id = self.runs[key].id;
            let schedule = &mut self.schedules[slot];
            match id.trigger {
                Trigger::Scheduled => schedule.decided_through = schedule.decided_through.max(id.nominal),
                Trigger::Manual => {
                    schedule.set_rare(|rare| rare.last_manual = rare.last_manual.max(id.nominal));
                }
                Trigger::Backfill => {}
            }
        }
    }

    /// Loading changes nothing that has to be written at once, but for what was set aside.
    fn close_load(&mut self) {
        if let Some(former) = self.former_tzdb.take() {
            const NAMED: usize = 20;
            let named = self.moved.iter().take(NAMED);
            let ids = named.map(|slot| self.schedules[*slot].definition.key.clone()).collect();
            let moved = std::mem::take(&mut self.moved).len();
            self.emit(Event::TimesMoved { former: former.into(), moved, ids });
        }
        for key in std::mem::take(&mut self.dirty_runs) {
            self.runs[key].dirty = false;
        }
        for key in self.runs.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            self.retally(key);
        }
    }
}
