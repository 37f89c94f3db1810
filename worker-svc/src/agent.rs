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
//! What was acknowledged within the last seconds is still offered to the next leader, which may not know of it
//! (`remembered`).
//!
//! Heartbeats carry everything that is held, unacknowledged outcomes included: what a heartbeat does not list, the
//! scheduler gives to others. Time is elapsed milliseconds, handed in.
//!
//! Absent on purpose: tokio, gRPC channels, the jobs themselves. The task around it is `link`.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use docket::schedule::v1 as pb;

mod attempts;
mod heartbeats;
mod remembered;
mod reports;
mod stream;

use heartbeats::Beat;
use remembered::Remembered;

/// Between two tries to connect or report: doubling from the first to the second, with jitter.
const PAUSE: (u64, u64) = (100, 5_000);
/// After the time of a drain: for attempts to stop and for their outcomes to be handed in. Then the worker leaves, and
/// what it still holds is given to others when its leases end. Short, since whoever stops the process does not wait.
const LEAVE_AFTER: u64 = 2_500;
/// For the scheduler to hear of a drain, when nothing is held.
const HEARD_AFTER: u64 = 2_000;

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
    /// `number` comes back with the answer.
    Heartbeat {
        number: u64,
        request: pb::HeartbeatRequest,
    },
    /// `call` comes back with the answer.
    Report {
        call: u64,
        request: pb::ReportResultsRequest,
    },
}

/// Why the scheduler and this worker do not come together, though they reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It will not pass by itself. What the scheduler said.
    ByScheduler(String),
    /// The scheduler is not the leader any more, or its store went back in time.
    OldEpoch { seen: i64, offered: i64 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByScheduler(why) => write!(f, "the scheduler refuses this worker: {why}"),
            Self::OldEpoch { seen, offered } => write!(
                f,
                "the scheduler is of epoch {offered}, and this worker has seen {seen}; if its store was restored, \
                 restart this worker"
            ),
        }
    }
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
    checkpoint: Option<Checkpoint>,
}

#[derive(Debug)]
struct Checkpoint {
    bytes: bytes::Bytes,
    /// Grows with each change.
    version: u64,
    /// The version that the scheduler has confirmed.
    known: u64,
}

#[derive(Debug)]
enum Link {
    /// Not connected; the next try is at this time.
    Down {
        until: u64,
    },
    /// The hello went out at this time; its welcome is awaited.
    Opening {
        since: u64,
    },
    Up,
}

#[derive(Debug)]
pub struct Agent {
    profile: Profile,
    link: Link,
    tries: u32,
    refusal: Option<Refusal>,
    session_id: String,
    epoch: i64,
    received: i64,
    lease: u64,
    heartbeat: u64,
    /// When the hello or heartbeat that was answered last was sent: leases hold for a term from then.
    assured: u64,
    next_heartbeat: u64,
    /// The heartbeat that is not answered yet.
    beat: Option<Beat>,
    beats: u64,
    attempts: BTreeMap<Key, Attempt>,
    outbox: VecDeque<Key>,
    remembered: Remembered,
    /// Calls under way, by number, and what they report.
    reporting: BTreeMap<u64, Vec<Key>>,
    calls: u64,
    next_report: u64,
    report_tries: u32,
    /// Draining: when what still runs is interrupted.
    drain_until: Option<u64>,
    /// The scheduler has heard that this worker drains, and gives it nothing more.
    drain_heard: bool,
    /// What the scheduler said then is assigned to it, and has not arrived yet.
    awaited: BTreeSet<Key>,
    /// A worker with nothing to do waits no longer to be heard.
    hear_until: u64,
    is_unheard: bool,
    leave_at: u64,
    has_left: bool,
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
            refusal: None,
            session_id: String::new(),
            epoch: 0,
            received: 0,
            lease: 15_000,
            heartbeat: 5_000,
            assured: 0,
            next_heartbeat: u64::MAX,
            beat: None,
            beats: 0,
            attempts: BTreeMap::new(),
            outbox: VecDeque::new(),
            remembered: Remembered::default(),
            reporting: BTreeMap::new(),
            calls: 0,
            next_report: 0,
            report_tries: 0,
            drain_until: None,
            drain_heard: false,
            awaited: BTreeSet::new(),
            hear_until: u64::MAX,
            is_unheard: false,
            leave_at: u64::MAX,
            has_left: false,
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
            Link::Opening { since } => since + stream::OPEN_MAX,
            Link::Up => self.next_heartbeat,
        };
        let running =
            self.attempts.values().filter(|attempt| attempt.outcome.is_none() && attempt.stop.is_none());
        let deadline = running.map(|attempt| attempt.deadline).min().unwrap_or(u64::MAX);
        let report = if self.can_report() { self.next_report } else { u64::MAX };
        let hear = if self.is_unheard { u64::MAX } else { self.hear_until };
        let drain = self.leave_at.min(self.drain_until.unwrap_or(u64::MAX)).min(hear);
        link.min(deadline).min(report).min(drain)
    }

    /// Whether the worker may leave: everything is finished and acknowledged, or nobody took it for too long.
    pub fn is_drained(&self) -> bool {
        let told = match self.link {
            Link::Down { .. } => true,
            // Jobs may be on their way until the scheduler knows.
            Link::Opening { .. } | Link::Up => self.is_unheard || self.drain_heard && self.awaited.is_empty(),
        };
        self.has_left || (self.drain_until.is_some() && self.attempts.is_empty() && told)
    }

    /// Whether it runs, or its report waits for a receipt.
    pub fn holds(&self, key: &Key) -> bool {
        self.attempts.contains_key(key)
    }

    pub fn held(&self) -> usize {
        self.attempts.len()
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    /// Why it is not connected, as far as a person has to know.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    pub fn wake(&mut self, now: u64) {
        self.has_left |= self.leave_at <= now;
        self.is_unheard |= self.hear_until <= now;
        match self.link {
            Link::Down { until } if until <= now => self.open(now),
            Link::Opening { since } if since + stream::OPEN_MAX <= now => self.hang_up(now),
            Link::Down { .. } | Link::Opening { .. } | Link::Up => {}
        }
        self.stop_late(now);
        if matches!(self.link, Link::Up) && self.next_heartbeat <= now {
            self.send_heartbeat(now);
        }
        self.report(now);
    }

    /// Take nothing new; what runs has `within` milliseconds to finish, then it is interrupted.
    pub fn drain(&mut self, now: u64, within: u64) {
        if self.drain_until.is_some() {
            return;
        }
        self.drain_until = Some(now.saturating_add(within));
        self.leave_at = now.saturating_add(within).saturating_add(LEAVE_AFTER);
        self.hear_until = now.saturating_add(HEARD_AFTER);
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

/// Nothing below zero.
fn millis(duration: &prost_types::Duration) -> u64 {
    let seconds = duration.seconds.max(0).unsigned_abs();
    seconds.saturating_mul(1000) + u64::from(duration.nanos.max(0).unsigned_abs()) / 1_000_000
}

#[cfg(test)]
mod tests;
