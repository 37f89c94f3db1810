//! What callers are shown: copies taken between two commands, cheap enough for a page of a thousand.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    command::Progress,
    definition::Definition,
    failure::Failure,
    gate::limit::Limit,
    history::Rings,
    id::{RunId, SessionId, Uid},
    output::Totals,
    run::{Attempt, Finished, Phase, Run},
    schedule::{Decision, LastRun, Pause, Schedule, Status},
};

#[derive(Clone, Debug)]
pub struct ScheduleView {
    pub uid: Uid,
    pub definition: Arc<Definition>,
    pub generation: u32,
    pub etag: String,
    pub status: Status,
    pub pause: Option<Pause>,
    /// Why it was set aside.
    pub quarantine: Option<Box<str>>,
    pub anchor: i64,
    pub decided_through: i64,
    pub next: Option<i64>,
    pub decision: Option<Decision>,
    pub rings: Rings,
    pub last_run: Option<LastRun>,
    pub active: Vec<RunId>,
    pub created: i64,
    pub updated: i64,
}

impl ScheduleView {
    pub fn of(schedule: &Schedule, active: Vec<RunId>) -> Self {
        Self {
            uid: schedule.uid,
            definition: schedule.definition.clone(),
            generation: schedule.generation,
            etag: schedule.etag(),
            status: schedule.status,
            pause: schedule.pause().cloned(),
            quarantine: schedule.rare().quarantine.clone(),
            anchor: schedule.anchor,
            decided_through: schedule.decided_through,
            next: schedule.next.filter(|_| schedule.status == Status::Active),
            decision: schedule.past().decision.clone(),
            rings: schedule.past().rings,
            last_run: schedule.past().last_run,
            active,
            created: schedule.created,
            updated: schedule.updated,
        }
    }
}

/// A live run, or where the record of a final one is to be found.
#[derive(Clone, Debug)]
pub enum RunView {
    Live(Box<LiveRun>),
    /// `finished` where it is at hand; else it is to be looked up in the history.
    Final {
        id: RunId,
        schedule: Box<ScheduleView>,
        finished: Option<Box<Finished>>,
    },
}

#[derive(Clone, Debug)]
pub struct LiveRun {
    pub id: RunId,
    pub definition: Arc<Definition>,
    pub generation: u32,
    pub due: i64,
    pub state: RunState,
    pub attempt: u32,
    pub attempts: Vec<Attempt>,
    pub worker_id: Option<Arc<str>>,
    /// Of the current attempt.
    pub attempt_start: Option<i64>,
    pub first_start: Option<i64>,
    pub progress: Option<Progress>,
    pub failure: Option<Failure>,
    pub has_checkpoint: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// None = what it waits for was not looked at.
    Queued(Option<Wait>),
    Running,
    Cancelling,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wait {
    NoWorker,
    NoSlot,
    Backoff {
        until: i64,
    },
    Paused,
    /// Behind another run of its schedule.
    Overlap,
    /// The key whose limit lasts longest, and until when where that is known.
    Limit {
        key: Box<str>,
        until: Option<i64>,
        /// Its `max_running` is 0.
        shut: bool,
    },
}

impl LiveRun {
    /// `wait` counts only while the run is queued.
    pub fn of(run: &Run, wait: Option<Wait>) -> Self {
        let state = match &run.phase {
            Phase::Behind | Phase::Ready(_) | Phase::Backoff { .. } => RunState::Queued(wait),
            Phase::Running(_) => RunState::Running,
            Phase::Cancelling { .. } => RunState::Cancelling,
        };
        let lease = run.lease();
        Self {
            id: run.id,
            definition: run.definition.clone(),
            generation: run.generation,
            due: run.due,
            state,
            attempt: run.attempt,
            worker_id: lease
                .map(|lease| &lease.worker_id)
                .or(run.attempts.last().map(|last| &last.worker_id))
                .cloned(),
            attempt_start: lease.map(|lease| lease.start),
            attempts: run.attempts.clone(),
            first_start: run.first_start,
            progress: run.progress.clone(),
            failure: run.failure.as_deref().cloned(),
            has_checkpoint: run.checkpoint.is_some(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct StatusView {
    pub epoch: u64,
    pub active: u64,
    pub paused: u64,
    pub ended: u64,
    pub quarantined: u64,
    pub queued: u64,
    pub running: u64,
    pub totals: Totals,
    /// Of all namespaces: what history takes, and the entries that were given up for its bound.
    pub history_bytes: u64,
    pub history_trimmed: u64,
    pub workers: u64,
    pub slots: u64,
    pub lateness_p50: i64,
    pub lateness_p99: i64,
    pub backlog: BTreeMap<(Arc<str>, WaitKind), Backlog>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitKind {
    NoWorker,
    NoSlot,
    Backoff,
    Paused,
    Overlap,
    Limit,
}

impl From<&Wait> for WaitKind {
    fn from(wait: &Wait) -> Self {
        match wait {
            Wait::NoWorker => Self::NoWorker,
            Wait::NoSlot => Self::NoSlot,
            Wait::Backoff { .. } => Self::Backoff,
            Wait::Paused => Self::Paused,
            Wait::Overlap => Self::Overlap,
            Wait::Limit { .. } => Self::Limit,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    pub runs: u64,
    pub oldest_due: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitView {
    pub namespace: Arc<str>,
    pub key: Box<str>,
    /// None on a key that has none of its own and is closed.
    pub limit: Option<Limit>,
    pub running: u32,
    pub closed_until: Option<i64>,
    pub reason: Box<str>,
}

#[derive(Clone, Debug)]
pub struct WorkerView {
    pub worker_id: Arc<str>,
    pub instance: Arc<str>,
    pub session: SessionId,
    pub version: Box<str>,
    pub kinds: Vec<Arc<str>>,
    pub namespaces: Vec<Arc<str>>,
    pub slots: u32,
    pub held: usize,
    pub draining: bool,
    pub connected: bool,
    pub opened: i64,
    pub heard: i64,
}
