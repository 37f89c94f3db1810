//! Workers: they take what they are sent, send heartbeats while they are well, and report what a script says.

use scheduler_svc::state_machine::{
    command::{Caller, Command, Heartbeat, Held, OpenSession, Report, Reported},
    id::{RunId, SessionId},
    output::{Action, Answer, Body, Job, Message, Order, Receipt},
};

use crate::{parse::Line, show, world::World};

/// Milliseconds.
const HEARTBEAT: u64 = 5_000;

pub struct Worker {
    /// Of the process; another one begins anew under the same name.
    instance: u64,
    session: SessionId,
    kinds: Vec<String>,
    slots: u32,
    pub connected: bool,
    /// Whether it sends heartbeats.
    well: bool,
    draining: bool,
    /// Whether the next message gets lost on its way to it.
    misses: bool,
    received: u64,
    next_beat: u64,
    /// How long each job takes it, milliseconds. None = until the script reports.
    takes: Option<u64>,
    /// Oldest first.
    pub jobs: Vec<Job>,
    /// When the jobs came.
    since: Vec<u64>,
    /// Those with a receipt.
    pub reported: Vec<Job>,
}

impl Worker {
    fn is_active(&self) -> bool {
        self.well && self.connected
    }

    /// When its oldest job is done by itself.
    fn next_done(&self) -> Option<u64> {
        Some(self.since.first()? + self.takes?)
    }

    fn forget(&mut self, id: RunId, attempt: u32) {
        if let Some(index) = self.jobs.iter().position(|job| (job.id, job.attempt) == (id, attempt)) {
            self.jobs.remove(index);
            self.since.remove(index);
        }
    }

    fn held(&self) -> Vec<Held> {
        let held = self.jobs.iter().map(|job| Held {
            id: job.id,
            attempt: job.attempt,
            token: job.token,
            progress: None,
            checkpoint: None,
        });
        held.collect()
    }
}

impl World {
    /// `worker w1 joins`, `worker w1 falls silent`, …
    pub fn worker(&mut self, line: &mut Line) -> Result<(), String> {
        let name = line.need("the worker's name")?;
        let slots = line.number("slots")?.unwrap_or(4);
        let takes = crate::schedule::span(line, "takes")?.map(i64::unsigned_abs);
        let kinds = line.option("kinds").unwrap_or_else(|| "sync".into());
        let doing = line.rest().join(" ");
        line.done()?;
        if doing == "joins" {
            let kinds = kinds.split(',').map(String::from).collect();
            self.join(&name, slots, kinds, takes);
            return Ok(());
        }
        let worker = self.workers.get_mut(&name).ok_or_else(|| format!("no worker `{name}` has joined"))?;
        match &*doing {
            "falls silent" => worker.well = false,
            "is well again" => (worker.well, worker.next_beat) = (true, 0),
            "dies" | "loses its stream" => {
                (worker.connected, worker.well) = (false, false);
                if doing == "dies" {
                    worker.jobs.clear();
                    worker.since.clear();
                }
                let session = worker.session;
                self.ask(&Command::CloseSession(session)).map_err(|refusal| format!("{refusal:?}"))?;
            }
            "reconnects" => self.open(&name),
            "misses the next message" => worker.misses = true,
            "sends a heartbeat" => self.beat(&name, true),
            "drains" => {
                worker.draining = true;
                self.beat(&name, true);
            }
            _ => {
                return Err(format!(
                    "a worker joins, falls silent, is well again, dies, loses its stream, reconnects, \
                                     drains, sends a heartbeat or misses the next message, not `{doing}`"
                ));
            }
        }
        self.advance(0);
        Ok(())
    }

    fn join(&mut self, name: &str, slots: u32, kinds: Vec<String>, takes: Option<u64>) {
        let instance = self.number();
        let worker = Worker {
            instance,
            session: SessionId(0),
            kinds,
            slots,
            connected: false,
            well: true,
            draining: false,
            misses: false,
            received: 0,
            next_beat: 0,
            takes,
            jobs: Vec::new(),
            since: Vec::new(),
            reported: Vec::new(),
        };
        self.workers.insert(name.into(), worker);
        self.open(name);
    }

    /// A hello that lists what it holds.
    fn open(&mut self, name: &str) {
        let session = SessionId(self.number());
        let elapsed = self.now.elapsed;
        let Some(worker) = self.workers.get_mut(name) else { return };
        (worker.session, worker.connected, worker.well) = (session, true, true);
        (worker.received, worker.next_beat) = (1, elapsed + HEARTBEAT);
        let hello = OpenSession {
            caller: Caller::default(),
            session,
            worker_id: name.into(),
            instance: format!("{}", worker.instance).into(),
            version: "1".into(),
            slots: worker.slots,
            kinds: worker.kinds.iter().map(|kind| kind.as_str().into()).collect(),
            namespaces: None,
            archive_id: None,
            held: worker.held(),
            draining: worker.draining,
        };
        match self.ask(&Command::OpenSession(Box::new(hello))) {
            Ok(Answer::Opened { orders, .. }) => self.obey(name, &orders, true),
            other => self.say(format!("{name}: {other:?}")),
        }
    }

    // --- messages ------------------------------------------------------------------------------------------------

    fn name_of(&self, session: SessionId) -> Option<String> {
        self.workers.iter().find(|(_, worker)| worker.session == session).map(|(name, _)| name.clone())
    }

    pub fn deliver(&mut self, session: SessionId, message: Message) {
        let Some(name) = self.name_of(session) else { return };
        let lines = show::message(self, &name, &message.body);
        let elapsed = self.now.elapsed;
        let Some(worker) = self.workers.get_mut(&name) else { return };
        let arrives = worker.connected && !std::mem::take(&mut worker.misses);
        if arrives {
            worker.received = message.sequence;
            if let Body::Jobs(jobs) = message.body {
                worker.since.extend(jobs.iter().map(|_| elapsed));
                worker.jobs.extend(jobs);
            }
        }
        for line in lines {
            self.say(if arrives { line } else { format!("{line} (which never arrives)") });
        }
    }

    /// The scheduler has ended its stream.
    pub fn cut_off(&mut self, session: SessionId) {
        let Some(name) = self.name_of(session) else { return };
        if let Some(worker) = self.workers.get_mut(&name)
            && std::mem::take(&mut worker.connected)
        {
            self.say(format!("the stream of {name} is ended"));
        }
    }

    // --- heartbeats ----------------------------------------------------------------------------------------------

    /// When one of them does something by itself.
    pub fn next_deed(&self) -> Option<u64> {
        let active = self.workers.values().filter(|worker| worker.is_active());
        active.flat_map(|worker| worker.next_done().into_iter().chain([worker.next_beat])).min()
    }

    /// Heartbeats and outcomes of those that are well. Only what they are told is worth a line.
    pub fn attend(&mut self) {
        let now = self.now.elapsed;
        while let Some((name, job)) = self.workers.iter().find_map(|(name, worker)| {
            let done = worker.next_done().filter(|at| worker.is_active() && *at <= now);
            done.map(|_| (name.clone(), worker.jobs[0].clone()))
        }) {
            self.send_report(&name, job, Reported::Success { result: Default::default() });
            self.wake();
        }
        let due = self.workers.iter().filter(|(_, worker)| worker.is_active() && worker.next_beat <= now);
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        due.iter().for_each(|name| self.beat(name, false));
    }

    fn beat(&mut self, name: &str, tell: bool) {
        let elapsed = self.now.elapsed;
        let Some(worker) = self.workers.get_mut(name) else { return };
        worker.next_beat = elapsed + HEARTBEAT;
        let draining = worker.draining;
        let beat = Heartbeat {
            caller: Caller::default(),
            session: worker.session,
            worker_id: Some(name.into()),
            received: worker.received,
            slots: None,
            draining,
            held: worker.held(),
            unknown: Vec::new(),
        };
        let Ok(Answer::Heard { orders, reopen, assigned, .. }) =
            self.ask(&Command::Heartbeat(Box::new(beat)))
        else {
            return;
        };
        if tell && draining {
            let runs: Vec<String> = assigned.iter().map(|(id, ..)| self.run_name(*id)).collect();
            let runs = if runs.is_empty() { "nothing".into() } else { runs.join(", ") };
            self.say(format!("{name} drains; it has {runs}"));
        } else if tell {
            let answer = if reopen { "answered: open the stream again" } else { "answered" };
            self.say(format!("the heartbeat of {name} is {answer}"));
        }
        self.obey(name, &orders, tell);
    }

    /// What it must drop it drops; what it must cancel the script reports.
    fn obey(&mut self, name: &str, orders: &[Order], tell: bool) {
        for order in orders {
            let Some(id) = RunId::parse(&order.run_id) else { continue };
            let run = self.run_name(id);
            if order.action == Action::Drop {
                self.say(format!("{name} is told to drop {run} attempt {}: {}", order.attempt, order.reason));
                if let Some(worker) = self.workers.get_mut(name) {
                    worker.forget(id, order.attempt);
                }
            } else if tell {
                self.say(format!("{name} is told again to cancel {run} attempt {}", order.attempt));
            }
        }
    }

    // --- reports -------------------------------------------------------------------------------------------------

    /// The job that a script names by its schedule or its run, and who has it.
    pub fn job(&self, name: &str, by: Option<&str>, again: bool) -> Result<(String, Job), String> {
        let workers = self.workers.iter().filter(|(worker, _)| by.is_none_or(|by| by == *worker));
        let jobs = workers.flat_map(|(worker, w)| {
            (if again { &w.reported } else { &w.jobs }).iter().map(move |j| (worker, j))
        });
        let named = |job: &Job| *job.definition.key.id == *name || self.run_name(job.id) == name;
        let mut found: Vec<(&String, &Job)> = jobs.filter(|(_, job)| named(job)).collect();
        if again && found.len() > 1 {
            found.drain(..found.len() - 1);
        }
        match &*found {
            [(worker, job)] => Ok(((*worker).clone(), (*job).clone())),
            [] => Err(format!("no worker has a job `{name}`")),
            _ => Err(format!("several jobs are `{name}`: name the run, or the worker with by=")),
        }
    }

    pub fn send_report(&mut self, worker: &str, job: Job, outcome: Reported) {
        let report = Report {
            caller: Caller::default(),
            worker_id: Some(worker.into()),
            id: Some(job.id),
            attempt: job.attempt,
            token: job.token,
            outcome,
            invalid: None,
        };
        let Ok(Answer::Reported(receipts)) = self.ask(&Command::Report(vec![report])) else { return };
        let told = self.workers.get(worker).is_none_or(|worker| worker.takes.is_none());
        for receipt in
            receipts.into_iter().filter(|receipt| told || !matches!(receipt, Receipt::Accepted { .. }))
        {
            let text = match receipt {
                Receipt::Accepted { next_attempt: None } => "ACCEPTED".into(),
                Receipt::Accepted { next_attempt: Some(at) } => {
                    format!(
                        "ACCEPTED, next attempt {}",
                        if at <= self.now.wall { "now".into() } else { self.time(at) }
                    )
                }
                Receipt::Repeated => "REPEATED".into(),
                Receipt::Stale(why) => format!("STALE: {why}"),
                Receipt::Forgotten => "FORGOTTEN".into(),
                Receipt::Invalid(why) => format!("INVALID: {why}"),
            };
            self.say(format!("receipt for {worker}: {text}"));
        }
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.forget(job.id, job.attempt);
            worker.reported.push(job);
        }
    }
}
