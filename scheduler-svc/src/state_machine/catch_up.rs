//! Times that come late: those missed while the service was down, and those of a backfill.
//!
//! Both are kept as a cursor, not as a crowd of runs: the next one fires when the last one is final.

use super::{
    StateMachine,
    command::Backfill,
    id::{ReplyTo, Trigger},
    output::{Answer, Refusal},
    overlap::Room,
    request::Seen,
    schedule::{Schedule, SlotKey, Span, Status, Verdict},
};
use crate::planted::{Bug, planted};

/// Misfire `skip`: how late a time may be and still run.
const GRACE: i64 = 60_000;
/// Times that one backfill may name.
pub const BACKFILL_MAX: u64 = 10_000;
/// Pieces that the rest of a schedule's backfills may fall into.
const SPANS_MAX: usize = 64;

impl StateMachine {
    /// Misfire `skip`: what is late by more than the grace does not run.
    pub(super) fn fire_on_time(&mut self, slot: SlotKey, first: i64, latest: i64) {
        let schedule = &self.schedules[slot];
        let grace = if planted(Bug::MisfireSkipFires) { 10 * GRACE } else { GRACE };
        let on_time_from = schedule.last_due(self.now.wall).saturating_sub(grace);
        let times = schedule.times();
        if latest < on_time_from {
            self.decide_range(slot, Verdict::Misfire, first, latest, None);
            return self.decided(slot, latest);
        }
        let Some(last_missed) = times.latest(first - 1, on_time_from - 1) else {
            return self.fire_latest(slot, first, latest);
        };
        let first_on_time = times.next(last_missed).unwrap_or(latest);
        self.clear_the_place(slot, latest);
        self.decide_range(slot, Verdict::Misfire, first, last_missed, None);
        self.decided(slot, last_missed);
        if self.schedules.contains(slot) {
            self.fire_latest(slot, first_on_time, latest);
        }
    }

    /// Misfire `all`: several times that are due at once run one after another.
    pub(super) fn fire_all(
        &mut self,
        slot: SlotKey,
        (first, latest): (i64, i64),
        window: u32,
        max_runs: u32,
    ) {
        if self.schedules[slot].rare().catch_up.is_none_or(|through| first > through) {
            if first == latest {
                self.schedules[slot].set_rare(|rare| rare.catch_up = None);
                return self.fire_latest(slot, first, latest);
            }
            self.begin_catch_up(slot, (first, latest), window, max_runs);
        }
        if self.schedules[slot].is_catching_up() {
            return self.arm(slot);
        }
        let Some(next) = self.schedules[slot].next else { return };
        self.schedules[slot].set_rare(|rare| rare.catch_up = rare.catch_up.filter(|through| next < *through));
        self.fire(slot, next, Room::Free);
        self.decided(slot, next);
    }

    /// Leaves out what is older than the window, and of the rest all but the newest `max_runs`.
    fn begin_catch_up(&mut self, slot: SlotKey, (first, latest): (i64, i64), window: u32, max_runs: u32) {
        let schedule = &self.schedules[slot];
        let times = schedule.times();
        let oldest = schedule.last_due(self.now.wall).saturating_sub(window.into());
        let mut kept_from = latest;
        for _ in 1..max_runs {
            match times.latest(first - 1, kept_from - 1).filter(|earlier| *earlier >= oldest) {
                Some(earlier) => kept_from = earlier,
                None => break,
            }
        }
        let too_old = times.latest(first - 1, (oldest - 1).min(kept_from - 1));
        let too_many_from = too_old.map_or(Some(first), |last| times.next(last)).filter(|at| *at < kept_from);
        let too_many = too_many_from.zip(times.latest(first - 1, kept_from - 1));
        if let Some(last) = too_old {
            self.decide_range(slot, Verdict::Misfire, first, last, None);
        }
        if let Some((first, last)) = too_many {
            self.decide_range(slot, Verdict::Capped, first, last, None);
        }
        let schedule = &mut self.schedules[slot];
        schedule.decided_through = schedule.decided_through.max(kept_from - 1);
        if schedule.status != Status::Active {
            // A run that waited behind a live one was the last that max_runs allows.
            return self.touch(slot);
        }
        schedule.next = Some(kept_from);
        schedule.set_rare(|rare| rare.catch_up = Some(latest));
        self.touch(slot);
    }

    // --- backfill --------------------------------------------------------------------------------------------

    pub(super) fn backfill(&mut self, to: ReplyTo, command: &Backfill) {
        let request = command.request.as_ref();
        let Some((slot, seen)) = self.named(to, &command.key, request) else { return };
        if let Some(seen) = seen {
            return self.answer(to, Answer::Backfilled { accepted: seen.count, existing: seen.skipped });
        }
        match self.schedules[slot].status {
            Status::Paused => return self.refuse(to, Refusal::SchedulePaused),
            Status::Quarantined => return self.refuse(to, Refusal::ScheduleQuarantined),
            Status::Active | Status::Ended | Status::Deleted => {}
        }
        if let Err(refusal) = self.room_in_namespace(&command.key.namespace) {
            return self.refuse(to, refusal);
        }
        let schedule = &self.schedules[slot];
        if schedule.past().rings != command.as_of {
            return self.refuse(to, Refusal::Changed);
        }
        let wanted = Span { from: command.span.from, to: command.span.to.min(self.now.wall + 1) };
        let Some(named) = count(schedule, wanted) else {
            return self.refuse(to, Refusal::TooManyTimes { limit: BACKFILL_MAX });
        };
        let known = command.known.iter().copied().chain(self.known_times(slot));
        let known = known.filter(|_| !planted(Bug::BackfillDoubles));
        let fresh = known.fold(vec![wanted], |rest, known| without(&rest, known));
        let accepted: u64 = fresh.iter().filter_map(|span| count(schedule, *span)).sum();
        let spans = joined(&schedule.rare().backfill, &fresh, schedule);
        if spans.len() > SPANS_MAX {
            return self.refuse(to, Refusal::BackfillUnderWay);
        }
        self.schedules[slot].set_rare(|rare| rare.backfill = spans.into());
        self.touch(slot);
        let existing = named - accepted;
        let seen = Seen { skipped: existing, ..Seen::count(accepted) }.about(self.schedules[slot].uid);
        self.remember(&command.key.namespace, request, seen);
        self.answer(to, Answer::Backfilled { accepted, existing });
        self.advance(slot);
    }

    /// Times that have a run, or will get one, as far as the hot state knows.
    fn known_times(&self, slot: SlotKey) -> Vec<Span> {
        let schedule = &self.schedules[slot];
        let live = schedule.live().iter().map(|key| self.runs[*key].id);
        let live = live.filter(|id| id.trigger != Trigger::Manual).map(|id| Span::at(id.nominal));
        let fired = schedule.past().decision.iter().filter(|decision| decision.verdict == Verdict::Fired);
        let fired = fired.map(|decision| Span { from: decision.first, to: decision.last + 1 });
        let undecided = Span { from: schedule.decided_through + 1, to: i64::MAX };
        live.chain(fired).chain(schedule.rare().backfill.iter().copied()).chain([undecided]).collect()
    }

    /// The next time of a backfill, if there is one and nothing is live.
    pub(super) fn backfill_next(&mut self, slot: SlotKey) {
        let schedule = &mut self.schedules[slot];
        let Some(span) = schedule.rare().backfill.first().copied() else { return };
        let next = schedule.times().next(span.from - 1).filter(|next| *next < span.to);
        let Some(nominal) = next else {
            // Only spans that name a time are kept, so the timing has changed.
            schedule.set_rare(|rare| rare.backfill = Box::default());
            return self.touch(slot);
        };
        let later = schedule.times().next(nominal).is_some_and(|later| later < span.to);
        let later = later && !planted(Bug::BackfillForgets);
        schedule.set_rare(|rare| {
            if later {
                rare.backfill[0].from = nominal + 1;
            } else {
                rare.backfill = rare.backfill[1..].into();
            }
        });
        self.create_run(slot, Trigger::Backfill, nominal, self.now.wall, None);
    }
}

impl Span {
    fn at(time: i64) -> Self {
        Self { from: time, to: time + 1 }
    }
}

/// How many of a schedule's times are in a span; None = more than a backfill may name.
fn count(schedule: &Schedule, span: Span) -> Option<u64> {
    let count = schedule.times().count(span.from.checked_sub(1)?, span.to.checked_sub(1)?)?;
    Some(count).filter(|count| *count <= BACKFILL_MAX)
}

/// What is left of spans when one is taken out.
fn without(spans: &[Span], out: Span) -> Vec<Span> {
    let pieces = |span: &Span| {
        [
            Span { from: span.from, to: span.to.min(out.from) },
            Span { from: span.from.max(out.to), to: span.to },
        ]
    };
    spans.iter().flat_map(pieces).filter(|span| span.from < span.to).collect()
}

/// Both sets of spans in one, ascending; those that name no time are left out.
fn joined(one: &[Span], other: &[Span], schedule: &Schedule) -> Vec<Span> {
    let mut all: Vec<Span> =
        one.iter().chain(other).copied().filter(|span| count(schedule, *span) != Some(0)).collect();
    all.sort_unstable_by_key(|span| span.from);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_cut_out_of_others() {
        let spans = [Span { from: 0, to: 10 }, Span { from: 20, to: 30 }];
        assert_eq!(
            without(&spans, Span { from: 5, to: 25 }),
            [Span { from: 0, to: 5 }, Span { from: 25, to: 30 }]
        );
        assert_eq!(without(&spans, Span { from: 10, to: 20 }), spans);
        assert_eq!(without(&spans, Span { from: -5, to: 50 }), []);
        assert_eq!(without(&spans[..1], Span::at(3)), [Span { from: 0, to: 3 }, Span { from: 4, to: 10 }]);
    }
}
