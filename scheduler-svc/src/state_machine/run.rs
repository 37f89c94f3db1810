//! One live run, from its fire to its final state.
//!
//! ```text
//!            fire, trigger ─── another run is live ──► Behind ── it is final ──► Ready
//!                 │
//!                 ▼         assign            success, final failure
//!    ┌───────► Ready ────────────► Running ───────────────────────────► (final)
//!    │           ▲                  │   │                                  ▲
//!    │ delay     │ lost,            │   │ cancel                           │
//!    │ over      │ interrupted      │   ▼                                  │
//! Backoff ◄──────┴──────────────────┘  Cancelling ─── report, lease ends ──┘
//!    │  failure, throttled                                                 ▲
//!    └──────────────── cancel, delete ─────────────────────────────────────┘
//! ```
//!
//! A final run is not here any more: its end is a cold record in a ring of its schedule.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    command::Progress,
    definition::Definition,
    failure::{Budget, Failure},
    id::{ReplyTo, RunId, SessionId},
    look::Tallied,
    queue::Ticket,
    schedule::SlotKey,
};

/// Where a run lies in the machine's memory.
pub type RunKey = usize;

/// Attempts that a run remembers.
pub const ATTEMPTS_KEPT: usize = 10;

#[derive(Clone, Debug)]
pub struct Run {
    pub id: RunId,
    pub schedule: SlotKey,
    /// As at the fire.
    pub definition: Arc<Definition>,
    pub generation: u32,
    pub due: i64,
    pub created: i64,
    pub phase: Phase,
    /// Its place among those that wait, given once.
    pub arrival: u64,
    /// Of the current attempt, or the last one; 0 before the first.
    pub attempt: u32,
    pub budget: Budget,
    pub attempts: Vec<Attempt>,
    pub first_start: Option<i64>,
    pub progress: Option<Progress>,
    pub checkpoint: Option<Bytes>,
    /// Encoded `google.protobuf.Struct`: what failed attempts reported, added up.
    pub partial: Bytes,
    /// The last failure, while another attempt is to come.
    pub failure: Option<Box<Failure>>,
    /// Whether it was on a worker that was lost (rule W7).
    pub suspect: bool,
    /// Token of the attempt whose outcome was accepted last.
    pub last_token: u64,
    /// Token of the attempt whose lease was lost last; its late report is still welcome.
    pub lost_token: u64,
    pub waiters: Vec<ReplyTo>,
    /// Whether its nominal time has its decision. Only a scheduled run that is behind others may have none.
    pub decided: bool,
    pub dirty: bool,
    /// Whether the store may hold a record of it.
    pub stored: bool,
    /// Where it is counted.
    pub tallied: Option<Tallied>,
}

#[derive(Clone, Debug)]
pub enum Phase {
    /// Begins when the live runs of its schedule are final (overlap `buffer_one`, `cancel_running`).
    Behind,
    /// In the queue with its ticket; without one, held by the pause of its schedule.
    Ready(Option<Ticket>),
    /// Wall milliseconds.
    Backoff {
        until: i64,
        timer: u64,
    },
    Running(Lease),
    Cancelling {
        lease: Lease,
        note: Box<str>,
    },
}

/// A worker's right to run this attempt.
#[derive(Clone, Debug)]
pub struct Lease {
    /// None after a restart, until the worker shows up and lists the run.
    pub session: Option<SessionId>,
    pub worker_id: Arc<str>,
    pub instance: Arc<str>,
    pub token: u64,
    /// Of the message that carried the job.
    pub sequence: u64,
    /// Number of the heartbeat that listed it last.
    pub seen: u64,
    /// Wall milliseconds; stored, so that a restart does not restart the attempt's timeout.
    pub start: i64,
    /// When the attempt is given up, elapsed milliseconds.
    pub timer: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub attempt: u32,
    pub worker_id: Arc<str>,
    pub start: i64,
    pub end: i64,
    pub failure: Option<Box<Failure>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    Succeeded = 0,
    Failed = 1,
    Cancelled = 2,
}

/// The end of a run, as history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    pub id: RunId,
    pub generation: u32,
    pub due: i64,
    pub outcome: Outcome,
    pub attempt: u32,
    pub attempts: Vec<Attempt>,
    pub start: Option<i64>,
    pub finish: i64,
    pub result: Bytes,
    pub failure: Option<Box<Failure>>,
    pub worker_id: Arc<str>,
}

impl Run {
    pub fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Running(lease) | Phase::Cancelling { lease, .. } => Some(lease),
            Phase::Behind | Phase::Ready(_) | Phase::Backoff { .. } => None,
        }
    }

    pub fn lease_mut(&mut self) -> Option<&mut Lease> {
        match &mut self.phase {
            Phase::Running(lease) | Phase::Cancelling { lease, .. } => Some(lease),
            Phase::Behind | Phase::Ready(_) | Phase::Backoff { .. } => None,
        }
    }

    /// Remembers the end of an attempt.
    pub fn note_attempt(&mut self, worker_id: Arc<str>, start: i64, end: i64, failure: Option<Box<Failure>>) {
        if self.attempts.len() == ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt { attempt: self.attempt, worker_id, start, end, failure });
    }

    /// A stable number for the jitter of backoff.
    pub fn jitter(&self) -> u64 {
        let bytes = (self.id.uid.0 as u64) ^ (self.id.nominal as u64) ^ (u64::from(self.attempt) << 48);
        bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
    }
}
