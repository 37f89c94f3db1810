//! A stretch of time with one offset: which of its instants an expression names.

use super::{Fold, Gap};
use crate::state_machine::timing::{
    expression::Expression,
    zone::{Segment, Zone},
};

/// A segment with its neighbours' offsets.
pub(super) struct Stretch {
    pub start: i64,
    /// Exclusive.
    pub end: i64,
    pub offset: i64,
    pub before: i64,
    pub after: i64,
}

impl Stretch {
    pub fn of(zone: &Zone, index: usize) -> Option<Self> {
        let Segment { start, offset } = zone.segment(index)?;
        let before = index.checked_sub(1).and_then(|index| zone.segment(index)).map_or(offset, |s| s.offset);
        let (end, after) =
            zone.segment(index + 1).map_or((i64::MAX, offset), |next| (next.start, next.offset));
        Some(Self { start, end, offset, before, after })
    }

    /// The wall times that the change at the start leaves out.
    pub fn gap(&self) -> Option<(i64, i64)> {
        (self.before < self.offset && self.start != i64::MIN)
            .then(|| (self.start + self.before, self.start + self.offset))
    }

    /// No wall time of later stretches is below it. None for the last stretch.
    pub fn least_wall_after(&self) -> Option<i64> {
        (self.end != i64::MAX).then(|| self.end + self.offset.min(self.after))
    }

    /// The first instant at or after `from` that the expression names in this stretch.
    pub fn first(&self, expression: &Expression, from: i64, gap: Gap, fold: Fold) -> Option<i64> {
        if expression.is_every_hour() {
            return self.matching(expression, from + self.offset, self.end);
        }
        let regular = self.regular(expression, from, fold);
        match self.moved(expression, from, gap) {
            Some(moved) => Some(regular.map_or(moved, |regular| regular.min(moved))),
            None => regular,
        }
    }

    /// The first instant before `end` whose wall clock is at or after `wall` and matches.
    fn matching(&self, expression: &Expression, wall: i64, end: i64) -> Option<i64> {
        let time = expression.next(wall)? - self.offset;
        (time < end).then_some(time)
    }

    /// Without the wall times that the fold policy leaves to the other side of a fold.
    fn regular(&self, expression: &Expression, from: i64, fold: Fold) -> Option<i64> {
        let mut wall = from + self.offset;
        if fold == Fold::First && self.before > self.offset {
            wall = wall.max(self.start.saturating_add(self.before));
        }
        let mut end = self.end;
        if fold == Fold::Last && self.after < self.offset {
            end -= self.offset - self.after;
        }
        self.matching(expression, wall, end)
    }

    /// The first time of the gap at the start, moved as the policy says.
    fn moved(&self, expression: &Expression, from: i64, gap: Gap) -> Option<i64> {
        let (gap_start, gap_end) = self.gap()?;
        match gap {
            Gap::NextValid if from <= self.start => {
                expression.next(gap_start).filter(|wall| *wall < gap_end).map(|_| self.start)
            }
            // Read with the offset from before the change, a missing wall time falls as much later as the gap is
            // wide.
            Gap::Shift if from + self.before < gap_end => {
                let wall = expression.next(gap_start.max(from + self.before));
                wall.filter(|wall| *wall < gap_end).map(|wall| wall - self.before)
            }
            Gap::NextValid | Gap::Shift | Gap::Skip => None,
        }
    }
}
