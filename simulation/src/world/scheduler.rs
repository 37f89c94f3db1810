//! A scheduler process: the real pipeline and machine, pumped as `shard` pumps them, and the conversions of the edge.
//!
//! It may die between any two of its steps: before and after it applies, after it hands a commit to the store, after
//! the answer, and between any two things that it says.

use std::collections::{BTreeMap, VecDeque};

use docket::identity::Identity;
use scheduler_svc::{
    grpc::worker::message,
    pipeline::{Pipeline, Step},
    state_machine::{
        StateMachine,
        command::Command,
        id::{ReplyTo, RunId, SessionId},
        run::Outcome,
        timer::Wake,
    },
    store::StoreError,
};

use super::{
    Event, Millis, World,
    network::{Answered, CallId, Request, WORKER_PINGS},
    trace,
};
use crate::{
    judge::{Broken, Verdict, broken},
    workload::Ask,
};

const QUEUE: usize = 4_096;
const CALLS_PER_TURN: usize = 1_000;
const NAP_MAX: Millis = 1_000;
/// Steps of one turn at most.
const STEPS_MAX: usize = 20_000;

#[derive(Debug)]
pub struct Scheduler {
    pub alive: bool,
    pub host: usize,
    pub born: Millis,
    pub epoch: u64,
    pub pipeline: Pipeline,
    inbox: VecDeque<(CallId, Request)>,
    outcome: Option<Result<(), StoreError>>,
    pub(super) in_flight: Option<u64>,
    pub(super) waiting: BTreeMap<u64, (CallId, Request, Millis)>,
    replies: u64,
    pub(super) streams: BTreeMap<SessionId, usize>,
    pub paused_until: Millis,
    next_turn: Option<Millis>,
    /// Steps that it has left to live.
    pub fuse: Option<u64>,
    /// Until then it does not reach the store, and does not know what happens there.
    pub(super) cut_off_until: Millis,
    /// When the renewal of its lease will be refused, once another owner has opened the store (O2).
    refused_at: Option<Millis>,
    last_turn: Millis,
    /// When it last came back from a second or more in which it did not run.
    pub heard_again: Option<Millis>,
}

/// Whether the process is still there.
pub(super) type Lives = bool;

impl World {
    /// The process that opened the store last, if it lives.
    pub(crate) fn leader(&self) -> Option<usize> {
        let last = self.schedulers.len().checked_sub(1)?;
        self.schedulers[last].alive.then_some(last)
    }

    pub(crate) fn scheduler_starts(&mut self) -> Verdict {
        if self.calm && self.leader().is_some() {
            return Ok(());
        }
        let index = self.schedulers.len();
        let host = if self.sources.faults.happens(500) { index % 2 } else { 0 };
        self.garble();
        let opened = self.store.open();
        let wall = super::START + self.now as i64 + self.hosts[host].offset;
        let now = scheduler_svc::state_machine::timer::Now { wall, elapsed: 0 };
        trace!(self, "scheduler {index} opens epoch {}: {} records", opened.epoch, opened.hot.len());
        self.judge_load(&opened, now)?;
        let machine = StateMachine::load(self.config, opened.epoch, now, opened.hot)
            .map_err(|error| Broken { rule: "what was written can be loaded", how: error.to_string() })?;
        machine.check().map_err(|how| Broken { rule: "invariants hold after a load", how })?;
        self.judge.limits.opened(opened.epoch, now);
        self.schedulers.push(Scheduler {
            alive: true,
            host,
            born: self.now,
            epoch: opened.epoch,
            pipeline: Pipeline::new(machine, opened.seq),
            inbox: VecDeque::new(),
            outcome: None,
            in_flight: None,
            waiting: BTreeMap::new(),
            replies: 0,
            streams: BTreeMap::new(),
            paused_until: 0,
            next_turn: None,
            fuse: None,
            cut_off_until: 0,
            refused_at: None,
            last_turn: self.now,
            heard_again: None,
        });
        self.turn_at(index, self.now);
        Ok(())
    }

    /// The process is gone, with everything that it held in memory.
    pub(crate) fn scheduler_dies(&mut self, index: usize) {
        if !std::mem::replace(&mut self.schedulers[index].alive, false) {
            return;
        }
        trace!(self, "scheduler {index} dies");
        self.judge.compared.crashes += 1;
        for (_, (call, ..)) in std::mem::take(&mut self.schedulers[index].waiting) {
            if self.sources.network.happens(800) {
                self.after(3, Event::Answered { call, answer: Box::new(Answered::Failed) });
            }
        }
        for stream in self.streams_of(index) {
            self.network.streams[stream].broken = true;
            let notice = self.notice(WORKER_PINGS);
            self.after(notice, Event::StreamEnds(stream));
        }
        if self.leader().is_none() {
            let outage = self.outage();
            self.after(outage, Event::SchedulerStarts);
        }
    }

    pub(crate) fn turn_at(&mut self, index: usize, at: Millis) {
        let scheduler = &mut self.schedulers[index];
        if scheduler.next_turn.is_none_or(|next| next > at) {
            scheduler.next_turn = Some(at);
            self.at(at, Event::SchedulerTurn(index));
        }
    }

    pub(crate) fn arrives(&mut self, index: usize, call: CallId, request: Request) {
        let scheduler = &mut self.schedulers[index];
        if !scheduler.alive {
            return self.after(1, Event::Answered { call, answer: Box::new(Answered::Failed) });
        }
        let cancelled = matches!(&request, Request::App(ask) if self.is_cancelled(ask));
        let scheduler = &mut self.schedulers[index];
        if scheduler.inbox.len() < QUEUE && !cancelled {
            scheduler.inbox.push_back((call, request));
        }
        self.turn_at(index, self.now);
    }

    pub(crate) fn closes(&mut self, index: usize, session: SessionId) {
        let Some(scheduler) = self.schedulers.get_mut(index).filter(|scheduler| scheduler.alive) else {
            return;
        };
        scheduler.inbox.push_back((0, Request::Close(session)));
        self.turn_at(index, self.now);
    }

    pub(crate) fn commit_answered(&mut self, index: usize, seq: u64, outcome: Result<(), StoreError>) {
        let scheduler = &mut self.schedulers[index];
        if scheduler.alive && scheduler.in_flight == Some(seq) {
            scheduler.outcome = Some(outcome);
            self.turn_at(index, self.now);
        }
    }

    /// One step nearer to its end.
    pub(super) fn lives(&mut self, index: usize) -> Lives {
        let scheduler = &mut self.schedulers[index];
        if let Some(fuse) = &mut scheduler.fuse {
            if *fuse == 0 {
                self.scheduler_dies(index);
                return false;
            }
            *fuse -= 1;
        }
        self.schedulers[index].alive
    }

    pub(crate) fn scheduler_turn(&mut self, index: usize) -> Verdict {
        let scheduler = &mut self.schedulers[index];
        if !scheduler.alive || scheduler.next_turn != Some(self.now) {
            return Ok(());
        }
        scheduler.next_turn = None;
        if scheduler.paused_until > self.now {
            let until = scheduler.paused_until;
            self.turn_at(index, until);
            return Ok(());
        }
        let gap = self.now - std::mem::replace(&mut self.schedulers[index].last_turn, self.now);
        if gap > 2 * NAP_MAX {
            self.schedulers[index].heard_again = Some(self.now);
        }
        self.pump(index)?;
        let scheduler = &self.schedulers[index];
        if !scheduler.alive {
            return Ok(());
        }
        if scheduler.epoch != self.store.epoch && !self.is_cut_off(index) {
            return self.deposed(index);
        }
        if !scheduler.pipeline.has_room() {
            // The machine has panicked, and another one is to take its place.
            return Ok(());
        }
        self.judge.compared.checks += 1;
        scheduler.pipeline.machine().check().map_err(|how| Broken { rule: "invariants hold", how })?;
        if self.leader() == Some(index) && self.sources.faults.happens(self.profile.reloads) {
            self.compare_reloaded(index)?;
        }
        Ok(())
    }

    pub(super) fn is_cut_off(&self, index: usize) -> bool {
        self.schedulers[index].cut_off_until > self.now
    }

    /// It hears of it when it renews its lease, or when it commits: whatever comes first.
    fn deposed(&mut self, index: usize) -> Verdict {
        let soon = self.now + self.sources.store.between(1, 3_000);
        let refused_at = *self.schedulers[index].refused_at.get_or_insert(soon);
        if refused_at <= self.now {
            self.judge.compared.depositions += 1;
            self.scheduler_dies(index);
        }
        Ok(())
    }

    fn pump(&mut self, index: usize) -> Verdict {
        for _ in 0..STEPS_MAX {
            if !self.lives(index) {
                return Ok(());
            }
            match self.schedulers[index].pipeline.step() {
                Step::Commit { seq, batch } => {
                    self.schedulers[index].in_flight = Some(seq);
                    self.send_commit(index, seq, batch);
                }
                Step::Release(output) => {
                    if !self.release(index, output, false)? {
                        return Ok(());
                    }
                }
                Step::Reload => {
                    if !self.reload(index)? {
                        return Ok(());
                    }
                }
                Step::Restore { seq, snapshot } => self.send_everything(index, seq, snapshot),
                Step::Secure { .. } => {
                    return broken("answers wait for nothing but their commit", format!("scheduler {index}"));
                }
                Step::Wait(_) if self.schedulers[index].pipeline.halted().is_some() => {
                    trace!(self, "scheduler {index} halts: {:?}", self.schedulers[index].pipeline.halted());
                    if self.leader() != Some(index) {
                        self.judge.compared.depositions += 1;
                    }
                    self.scheduler_dies(index);
                    return Ok(());
                }
                Step::Wait(wake) => {
                    if !self.wait(index, wake)? {
                        return Ok(());
                    }
                }
            }
        }
        broken("nothing goes round in circles", format!("scheduler {index} does not come to rest"))
    }

    /// As the shard waits: an outcome first, then timers and calls in turns. Returns whether anything was done.
    fn wait(&mut self, index: usize, wake: Wake) -> Result<Lives, Broken> {
        if let Some(outcome) = self.schedulers[index].outcome.take() {
            match self.schedulers[index].pipeline.committed(outcome) {
                Some(Step::Release(output)) => {
                    self.schedulers[index].in_flight = None;
                    return self.release(index, output, true);
                }
                Some(Step::Commit { seq, batch }) => self.send_commit(index, seq, batch),
                Some(Step::Restore { seq, snapshot }) => self.send_everything(index, seq, snapshot),
                Some(Step::Wait(_) | Step::Reload | Step::Secure { .. }) | None => {}
            }
            return Ok(true);
        }
        let now = self.clock(index);
        let due =
            wake.elapsed.is_some_and(|at| at <= now.elapsed) || wake.wall.is_some_and(|at| at <= now.wall);
        if due {
            self.schedulers[index].pipeline.wake(now);
            self.take_calls(index)?;
            return Ok(true);
        }
        if !self.schedulers[index].inbox.is_empty() && self.schedulers[index].pipeline.has_room() {
            self.take_calls(index)?;
            return Ok(true);
        }
        let elapsed = wake.elapsed.map(|at| at - now.elapsed);
        let wall = wake.wall.map(|at| (at - now.wall).unsigned_abs());
        let nap = elapsed.into_iter().chain(wall).min().unwrap_or(NAP_MAX).min(NAP_MAX);
        self.turn_at(index, self.now + nap);
        Ok(false)
    }

    fn take_calls(&mut self, index: usize) -> Verdict {
        for _ in 0..CALLS_PER_TURN {
            if !self.schedulers[index].pipeline.has_room() || !self.lives(index) {
                break;
            }
            let Some((call, request)) = self.schedulers[index].inbox.pop_front() else { break };
            self.apply(index, call, request)?;
        }
        Ok(())
    }

    /// What the edge reads of history before it asks the machine: as of the last commit.
    fn with_history(&self, ask: &Ask) -> Command {
        let mut command = ask.command();
        match &mut command {
            Command::Backfill(backfill) => {
                if let Some(schedule) = self.judge.durable.named(&ask.key) {
                    backfill.as_of = schedule.past().rings;
                    backfill.known = self.judge.durable.times_with_runs(schedule.uid);
                }
            }
            Command::RetryRuns(retry) => {
                let named = retry.ids.len();
                let failed =
                    |id: &RunId| self.judge.durable.ended(id.uid).any(|it| it == (*id, Outcome::Failed));
                retry.ids.retain(failed);
                retry.page.skipped = (named - retry.ids.len()) as u64;
            }
            _ => {}
        }
        command
    }

    /// As the edge does: checks, converts, applies.
    fn apply(&mut self, index: usize, call: CallId, request: Request) -> Verdict {
        let command = match &request {
            Request::App(ask) => Ok(self.with_history(ask)),
            Request::Heartbeat { beat, .. } => {
                message::heartbeat(&Identity::local(), self.schedulers[index].epoch, beat)
                    .map(|beat| Command::Heartbeat(Box::new(beat)))
            }
            Request::Report(request) => {
                message::reports(&Identity::local(), self.schedulers[index].epoch, request)
                    .map(Command::Report)
            }
            Request::Open { open, stream } => {
                let session = SessionId(self.sources.ids.draw());
                self.judge.runs.moments.hello(&open.instance, self.now);
                let open = message::open_session(&Identity::local(), session, open);
                if open.is_ok() {
                    self.network.streams[*stream].session = Some(session);
                    self.schedulers[index].streams.insert(session, *stream);
                }
                open.map(|open| Command::OpenSession(Box::new(open)))
            }
            Request::Close(session) => Ok(Command::CloseSession(*session)),
        };
        let command = match command {
            Ok(command) => command,
            Err(status) => {
                trace!(self, "scheduler {index} refuses call {call}: {}", status.message());
                self.reply(call, Answered::Failed);
                return Ok(());
            }
        };
        let now = self.clock(index);
        let scheduler = &mut self.schedulers[index];
        scheduler.replies += 1;
        let to = ReplyTo(scheduler.replies);
        if let Request::Close(session) = &request {
            scheduler.streams.remove(session);
        } else {
            scheduler.waiting.insert(to.0, (call, request, self.now));
        }
        scheduler.pipeline.apply(now, to, command);
        Ok(())
    }
}
