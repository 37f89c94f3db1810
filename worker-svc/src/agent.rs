//! The worker's side of the worker protocol as one pure value: what happened goes in, what to do comes out.
//!
//! It holds every attempt that was taken until the scheduler has acknowledged its outcome, so that a lost message, a
//! broken stream or a scheduler that was restarted costs time, never a result:
//!
//! ```text
//!  due job ──► Running ──ended──► Outcome waits ──receipt──► forgotten
//!                 │                                  ▲
//!                 └── told to drop: stopped, nothing is reported
//! ```
//!
//! Heartbeats carry everything that is held, unacknowledged outcomes included: what a heartbeat does not list, the
//! scheduler gives to others. Time is elapsed milliseconds, handed in.
//!
//! Absent on purpose: tokio, gRPC channels, the jobs themselves. The task around it is `link`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use docket::schedule::v1 as pb;

mod attempts;
mod heartbeats;
mod reports;
mod stream;

/// Between two tries to connect or report: doubling from the first to the second, with jitter.
const PAUSE: (u64, u64) = (100, 5_000);

/// Names one attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub run_id: String,
    pub attempt: i32,
}

/// Who this worker is.
#[derive(Clone, Debug)]
pub struct Profile {
    pub worker_id: String,
    /// Random per process.
    pub instance: String,
    pub slots: i32,
    pub kinds: Vec<String>,
    /// Kinds whose effects are fenced elsewhere: they go on when their lease may have ended (rule W5).
    pub guarded: BTreeSet<String>,
    pub version: String,
    pub archive_id: String,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Effect {
    Open(pb::StreamDueJobsRequest),
    /// End the stream that is open, if there is one.
    CloseStream,
    Start(Box<pb::DueJob>),
    /// Ask the attempt to stop. Its end is still to be told.
    Stop(Key),
    Heartbeat(pb::HeartbeatRequest),
    /// `call` comes back with the answer.
    Report {
        call: u64,
        request: pb::ReportResultsRequest,
    },
}

/// Why an attempt was asked to stop: decides what is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Cancelled,
    TimedOut,
    /// Its lease may have ended.
    Unsure,
    /// The worker stops.
    Interrupted,
    /// It is somebody else's now.
    Dropped,
}

#[derive(Debug)]
struct Attempt {
    token: i64,
    kind: String,
    deadline: u64,
    stop: Option<Stop>,
    progress: Option<pb::Progress>,
    /// Once it has ended: what is to be reported.
    outcome: Option<Box<pb::Report>>,
    checkpoint: Option<bytes::Bytes>,
}

#[derive(Debug)]
enum Link {
    /// Not connected; the next try is at this time.
    Down {
        until: u64,
    },
    Opening,
    Up,
}

#[derive(Debug)]
pub struct Agent {
    profile: Profile,
    link: Link,
    tries: u32,
    session_id: String,
    epoch: i64,
    received: i64,
    lease: u64,
    heartbeat: u64,
    /// When the heartbeat that was answered last was sent: leases hold for a term from then.
    assured: u64,
    next_heartbeat: u64,
    heartbeat_sent: Option<u64>,
    attempts: BTreeMap<Key, Attempt>,
    outbox: VecDeque<Key>,
    /// Calls under way, by number, and what they report.
    reporting: BTreeMap<u64, Vec<Key>>,
    calls: u64,
    next_report: u64,
    report_tries: u32,
    /// Draining: when what still runs is interrupted.
    drain_until: Option<u64>,
    /// The scheduler has heard that this worker drains, and gives it nothing more.
    drain_heard: bool,
    /// Whether the last heartbeat said so.
    told_drain: bool,
    effects: Vec<Effect>,
    jitter: u64,
}

impl Agent {
    /// `seed` spreads the retries of many workers.
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self {
            profile,
            link: Link::Down { until: 0 },
            tries: 0,
            session_id: String::new(),
            epoch: 0,
            received: 0,
            lease: 15_000,
            heartbeat: 5_000,
            assured: 0,
            next_heartbeat: u64::MAX,
            heartbeat_sent: None,
            attempts: BTreeMap::new(),
            outbox: VecDeque::new(),
            reporting: BTreeMap::new(),
            calls: 0,
            next_report: 0,
            report_tries: 0,
            drain_until: None,
            drain_heard: false,
            told_drain: false,
            effects: Vec::new(),
            jitter: seed | 1,
        }
    }

    /// What is to be done now.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When to call [`Self::wake`], at the latest.
    pub fn next_wake(&self) -> u64 {
        let link = match self.link {
            Link::Down { until } => until,
            Link::Opening => u64::MAX,
            Link::Up => self.next_heartbeat,
        };
        let running =
            self.attempts.values().filter(|attempt| attempt.outcome.is_none() && attempt.stop.is_none());
        let deadline = running.map(|attempt| attempt.deadline).min().unwrap_or(u64::MAX);
        let report = if self.can_report() { self.next_report } else { u64::MAX };
        link.min(deadline).min(report).min(self.drain_until.unwrap_or(u64::MAX))
    }

    /// Whether everything is finished and acknowledged, and the worker may leave.
    pub fn is_drained(&self) -> bool {
        self.drain_until.is_some() && self.attempts.is_empty()
    }

    pub fn held(&self) -> usize {
        self.attempts.len()
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    pub fn wake(&mut self, now: u64) {
        if matches!(self.link, Link::Down { until } if until <= now) {
            self.open();
        }
        self.stop_late(now);
        if matches!(self.link, Link::Up) && self.next_heartbeat <= now {
            self.beat(now);
        }
        self.report(now);
    }

    /// Take nothing new; what runs has `within` milliseconds to finish, then it is interrupted.
    pub fn drain(&mut self, now: u64, within: u64) {
        if self.drain_until.is_some() {
            return;
        }
        self.drain_until = Some(now.saturating_add(within));
        self.next_heartbeat = self.next_heartbeat.min(now);
        self.wake(now);
    }

    /// Exponential, ±50 %, so that a restarted scheduler is not met by all workers at once.
    fn pause(&mut self, tries: u32) -> u64 {
        let (first, last) = PAUSE;
        let base = (first << tries.min(10)).min(last);
        self.jitter = self.jitter.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        base / 2 + (self.jitter >> 33) % base.max(1)
    }
}

#[cfg(test)]
mod tests;
