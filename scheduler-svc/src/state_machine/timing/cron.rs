//! Cron in a zone: expressions walked in wall time, mapped to instants by explicit rules for clock changes.
//!
//! An expression that names hours belongs to the wall clock. Where a change leaves a wall time out (gap), [`Gap`]
//! says what happens; where it repeats one (fold), [`Fold`] does. An expression with every hour belongs to elapsed
//! time: it just matches the wall clock of each instant, so that it neither pauses nor crowds.
//!
//! Times are whole seconds between 1970 and 2100. The next time is always later than the one asked from, and equal
//! instants are one.
//!
//! The work is bounded: a search looks at the stretches around the next matching wall time only, and the calendar
//! ends in 2100 (`timing/steps.rs` counts).

mod note;
mod stretch;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use stretch::Stretch;

use super::{
    expression::{DAY, Expression, HORIZON},
    steps,
    zone::{self, Zone},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Gap {
    #[default]
    NextValid = 1,
    Shift = 2,
    Skip = 3,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fold {
    #[default]
    First = 1,
    Last = 2,
    Both = 3,
}

/// What is accepted and looks like a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The zone exists, and another one is meant most often.
    SeldomZone {
        name: String,
        meant: &'static str,
    },
    RepeatedExpression {
        index: usize,
        same: usize,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeldomZone { name, meant } => {
                write!(f, "{name} has no summer time; write {meant} for the time that clocks show there")
            }
            Self::RepeatedExpression { index, same } => {
                write!(f, "expressions[{index}] names the same times as expressions[{same}]")
            }
        }
    }
}

/// What a user wrote, and what it means.
#[derive(Debug)]
pub struct Cron {
    source: CronSource,
    expressions: Vec<Expression>,
    zone: &'static Zone,
}

/// The text of a cron timing; two schedules with the same text share one [`Cron`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CronSource {
    pub expressions: Vec<String>,
    pub time_zone: String,
    pub gap: Gap,
    pub fold: Fold,
}

/// What is wrong with a cron timing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronError {
    /// Index of the expression, and what is wrong with it.
    Expression(usize, String),
    TimeZone(String),
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Cron {}

impl Hash for Cron {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

impl Cron {
    /// # Errors
    /// Names the part that is wrong.
    pub fn new(source: CronSource) -> Result<Self, CronError> {
        let zone = Zone::find(&source.time_zone)
            .ok_or_else(|| CronError::TimeZone(zone::remedy(&source.time_zone)))?;
        let expressions = source.expressions.iter().enumerate().map(|(index, text)| {
            let expression = Expression::parse(text).map_err(|error| CronError::Expression(index, error))?;
            if expression.next(0).is_none() {
                let why = "can never fire: it names a day that never comes, as 30 February does";
                return Err(CronError::Expression(index, why.into()));
            }
            Ok(expression)
        });
        Ok(Self { expressions: expressions.collect::<Result<_, _>>()?, zone, source })
    }

    pub fn source(&self) -> &CronSource {
        &self.source
    }

    pub fn oddities(&self) -> Vec<Oddity> {
        let name = self.zone.name();
        let meant = zone::seldom_meant(name);
        let seldom = meant.map(|meant| Oddity::SeldomZone { name: name.to_owned(), meant });
        let repeated = self.expressions.iter().enumerate().filter_map(|(index, expression)| {
            let same = self.expressions[..index].iter().position(|other| other == expression)?;
            Some(Oddity::RepeatedExpression { index, same })
        });
        seldom.into_iter().chain(repeated).collect()
    }

    /// The first time after `after`, in Unix seconds. None when there is none before the horizon (2100).
    pub fn next(&self, after: i64) -> Option<i64> {
        self.expressions.iter().filter_map(|expression| self.next_of(expression, after)).min()
    }

    /// How many times are in `(after, through]`. None when more than `max`.
    pub fn count(&self, after: i64, through: i64, max: u64) -> Option<u64> {
        let from = after.saturating_add(1).max(0);
        let to = through.saturating_add(1).min(HORIZON);
        match self.expressions.as_slice() {
            [expression] => self.count_of(expression, from, to, max),
            expressions => self.count_union(expressions, from, to, max),
        }
    }

    fn next_of(&self, expression: &Expression, after: i64) -> Option<i64> {
        let mut from = after.checked_add(1)?.max(0);
        let mut index = self.zone.index_at(from);
        while from < HORIZON {
            steps::take();
            let stretch = Stretch::of(self.zone, index)?;
            let first = stretch.first(expression, from, self.source.gap, self.source.fold);
            if first.is_some() {
                return first.filter(|first| *first < HORIZON);
            }
            // Nothing matches before `wall`, so the stretches that end well before it need no look.
            let wall = expression.next(stretch.least_wall_after()?)?;
            (from, index) = match wall - 2 * DAY {
                near if near > stretch.end => (near, self.zone.index_at(near)),
                _ => (stretch.end, index + 1),
            };
        }
        None
    }

    /// Times in `[from, to)`: by arithmetic within a stretch, one by one within a day of a change.
    fn count_of(&self, expression: &Expression, mut from: i64, to: i64, max: u64) -> Option<u64> {
        let margin = if expression.is_every_hour() { 0 } else { DAY };
        let mut count = 0;
        while from < to {
            let stretch = Stretch::of(self.zone, self.zone.index_at(from))?;
            let calm = (stretch.start.saturating_add(margin), stretch.end.saturating_sub(margin).min(to));
            if from >= calm.0 && from < calm.1 {
                count += expression.count(from + stretch.offset, calm.1 + stretch.offset);
                from = calm.1;
            } else {
                let until = if from < calm.0 { calm.0 } else { stretch.end }.min(to);
                let walk = std::iter::successors(Some(from - 1), |at| self.next_of(expression, *at)).skip(1);
                count += walk.take_while(|at| *at < until).take(max as usize + 1).count() as u64;
                from = until;
            }
            if count > max {
                return None;
            }
        }
        Some(count)
    }

    /// Each expression has its own place, so that a step moves only those that are at the earliest time.
    fn count_union(&self, expressions: &[Expression], from: i64, to: i64, max: u64) -> Option<u64> {
        let next = |expression, at| self.next_of(expression, at).filter(|next| *next < to);
        let mut places: Vec<Option<i64>> = expressions.iter().map(|one| next(one, from - 1)).collect();
        let mut count = 0;
        while let Some(earliest) = places.iter().flatten().min().copied() {
            count += 1;
            if count > max {
                return None;
            }
            for (expression, place) in expressions.iter().zip(&mut places) {
                if *place == Some(earliest) {
                    *place = next(expression, earliest);
                }
            }
        }
        Some(count)
    }
}
