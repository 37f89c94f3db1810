//! Everything that can be asked of the state machine. Commands are valid: the edge has checked and resolved them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    definition::{Definition, ScheduleKey},
    failure::Failure,
    gate::limit::Limit,
    history::Rings,
    id::{RunId, SessionId, Uid},
    schedule::{PauseReason, Span, Status},
    snapshot::Snapshot,
};

#[derive(Clone, Debug)]
pub enum Command {
    Upsert(Box<Upsert>),
    Delete(Delete),
    Pause(Pause),
    Resume(Resume),
    Trigger(TriggerNow),
    Backfill(Box<Backfill>),
    CancelRun(CancelRun),
    RetryRuns(Box<RetryRuns>),
    Bulk(Box<Bulk>),
    Import(Box<Import>),
    DeleteNamed(Box<DeleteNamed>),
    /// One page of what matches.
    Export(ListSchedules),
    GetSchedule(ScheduleKey),
    ListSchedules(ListSchedules),
    GetRun(GetRun),
    ListRuns(ListRuns),
    GetStatus {
        namespace: Arc<str>,
    },
    Forecast(Forecast),
    ListWorkers {
        namespace: Arc<str>,
    },
    SetLimit(Box<SetLimit>),
    ListLimits(ListLimits),
    DeleteLimit(DeleteLimit),
    OpenSession(Box<OpenSession>),
    /// A schedule brought the machine down (rule P4). From the pipeline, never from a caller.
    SetAside {
        uid: Uid,
        why: Box<str>,
    },
    /// The stream of a session ended.
    CloseSession(SessionId),
    Heartbeat(Box<Heartbeat>),
    Report(Vec<Report>),
    /// Changes nothing. Ends a call of many changes: its answer waits as that of a change does (rule O10).
    Confirm,
}

impl Command {
    /// Whether somebody is told by the answer that a change of theirs is done. Pages of a call are not: their answers
    /// stay within the service, and the last one, or [`Command::Confirm`], stands for all.
    pub fn is_change(&self) -> bool {
        match self {
            Self::Upsert(upsert) => !upsert.validate_only,
            Self::RetryRuns(retry) => retry.page.last,
            Self::Delete(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Trigger(_)
            | Self::Backfill(_)
            | Self::CancelRun(_)
            | Self::Bulk(_)
            | Self::SetLimit(_)
            | Self::DeleteLimit(_)
            | Self::Confirm => true,
            Self::Import(_)
            | Self::DeleteNamed(_)
            | Self::Export(_)
            | Self::GetSchedule(_)
            | Self::ListSchedules(_)
            | Self::GetRun(_)
            | Self::ListRuns(_)
            | Self::GetStatus { .. }
            | Self::Forecast(_)
            | Self::ListWorkers { .. }
            | Self::ListLimits(_)
            | Self::OpenSession(_)
            | Self::SetAside { .. }
            | Self::CloseSession(_)
            | Self::Heartbeat(_)
            | Self::Report(_) => false,
        }
    }
}

/// Makes a retry of a mutation safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: Arc<str>,
    /// Digest of everything else in the request.
    pub body: [u8; 16],
}

#[derive(Clone, Debug)]
pub struct Upsert {
    pub definition: Definition,
    /// The uid if this creates it.
    pub uid: Uid,
    pub etag: Option<String>,
    /// Refuse if it is there already.
    pub create_only: bool,
    pub request: Option<Request>,
    pub validate_only: bool,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Delete {
    pub key: ScheduleKey,
    pub cancel_running: bool,
    pub etag: Option<String>,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Pause {
    pub key: ScheduleKey,
    pub note: Box<str>,
    pub until: Option<i64>,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct Resume {
    pub key: ScheduleKey,
    pub catch_up: bool,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct TriggerNow {
    pub key: ScheduleKey,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

/// Runs the times of a past range that have no run.
#[derive(Clone, Debug)]
pub struct Backfill {
    pub key: ScheduleKey,
    pub span: Span,
    /// Times that have a run, as history knows it.
    pub known: Vec<Span>,
    /// How far the rings were when history was read; if one has gone on, it has to be read again. A run that ends in
    /// between is neither live any more nor in what was read.
    pub as_of: Rings,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct CancelRun {
    pub namespace: Arc<str>,
    pub id: RunId,
    pub note: Box<str>,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

/// One page of failed runs that are to run again; the caller has found them in the history. In the order of their
/// schedules, unless the page has no `through`: then it runs whole or not at all.
#[derive(Clone, Debug)]
pub struct RetryRuns {
    pub namespace: Arc<str>,
    pub ids: Vec<RunId>,
    pub page: Page,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

/// Where a call stands that goes page by page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What the pages before it came to.
    pub done: u64,
    pub skipped: u64,
    /// Where this page ends.
    pub through: Box<str>,
    pub last: bool,
}

/// One page of a change of many schedules.
#[derive(Clone, Debug)]
pub struct Bulk {
    pub filter: ListSchedules,
    pub change: BulkChange,
    /// What the pages before this one came to.
    pub done: u64,
    pub request: Option<Request>,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub enum BulkChange {
    Delete { cancel_running: bool },
    Pause { note: Box<str>, until: Option<i64> },
    Resume { catch_up: bool },
}

/// One page of an import.
#[derive(Clone, Debug)]
pub struct Import {
    /// In the order in which they apply. The caller bounds them, in number and bytes.
    pub items: Vec<ImportItem>,
    pub validate_only: bool,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub enum ImportItem {
    /// As an upsert. The uid is for a schedule that is new.
    Save(Box<Definition>, Uid),
    /// As another server had it.
    Restore(Box<Snapshot>),
}

/// Deletes these, each unless another one has its name by now.
#[derive(Clone, Debug)]
pub struct DeleteNamed {
    pub schedules: Vec<(ScheduleKey, Uid)>,
    pub actor: Arc<str>,
}

#[derive(Clone, Debug)]
pub struct ListSchedules {
    pub namespace: Arc<str>,
    /// Only ids after it.
    pub after: Option<Box<str>>,
    pub prefix: Box<str>,
    pub labels: BTreeMap<String, String>,
    /// Empty = all.
    pub states: Vec<Status>,
    /// Paused for any of these. Empty = all, paused or not.
    pub pause_reasons: Vec<PauseReason>,
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub struct GetRun {
    pub namespace: Arc<str>,
    pub id: RunId,
    /// Hold the reply until the run is final.
    pub wait: bool,
}

/// The live runs and the rings of schedules, page by page.
#[derive(Clone, Debug)]
pub struct ListRuns {
    pub namespace: Arc<str>,
    /// Only this schedule.
    pub schedule: Option<Box<str>>,
    /// Only schedules after it.
    pub after: Option<Box<str>>,
    pub labels: BTreeMap<String, String>,
    /// Schedules without any of these are passed over.
    pub among: Among,
    /// How many schedules to answer with.
    pub limit: usize,
}

/// Kinds of runs that a schedule may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Among {
    pub live: bool,
    pub succeeded: bool,
    pub unsucceeded: bool,
}

impl Among {
    pub const ALL: Self = Self { live: true, succeeded: true, unsucceeded: true };
    pub const UNSUCCEEDED: Self = Self { live: false, succeeded: false, unsucceeded: true };
}

/// The schedules of a forecast, page by page.
#[derive(Clone, Debug)]
pub struct Forecast {
    pub namespace: Arc<str>,
    /// Only ids after it.
    pub after: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub struct SetLimit {
    pub namespace: Arc<str>,
    /// A key, or a pattern that ends in `*`.
    pub key: Box<str>,
    pub limit: Limit,
    pub request: Option<Request>,
}

#[derive(Clone, Debug)]
pub struct ListLimits {
    pub namespace: Arc<str>,
    pub prefix: Box<str>,
    /// Only keys after it.
    pub after: Option<Box<str>>,
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub struct DeleteLimit {
    pub namespace: Arc<str>,
    pub key: Box<str>,
    pub request: Option<Request>,
}

/// Who speaks for a worker, as its credentials say. What is another caller's is to it as if it did not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub name: Arc<str>,
    /// None = all.
    pub namespaces: Option<Arc<[Box<str>]>>,
    /// None = all.
    pub kinds: Option<Arc<[Box<str>]>>,
}

impl Caller {
    pub fn may_work(&self, namespace: &str, kind: &str) -> bool {
        let within = |scope: &Option<Arc<[Box<str>]>>, name: &str| {
            scope.as_ref().is_none_or(|names| names.iter().any(|allowed| **allowed == *name))
        };
        within(&self.namespaces, namespace) && within(&self.kinds, kind)
    }
}

#[derive(Clone, Debug)]
pub struct OpenSession {
    pub session: SessionId,
    pub caller: Caller,
    pub worker_id: Arc<str>,
    pub instance: Arc<str>,
    pub version: Box<str>,
    pub slots: u32,
    pub kinds: Vec<Arc<str>>,
    /// None = all.
    pub namespaces: Option<Vec<Arc<str>>>,
    pub archive_id: Option<Box<str>>,
    pub held: Vec<Held>,
    /// It connects only to hand in what it holds.
    pub draining: bool,
}

#[derive(Clone, Debug)]
pub struct Held {
    pub id: RunId,
    pub attempt: u32,
    pub token: u64,
    pub progress: Option<Progress>,
    pub checkpoint: Option<Bytes>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: i64,
    pub total: i64,
    pub note: Box<str>,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub session: SessionId,
    pub caller: Caller,
    /// Who it says it is.
    pub worker_id: Option<Arc<str>>,
    pub received: u64,
    pub slots: Option<u32>,
    pub draining: bool,
    pub held: Vec<Held>,
    /// Entries of `held` whose run id does not even parse: to be dropped by the worker.
    pub unknown: Vec<(String, u32)>,
}

#[derive(Clone, Debug)]
pub struct Report {
    pub caller: Caller,
    /// Who the sender says it is.
    pub worker_id: Option<Arc<str>>,
    /// None when the run id does not parse.
    pub id: Option<RunId>,
    pub attempt: u32,
    pub token: u64,
    pub outcome: Reported,
    /// What was wrong with the report; its outcome is then a permanent failure.
    pub invalid: Option<Box<str>>,
}

#[derive(Clone, Debug)]
pub enum Reported {
    /// An encoded `google.protobuf.Struct`.
    Success {
        result: Bytes,
    },
    Failure {
        failure: Box<Failure>,
        partial: Bytes,
        checkpoint: Option<Bytes>,
    },
}
