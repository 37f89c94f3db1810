//! The rules for clock changes, said once more and as simply as possible: look at each instant, ask chrono-tz what
//! the clock shows, and decide. Nothing of the evaluator under test is used, least of all its zone tables.

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use scheduler_svc::state_machine::timing::{Fold, Gap};

use crate::pattern::Pattern;

/// A clock change: at `at` the offset becomes `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Change {
    pub at: i64,
    pub before: i64,
    pub after: i64,
}

pub fn wall(seconds: i64) -> NaiveDateTime {
    DateTime::from_timestamp(seconds, 0).expect("in range").naive_utc()
}

pub fn offset(tz: Tz, instant: i64) -> i64 {
    tz.offset_from_utc_datetime(&wall(instant)).fix().local_minus_utc().into()
}

/// All changes in `[from, to)`, found by asking each day.
pub fn changes(tz: Tz, from: i64, to: i64) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut before = offset(tz, from);
    for day in (from..to).step_by(86_400) {
        let after = offset(tz, day + 86_400);
        if before != after {
            let (mut low, mut high) = (day, day + 86_400);
            while high - low > 1 {
                let middle = (low + high) / 2;
                if offset(tz, middle) == before { low = middle } else { high = middle }
            }
            changes.push(Change { at: high, before, after });
        }
        before = after;
    }
    changes
}

/// What an expression's wall times around one change come to, as instants in `[from, to)`.
pub struct Window {
    pub change: Change,
    pub from: i64,
    pub to: i64,
}

impl Window {
    fn offset(&self, instant: i64) -> i64 {
        if instant < self.change.at { self.change.before } else { self.change.after }
    }

    pub fn times(&self, pattern: &Pattern, gap: Gap, fold: Fold) -> Vec<i64> {
        let Change { at, before, after } = self.change;
        let mut times = Vec::new();
        for instant in self.instants(pattern) {
            let shown = instant + self.offset(instant);
            if !matches(pattern, shown) {
                continue;
            }
            let others = [shown - before, shown - after];
            let twin =
                others.into_iter().find(|other| *other != instant && other + self.offset(*other) == shown);
            let fires = match (twin, fold) {
                (None, _) | (_, Fold::Both) => true,
                _ if pattern.is_every_hour() => true,
                (Some(twin), Fold::First) => instant < twin,
                (Some(twin), Fold::Last) => instant > twin,
            };
            times.extend(fires.then_some(instant));
        }
        if !pattern.is_every_hour() {
            let step = step(pattern);
            let missing =
                (at + before..at + after).filter(|shown| shown % step == 0 && matches(pattern, *shown));
            times.extend(missing.filter_map(|shown| match gap {
                Gap::NextValid => Some(at),
                Gap::Shift => Some(shown + (after - before) - after),
                Gap::Skip => None,
            }));
        }
        times.retain(|time| (self.from..self.to).contains(time));
        times.sort_unstable();
        times.dedup();
        times
    }

    fn instants(&self, pattern: &Pattern) -> impl Iterator<Item = i64> {
        (self.from..self.to).step_by(step(pattern) as usize)
    }
}

/// Minutes will do where seconds are not named: all offsets since 2000 are whole minutes.
fn step(pattern: &Pattern) -> i64 {
    if pattern.second.is_some() { 1 } else { 60 }
}

pub fn matches(pattern: &Pattern, shown: i64) -> bool {
    let shown = wall(shown);
    pattern.has_time(shown) && pattern.has_date(shown.date())
}
