//! Everything that the state machine wants done. Nothing of it may leave before the writes of the same batch are
//! durable (rule P1).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    definition::{Definition, ScheduleKey},
    failure::Failure,
    forecast,
    id::{ReplyTo, RunId, SessionId, Trigger, Uid},
    run::{Finished, Outcome},
    snapshot::Snapshot,
    view::{LimitView, LiveRun, RunView, ScheduleView, StatusView, WorkerView},
};
use crate::store::Write;

/// What one batch of commands and timers came to.
#[derive(Debug, Default)]
pub struct Output {
    pub writes: Vec<Write>,
    pub replies: Vec<(ReplyTo, Reply)>,
    pub messages: Vec<(SessionId, Message)>,
    /// Sessions whose stream is to be ended.
    pub closed: Vec<SessionId>,
    pub events: Vec<Event>,
}

impl Output {
    /// Whether nobody would hear anything of it.
    pub fn is_silent(&self) -> bool {
        self.replies.is_empty() && self.messages.is_empty() && self.events.is_empty()
    }
}

pub type Reply = Result<Answer, Refusal>;

#[derive(Debug)]
pub enum Answer {
    Upserted {
        schedule: Box<ScheduleView>,
        change: Change,
        no_worker: bool,
        /// Others with the same cron timing that have no spread either.
        crowd: u32,
    },
    Deleted(u64),
    Paused {
        schedule: Box<ScheduleView>,
        changed: bool,
    },
    Resumed {
        schedule: Box<ScheduleView>,
        changed: bool,
    },
    Triggered {
        run: Box<RunView>,
        created: bool,
    },
    Backfilled {
        accepted: u64,
        existing: u64,
    },
    /// What a call that goes page by page has come to; `next` = the id after which it goes on.
    Progress {
        done: u64,
        skipped: u64,
        next: Option<Box<str>>,
    },
    Imported(Box<Imported>),
    Exported {
        snapshots: Vec<Snapshot>,
        next: Option<Box<str>>,
    },
    Schedule(Box<ScheduleView>),
    Schedules {
        schedules: Vec<ScheduleView>,
        next: Option<Box<str>>,
    },
    Run(Box<RunView>),
    /// Live runs of schedules, and the schedules whose history is to be read, in order.
    Runs {
        schedules: Vec<(ScheduleView, Vec<RunView>)>,
        next: Option<Box<str>>,
    },
    Status(Box<StatusView>),
    Forecast(forecast::Page),
    Workers(Vec<WorkerView>),
    Limit(Box<LimitView>),
    Limits {
        limits: Vec<LimitView>,
        next: Option<Box<str>>,
    },
    LimitDeleted,
    Opened {
        epoch: u64,
        orders: Vec<Order>,
    },
    Heard {
        epoch: u64,
        orders: Vec<Order>,
        reopen: bool,
        assigned: Vec<(RunId, u32, u64)>,
    },
    Reported(Vec<Receipt>),
    Closed,
    Confirmed,
}

/// What one page of an import came to.
#[derive(Debug, Default)]
pub struct Imported {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub refused: Vec<(Arc<str>, Refusal)>,
    /// Of a page that was only checked.
    pub differences: Vec<Difference>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub id: Arc<str>,
    pub change: Change,
    /// Fields of an update, as clients write them.
    pub fields: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Change {
    Created = 1,
    Updated = 2,
    Unchanged = 3,
}

impl Change {
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Unchanged].into_iter().find(|change| *change as u32 == number)
    }
}

/// A command that was refused. The edge turns it into a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    ScheduleNotFound,
    /// It was to be created, and is there.
    ScheduleExists {
        etag: String,
    },
    /// What was asked before was about a schedule that is gone, and another one has its id.
    ScheduleReplaced,
    RunNotFound,
    EtagMismatch {
        current: String,
    },
    RequestIdReused,
    NeverFires,
    /// Of the namespace.
    TooManyRuns {
        limit: usize,
    },
    TooManySchedules {
        limit: usize,
    },
    SchedulePaused,
    ScheduleQuarantined,
    /// The run is final already; or there is none, which only history knows.
    RunNotLive,
    /// What the caller had read has changed: it is to read it again and come back.
    Changed,
    TooManyTimes {
        limit: u64,
    },
    BackfillUnderWay,
    Conflict(Conflict),
    LimitNotFound,
    TooManyLimits,
    ArchiveMismatch {
        known: Box<str>,
    },
    /// The command itself brought the machine down; it is not applied again.
    Poisonous,
    /// It is applied, and too much waits already to be secured (rule O10).
    Unsecured,
}

/// Why a schedule cannot be restored beside what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Another schedule has its id.
    IdTaken(Uid),
    /// Another schedule has its uid.
    UidTaken,
    /// It was deleted here, and its last run is not final yet.
    Ending,
    /// It was changed here and where it was exported.
    Diverged,
    /// It has ended, and would be deleted at once (delete_when_ended).
    Over,
}

#[derive(Debug)]
pub struct Message {
    /// Grows by one per message of a session.
    pub sequence: u64,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    Jobs(Vec<Job>),
    Cancel { id: RunId, attempt: u32, reason: Box<str> },
}

/// One attempt, handed to a worker.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: RunId,
    pub definition: Arc<Definition>,
    pub due: i64,
    pub attempt: u32,
    pub token: u64,
    pub checkpoint: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub run_id: String,
    pub attempt: u32,
    pub action: Action,
    pub reason: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Cancel,
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    Accepted { next_attempt: Option<i64> },
    Repeated,
    Stale(&'static str),
    Forgotten,
    Invalid(Box<str>),
}

/// A fact, for traces, logs, metrics and watchers. Runs and schedules are shown as they are after the change.
#[derive(Clone, Debug)]
pub enum Event {
    /// A run can be found from now on. Its time may not be decided yet, if it is behind others.
    Created {
        run: Box<LiveRun>,
        /// Who asked for it; None = the service itself.
        actor: Option<Arc<str>>,
        at: i64,
    },
    /// Its time is decided: it will run.
    Fired {
        id: RunId,
        definition: Arc<Definition>,
        due: i64,
        at: i64,
    },
    /// A worker is given an attempt of it.
    Started {
        run: Box<LiveRun>,
        at: i64,
    },
    AttemptEnded {
        id: RunId,
        definition: Arc<Definition>,
        attempt: u32,
        worker_id: Arc<str>,
        start: i64,
        at: i64,
        failure: Option<Box<Failure>>,
    },
    /// An attempt ended without success, and another one is to come.
    Retrying {
        run: Box<LiveRun>,
        at: i64,
    },
    Finished {
        definition: Arc<Definition>,
        finished: Box<Finished>,
    },
    /// A run that never began is gone, since its time was decided otherwise. History keeps nothing of it.
    Discarded {
        definition: Arc<Definition>,
        finished: Box<Finished>,
    },
    Schedule {
        change: ScheduleChange,
        /// After the change.
        view: Box<ScheduleView>,
        /// Who caused it; `docket` for the service itself.
        actor: Arc<str>,
        at: i64,
    },
    /// Next times were computed anew with another tz database (rule R9).
    TimesMoved {
        /// The version before.
        former: Box<str>,
        /// Schedules whose next time is another one now.
        moved: usize,
        /// The first of them.
        ids: Vec<ScheduleKey>,
    },
    /// Throttling has closed a key.
    GateClosed {
        namespace: Arc<str>,
        key: Box<str>,
        until: i64,
        reason: Box<str>,
    },
    /// It opens again, by slow start.
    GateReopened {
        namespace: Arc<str>,
        key: Box<str>,
    },
    WorkerJoined {
        worker_id: Arc<str>,
        session: SessionId,
        slots: u32,
    },
    WorkerLost {
        worker_id: Arc<str>,
        session: SessionId,
        runs: usize,
    },
    /// Two processes use one worker id.
    WorkerTwice {
        worker_id: Arc<str>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleChange {
    Created,
    Updated,
    Paused,
    Resumed,
    Ended,
    Deleted,
    Quarantined,
}

/// Counts since this process became leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub fired: u64,
}

impl Totals {
    pub fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Cancelled => self.cancelled += 1,
        }
    }

    pub fn fire(&mut self, trigger: Trigger) {
        self.fired += u64::from(trigger == Trigger::Scheduled);
    }
}
