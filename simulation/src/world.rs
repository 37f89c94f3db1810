//! The simulated world: one queue of events, ordered by true time, and everything that they happen to.

pub mod app;
pub mod client;
pub mod clocks;
pub mod faults;
pub mod garble;
pub mod jobs;
pub mod loss;
pub mod network;
pub mod operator;
pub mod owner;
pub mod poison;
pub mod reload;
pub mod scheduler;
pub mod speech;
pub mod storage;
pub mod worker;

use std::{collections::BTreeMap, sync::Arc};

use docket::schedule::v1 as pb;
use scheduler_svc::{
    state_machine::{
        Config,
        id::{RunId, SessionId},
        poison::At,
        timer::Now,
    },
    store::{Batch, Snapshot, StoreError},
};
use worker_svc::{agent::Key, kind};

use client::{Client, Role};

use crate::{
    chance::Sources,
    judge::{Judge, Verdict, broken},
    store::Durable,
    trace::Trace,
};

/// True milliseconds since the world began.
pub type Millis = u64;

/// 2026-02-02T02:40:00Z.
pub const START: i64 = 1_770_000_000_000;
/// Events in a world at most: more means that something goes round in circles.
const EVENTS_MAX: u64 = 2_000_000;

macro_rules! trace {
    ($world:expr, $($text:tt)*) => { $world.trace.line($world.now, format_args!($($text)*)) };
}
pub(crate) use trace;

#[derive(Debug)]
pub enum Event {
    /// A new process opens the store.
    SchedulerStarts,
    SchedulerTurn(usize),
    CommitArrives {
        scheduler: usize,
        epoch: u64,
        seq: u64,
        batch: Batch,
        fate: crate::store::Fate,
    },
    EverythingArrives {
        scheduler: usize,
        epoch: u64,
        seq: u64,
        snapshot: Arc<Snapshot>,
        fate: crate::store::Fate,
    },
    CommitAnswered {
        scheduler: usize,
        seq: u64,
        outcome: Result<(), StoreError>,
    },
    Arrives {
        scheduler: usize,
        call: network::CallId,
        said: Box<network::Request>,
    },
    Answered {
        call: network::CallId,
        answer: Box<network::Answered>,
    },
    TimesOut(network::CallId),
    StreamSays {
        stream: usize,
        message: Box<pb::StreamDueJobsResponse>,
    },
    StreamEnds(usize),
    Closes {
        scheduler: usize,
        session: SessionId,
    },
    WorkerStarts(usize),
    WorkerTurn(usize, u32),
    JobEnds {
        worker: usize,
        life: u32,
        key: Key,
        outcome: Box<kind::Outcome>,
    },
    ClientTurn(usize),
    Fault(faults::Fault),
}

#[derive(Debug)]
pub struct World {
    pub now: Millis,
    queue: BTreeMap<(Millis, u64), Event>,
    events: u64,
    pub(crate) sources: Sources,
    pub(crate) config: Config,
    pub(crate) profile: faults::Profile,
    pub(crate) hosts: [clocks::Host; 2],
    pub(crate) store: Durable,
    /// When each batch was closed, and what its machine took for the time; by epoch and sequence.
    pub(crate) sealed: BTreeMap<(u64, u64), (Millis, Now)>,
    pub(crate) schedulers: Vec<scheduler::Scheduler>,
    pub(crate) network: network::Network,
    pub(crate) workers: Vec<worker::Worker>,
    pub(crate) clients: Vec<client::Client>,
    pub judge: Judge,
    pub trace: Trace,
    pub(crate) armed: Option<At>,
    /// When the last poison was gone.
    pub(crate) cured: Millis,
    /// A record becomes unreadable before the store is opened again.
    pub(crate) garbles: bool,
    /// The faults are over.
    pub(crate) calm: bool,
}

impl World {
    pub fn new(seed: u64, store: Durable) -> Self {
        let mut sources = Sources::new(seed);
        let profile = faults::Profile::draw(&mut sources.faults);
        let config = Config {
            timers_per_turn: *sources.faults.pick(&[2, 2_000, 2_000]),
            assignments_per_turn: *sources.faults.pick(&[1, 4_000, 4_000]),
            max_batch: *sources.faults.pick(&[1, 1_000, 1_000]),
            live_runs_max: *sources.faults.pick(&[2, 4, 16]),
            ..Config::default()
        };
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            sources,
            config,
            profile,
            hosts: Default::default(),
            store,
            sealed: BTreeMap::new(),
            schedulers: Vec::new(),
            network: Default::default(),
            workers: Vec::new(),
            clients: Vec::new(),
            judge: Judge { live_runs_max: config.live_runs_max, ..Judge::default() },
            trace: Trace::default(),
            armed: None,
            cured: 0,
            garbles: false,
            calm: false,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.at(0, Event::SchedulerStarts);
        for index in 0..self.profile.workers {
            self.add_worker(index);
        }
        for index in 0..self.profile.clients {
            self.clients.push(Client::new(format!("s{index}"), Role::App(Default::default())));
        }
        if self.profile.operator {
            self.clients.push(Client::new("operator", Role::Operator(Default::default())));
        }
        if self.profile.owner {
            self.clients.push(Client::new("owner", Role::Owner(Default::default())));
        }
        for index in 0..self.clients.len() {
            let pause = self.sources.app.between(0, 3_000);
            self.at(pause, Event::ClientTurn(index));
        }
        self.plan_faults();
    }

    pub(crate) fn after(&mut self, wait: Millis, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn at(&mut self, at: Millis, event: Event) {
        self.events += 1;
        self.queue.insert((at.max(self.now), self.events), event);
    }

    /// # Errors
    /// The first rule that was broken.
    pub fn run(&mut self) -> Verdict {
        self.run_until(self.profile.span)?;
        self.calm_down();
        self.settle()
    }

    fn run_until(&mut self, end: Millis) -> Verdict {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.judge.compared.virtual_seconds += at / 1_000 - self.now / 1_000;
            self.now = at;
            self.judge.runs.now = at;
            self.handle(event)?;
            if self.events > EVENTS_MAX {
                return broken("nothing goes round in circles", format!("{} events", self.events));
            }
        }
        self.now = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Verdict {
        match event {
            Event::SchedulerStarts => self.scheduler_starts(),
            Event::SchedulerTurn(index) => self.scheduler_turn(index),
            Event::CommitArrives { scheduler, epoch, seq, batch, fate } => {
                self.commit_arrives(scheduler, epoch, seq, &batch, fate)
            }
            Event::EverythingArrives { scheduler, epoch, seq, snapshot, fate } => {
                self.everything_arrives(scheduler, (epoch, seq), &snapshot, fate)
            }
            Event::CommitAnswered { scheduler, seq, outcome } => {
                self.commit_answered(scheduler, seq, outcome);
                Ok(())
            }
            Event::Arrives { scheduler, call, said } => {
                self.arrives(scheduler, call, *said);
                Ok(())
            }
            Event::Answered { call, answer } => self.answered(call, *answer),
            Event::TimesOut(call) => self.answered(call, network::Answered::Failed),
            Event::StreamSays { stream, message } => self.stream_says(stream, *message),
            Event::StreamEnds(stream) => self.stream_ends(stream),
            Event::Closes { scheduler, session } => {
                self.closes(scheduler, session);
                Ok(())
            }
            Event::WorkerStarts(index) => self.worker_starts(index),
            Event::WorkerTurn(index, life) => self.worker_turn(index, life),
            Event::JobEnds { worker, life, key, outcome } => self.job_ends(worker, life, key, *outcome),
            Event::ClientTurn(index) => {
                self.client_turn(index);
                Ok(())
            }
            Event::Fault(fault) => self.fault(fault),
        }
    }

    /// Time passes without faults until everything that was under way has ended; then the last questions are asked.
    fn settle(&mut self) -> Verdict {
        const QUIET: Millis = 120_000;
        const PATIENCE: u64 = 20;
        self.run_until(self.now + QUIET)?;
        let then: Vec<RunId> = self.judge.durable.runs.keys().copied().collect();
        for _ in 0..PATIENCE {
            self.run_until(self.now + 60_000)?;
            if self.judge.all_ended(&then).is_ok() {
                break;
            }
        }
        self.judge.all_ended(&then)?;
        self.judge.all_removed()?;
        if let Some(leader) = self.leader() {
            let wall = self.wall(leader);
            self.judge.all_decided(wall)?;
            self.compare_reloaded(leader)?;
        }
        self.workers_settled()?;
        self.clients_settled()
    }
}
