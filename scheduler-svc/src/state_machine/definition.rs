//! What users set: a schedule's definition, checked and resolved at the edge. Never changed in place; a run holds
//! on to the one that it was fired from.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::timing::{Times, Timing, spread_offset};
use crate::planted::{Bug, planted};

pub const DEFAULT_PRIORITY: u8 = 5;

#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub key: ScheduleKey,
    pub timing: Timing,
    pub task: Task,
    /// Milliseconds.
    pub spread: u32,
    pub overlap: Overlap,
    pub misfire: Misfire,
    pub retry: Retry,
    /// Empty = the shared tenant.
    pub tenant: Arc<str>,
    pub limits: Box<[Box<str>]>,
    /// 1 (first) to 9.
    pub priority: u8,
    pub start: Option<i64>,
    pub end: Option<i64>,
    /// 0 = unlimited.
    pub max_runs: u64,
    /// 0 = never.
    pub pause_after_failures: u32,
    pub delete_when_ended: bool,
    pub labels: BTreeMap<String, String>,
    pub saved_by: Caller,
}

/// The trace and the span of the call that saved a definition, if it was sampled. It is no part of what a definition says:
/// any two are equal.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Box<(u128, u64)>>);

impl Caller {
    pub fn new(trace_id: u128, span_id: u64) -> Self {
        Self(Some(Box::new((trace_id, span_id))))
    }

    pub fn ids(&self) -> Option<(u128, u64)> {
        self.0.as_deref().copied()
    }
}

impl PartialEq for Caller {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Namespace and id. Ordered by namespace, then id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScheduleKey {
    pub namespace: Arc<str>,
    pub id: Arc<str>,
}

impl Ord for ScheduleKey {
    /// Most namespaces are one allocation: then only ids are looked at.
    fn cmp(&self, other: &Self) -> Ordering {
        let namespaces = if Arc::ptr_eq(&self.namespace, &other.namespace) {
            Ordering::Equal
        } else {
            self.namespace.cmp(&other.namespace)
        };
        namespaces.then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for ScheduleKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ScheduleKey {
    pub fn new(namespace: &str, id: &str) -> Self {
        Self { namespace: namespace.into(), id: id.into() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub kind: Arc<str>,
    /// An encoded `google.protobuf.Struct`; never looked into.
    pub args: Bytes,
    pub payload: Bytes,
    /// Milliseconds.
    pub timeout: u32,
    /// Milliseconds; 0 = none.
    pub queue_timeout: u32,
}

/// What a run does that is to begin while another run of the schedule is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Overlap {
    /// It does not begin.
    #[default]
    Skip = 1,
    /// It waits until the other is final; a newer one takes its place.
    BufferOne = 2,
    /// It runs beside the other, up to a bound.
    Allow = 3,
    /// The other is cancelled, and it begins when that is final.
    CancelRunning = 4,
}

impl Overlap {
    pub fn from_number(number: u32) -> Option<Self> {
        let all = [Self::Skip, Self::BufferOne, Self::Allow, Self::CancelRunning];
        all.into_iter().find(|overlap| *overlap as u32 == number)
    }
}

/// What becomes of several times that are due at once, because none was decided while the service was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misfire {
    /// The latest runs and stands for the others.
    #[default]
    Coalesce,
    /// Those that are late by more than a minute do not run.
    Skip,
    /// All run, one after another: those of the last `window` milliseconds, the newest `max_runs` of them.
    All { window: u32, max_runs: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Failed attempts after which the run fails.
    pub max_attempts: u32,
    /// Milliseconds.
    pub min_backoff: u32,
    /// Milliseconds.
    pub max_backoff: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: 5, min_backoff: 10_000, max_backoff: 15 * 60_000 }
    }
}

impl Definition {
    pub fn times(&self, anchor: i64) -> Times<'_> {
        let end = self.end.filter(|_| !planted(Bug::EndIgnored));
        Times { timing: &self.timing, anchor, start: self.start, end }
    }

    /// Due time − nominal time, in milliseconds.
    pub fn spread_offset(&self) -> i64 {
        spread_offset(&self.key.namespace, &self.key.id, self.spread)
    }

    pub fn has_labels(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}
