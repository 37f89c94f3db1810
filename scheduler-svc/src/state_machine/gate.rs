//! Gates: what may run at once, or start per second, under a key (rule R6).
//!
//! A gate stands for one key of one namespace, for as long as live runs have the key or it must remember something. It
//! lets a run start while it is not closed, has a permit left, has a start left in its bucket, and while slow start
//! allows it. A run needs all of its keys: permits are taken together at the assignment and given back together at the
//! end of the lease, so no run holds one while it waits for another. Runs without keys never come here.
//!
//! ```text
//!            throttled reports                until               goal reached
//!   open ─────────────────────────► closed ─────────► slow start ─────────────► open
//!                                      ▲                  │  throttled reports
//!                                      └──────────────────┘
//! ```
//!
//! [`limit`] says which limit counts for a key, [`bucket`] and [`closing`] calculate, [`throttle`] closes, [`manage`]
//! is what operators do, [`settle`] opens what may go on. Where blocked runs wait is the queue's.
//!
//! Permits are not stored: they are the live leases. Limits and closings are.

pub mod bucket;
pub mod closing;
pub mod limit;

mod check;
mod manage;
mod settle;
mod throttle;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
};

use slab::Slab;
use smallvec::SmallVec;

use super::{
    definition::Definition,
    id::Uid,
    queue::Doors,
    run::{Run, RunKey},
};
use bucket::Bucket;
use closing::Closing;
use limit::{Limit, LimitName, Limits};

use crate::planted::{Bug, planted};

pub type GateKey = usize;

#[derive(Clone, Debug, Default)]
pub struct Gates {
    gates: Slab<Gate>,
    by_name: BTreeMap<LimitName, GateKey>,
    /// Keys of each live run that has any.
    of_run: HashMap<RunKey, SmallVec<[GateKey; 2]>>,
    limits: Limits,
    /// Gates that are closed by throttling now.
    closed: BTreeSet<LimitName>,
    /// How many schedules have a key, by its hash. Two keys with one hash count as shared, which closes later.
    uses: HashMap<u64, u32>,
    /// Changed patterns whose gates are yet to be looked at, and the key after which to go on.
    rechecks: VecDeque<(LimitName, Option<LimitName>)>,
    /// When the machine was loaded: what started before that is not known.
    loaded: Option<u64>,
}

#[derive(Clone, Debug)]
struct Gate {
    name: LimitName,
    /// Live runs that have the key.
    users: u32,
    /// Live leases of those.
    running: u32,
    /// As of `version` of the limits.
    limit: Option<Limit>,
    version: u64,
    /// None until the first start under a rate.
    bucket: Option<Bucket>,
    closing: Option<Box<Closing>>,
    /// Throttled reports that have not closed it: at most one per schedule, and no more than would.
    reports: SmallVec<[Report; 1]>,
    timer: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    schedule: Uid,
    /// Elapsed milliseconds.
    at: u64,
    retry_after: u64,
}

/// Why a gate lets nobody pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Elapsed milliseconds, where it is known when that may change.
    pub until: Option<u64>,
    /// Whether the limit lets nobody pass, ever: its `max_running` is 0.
    pub shut: bool,
}

impl Block {
    fn until(at: u64) -> Self {
        Self { until: Some(at), shut: false }
    }
}

impl Gates {
    /// Of a machine that goes on from records.
    pub fn loaded(now: u64) -> Self {
        Self { loaded: Some(now), ..Self::default() }
    }

    /// Gates that are closed by throttling now.
    pub fn closed(&self) -> usize {
        self.closed.len()
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.gates.len()
    }

    // --- schedules and runs come and go ------------------------------------------------------------------------

    /// A schedule has these keys now instead of those.
    pub fn count_uses(&mut self, former: Option<&Definition>, current: Option<&Definition>) {
        for name in former.into_iter().flat_map(hashes) {
            if let Some(count) = self.uses.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.uses.remove(&name);
                }
            }
        }
        for name in current.into_iter().flat_map(hashes) {
            *self.uses.entry(name).or_default() += 1;
        }
    }

    /// What others have counted.
    pub fn add_uses(&mut self, other: Self) {
        for (name, count) in other.uses {
            *self.uses.entry(name).or_default() += count;
        }
    }

    /// A run is live. Once, or again to no effect.
    pub fn enter(&mut self, run: RunKey, definition: &Definition) {
        if definition.limits.is_empty() || self.of_run.contains_key(&run) {
            return;
        }
        let names = definition.limits.iter().map(|key| LimitName::new(&definition.key.namespace, key));
        let mut gates: SmallVec<[GateKey; 2]> = names.map(|name| self.gate(name)).collect();
        gates.sort_unstable();
        gates.dedup();
        for gate in &gates {
            self.gates[*gate].users += 1;
        }
        self.of_run.insert(run, gates);
    }

    /// A run is final. Returns its gates, which may not be needed any more.
    pub fn leave(&mut self, run: RunKey) -> SmallVec<[GateKey; 2]> {
        let gates = self.of_run.remove(&run).unwrap_or_default();
        for gate in &gates {
            self.gates[*gate].users -= 1;
        }
        gates
    }

    pub fn of(&self, run: RunKey) -> &[GateKey] {
        self.of_run.get(&run).map_or(&[], |gates| gates)
    }

    /// The gate of a key, made on first use.
    fn gate(&mut self, name: LimitName) -> GateKey {
        if let Some(gate) = self.by_name.get(&name) {
            return *gate;
        }
        let gate = Gate {
            limit: self.limits.of(&name),
            version: self.limits.version,
            name: name.clone(),
            users: 0,
            running: 0,
            bucket: None,
            closing: None,
            reports: SmallVec::new(),
            timer: None,
        };
        let key = self.gates.insert(gate);
        self.by_name.insert(name, key);
        key
    }

    fn limit_of(&self, gate: &Gate) -> Option<Limit> {
        if gate.version == self.limits.version { gate.limit } else { self.limits.of(&gate.name) }
    }

    /// What its bucket holds. One that was never used is full, except that nobody knows what started before a load.
    fn bucket_of(&self, gate: &Gate, limit: &Limit, now: u64) -> Bucket {
        let bucket = gate.bucket.map(|bucket| bucket.filled(limit.rate, limit.burst, now));
        bucket.unwrap_or_else(|| match self.loaded {
            Some(_) if planted(Bug::BurstAfterRestart) => Bucket::full(limit.burst, now),
            Some(since) => Bucket::unknown(limit.rate, limit.burst, since, now),
            None => Bucket::full(limit.burst, now),
        })
    }

    // --- passing -----------------------------------------------------------------------------------------------

    /// Takes a permit of each of the run's keys.
    pub fn start(&mut self, run: RunKey, now: u64) {
        for key in self.of_run.get(&run).cloned().unwrap_or_default() {
            self.refresh(key, now);
            let gate = &mut self.gates[key];
            gate.running += 1;
            if let Some(bucket) = &mut gate.bucket {
                bucket.take();
            }
            if let Some(closing) = &mut gate.closing {
                closing.note_start(now);
            }
        }
    }

    /// A lease that was found at load holds its permits.
    pub fn hold(&mut self, run: RunKey) {
        for gate in self.of_run.get(&run).cloned().unwrap_or_default() {
            self.gates[gate].running += 1;
        }
    }

    /// Gives the permits back. Returns the gates that may let others pass now.
    pub fn stop(&mut self, run: RunKey) -> SmallVec<[GateKey; 2]> {
        let gates = self.of_run.get(&run).cloned().unwrap_or_default();
        for gate in &gates {
            self.gates[*gate].running -= 1;
        }
        gates
    }

    /// Brings up to date what a gate remembers of its limit.
    fn refresh(&mut self, key: GateKey, now: u64) {
        let gate = &self.gates[key];
        let limit = self.limit_of(gate);
        let former = gate.limit.filter(|former| former.rate > 0);
        let bucket = limit.filter(|limit| limit.rate > 0).map(|limit| {
            // What was gained until now was gained at the former rate.
            let settled = former.map(|former| self.bucket_of(gate, &former, now));
            settled.unwrap_or_else(|| self.bucket_of(gate, &limit, now)).filled(limit.rate, limit.burst, now)
        });
        let version = self.limits.version;
        let gate = &mut self.gates[key];
        (gate.limit, gate.version, gate.bucket) = (limit, version, bucket);
    }

    /// Why the gate lets nobody pass now, if it does not.
    pub fn block(&self, key: GateKey, now: u64) -> Option<Block> {
        let gate = &self.gates[key];
        let limit = self.limit_of(gate);
        let closed = gate.closing.as_ref().filter(|closing| closing.is_closed(now));
        if let Some(closing) = closed.filter(|_| !planted(Bug::ClosedKeyStarts)) {
            return Some(Block::until(closing.until.unsigned_abs()));
        }
        let most = limit.and_then(|limit| limit.max_running).filter(|_| !planted(Bug::LimitIgnored));
        if most.is_some_and(|max| gate.running >= max) {
            return Some(Block { until: None, shut: most == Some(0) });
        }
        if let Some(closing) = gate.closing.as_ref().filter(|_| !planted(Bug::SlowStartSkipped))
            && let Some(allowed) = closing.allowed(limit.as_ref(), now)
            && (gate.running >= allowed || closing.started_in_stage(now) >= allowed)
        {
            return Some(Block::until(closing.next_stage(now)));
        }
        let limit = limit.filter(|limit| limit.rate > 0)?;
        let bucket = self.bucket_of(gate, &limit, now);
        (!bucket.has_start()).then(|| Block::until(bucket.next_start(limit.rate)))
    }

    /// The gates that keep a run back now.
    pub fn blocks(&self, run: RunKey, now: u64) -> impl Iterator<Item = (GateKey, Block)> {
        self.of(run).iter().filter_map(move |gate| Some((*gate, self.block(*gate, now)?)))
    }

    /// The key that keeps a run back the longest, and how.
    pub fn wait(&self, run: RunKey, now: u64) -> Option<(&str, Block)> {
        let longest =
            self.blocks(run, now).max_by_key(|(_, block)| (block.until.unwrap_or(u64::MAX), block.shut));
        longest.map(|(gate, block)| (&*self.gates[gate].name.key, block))
    }
}

fn hashes(definition: &Definition) -> impl Iterator<Item = u64> {
    let mut keys: SmallVec<[&str; 2]> = definition.limits.iter().map(|key| &**key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|key| hash(&definition.key.namespace, key))
}

fn hash(namespace: &str, key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, key).hash(&mut hasher);
    hasher.finish()
}

/// The gates as the queue sees them, and which of them it found shut.
pub struct Doorkeeper<'a> {
    gates: &'a Gates,
    runs: &'a Slab<Run>,
    now: u64,
    pub found_shut: BTreeSet<GateKey>,
}

impl<'a> Doorkeeper<'a> {
    pub fn new(gates: &'a Gates, runs: &'a Slab<Run>, now: u64) -> Self {
        Self { gates, runs, now, found_shut: BTreeSet::new() }
    }
}

impl Doors for Doorkeeper<'_> {
    fn is_shut(&mut self, gate: GateKey) -> bool {
        let shut = self.gates.block(gate, self.now).is_some();
        if shut {
            self.found_shut.insert(gate);
        }
        shut
    }

    fn refuses(&mut self, run: RunKey) -> Option<GateKey> {
        if self.runs[run].definition.limits.is_empty() {
            return None;
        }
        let (gate, _) = self.gates.blocks(run, self.now).next()?;
        self.found_shut.insert(gate);
        Some(gate)
    }
}
