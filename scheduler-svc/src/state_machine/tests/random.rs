//! Chance drives users, workers, clocks and crashes; the judge, the invariants and a second machine loaded from the
//! records look on after every step. A failure names its seed: put it into [`once`] to see it again.

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{bench::*, *};
use crate::state_machine::{
    Config, StateMachine,
    command::{BulkChange, Caller, CancelRun, Command, Heartbeat, Held, Page, Report, Reported, RetryRuns},
    definition::{Definition, Misfire, Overlap},
    failure::{Class, Failure},
    history::Kept,
    id::SessionId,
    output::{Body, Job},
    schedule::{Decision, Span, Verdict},
    snapshot::Snapshot,
    timing::Timing,
};

const SEEDS: u64 = 40;
const STEPS: usize = 400;

#[test]
fn whatever_happens_the_promises_hold() {
    let mut jobs = 0;
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| once(seed));
        match outcome {
            Ok(compared) => jobs += compared,
            Err(panic) => {
                let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                panic!("seed {seed}: {why}");
            }
        }
    }
    assert!(jobs > 300, "too little happened: {jobs} jobs");
}

/// Returns how many jobs were looked at.
fn once(seed: u64) -> usize {
    let mut world = World::new(seed);
    for n in 0..STEPS {
        world.step();
        if n % 3 == 0 {
            world.look();
        }
    }
    world.bench.judge.jobs
}

pub struct World {
    pub bench: Bench,
    dice: SmallRng,
    workers: Vec<Worker>,
    /// Reports that may still arrive, or arrive again.
    letters: Vec<Job>,
    /// What was exported last.
    pub exported: Vec<Snapshot>,
}

struct Worker {
    session: SessionId,
    instance: String,
    received: u64,
    held: Vec<Job>,
    /// Its stream is broken.
    deaf: bool,
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];
const LIMITS: [&[&str]; 4] = [&[], &["k"], &["m:1"], &["k", "m:1", "m:2"]];

impl World {
    fn new(seed: u64) -> Self {
        Self {
            bench: Bench::with(Config {
                history_bytes_max: [4 << 30, 4_096][seed as usize % 2],
                ..Config::default()
            }),
            dice: SmallRng::seed_from_u64(seed),
            workers: Vec::new(),
            letters: Vec::new(),
            exported: Vec::new(),
        }
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.dice.random_range(0..sides)
    }

    fn id(&mut self) -> &'static str {
        IDS[self.roll(IDS.len())]
    }

    fn step(&mut self) {
        match self.roll(20) {
            0 | 1 => self.save(),
            2 => self.manage(),
            3 => {
                let command = Command::Trigger(crate::state_machine::command::TriggerNow {
                    key: key(self.id()),
                    request: None,
                    actor: "t".into(),
                });
                self.apply(&command);
            }
            4 if self.workers.is_empty() || self.roll(2) == 0 => self.connect(),
            5 | 6 => self.beat(),
            7..=9 => self.report(),
            10 => self.clock(),
            11 => self.crash(),
            12 => self.intervene(),
            13 => self.limit(),
            14 => self.carry(),
            _ => self.wait(),
        }
        self.receive();
    }

    /// A refusal is as good an answer as any.
    fn apply(&mut self, command: &Command) {
        let to = self.bench.apply(command);
        self.bench.reply(to);
    }

    fn definition(&mut self) -> Definition {
        let timing = match self.roll(5) {
            0 => Timing::At(self.bench.now.wall + 20 * SECOND),
            1 => cron("*/20 * * * * *", "Europe/Berlin"),
            2 => Timing::Every { interval: 7 * SECOND, anchor: Some(START) },
            _ => every(10 * SECOND),
        };
        let mut definition = definition(self.id(), timing);
        definition.spread = [0, 0, 45_000][self.roll(3)];
        definition.max_runs = [0, 0, 3][self.roll(3)];
        definition.delete_when_ended = self.roll(3) == 0;
        definition.pause_after_failures = [0, 2][self.roll(2)];
        definition.task.queue_timeout = [0, 15_000][self.roll(2)];
        definition.task.timeout = 30_000;
        definition.overlap = Overlap::from_number(1 + self.roll(4) as u32).expect("a policy");
        definition.misfire = [
            Misfire::Coalesce,
            Misfire::Skip,
            Misfire::All { window: 3_600_000, max_runs: 4 },
            Misfire::All { window: 20_000, max_runs: 100 },
        ][self.roll(4)];
        definition.tenant = ["", "x"][self.roll(2)].into();
        definition.limits = LIMITS[self.roll(LIMITS.len())].iter().map(|key| (*key).into()).collect();
        definition.end = [None, Some(self.bench.now.wall + MINUTE)][usize::from(self.roll(6) == 0)];
        definition
    }

    fn save(&mut self) {
        let definition = self.definition();
        let mut upsert = self.bench.upsert(definition);
        upsert.validate_only = self.roll(8) == 0;
        upsert.request = [None, request("r", 1)][usize::from(self.roll(5) == 0)].clone();
        self.apply(&Command::Upsert(Box::new(upsert)));
    }

    fn manage(&mut self) {
        use crate::state_machine::command::{Pause, Resume};
        let (key, actor) = (key(self.id()), "t".into());
        let until = [None, Some(self.bench.now.wall + 30 * SECOND)][self.roll(2)];
        let command = match self.roll(5) {
            0 => {
                let id = self.id();
                let cancel = self.roll(2) == 0;
                let delete = self.bench.remove(id, cancel);
                let uid = self.bench.machine.index.get(&super::bench::key(id));
                let uid = uid.map(|slot| self.bench.machine.schedules[slot].uid);
                self.apply(&delete);
                self.bench.judge.deleted.extend(uid);
                return;
            }
            1 | 2 => Command::Pause(Pause { key, note: "n".into(), until, request: None, actor }),
            _ => Command::Resume(Resume { key, catch_up: self.roll(2) == 0, request: None, actor }),
        };
        self.apply(&command);
    }

    /// Calls about runs, and about many schedules.
    fn intervene(&mut self) {
        let (id, now) = (self.id(), self.bench.now.wall);
        let command = match self.roll(4) {
            0 => {
                let span = Span { from: now - MINUTE, to: now - self.roll(30_000) as i64 };
                return drop(self.bench.backfill(id, span));
            }
            1 => {
                let live: Vec<_> = self.bench.machine.runs.iter().map(|(_, run)| run.id).collect();
                let index = self.roll(live.len().max(1));
                let Some(id) = live.get(index).copied() else { return };
                Command::CancelRun(CancelRun {
                    namespace: "default".into(),
                    id,
                    note: "n".into(),
                    request: None,
                    actor: "t".into(),
                })
            }
            2 => {
                let ends = if self.bench.gone(id) { Vec::new() } else { self.bench.history(id) };
                Command::RetryRuns(Box::new(RetryRuns {
                    namespace: "default".into(),
                    ids: ends.iter().map(|end| end.id).collect(),
                    page: Page { last: true, ..Page::default() },
                    request: None,
                    actor: "t".into(),
                }))
            }
            _ => {
                let change = [
                    BulkChange::Pause { note: "n".into(), until: None },
                    BulkChange::Resume { catch_up: true },
                ][self.roll(2)]
                .clone();
                self.bench.bulk("", change)
            }
        };
        self.apply(&command);
    }

    fn limit(&mut self) {
        use crate::state_machine::{
            command::{DeleteLimit, SetLimit},
            gate::limit::Limit,
        };
        let (namespace, key) = ("default".into(), ["k", "m:*", "m:1"][self.roll(3)].into());
        let command = if self.roll(3) == 0 {
            Command::DeleteLimit(DeleteLimit { namespace, key, request: None })
        } else {
            let max_running = [None, Some(0), Some(1), Some(2)][self.roll(4)];
            let rate = [0, 100_000, 1_000_000][self.roll(3)];
            let limit = Limit { max_running, rate, burst: 2 };
            Command::SetLimit(Box::new(SetLimit { namespace, key, limit, request: None }))
        };
        self.apply(&command);
    }

    fn connect(&mut self) {
        if self.workers.len() < 3 || self.roll(2) == 0 {
            let instance = format!("i{}", self.bench.number());
            let slots = 1 + self.roll(4) as u32;
            let hello = self.bench.hello(&instance, slots, Vec::new());
            let session = self.bench.open(hello).0;
            self.workers.push(Worker { session, instance, received: 1, held: Vec::new(), deaf: false });
            return;
        }
        // A stream breaks; the process may come back with what it holds, or be gone for good.
        let index = self.roll(self.workers.len());
        let mut worker = self.workers.remove(index);
        if self.roll(2) == 0 {
            self.apply(&Command::CloseSession(worker.session));
        }
        if self.roll(3) > 0 {
            let held = worker.held.iter().map(held).collect();
            let hello = self.bench.hello(&worker.instance, 3, held);
            let (session, orders) = self.bench.open(hello);
            worker.held.retain(|job| orders.iter().all(|order| order.run_id != job.id.to_string()));
            self.workers.push(Worker { session, received: 1, deaf: false, ..worker });
        } else {
            self.letters.extend(worker.held);
        }
    }

    fn beat(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        let index = self.roll(self.workers.len());
        let worker = &self.workers[index];
        let beat = Heartbeat {
            caller: Caller::default(),
            session: worker.session,
            worker_id: None,
            received: worker.received,
            slots: None,
            draining: false,
            held: worker.held.iter().map(held).collect::<Vec<Held>>(),
            unknown: Vec::new(),
        };
        let answer = self.bench.call(&Command::Heartbeat(Box::new(beat)));
        let crate::state_machine::output::Answer::Heard { orders, reopen, .. } = answer else {
            panic!("heard")
        };
        let worker = &mut self.workers[index];
        worker.held.retain(|job| orders.iter().all(|order| order.run_id != job.id.to_string()));
        if reopen {
            let worker = self.workers.remove(index);
            self.letters.extend(worker.held);
        }
    }

    fn report(&mut self) {
        let from_worker = !self.workers.is_empty() && self.roll(4) > 0;
        let job = if from_worker {
            let index = self.roll(self.workers.len());
            self.workers[index].held.pop()
        } else {
            let index = self.roll(self.letters.len().max(1));
            self.letters.get(index).cloned()
        };
        let Some(job) = job else { return };
        let class = Class::ALL[self.roll(Class::ALL.len())];
        let outcome = if self.roll(2) == 0 {
            Reported::Success { result: Bytes::new() }
        } else {
            let mut failure = Box::new(Failure::new(class, "C", "m"));
            failure.limit = ["", "k", "m:1"][self.roll(3)].into();
            failure.retry_after = [0, 5_000][self.roll(2)];
            Reported::Failure { failure, partial: Bytes::new(), checkpoint: Some("c".into()) }
        };
        let report = Report {
            caller: Caller::default(),
            worker_id: None,
            id: Some(job.id),
            attempt: job.attempt,
            token: job.token,
            outcome,
            invalid: None,
        };
        self.apply(&Command::Report(vec![report]));
        if self.roll(3) == 0 {
            self.letters.push(job);
        }
    }

    fn clock(&mut self) {
        let by = [-HOUR, -30 * SECOND, -1, 1, 30 * SECOND, 2 * MINUTE][self.roll(6)];
        self.bench.set_clock(by);
    }

    /// A new process; sometimes the last batch is lost with the old one, and nobody has heard of it.
    fn crash(&mut self) {
        if self.roll(2) == 0 {
            let definition = self.definition();
            let upsert = self.bench.upsert(definition);
            let to = crate::state_machine::id::ReplyTo(0);
            self.bench.machine.apply(self.bench.now, to, &Command::Upsert(Box::new(upsert)));
            self.bench.machine.wake(self.bench.now);
            drop(self.bench.machine.seal());
        }
        let outage = [0, 3 * SECOND, MINUTE][self.roll(3)];
        let size = 1 + self.roll(10) as u8;
        self.bench.config.history = Kept { runs: size, failed_runs: 11 - size, decisions: size };
        self.bench.restart(outage);
    }

    fn wait(&mut self) {
        let span = [1, 400, 2 * SECOND, 9 * SECOND, 40 * SECOND][self.roll(5)];
        if self.roll(6) == 0 {
            self.bench.skip(span);
            self.bench.wake();
        } else {
            self.bench.pass(span);
        }
    }

    /// Messages arrive, or not.
    fn receive(&mut self) {
        for (session, message) in std::mem::take(&mut self.bench.messages) {
            let lost = self.roll(10) == 0;
            let Some(worker) = self.workers.iter_mut().find(|worker| worker.session == session) else {
                continue;
            };
            // A stream that lost one message delivers no later one.
            worker.deaf |= lost;
            if worker.deaf {
                continue;
            }
            worker.received = message.sequence;
            match message.body {
                Body::Jobs(jobs) => worker.held.extend(jobs),
                Body::Cancel { id, .. } => worker.held.retain(|job| job.id != id),
            }
        }
    }

    /// The records say what the machine knows, and every time was decided once.
    fn look(&mut self) {
        let loaded = self.bench.loaded();
        loaded.check().unwrap_or_else(|broken| panic!("loaded: {broken}"));
        assert_eq!(shown(&self.bench.machine), shown(&loaded));
        assert_eq!(shown(&self.bench.machine), shown(&self.bench.rewritten()));
        assert_eq!(self.bench.machine.history.bytes(), self.bench.cold_bytes(), "the meter is exact");
        for id in IDS {
            if !self.bench.gone(id) {
                let log = self.bench.decisions(id);
                check_log(&log);
            }
        }
    }
}

/// Entries follow each other, except that times which two timings share stay among those that were replaced.
fn check_log(log: &[Decision]) {
    for decision in log {
        assert!(decision.first <= decision.last, "{decision:?}");
    }
    let decided: Vec<&Decision> = log.iter().filter(|one| one.verdict != Verdict::Replaced).collect();
    for pair in decided.windows(2) {
        assert!(pair[0].last < pair[1].first, "decided twice: {pair:?}");
    }
}

/// What a user sees, without what only lives in memory: sessions, and how long a run still waits.
fn shown(machine: &StateMachine) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for (slot, schedule) in machine.schedules.iter() {
        let mut view = machine.view(slot);
        view.active.sort_unstable();
        shown.push(format!("{:?} {:?}", schedule.uid, view));
        for key in schedule.live() {
            let run = &machine.runs[*key];
            let view = machine.live_view(*key);
            let phase = std::mem::discriminant(&run.phase);
            shown.push(format!(
                "{} {phase:?} {} {:?} {:?} {:?} {:?} {}",
                view.id,
                view.attempt,
                view.attempts,
                view.first_start,
                view.failure,
                view.attempt_start,
                view.due
            ));
        }
    }
    shown.sort_unstable();
    shown
}
