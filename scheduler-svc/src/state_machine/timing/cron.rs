//! Cron in a zone: expressions walked in wall time, mapped to instants by explicit rules for clock changes.
//!
//! An expression that names hours belongs to the wall clock. Where a change leaves a wall time out (gap), [`Gap`]
//! says what happens; where it repeats one (fold), [`Fold`] does. An expression with every hour belongs to elapsed
//! time: it just matches the wall clock of each instant, so nothing of it is lost or moved by a change.
//!
//! Times are whole seconds. The next time is always later than the one asked from, and equal instants are one.

use chrono::DateTime;

use super::{
    expression::{DAY, Expression, HORIZON},
    zone::{Segment, Zone},
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

impl Cron {
    /// # Errors
    /// Names the part that is wrong.
    pub fn new(source: CronSource) -> Result<Self, CronError> {
        let zone = Zone::find(&source.time_zone).ok_or_else(|| {
            CronError::TimeZone(format!(
                "`{}` is no IANA zone; write for instance Europe/Berlin",
                source.time_zone
            ))
        })?;
        let expressions = source.expressions.iter().enumerate().map(|(index, text)| {
            let expression = Expression::parse(text).map_err(|error| CronError::Expression(index, error))?;
            if expression.next(0).is_none() {
                let why = "names a day that never comes, as 30 February does";
                return Err(CronError::Expression(index, why.into()));
            }
            Ok(expression)
        });
        Ok(Self { expressions: expressions.collect::<Result<_, _>>()?, zone, source })
    }

    pub fn source(&self) -> &CronSource {
        &self.source
    }

    /// The first time after `after`, in Unix seconds. None when there is none before the horizon (2100).
    pub fn next(&self, after: i64) -> Option<i64> {
        self.expressions.iter().filter_map(|expression| self.next_of(expression, after)).min()
    }

    /// How many times are in `(after, through]`, where that can be told without walking them: a single expression, and
    /// no clock change within a day of the range.
    pub fn count(&self, after: i64, through: i64) -> Option<u64> {
        let [expression] = self.expressions.as_slice() else { return None };
        let stretch = Stretch::of(self.zone, self.zone.index_at(after))?;
        let calm = after >= stretch.start.saturating_add(DAY) && through <= stretch.end.saturating_sub(DAY);
        (calm && after < through && through < HORIZON)
            .then(|| expression.count(after + 1 + stretch.offset, through + 1 + stretch.offset))
    }

    fn next_of(&self, expression: &Expression, after: i64) -> Option<i64> {
        let mut from = after.checked_add(1)?;
        let mut index = self.zone.index_at(from);
        while from < HORIZON {
            let stretch = Stretch::of(self.zone, index)?;
            let first = if expression.is_every_hour() {
                stretch.elapsed(expression, from)
            } else {
                let regular = stretch.regular(expression, from, self.source.fold);
                let moved = stretch.moved(expression, from, self.source.gap);
                regular.into_iter().chain(moved).min()
            };
            if first.is_some() {
                return first.filter(|first| *first < HORIZON);
            }
            (from, index) = (stretch.end, index + 1);
        }
        None
    }

    /// For people: how a clock change touches a time that this timing names.
    pub fn note(&self, time: i64) -> Option<String> {
        let stretch = Stretch::of(self.zone, self.zone.index_at(time))?;
        let named =
            |wall: i64| self.expressions.iter().any(|e| !e.is_every_hour() && e.next(wall) == Some(wall));
        let gap_start = stretch.start.saturating_add(stretch.before);
        let gap_end = stretch.start.saturating_add(stretch.offset);
        let wall = time + stretch.offset;
        if wall < gap_end.saturating_add(gap_end.saturating_sub(gap_start))
            && gap_start < gap_end
            && !named(wall)
        {
            let missing =
                self.expressions.iter().filter(|e| !e.is_every_hour()).filter_map(|e| e.next(gap_start));
            let missing = missing.filter(|missing| *missing < gap_end).min()?;
            return Some(format!(
                "{} does not exist in {}; fires at {}",
                clock(missing, true),
                self.zone.name(),
                clock(wall, false)
            ));
        }
        let second = wall < gap_start && gap_start > gap_end;
        let first = wall >= stretch.end.saturating_add(stretch.after)
            && wall < stretch.end.saturating_add(stretch.offset);
        (named(wall) && (first || second)).then(|| {
            let which = if first { "first" } else { "second" };
            format!("{} comes twice in {}; this is the {which}", clock(wall, true), self.zone.name())
        })
    }
}

fn clock(wall: i64, with_date: bool) -> String {
    let time = DateTime::from_timestamp(wall, 0).unwrap_or_default();
    time.format(if with_date { "%Y-%m-%d %H:%M" } else { "%H:%M" }).to_string()
}

/// A segment with its neighbours' offsets.
struct Stretch {
    start: i64,
    /// Exclusive.
    end: i64,
    offset: i64,
    before: i64,
    after: i64,
}

impl Stretch {
    fn of(zone: &Zone, index: usize) -> Option<Self> {
        let Segment { start, offset } = zone.segment(index)?;
        let before = index.checked_sub(1).and_then(|index| zone.segment(index)).map_or(offset, |s| s.offset);
        let (end, after) =
            zone.segment(index + 1).map_or((i64::MAX, offset), |next| (next.start, next.offset));
        Some(Self { start, end, offset, before, after })
    }

    /// The first instant whose wall clock matches.
    fn elapsed(&self, expression: &Expression, from: i64) -> Option<i64> {
        let time = expression.next(from + self.offset)? - self.offset;
        (time < self.end).then_some(time)
    }

    /// The same, without the wall times that the fold policy leaves to the other side of a fold.
    fn regular(&self, expression: &Expression, from: i64, fold: Fold) -> Option<i64> {
        let mut wall = from + self.offset;
        if fold == Fold::First && self.before > self.offset {
            wall = wall.max(self.start.saturating_add(self.before));
        }
        let mut end = self.end;
        if fold == Fold::Last && self.after < self.offset {
            end -= self.offset - self.after;
        }
        let time = expression.next(wall)? - self.offset;
        (time < end).then_some(time)
    }

    /// The first time of a gap at the start, moved as the policy says.
    fn moved(&self, expression: &Expression, from: i64, gap: Gap) -> Option<i64> {
        if self.before >= self.offset || self.start == i64::MIN {
            return None;
        }
        let (gap_start, gap_end) = (self.start + self.before, self.start + self.offset);
        let time = match gap {
            Gap::Skip => return None,
            Gap::NextValid => {
                expression.next(gap_start).filter(|wall| *wall < gap_end)?;
                self.start
            }
            // Read with the offset from before the change, a missing wall time falls as much later as the gap is wide.
            Gap::Shift => {
                let wall =
                    expression.next(gap_start.max(from + self.before)).filter(|wall| *wall < gap_end)?;
                wall - self.before
            }
        };
        (time >= from && time < self.end).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(expression: &str, zone: &str, gap: Gap, fold: Fold) -> Cron {
        let source = CronSource { expressions: vec![expression.into()], time_zone: zone.into(), gap, fold };
        Cron::new(source).expect(expression)
    }

    fn check(expression: &str, zone: &str, gap: Gap, fold: Fold, after: &str, expected: &[&str]) {
        let cron = cron(expression, zone, gap, fold);
        let mut at = DateTime::parse_from_rfc3339(after).expect(after).timestamp();
        for want in expected {
            let found = cron.next(at).expect(expression);
            let wanted = DateTime::parse_from_rfc3339(want).expect(want).timestamp();
            assert_eq!(found, wanted, "{expression} {zone} {gap:?} {fold:?} after {after}: {want}");
            at = found;
        }
    }

    const BERLIN: &str = "Europe/Berlin";

    #[test]
    fn a_gap_by_policy() {
        let after = "2026-03-28T12:00:00+01:00";
        let next_day = "2026-03-30T02:30:00+02:00";
        check(
            "30 2 * * *",
            BERLIN,
            Gap::NextValid,
            Fold::First,
            after,
            &["2026-03-29T03:00:00+02:00", next_day],
        );
        check("30 2 * * *", BERLIN, Gap::Shift, Fold::First, after, &["2026-03-29T03:30:00+02:00", next_day]);
        check("30 2 * * *", BERLIN, Gap::Skip, Fold::First, after, &[next_day]);
    }

    #[test]
    fn two_wall_times_of_one_instant_fire_once() {
        let after = "2026-03-29T01:45:00+01:00";
        check(
            "0,30 1-3 * * *",
            BERLIN,
            Gap::NextValid,
            Fold::First,
            after,
            &["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
        );
        check(
            "0,30 2-3 * * *",
            BERLIN,
            Gap::Shift,
            Fold::First,
            after,
            &["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00"],
        );
    }

    #[test]
    fn a_fold_by_policy() {
        let after = "2026-10-25T00:00:00+02:00";
        let (first, last) = ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00");
        let next_day = "2026-10-26T02:30:00+01:00";
        check("30 2 * * *", BERLIN, Gap::NextValid, Fold::First, after, &[first, next_day]);
        check("30 2 * * *", BERLIN, Gap::NextValid, Fold::Last, after, &[last, next_day]);
        check("30 2 * * *", BERLIN, Gap::NextValid, Fold::Both, after, &[first, last, next_day]);
    }

    #[test]
    fn every_hour_follows_elapsed_time() {
        check(
            "30 * * * *",
            BERLIN,
            Gap::NextValid,
            Fold::First,
            "2026-10-25T01:45:00+02:00",
            &["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"],
        );
        check(
            "30 * * * *",
            BERLIN,
            Gap::NextValid,
            Fold::First,
            "2026-03-29T01:00:00+01:00",
            &["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"],
        );
    }

    #[test]
    fn odd_changes() {
        check(
            "0 0 * * *",
            "Africa/Cairo",
            Gap::NextValid,
            Fold::First,
            "2026-04-23T12:00:00+02:00",
            &["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"],
        );
        // The 30th of December 2011 does not exist in Apia: its 09:00 comes at the end of the gap, at midnight.
        check(
            "0 9 * * *",
            "Pacific/Apia",
            Gap::NextValid,
            Fold::First,
            "2011-12-29T09:00:00-10:00",
            &["2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"],
        );
        check(
            "15 2 * * *",
            "Australia/Lord_Howe",
            Gap::NextValid,
            Fold::First,
            "2026-10-03T12:00:00+10:30",
            &["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        );
    }

    #[test]
    fn notes_tell_a_person_what_a_clock_change_does() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).expect(text).timestamp();
        let daily = cron("30 2 * * *", BERLIN, Gap::NextValid, Fold::Both);
        assert_eq!(
            daily.note(at("2026-03-29T03:00:00+02:00")).as_deref(),
            Some("2026-03-29 02:30 does not exist in Europe/Berlin; fires at 03:00")
        );
        assert_eq!(
            daily.note(at("2026-10-25T02:30:00+02:00")).as_deref(),
            Some("2026-10-25 02:30 comes twice in Europe/Berlin; this is the first")
        );
        assert_eq!(
            daily.note(at("2026-10-25T02:30:00+01:00")).as_deref(),
            Some("2026-10-25 02:30 comes twice in Europe/Berlin; this is the second")
        );
        assert_eq!(daily.note(at("2026-06-01T02:30:00+02:00")), None);
    }
}
