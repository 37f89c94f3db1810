//! How long limits would need for what comes due under them.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use crate::state_machine::{definition::Definition, gate::limit::Limit};

/// Keys that patterns match and that are told apart. Later ones are not looked at.
const KEYS_MAX: usize = 2_000_000;

/// Limits with the load of each of their keys.
#[derive(Debug, Default)]
pub struct Drains {
    limits: Vec<(Box<str>, Limit)>,
    exact: HashMap<Box<str>, usize>,
    /// Patterns by what their keys begin with.
    patterns: HashMap<Box<str>, usize>,
    /// Lengths of those, longest first.
    lengths: Vec<usize>,
    /// Mean milliseconds of a run by kind.
    runtimes: HashMap<Arc<str>, u64>,
    loads: HashMap<Box<str>, Load>,
}

/// What comes due under one key.
#[derive(Debug)]
struct Load {
    limit: usize,
    due: u64,
    /// Milliseconds on workers; None when a kind has no measurement.
    busy: Option<u64>,
}

/// The key of a limit that needs longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// As it was set: a key or a pattern.
    pub limit: Box<str>,
    pub key: Box<str>,
    pub due: u64,
    /// Milliseconds. None when it is closed, or not known.
    pub expected: Option<u64>,
    /// Keys of the limit under which something comes due.
    pub keys: u64,
}

impl Drains {
    pub fn new(limits: Vec<(Box<str>, Limit)>) -> Self {
        let mut drains = Self::default();
        for (index, (name, _)) in limits.iter().enumerate() {
            match name.strip_suffix('*') {
                Some(prefix) => {
                    drains.lengths.push(prefix.len());
                    drains.patterns.insert(prefix.into(), index);
                }
                None => drop(drains.exact.insert(name.clone(), index)),
            }
        }
        drains.lengths.sort_unstable_by_key(|length| Reverse(*length));
        drains.lengths.dedup();
        Self { limits, ..drains }
    }

    pub fn learn(&mut self, runtimes: &[(Arc<str>, i64)]) {
        self.runtimes.extend(runtimes.iter().map(|(kind, millis)| (kind.clone(), millis.unsigned_abs())));
    }

    /// So many runs of a schedule come due.
    pub fn add(&mut self, definition: &Definition, due: u64) {
        if due == 0 || self.limits.is_empty() {
            return;
        }
        for (index, key) in definition.limits.iter().enumerate() {
            let Some(limit) = self.limit_of(key) else { continue };
            if definition.limits[..index].contains(key) {
                continue;
            }
            let busy = self.runtimes.get(&definition.task.kind).map(|runtime| runtime.saturating_mul(due));
            if let Some(load) = self.loads.get_mut(key) {
                load.due += due;
                load.busy = load.busy.zip(busy).map(|(one, other)| one.saturating_add(other));
            } else if self.loads.len() < KEYS_MAX {
                self.loads.insert(key.clone(), Load { limit, due, busy });
            }
        }
    }

    /// As `Limits::of` chooses.
    fn limit_of(&self, key: &str) -> Option<usize> {
        let by_pattern = || {
            let prefixes = self.lengths.iter().filter_map(|length| key.get(..*length));
            prefixes.filter_map(|prefix| self.patterns.get(prefix)).next()
        };
        self.exact.get(key).or_else(by_pattern).copied()
    }

    /// One for each limit that has something to do, the longest first; those that cannot be told come last.
    pub fn finish(self) -> Vec<Drain> {
        let mut longest: Vec<Option<Drain>> = vec![None; self.limits.len()];
        for (key, load) in self.loads {
            let (name, limit) = &self.limits[load.limit];
            let expected = expected(limit, &load);
            let drain = Drain { limit: name.clone(), key, due: load.due, expected, keys: 1 };
            let former = &mut longest[load.limit];
            let keys = former.as_ref().map_or(0, |former| former.keys);
            let longer = |former: &Drain| rank(&drain) > rank(former);
            if former.as_ref().is_none_or(longer) {
                *former = Some(drain);
            }
            former.iter_mut().for_each(|drain| drain.keys = keys + 1);
        }
        let mut drains: Vec<Drain> = longest.into_iter().flatten().collect();
        drains.sort_by(|one, other| rank(other).cmp(&rank(one)));
        drains
    }
}

/// The key decides last, so that the order is always the same.
fn rank(drain: &Drain) -> (Option<u64>, u64, Reverse<&str>) {
    (drain.expected, drain.due, Reverse(&drain.key))
}

/// The longer of what the rate and what the slots need.
fn expected(limit: &Limit, load: &Load) -> Option<u64> {
    let by_rate = (limit.rate > 0).then(|| {
        let waiting = load.due.saturating_sub(limit.burst.into());
        // A rate is in millionths of a start per second.
        u64::try_from(u128::from(waiting) * 1_000_000_000 / u128::from(limit.rate)).unwrap_or(u64::MAX)
    });
    match limit.max_running {
        None => by_rate,
        Some(max) => {
            let slots = u64::from(max).min(load.due);
            let by_slots = load.busy?.checked_div(slots)?;
            Some(by_slots.max(by_rate.unwrap_or(0)))
        }
    }
}
