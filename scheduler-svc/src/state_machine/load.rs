//! Brings a machine back from its hot records.
//!
//! What is derived is computed anew: next times, queues, timers. Deadlines that were stored as wall time are capped at
//! their original span, in case the clock was set back (rule P6). Leases wait a full term for their workers (rule W4).

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
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
    id::{RunId, Trigger, Uid},
    output::Event,
    quarantine::Handling,
    request::{RequestKey, Seen},
    run::{Phase, RunKey},
    schedule::{Schedule, Status},
    timer::{ElapsedTimer, Now},
    timing::{TZDB, Timing},
};
use crate::{
    planted::{Bug, planted},
    record,
    store::{Key, key::Name},
};

type Definitions = HashMap<(Uid, u32), Arc<Definition>>;

/// Records by kind, in the order in which they are needed.
#[derive(Default)]
struct Records {
    definitions: Definitions,
    states: Vec<(Key, Uid, Bytes)>,
    runs: Vec<(Key, RunId, Bytes)>,
    requests: Vec<(RequestKey, Seen)>,
    has_meta: bool,
    closings: Vec<(LimitName, record::StoredClosing)>,
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
            crowds: Default::default(),
            history: Default::default(),
            pace: Default::default(),
            names: HashSet::new(),
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
    pub fn load(config: Config, epoch: u64, now: Now, mut hot: Vec<(Key, Bytes)>) -> Result<Self, LoadError> {
        // Stores list them in orders of their own. The same records are the same machine, down to the order of what it
        // does for several runs at one instant.
        hot.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let mut machine = Self::new(config, epoch, now);
        machine.gates = Gates::loaded(now.elapsed);
        let mut records = Records::default();
        for (key, value) in hot {
            machine.sort_record(key, value, &mut records)?;
        }
        let Records { definitions, states, runs, mut requests, closings, has_meta } = records;
        machine.meta_pending = !has_meta || machine.former_tzdb.is_some();
        closings.into_iter().for_each(|(name, closing)| machine.restore_closing(name, closing));
        let unknown: Vec<Uid> = states
            .into_iter()
            .filter_map(|(key, uid, value)| machine.load_schedule(&key, uid, value, &definitions).err())
            .collect();
        unknown.iter().for_each(|uid| machine.load_unknown(*uid, &definitions));
        let mut ready: Vec<_> = runs
            .into_iter()
            .filter_map(|(key, id, value)| machine.load_run(&key, id, value, &definitions))
            .collect();
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
        let over: Vec<_> = deleted.filter(|(_, it)| it.live.is_empty()).map(|(slot, _)| slot).collect();
        over.into_iter().for_each(|slot| machine.remove_if_over(slot));
        Ok(machine)
    }

    fn sort_record(&mut self, key: Key, value: Bytes, records: &mut Records) -> Result<(), LoadError> {
        match key.name().ok_or_else(|| LoadError::new(&key, "an unknown kind of record"))? {
            Name::Meta => {
                let meta = record::read_meta(value).map_err(|error| LoadError::new(&key, error.0))?;
                self.archives = meta.archives;
                records.has_meta = true;
                self.former_tzdb = Some(meta.tzdb).filter(|tzdb| tzdb != TZDB);
            }
            Name::Definition(uid, generation) => {
                if let Some(definition) = self.readable(&key, || record::read_definition(value)) {
                    let definition = Arc::new(self.intern(&definition));
                    records.definitions.insert((uid, generation), definition);
                } else {
                    self.unreadable_of.entry(uid).or_default().push(Name::Definition(uid, generation));
                }
            }
            Name::State(uid) => records.states.push((key, uid, value)),
            Name::Run(id) => records.runs.push((key, id, value)),
            Name::Request { namespace, id } => {
                if let Some(seen) = self.readable(&key, || record::read_request(value)) {
                    records.requests.push(((namespace.into(), id.into()), seen));
                }
            }
            Name::Limit { namespace, key: limit_key } => {
                if let Some(limit) = self.readable(&key, || record::read_limit(value)) {
                    self.restore_limit(
                        LimitName { namespace: namespace.into(), key: limit_key.into() },
                        limit,
                    );
                }
            }
            Name::Closing { namespace, key: limit_key } => {
                if let Some(closing) = self.readable(&key, || record::read_closing(value)) {
                    let name = LimitName { namespace: namespace.into(), key: limit_key.into() };
                    records.closings.push((name, closing));
                }
            }
            Name::Copying => {
                return Err(LoadError::new(&key, "a copy into this store is not finished: run it again"));
            }
            Name::Decision(..) | Name::Succeeded(..) | Name::Unsucceeded(..) => {
                return Err(LoadError::new(&key, "a cold record among the hot ones"));
            }
        }
        Ok(())
    }

    /// What a record holds; if it cannot be read, or reading it panics, it is noted instead.
    fn readable<T>(&mut self, key: &Key, read: impl FnOnce() -> Result<T, record::Unreadable>) -> Option<T> {
        let read = catch_unwind(AssertUnwindSafe(read));
        let why = match read {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => error.0,
            Err(_) => "reading it panicked".into(),
        };
        self.unreadable.push(LoadError::new(key, why));
        None
    }

    /// Records that could not be read, for the log and for status.
    pub fn unreadable(&self) -> &[LoadError] {
        &self.unreadable
    }

    /// # Errors
    /// Its state cannot be read.
    fn load_schedule(
        &mut self,
        key: &Key,
        uid: Uid,
        value: Bytes,
        definitions: &Definitions,
    ) -> Result<(), Uid> {
        let schedule = self.readable(key, || record::read_state(uid, value, definitions));
        let schedule = schedule.ok_or(uid)?;
        let stored_next = schedule.next;
        let slot = self.insert_schedule(schedule);
        let schedule = &mut self.schedules[slot];
        if planted(Bug::DecidedForgottenAtLoad) {
            schedule.decided_through -= 3_600_000;
        }
        if planted(Bug::QuarantineLostAtLoad) && schedule.status == Status::Quarantined {
            schedule.status = Status::Active;
        }
        schedule.next = schedule.times().next(schedule.decided_through);
        if schedule.definition.max_runs > 0 && schedule.runs >= schedule.definition.max_runs {
            schedule.next = None;
        }
        if self.former_tzdb.is_some() && stored_next != schedule.next {
            self.moved.push(slot);
        }
        self.arm(slot);
        Ok(())
    }

    /// What stands for a schedule whose state cannot be read: it is shown by its name, and saving it again begins anew.
    /// Without a definition nobody knows its name.
    fn load_unknown(&mut self, uid: Uid, definitions: &Definitions) {
        let generations = definitions.iter().filter(|((of, _), _)| *of == uid);
        let generations = generations.filter(|_| !planted(Bug::UnreadableForgotten));
        let Some(((_, generation), definition)) = generations.max_by_key(|((_, generation), _)| *generation)
        else {
            return;
        };
        let mut schedule = Schedule::new(uid, definition.clone(), self.now.wall);
        schedule.generation = *generation;
        if let Timing::Every { anchor: Some(anchor), .. } = schedule.definition.timing {
            schedule.anchor = anchor;
        }
        // A deleted one stays for its last run. So it is the one whose name belongs to another by now.
        let is_deleted = self.index.contains_key(&schedule.definition.key);
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
        for key in self.schedules[slot].live.clone() {
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

    fn load_run(
        &mut self,
        key: &Key,
        id: RunId,
        value: Bytes,
        definitions: &Definitions,
    ) -> Option<(i64, RunKey)> {
        let run = self.readable(key, || record::read_run(id, value, definitions));
        let slot = self.slot_of(id.uid);
        let (Some(mut run), Some(slot)) = (run, slot) else {
            if let Some(slot) = slot {
                self.unreadable_of.entry(id.uid).or_default().push(Name::Run(id));
                // Whether that run has happened is not known, so the schedule waits for a person.
                if !planted(Bug::UnreadableRunPassedOver) {
                    self.set_aside_slot(slot, "the record of one of its runs could not be read");
                }
            } else {
                self.unreadable.push(LoadError::new(key, "a run without its schedule"));
            }
            return None;
        };
        run.schedule = slot;
        let due = run.due;
        let run_key = self.runs.insert(run);
        self.schedules[slot].live.push(run_key);
        Some((due, run_key))
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
        if self.schedules[run.schedule].status == Status::Quarantined
            && matches!(run.phase, Phase::Ready(_) | Phase::Backoff { .. })
        {
            // It waits until the schedule is saved again.
            run.phase = Phase::Ready(None);
            return;
        }
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

    /// Whether the lease of a loaded run ends now: whatever the machine has panicked over, it is not met again. One that
    /// is to stop goes on to do so, else its cancellation would be forgotten.
    fn is_to_let_go(&self, key: RunKey) -> bool {
        let run = &self.runs[key];
        let aside = self.schedules[run.schedule].status == Status::Quarantined;
        aside && matches!(run.phase, Phase::Running(_))
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
