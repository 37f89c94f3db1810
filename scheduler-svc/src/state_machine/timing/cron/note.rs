//! For people: how clock changes touch the times that a timing names.

use chrono::DateTime;

use super::{Cron, Fold, Gap, stretch::Stretch};
use crate::state_machine::timing::expression::Expression;

impl Cron {
    /// What a clock change does to `time`, or did to a wall time between `previous` and it. None when nothing.
    ///
    /// Expressions with every hour follow elapsed time, so there is nothing to tell of them.
    pub fn note(&self, previous: i64, time: i64) -> Option<String> {
        let index = self.zone.index_at(time);
        let stretch = Stretch::of(self.zone, index)?;
        self.moved_note(&stretch, time)
            .or_else(|| self.fold_note(&stretch, time))
            .or_else(|| self.skipped_note(previous, index))
    }

    fn on_the_wall(&self) -> impl Iterator<Item = &Expression> {
        self.expressions.iter().filter(|expression| !expression.is_every_hour())
    }

    fn names(&self, wall: i64) -> bool {
        self.on_the_wall().any(|expression| expression.next(wall) == Some(wall))
    }

    /// The first wall time in `[from, to)`.
    fn first_between(&self, from: i64, to: i64) -> Option<i64> {
        self.on_the_wall().filter_map(|expression| expression.next(from)).filter(|wall| *wall < to).min()
    }

    fn moved_note(&self, stretch: &Stretch, time: i64) -> Option<String> {
        let (gap_start, gap_end) = stretch.gap()?;
        let missing = match self.source.gap {
            Gap::NextValid if time == stretch.start => self.first_between(gap_start, gap_end)?,
            Gap::Shift => Some(time + stretch.before).filter(|wall| *wall < gap_end && self.names(*wall))?,
            Gap::NextValid | Gap::Skip => return None,
        };
        let wall = time + stretch.offset;
        let once = if self.names(wall) { "once, " } else { "" };
        Some(format!("{}; fires {once}at {}", self.no_such(missing), clock(wall)))
    }

    fn fold_note(&self, stretch: &Stretch, time: i64) -> Option<String> {
        let wall = time + stretch.offset;
        let fold = self.source.fold;
        let first = fold != Fold::Last && wall >= stretch.end.saturating_add(stretch.after);
        let second = fold != Fold::First && wall < stretch.start.saturating_add(stretch.before);
        let which = match (first, second) {
            (true, _) => "first",
            (_, true) => "second",
            (false, false) => return None,
        };
        self.names(wall)
            .then(|| format!("{} comes twice in {}; this is the {which}", moment(wall), self.zone.name()))
    }

    /// The first wall time that the policy skipped on the way to the stretch with this index.
    fn skipped_note(&self, previous: i64, index: usize) -> Option<String> {
        if self.source.gap != Gap::Skip {
            return None;
        }
        let passed = self.zone.index_at(previous) + 1..=index;
        let gaps = passed.filter_map(|index| Stretch::of(self.zone, index)?.gap());
        let missing = gaps.filter_map(|(start, end)| self.first_between(start, end)).next()?;
        Some(format!("{}; it was skipped before this", self.no_such(missing)))
    }

    fn no_such(&self, wall: i64) -> String {
        format!("{} does not exist in {}", moment(wall), self.zone.name())
    }
}

fn moment(wall: i64) -> String {
    let time = DateTime::from_timestamp(wall, 0).unwrap_or_default();
    format!("{} {}", time.format("%Y-%m-%d"), clock(wall))
}

fn clock(wall: i64) -> String {
    let time = DateTime::from_timestamp(wall, 0).unwrap_or_default();
    time.format(if wall % 60 == 0 { "%H:%M" } else { "%H:%M:%S" }).to_string()
}
