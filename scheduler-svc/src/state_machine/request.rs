//! Request ids that were seen: a retry of a mutation gets the first answer (rule P5). Kept 24 h, bounded.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    StateMachine,
    command::Request,
    id::{RunId, Uid},
    output::Change,
    timer::ElapsedTimer,
};
use crate::{
    planted::{Bug, planted},
    {record, store::key::Name},
};

pub const KEPT_FOR: i64 = 24 * 3_600_000;
const KEPT_MAX: usize = 100_000;
const SWEEP: u64 = 60_000;

/// Namespace and request id.
pub type RequestKey = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub struct Requests {
    seen: HashMap<RequestKey, Seen>,
    /// By time.
    order: VecDeque<RequestKey>,
}

/// What came of a request, as far as its first answer needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub body: [u8; 16],
    pub time: i64,
    pub change: Option<Change>,
    /// The schedule that it was about, where the answer shows it. None = not known, or it is that of the run.
    pub schedule: Option<Uid>,
    pub run: Option<RunId>,
    pub created: bool,
    pub count: u64,
    /// Of those that a call named, how many it left as they are.
    pub skipped: u64,
    /// A call that goes page by page: the last id that is done.
    pub after: Box<str>,
    /// Whether such a call has come to its end.
    pub complete: bool,
}

pub enum Asked {
    New,
    Before(Seen),
    /// The same id with another body.
    Otherwise,
}

impl Seen {
    pub fn change(change: Change) -> Self {
        Self { change: Some(change), ..Self::default() }
    }

    pub fn count(count: u64) -> Self {
        Self { count, ..Self::default() }
    }

    pub fn about(self, schedule: Uid) -> Self {
        Self { schedule: Some(schedule), ..self }
    }

    /// Whether it was about another schedule than the one that has the id now.
    pub fn is_of_another(&self, schedule: Uid) -> bool {
        self.schedule.is_some_and(|uid| uid != schedule)
    }

    pub fn run(id: RunId, created: bool) -> Self {
        Self { run: Some(id), created, ..Self::default() }
    }
}

impl Requests {
    /// At load; `seen` in the order of time.
    pub fn restore(&mut self, key: RequestKey, seen: Seen) {
        self.order.push_back(key.clone());
        self.seen.insert(key, seen);
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = (&RequestKey, &Seen)> {
        self.seen.iter()
    }
}

impl StateMachine {
    pub(super) fn seen(&self, namespace: &Arc<str>, request: Option<&Request>) -> Asked {
        let Some(request) = request else { return Asked::New };
        match self.requests.seen.get(&(namespace.clone(), request.id.clone())) {
            None => Asked::New,
            Some(seen) if seen.body == request.body => Asked::Before(seen.clone()),
            Some(_) => Asked::Otherwise,
        }
    }

    pub(super) fn remember(&mut self, namespace: &Arc<str>, request: Option<&Request>, seen: Seen) {
        let Some(request) = request.filter(|_| !planted(Bug::RequestForgotten)) else { return };
        let key = (namespace.clone(), request.id.clone());
        let before = self.requests.seen.get(&key).map(|before| before.time);
        let seen = Seen { body: request.body, time: before.unwrap_or(self.now.wall), ..seen };
        let name = Name::Request { namespace: namespace.to_string(), id: request.id.to_string() };
        if !planted(Bug::RequestNotStored) {
            self.put(&name, record::request(&seen));
        }
        if before.is_some() {
            self.requests.seen.insert(key, seen);
            return;
        }
        if self.requests.is_empty() {
            self.timers.set(self.now.elapsed + SWEEP, ElapsedTimer::Requests);
        }
        self.requests.restore(key, seen);
        if self.requests.order.len() > KEPT_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(key) = self.requests.order.pop_front() else { return };
        self.requests.seen.remove(&key);
        self.delete(&Name::Request { namespace: key.0.to_string(), id: key.1.to_string() });
    }

    /// The timer: forgets what is too old, a bounded number at a time.
    pub(super) fn forget_requests(&mut self) {
        const PER_SWEEP: usize = 1_000;
        let old = self.now.wall - KEPT_FOR;
        for _ in 0..PER_SWEEP {
            let oldest = self.requests.order.front().and_then(|key| self.requests.seen.get(key));
            if oldest.is_none_or(|seen| seen.time > old) {
                break;
            }
            self.forget_oldest();
        }
        if !self.requests.is_empty() {
            self.timers.set(self.now.elapsed + SWEEP, ElapsedTimer::Requests);
        }
    }

    pub(super) fn arm_requests(&mut self) {
        if !self.requests.is_empty() {
            self.timers.set(self.now.elapsed + SWEEP, ElapsedTimer::Requests);
        }
    }
}
