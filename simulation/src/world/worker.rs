//! A worker process: the real agent, driven as `link` drives it, with simulated jobs.

use std::collections::{BTreeMap, BTreeSet};

use docket::schedule::v1 as pb;
use worker_svc::{
    agent::{Agent, Effect, Key, Profile},
    kind,
};

use super::{
    Event, Millis, World,
    jobs::Job,
    network::{Answered, CallId, Caller, Party, Request},
    trace,
};
use crate::{
    judge::{self, Verdict},
    workload::KINDS,
};

/// Of a heartbeat or a report.
const CALL_TIMEOUT: Millis = 5_000;
const OPEN_TIMEOUT: Millis = 20_000;
const DRAIN: u64 = 8_000;

#[derive(Debug)]
pub struct Worker {
    pub name: String,
    /// Counts its lives; what belongs to an earlier one does not reach it.
    pub life: u32,
    pub alive: bool,
    pub born: Millis,
    agent: Agent,
    judge: judge::worker::Worker,
    stream: Option<usize>,
    pub jobs: BTreeMap<Key, Job>,
    pub liar: bool,
    pub paused_until: Millis,
    next_turn: Option<Millis>,
    /// What it has not read yet.
    inbox: Vec<Input>,
    slots: i32,
    kinds: Vec<String>,
    draining: bool,
}

#[derive(Debug)]
enum Input {
    Said(usize, Box<pb::StreamDueJobsResponse>),
    Ended(usize),
    OpenFailed(usize),
    JobEnded(Key, Box<kind::Outcome>),
    Heard(CallId, u64, Option<pb::HeartbeatResponse>),
    Receipts(u64, Option<Vec<pb::Receipt>>),
}

impl World {
    pub(crate) fn add_worker(&mut self, index: usize) {
        let kinds: Vec<String> = match self.sources.workers.roll(4) {
            0 if index > 0 => vec![KINDS[index % 2].into()],
            _ => KINDS.map(Into::into).to_vec(),
        };
        let slots = *self.sources.workers.pick(&[1, 1, 2, 4, 16]);
        let name = format!("worker-{index}");
        let worker = Worker {
            life: 0,
            alive: false,
            born: 0,
            agent: Agent::new(profile(&name, "none", slots, &kinds), 1),
            judge: judge::worker::Worker::default(),
            stream: None,
            jobs: BTreeMap::new(),
            liar: index > 0 && self.profile.lies,
            paused_until: 0,
            next_turn: None,
            inbox: Vec::new(),
            slots,
            kinds,
            draining: false,
            name,
        };
        self.workers.push(worker);
        let pause = self.sources.workers.between(0, 4_000);
        self.after(pause, Event::WorkerStarts(index));
    }

    pub(crate) fn worker_starts(&mut self, index: usize) -> Verdict {
        let (instance, seed) = (format!("i{:016x}", self.sources.ids.draw()), self.sources.workers.draw());
        let now = self.now;
        let worker = &mut self.workers[index];
        if worker.alive {
            return Ok(());
        }
        (worker.alive, worker.born, worker.draining, worker.paused_until) = (true, now, false, 0);
        worker.life += 1;
        worker.agent = Agent::new(profile(&worker.name, &instance, worker.slots, &worker.kinds), seed);
        let guarded = BTreeSet::from([KINDS[1].to_owned()]);
        worker.judge = judge::worker::Worker::new(format!("{} {instance}", worker.name), guarded);
        let life = worker.life;
        worker.next_turn = None;
        trace!(self, "worker {index} starts as {instance}");
        self.worker_turn_at(index, life, now);
        Ok(())
    }

    pub(crate) fn worker_dies(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if !std::mem::replace(&mut worker.alive, false) {
            return;
        }
        worker.jobs.clear();
        worker.inbox.clear();
        let stream = worker.stream.take();
        trace!(self, "worker {index} dies");
        if let Some(stream) = stream {
            self.leave_stream(stream);
        }
        let pause = self.sources.workers.between(100, 15_000);
        self.after(pause, Event::WorkerStarts(index));
    }

    fn worker_turn_at(&mut self, index: usize, life: u32, at: Millis) {
        let worker = &mut self.workers[index];
        if worker.next_turn.is_none_or(|next| next > at) {
            worker.next_turn = Some(at);
            self.at(at, Event::WorkerTurn(index, life));
        }
    }

    fn worker_input(&mut self, index: usize, life: u32, input: Input) -> Verdict {
        if !self.workers[index].alive || self.workers[index].life != life {
            return Ok(());
        }
        self.workers[index].inbox.push(input);
        self.worker_turn_at(index, life, self.now);
        Ok(())
    }

    pub(crate) fn stream_says(&mut self, stream: usize, message: pb::StreamDueJobsResponse) -> Verdict {
        let (worker, life) = (self.network.streams[stream].worker, self.network.streams[stream].life);
        self.worker_input(worker, life, Input::Said(stream, Box::new(message)))
    }

    pub(crate) fn stream_ends(&mut self, stream: usize) -> Verdict {
        let (worker, life) = (self.network.streams[stream].worker, self.network.streams[stream].life);
        self.worker_input(worker, life, Input::Ended(stream))
    }

    pub(crate) fn job_ends(&mut self, index: usize, life: u32, key: Key, outcome: kind::Outcome) -> Verdict {
        self.worker_input(index, life, Input::JobEnded(key, Box::new(outcome)))
    }

    pub(crate) fn worker_opened(
        &mut self,
        index: usize,
        life: u32,
        stream: usize,
        answer: Answered,
    ) -> Verdict {
        match answer {
            Answered::Failed => self.worker_input(index, life, Input::OpenFailed(stream)),
            _ => Ok(()),
        }
    }

    pub(crate) fn worker_heard(
        &mut self,
        index: usize,
        life: u32,
        (call, number): (CallId, u64),
        answer: Answered,
    ) -> Verdict {
        let answer = if let Answered::Heard(answer) = answer { Some(answer) } else { None };
        self.worker_input(index, life, Input::Heard(call, number, answer))
    }

    pub(crate) fn worker_receipts(
        &mut self,
        index: usize,
        life: u32,
        call: u64,
        answer: Answered,
    ) -> Verdict {
        let receipts = if let Answered::Receipts(receipts) = answer { Some(receipts) } else { None };
        self.worker_input(index, life, Input::Receipts(call, receipts))
    }

    pub(crate) fn worker_turn(&mut self, index: usize, life: u32) -> Verdict {
        let worker = &mut self.workers[index];
        if !worker.alive || worker.life != life || worker.next_turn != Some(self.now) {
            return Ok(());
        }
        worker.next_turn = None;
        if worker.paused_until > self.now {
            let until = worker.paused_until;
            self.worker_turn_at(index, life, until);
            return Ok(());
        }
        if std::mem::take(&mut worker.paused_until) > 0 {
            let now = self.now - worker.born;
            worker.judge.woke(now);
        }
        for input in std::mem::take(&mut self.workers[index].inbox) {
            self.worker_hears(index, input);
            self.worker_does(index)?;
        }
        if !self.workers[index].alive {
            return Ok(());
        }
        let now = self.now - self.workers[index].born;
        self.workers[index].agent.wake(now);
        self.worker_does(index)?;
        let worker = &mut self.workers[index];
        if !worker.alive {
            return Ok(());
        }
        worker.judge.has_turned(now)?;
        if worker.agent.is_drained() {
            self.worker_dies(index);
            return Ok(());
        }
        let next = worker.agent.next_wake().saturating_sub(now).clamp(1, 60_000);
        self.worker_turn_at(index, life, self.now + next);
        Ok(())
    }

    fn worker_hears(&mut self, index: usize, input: Input) {
        let now = self.now - self.workers[index].born;
        let Worker { agent, judge, stream, jobs, .. } = &mut self.workers[index];
        match input {
            Input::Said(from, message) if *stream == Some(from) => {
                judge.stream_said(now, &message);
                agent.stream_message(now, *message);
            }
            Input::Ended(from) | Input::OpenFailed(from) if *stream == Some(from) => {
                *stream = None;
                judge.stream_ended();
                agent.stream_ended(now);
            }
            Input::Said(..) | Input::Ended(_) | Input::OpenFailed(_) => {}
            Input::JobEnded(key, outcome) => {
                if jobs.remove(&key).is_some() {
                    judge.job_ended(now, &key, matches!(*outcome, kind::Outcome::Success { .. }));
                    agent.ended(now, &key, *outcome);
                }
            }
            Input::Heard(call, number, answer) => {
                judge.heard(now, call, answer.as_ref());
                agent.heartbeat_answered(now, number, answer);
            }
            Input::Receipts(call, receipts) => {
                let count = receipts.as_ref().map(Vec::len);
                self.trace.line(
                    self.now,
                    format_args!("worker {index} has {count:?} receipts for its call {call}"),
                );
                judge.receipts(now, call, receipts.as_deref());
                agent.report_answered(now, call, receipts);
            }
        }
    }

    fn worker_does(&mut self, index: usize) -> Verdict {
        for effect in self.workers[index].agent.effects() {
            if !self.workers[index].alive {
                break;
            }
            self.perform(index, effect)?;
        }
        Ok(())
    }

    fn perform(&mut self, index: usize, effect: Effect) -> Verdict {
        let (life, now) = (self.workers[index].life, self.now - self.workers[index].born);
        let party = Party::Worker(index);
        let call = match &effect {
            Effect::Open(open) => {
                if let Some(former) = self.workers[index].stream.take() {
                    self.leave_stream(former);
                }
                let stream = self.new_stream(index, life);
                self.workers[index].stream = Some(stream);
                let open = self.twist_open(index, open.clone());
                trace!(self, "worker {index} opens stream {stream}, holds {}", open.held.len());
                let caller = Caller::Open { worker: index, life, stream };
                self.call(party, caller, Request::Open { open, stream }, OPEN_TIMEOUT)
            }
            Effect::CloseStream => {
                if let Some(stream) = self.workers[index].stream.take() {
                    self.leave_stream(stream);
                }
                0
            }
            Effect::Start(_) | Effect::Stop(_) => 0,
            Effect::Heartbeat { number, request: beat } => {
                let (number, beat) = (*number, self.twist_beat(index, beat.clone()));
                let instance = self.workers[index].agent_instance();
                let caller = Caller::Heartbeat { worker: index, life, number };
                self.call(party, caller, Request::Heartbeat { beat, instance }, CALL_TIMEOUT)
            }
            Effect::Report { call, request } => {
                let request = self.twist_reports(index, request.clone());
                self.note_reports(&request);
                trace!(self, "worker {index} reports {} outcomes, its call {call}", request.reports.len());
                let caller = Caller::Report { worker: index, life, call: *call };
                self.call(party, caller, Request::Report(request), CALL_TIMEOUT)
            }
        };
        self.workers[index].judge.does(now, call, &effect, &mut self.judge.compared)?;
        match effect {
            Effect::Start(job) => self.start_job(index, &job),
            Effect::Stop(key) => self.stop_job(index, &key),
            _ => {}
        }
        Ok(())
    }

    /// SIGTERM.
    pub(crate) fn drain_worker(&mut self, index: usize) -> Verdict {
        let now = self.now - self.workers[index].born;
        let worker = &mut self.workers[index];
        if !worker.alive || worker.draining {
            return Ok(());
        }
        worker.draining = true;
        worker.judge.drain();
        worker.agent.drain(now, DRAIN);
        let life = worker.life;
        trace!(self, "worker {index} drains");
        self.worker_does(index)?;
        self.worker_turn_at(index, life, self.now);
        Ok(())
    }

    pub(crate) fn workers_settled(&self) -> Verdict {
        for worker in self.workers.iter().filter(|worker| worker.alive && !worker.liar) {
            worker.judge.is_settled(self.now - worker.born)?;
        }
        Ok(())
    }

    pub(crate) fn checkpoint(&mut self, index: usize, key: &Key, text: String) {
        self.workers[index].agent.checkpointed(key, text.into());
    }
}

impl Worker {
    pub(super) fn make_roomy(&mut self) {
        (self.slots, self.kinds, self.liar) = (64, KINDS.map(Into::into).to_vec(), false);
    }

    fn agent_instance(&self) -> String {
        self.judge.instance().to_owned()
    }
}

fn profile(name: &str, instance: &str, slots: i32, kinds: &[String]) -> Profile {
    Profile {
        worker_id: name.into(),
        instance: instance.into(),
        slots,
        kinds: kinds.to_vec(),
        guarded: BTreeSet::from([KINDS[1].to_owned()]),
        version: "sim".into(),
        archive_id: "archive".into(),
    }
}
