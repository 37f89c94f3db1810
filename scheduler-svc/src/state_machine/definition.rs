//! What users set: a schedule's definition, checked and resolved at the edge. Never changed in place; a run holds
//! on to the one that it was fired from.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use hashbrown::HashSet;

use super::timing::{Times, Timing, spread_offset};
use crate::planted::{Bug, planted};

pub const DEFAULT_PRIORITY: u8 = 5;

/// It reads as one with its terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub key: ScheduleKey,
    pub terms: Arc<Terms>,
    pub input: Input,
    /// Empty = the shared tenant.
    pub tenant: Arc<str>,
    pub limits: Box<[Box<str>]>,
    pub labels: Labels,
    pub saved_by: Caller,
}

/// What many schedules say alike: those that are equal are held in memory once ([`Pool`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    pub timing: Timing,
    pub task: Task,
    /// Milliseconds.
    pub spread: u32,
    pub overlap: Overlap,
    pub misfire: Misfire,
    pub retry: Retry,
    /// 1 (first) to 9.
    pub priority: u8,
    pub start: Option<i64>,
    pub end: Option<i64>,
    /// 0 = unlimited.
    pub max_runs: u64,
    /// 0 = never.
    pub pause_after_failures: u32,
    pub delete_when_ended: bool,
}

impl Terms {
    /// Whether they are hardly ever those of another schedule.
    pub fn is_singular(&self) -> bool {
        matches!(self.timing, Timing::At(_))
    }
}

impl Deref for Definition {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl DerefMut for Definition {
    /// From now on its terms are its own.
    fn deref_mut(&mut self) -> &mut Terms {
        Arc::make_mut(&mut self.terms)
    }
}

/// The terms that are in use, each once.
#[derive(Debug, Default)]
pub struct Pool {
    known: HashSet<Arc<Terms>>,
    purge_at: usize,
}

impl Pool {
    pub fn get(&self, terms: &Terms) -> Option<Arc<Terms>> {
        self.known.get(terms).cloned()
    }

    /// The same, as others have them.
    pub fn share(&mut self, terms: Arc<Terms>) -> Arc<Terms> {
        if let Some(known) = self.get(&terms) {
            return known;
        }
        if !terms.is_singular() {
            self.add(terms.clone());
        }
        terms
    }

    fn add(&mut self, terms: Arc<Terms>) {
        if self.known.len() >= self.purge_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.purge_at = (self.known.len() * 2).max(1024);
        }
        self.known.insert(terms);
    }
}

/// What a job is given: arguments, an encoded `google.protobuf.Struct`, and payload. Neither is ever looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// One behind the other.
    bytes: Box<[u8]>,
    args: u32,
}

impl Input {
    pub fn new(args: &[u8], payload: &[u8]) -> Self {
        Self { bytes: [args, payload].concat().into(), args: args.len() as u32 }
    }

    pub fn args(&self) -> &[u8] {
        &self.bytes[..self.args as usize]
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.args as usize..]
    }

    /// Bytes of both.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// In the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    pub fn new(labels: &BTreeMap<String, String>) -> Self {
        Self(labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect())
    }

    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    pub kind: Arc<str>,
    /// Milliseconds.
    pub timeout: u32,
    /// Milliseconds; 0 = none.
    pub queue_timeout: u32,
}

/// What a run does that is to begin while another run of the schedule is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Misfire {
    /// The latest runs and stands for the others.
    #[default]
    Coalesce,
    /// Those that are late by more than a minute do not run.
    Skip,
    /// All run, one after another: those of the last `window` milliseconds, the newest `max_runs` of them.
    All { window: u32, max_runs: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        wanted.iter().all(|(key, value)| self.labels.get(key) == Some(value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::tests::bench::{cron, definition, every, with};

    #[test]
    fn equal_terms_are_held_once_and_go_with_the_last_schedule() {
        let mut pool = Pool::default();
        let shared = |pool: &mut Pool, definition: Definition| pool.share(definition.terms);
        let one = shared(&mut pool, definition("a", cron("0 2 * * *", "Europe/Berlin")));
        let other = shared(&mut pool, definition("b", cron("0 2 * * *", "Europe/Berlin")));
        assert!(Arc::ptr_eq(&one, &other));
        let later = shared(&mut pool, with(definition("a", every(60_000)), |it| it.spread = 1));
        assert!(!Arc::ptr_eq(&one, &later));
        drop(later);
        for interval in 1..5_000 {
            shared(&mut pool, definition("a", every(interval * 1_000)));
        }
        assert!(pool.known.len() <= 1_024 + 1, "{}", pool.known.len());
        assert!(Arc::ptr_eq(&one, &shared(&mut pool, definition("c", cron("0 2 * * *", "Europe/Berlin")))));
    }

    #[test]
    fn a_change_of_shared_terms_is_for_one_definition() {
        let one = definition("a", every(60_000));
        let other = with(one.clone(), |it| it.priority = 9);
        assert_eq!((one.priority, other.priority), (5, 9));
    }

    #[test]
    fn a_definition_stays_small() {
        assert!(size_of::<Definition>() <= 128, "{}", size_of::<Definition>());
    }
}
