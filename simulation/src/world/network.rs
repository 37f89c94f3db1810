//! Messages between processes: each draws its delay, loss and doubling. Streams keep their order and break instead.

use std::collections::BTreeMap;

use docket::schedule::v1 as pb;
use scheduler_svc::state_machine::{
    id::{SessionId, Uid},
    output::Reply,
};

use super::{Event, Millis, World, trace};
use crate::{judge::Verdict, workload::Ask};

pub type CallId = u64;

/// Until unanswered pings end a connection that is silently gone, milliseconds: as configured on either side.
pub const WORKER_PINGS: Millis = 10_000;
const SERVER_PINGS: Millis = 20_000;

/// What a scheduler is asked.
#[derive(Clone, Debug)]
pub enum Request {
    App(Ask),
    Heartbeat { beat: pb::HeartbeatRequest, instance: String },
    Report(pb::ReportResultsRequest),
    Open { open: pb::StreamDueJobsRequest, stream: usize },
    Close(SessionId),
}

#[derive(Debug)]
pub enum Answered {
    App(Reply),
    Heard(pb::HeartbeatResponse),
    Receipts(Vec<pb::Receipt>),
    Opened,
    /// No answer, or none that helps: a timeout, a broken connection, a refusal of the transport.
    Failed,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Client { index: usize, uid: Uid },
    Heartbeat { worker: usize, life: u32, number: u64 },
    Report { worker: usize, life: u32, call: u64 },
    Open { worker: usize, life: u32, stream: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Client(usize),
    Worker(usize),
}

#[derive(Debug, Default)]
pub struct Network {
    calls: BTreeMap<CallId, Caller>,
    last_call: CallId,
    pub streams: Vec<Stream>,
    /// Which process a party is connected to.
    targets: BTreeMap<Party, usize>,
}

/// One stream of due jobs.
#[derive(Debug)]
pub struct Stream {
    pub worker: usize,
    pub life: u32,
    pub scheduler: usize,
    pub session: Option<SessionId>,
    /// When its last message arrives.
    arrived: Millis,
    /// Nothing more comes through.
    pub broken: bool,
}

impl World {
    fn delay(&mut self) -> Millis {
        let (late, long) = (self.profile.late, self.profile.delay);
        if !self.calm && self.sources.network.happens(late) {
            return self.sources.network.between(1_000, 30_000);
        }
        self.sources.network.between(1, long)
    }

    fn is_lost(&mut self) -> bool {
        let loss = self.profile.loss;
        !self.calm && self.sources.network.happens(loss)
    }

    /// The process that a party speaks to: the one it is connected to, as long as that lives.
    fn target(&mut self, party: Party) -> Option<usize> {
        let alive = |index: &usize| self.schedulers.get(*index).is_some_and(|scheduler| scheduler.alive);
        let connected = self.network.targets.get(&party).copied().filter(alive);
        let behind = !self.calm && self.sources.network.happens(300);
        // A load balancer may be slow to notice who leads.
        let other = (0..self.schedulers.len()).filter(|index| alive(index)).min().filter(|_| behind);
        let target = connected.or(other).or_else(|| self.leader());
        match target {
            Some(target) => self.network.targets.insert(party, target),
            None => self.network.targets.remove(&party),
        };
        target
    }

    pub(crate) fn call(
        &mut self,
        party: Party,
        caller: Caller,
        request: Request,
        patience: Millis,
    ) -> CallId {
        self.network.last_call += 1;
        let id = self.network.last_call;
        self.network.calls.insert(id, caller);
        self.after(patience, Event::TimesOut(id));
        if matches!(request, Request::Open { .. }) {
            // A stream has a connection of its own.
            self.network.targets.remove(&party);
        }
        let Some(scheduler) = self.target(party) else {
            // Nobody listens: refused at once, or no answer at all.
            if self.sources.network.happens(700) {
                self.after(2, Event::Answered { call: id, answer: Box::new(Answered::Failed) });
            }
            return id;
        };
        if let Request::Open { stream, .. } = request {
            self.network.streams[stream].scheduler = scheduler;
        }
        if !self.is_lost() {
            let delay = self.delay();
            let twice = !self.calm && self.sources.network.happens(self.profile.doubled);
            if twice && !matches!(request, Request::Open { .. }) {
                let late = self.delay();
                self.after(late, Event::Arrives { scheduler, call: id, said: Box::new(request.clone()) });
            }
            self.after(delay, Event::Arrives { scheduler, call: id, said: Box::new(request) });
        }
        id
    }

    pub(crate) fn reply(&mut self, call: CallId, answer: Answered) {
        if !self.is_lost() {
            let delay = self.delay();
            self.after(delay, Event::Answered { call, answer: Box::new(answer) });
        }
    }

    /// An answer, a failure or the end of patience: whatever comes first counts.
    pub(crate) fn answered(&mut self, call: CallId, answer: Answered) -> Verdict {
        let Some(caller) = self.network.calls.remove(&call) else { return Ok(()) };
        let failed = matches!(answer, Answered::Failed);
        let party = match caller {
            Caller::Client { index, .. } => Party::Client(index),
            Caller::Heartbeat { worker, .. }
            | Caller::Report { worker, .. }
            | Caller::Open { worker, .. } => Party::Worker(worker),
        };
        if failed {
            // The next call looks for a leader anew.
            self.network.targets.remove(&party);
        }
        match caller {
            Caller::Client { index, .. } => self.client_answered(index, call, answer),
            Caller::Heartbeat { worker, life, number } => {
                self.worker_heard(worker, life, (call, number), answer)
            }
            Caller::Report { worker, life, call } => self.worker_receipts(worker, life, call, answer),
            Caller::Open { worker, life, stream } => self.worker_opened(worker, life, stream, answer),
        }
    }

    pub(crate) fn new_stream(&mut self, worker: usize, life: u32) -> usize {
        let stream = Stream { worker, life, scheduler: usize::MAX, session: None, arrived: 0, broken: false };
        self.network.streams.push(stream);
        self.network.streams.len() - 1
    }

    /// From a scheduler to a worker, in order.
    pub(crate) fn stream_send(&mut self, stream: usize, message: pb::StreamDueJobsResponse) {
        let breaks = !self.calm && self.sources.network.happens(self.profile.breaks);
        let delay = self.delay();
        let line = &mut self.network.streams[stream];
        if breaks && !line.broken {
            self.break_stream(stream);
        }
        let line = &mut self.network.streams[stream];
        if line.broken {
            return;
        }
        line.arrived = line.arrived.max(self.now + delay);
        let at = line.arrived;
        self.at(at, Event::StreamSays { stream, message: Box::new(message) });
    }

    /// Nothing more comes through. Each side hears of it soon, or when its pings stay unanswered.
    pub(crate) fn break_stream(&mut self, stream: usize) {
        let line = &mut self.network.streams[stream];
        line.broken = true;
        let (scheduler, session, arrived) = (line.scheduler, line.session, line.arrived);
        trace!(self, "stream {stream} breaks");
        let at = arrived.max(self.now + self.notice(WORKER_PINGS));
        self.at(at, Event::StreamEnds(stream));
        if let Some(session) = session {
            let notice = self.notice(SERVER_PINGS);
            self.after(notice, Event::Closes { scheduler, session });
        }
    }

    /// How long it takes until a side notices that its connection is gone.
    pub(crate) fn notice(&mut self, pings: Millis) -> Millis {
        if self.sources.network.happens(750) { self.sources.network.between(1, 2_000) } else { pings }
    }

    /// The scheduler ends a stream: what was sent before still arrives.
    pub(crate) fn end_stream(&mut self, stream: usize) {
        let line = &mut self.network.streams[stream];
        if !std::mem::replace(&mut line.broken, true) {
            let at = line.arrived.max(self.now) + 1;
            self.at(at, Event::StreamEnds(stream));
        }
    }

    /// The worker ends a stream, or is no more.
    pub(crate) fn leave_stream(&mut self, stream: usize) {
        let line = &mut self.network.streams[stream];
        let (scheduler, session) = (line.scheduler, line.session);
        line.broken = true;
        if let Some(session) = session {
            let notice = self.notice(SERVER_PINGS);
            self.after(notice, Event::Closes { scheduler, session });
        }
    }

    pub(crate) fn whole_streams(&self) -> Vec<usize> {
        let all = self.network.streams.iter().enumerate();
        all.filter(|(_, stream)| !stream.broken).map(|(id, _)| id).collect()
    }

    pub(crate) fn streams_of(&self, scheduler: usize) -> Vec<usize> {
        let all = self.network.streams.iter().enumerate();
        all.filter(|(_, stream)| stream.scheduler == scheduler && !stream.broken).map(|(id, _)| id).collect()
    }
}
