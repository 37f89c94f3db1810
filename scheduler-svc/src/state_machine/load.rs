//! Brings a machine back from its hot records.
//!
//! What is derived is computed anew: next times, queues, timers. Deadlines that were stored as wall time are capped at
//! their original span, in case the clock was set back (rule P6). Leases wait a full term for their workers (rule W4).

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use hashbrown::HashTable;
use slab::Slab;

use super::{
    Config, StateMachine,
    definition::Definition,
    failure::THROTTLED_MAX,
    gate::{Gates, limit::LimitName},
    id::Uid,
    run::{Phase, RunKey},
    timer::{ElapsedTimer, Now},
};
use crate::{
    planted::{Bug, planted},
    record,
    store::{Key, key::Name},
};

/// A record that cannot be read. Loading stops: skipping it would lose a schedule silently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {key}: {why}")]
pub struct LoadError {
    /// Hexadecimal.
    pub key: String,
    pub why: String,
}

impl LoadError {
    fn new(key: &Key, why: impl Into<String>) -> Self {
        let key = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { key, why: why.into() }
    }
}

impl StateMachine {
    pub fn new(config: Config, epoch: u64, now: Now) -> Self {
        Self {
            config,
            epoch,
            now,
            schedules: Slab::new(),
            index: BTreeMap::new(),
            by_uid: HashTable::new(),
            per_namespace: HashMap::new(),
            runs: Slab::new(),
            queue: Default::default(),
            gates: Default::default(),
            sessions: HashMap::new(),
            timers: Default::default(),
            queue_timers: HashMap::new(),
            requests: Default::default(),
            archives: BTreeMap::new(),
            crons: Default::default(),
            names: HashSet::new(),
            triggered: Vec::new(),
            // Tokens of a later epoch are larger than all of an earlier one.
            next_token: if planted(Bug::TokensRestart) { 0 } else { epoch << 40 },
            heartbeats: 0,
            totals: Default::default(),
            lateness: VecDeque::new(),
            expected_call: now.elapsed,
            lenient_until: now.elapsed,
            has_orphans: false,
            batch: 1,
            out: Default::default(),
            written: HashMap::new(),
            dirty_schedules: Vec::new(),
            dirty_runs: Vec::new(),
            meta_dirty: false,
            more_to_do: false,
        }
    }

    /// # Errors
    /// Names the first record that cannot be read.
    pub fn load(config: Config, epoch: u64, now: Now, hot: Vec<(Key, Bytes)>) -> Result<Self, LoadError> {
        let mut machine = Self::new(config, epoch, now);
        machine.gates = Gates::loaded(now.elapsed);
        let mut closings = Vec::new();
        let mut definitions: HashMap<(Uid, u32), Arc<Definition>> = HashMap::new();
        let (mut states, mut runs, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in hot {
            let unreadable = |error: record::Unreadable| LoadError::new(&key, error.0);
            match key.name().ok_or_else(|| LoadError::new(&key, "an unknown kind of record"))? {
                Name::Meta => machine.archives = record::read_meta(value).map_err(unreadable)?,
                Name::Definition(uid, generation) => {
                    let definition = record::read_definition(value).map_err(unreadable)?;
                    definitions.insert((uid, generation), Arc::new(machine.intern(&definition)));
                }
                Name::State(uid) => states.push((key, uid, value)),
                Name::Run(id) => runs.push((key, id, value)),
                Name::Request { namespace, id } => {
                    requests.push((
                        (namespace.into(), id.into()),
                        record::read_request(value).map_err(unreadable)?,
                    ));
                }
                Name::Limit { namespace, key } => {
                    let limit = record::read_limit(value).map_err(unreadable)?;
                    machine.restore_limit(LimitName { namespace: namespace.into(), key: key.into() }, limit);
                }
                Name::Closing { namespace, key } => {
                    let name = LimitName { namespace: namespace.into(), key: key.into() };
                    closings.push((name, record::read_closing(value).map_err(unreadable)?));
                }
                Name::Decision(..) | Name::Succeeded(..) | Name::Unsucceeded(..) => {
                    return Err(LoadError::new(&key, "a cold record among the hot ones"));
                }
            }
        }
        closings.into_iter().for_each(|(name, closing)| machine.restore_closing(name, closing));
        for (key, uid, value) in states {
            machine.load_schedule(&key, uid, value, &definitions)?;
        }
        let mut ready = Vec::new();
        for (key, id, value) in runs {
            let mut run =
                record::read_run(id, value, &definitions).map_err(|error| LoadError::new(&key, error.0))?;
            run.schedule =
                machine.slot_of(id.uid).ok_or_else(|| LoadError::new(&key, "a run without its schedule"))?;
            let (slot, due) = (run.schedule, run.due);
            let run_key = machine.runs.insert(run);
            machine.schedules[slot].live.push(run_key);
            ready.push((due, run_key));
        }
        ready.sort_unstable();
        ready.into_iter().for_each(|(_, key)| machine.restore_run(key));
        requests.sort_by_key(|(_, seen)| seen.time);
        requests.into_iter().for_each(|(key, seen)| machine.requests.restore(key, seen));
        machine.arm_requests();
        machine.lenient_until = now.elapsed + config.lease;
        machine.timers.set(machine.lenient_until, ElapsedTimer::Orphans);
        machine.close_load();
        Ok(machine)
    }

    fn load_schedule(
        &mut self,
        key: &Key,
        uid: Uid,
        value: Bytes,
        definitions: &HashMap<(Uid, u32), Arc<Definition>>,
    ) -> Result<(), LoadError> {
        let schedule =
            record::read_state(uid, value, definitions).map_err(|error| LoadError::new(key, error.0))?;
        let slot = self.insert_schedule(schedule);
        let schedule = &mut self.schedules[slot];
        if planted(Bug::DecidedForgottenAtLoad) {
            schedule.decided_through -= 3_600_000;
        }
        schedule.next = schedule.times().next(schedule.decided_through);
        if schedule.definition.max_runs > 0 && schedule.runs >= schedule.definition.max_runs {
            schedule.next = None;
        }
        self.arm(slot);
        Ok(())
    }

    /// Puts a loaded run where its phase says: queue, backoff, or under a lease that waits for its worker.
    fn restore_run(&mut self, key: RunKey) {
        let (wall, elapsed) = (self.now.wall, self.now.elapsed);
        let arrival = self.queue.arrival();
        let definition = self.runs[key].definition.clone();
        self.gates.enter(key, &definition);
        if self.runs[key].lease().is_some() {
            self.gates.hold(key);
        }
        let run = &mut self.runs[key];
        if planted(Bug::OrphansDroppedAtLoad) && run.lease().is_some() {
            run.phase = Phase::Ready(None);
        }
        run.arrival = arrival;
        let timeout = i64::from(run.definition.task.timeout);
        match &mut run.phase {
            Phase::Behind => {}
            Phase::Ready(_) => self.make_ready(key),
            Phase::Backoff { until, timer } => {
                // A backoff begins with the end of an attempt.
                let span = run.attempts.last().map_or(THROTTLED_MAX, |last| *until - last.end);
                let wait = (*until - wall).clamp(0, span.clamp(0, THROTTLED_MAX));
                *timer = elapsed + wait.unsigned_abs();
                let timer = *timer;
                self.timers.set(timer, ElapsedTimer::Backoff(key));
            }
            Phase::Running(lease) | Phase::Cancelling { lease, .. } => {
                let left = (lease.start + timeout - wall).clamp(0, timeout);
                lease.timer = elapsed + left.unsigned_abs() + self.config.lease;
                let timer = lease.timer;
                self.has_orphans = true;
                self.next_token = self.next_token.max(lease.token);
                self.timers.set(timer, ElapsedTimer::Attempt(key));
            }
        }
    }

    /// Loading changes nothing that has to be written.
    fn close_load(&mut self) {
        for key in std::mem::take(&mut self.dirty_runs) {
            self.runs[key].dirty = false;
        }
    }
}
