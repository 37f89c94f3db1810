//! A gate that a provider's throttling has closed, and how it opens again.
//!
//! ```text
//! closed ──── until ────► slow start: 1, 2, 4 … runs at once and starts per 10 s ──── goal ────► open
//! ```

use super::limit::Limit;

/// One closing lasts no longer.
pub const CLOSING_MAX: u64 = 15 * 60_000;
/// Reports of different schedules within it count together.
pub const WINDOW: u64 = 60_000;
/// So many schedules have to report before a shared key closes.
pub const REPORTERS: usize = 3;
/// What slow start allows doubles after each.
pub const STAGE: i64 = 10_000;
/// Where slow start ends if no limit is set.
const GOAL: u64 = 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Elapsed milliseconds; before the process began, if that was so.
    pub until: i64,
    /// How long it was to last.
    pub span: u64,
    /// Attempts with a token up to it began before the closing.
    pub token: u64,
    pub reason: Box<str>,
    /// Whether it was said that the gate has opened again.
    pub reopened: bool,
    /// Starts in the stage of slow start.
    started: (u32, u32),
}

impl Closing {
    pub fn new(until: i64, span: u64, token: u64, reason: Box<str>) -> Self {
        Self { until, span, token, reason, reopened: false, started: (0, 0) }
    }

    pub fn is_closed(&self, now: u64) -> bool {
        (now as i64) < self.until
    }

    /// The stage of slow start, from 0.
    fn stage(&self, now: u64) -> u32 {
        u32::try_from((now as i64 - self.until).max(0) / STAGE).unwrap_or(u32::MAX)
    }

    /// What slow start allows at once, and within its stage. None once it is over.
    pub fn allowed(&self, limit: Option<&Limit>, now: u64) -> Option<u32> {
        let stage = self.stage(now);
        (stage < stages(limit)).then(|| 1 << stage)
    }

    pub fn started_in_stage(&self, now: u64) -> u32 {
        if self.started.0 == self.stage(now) { self.started.1 } else { 0 }
    }

    pub fn note_start(&mut self, now: u64) {
        self.started = (self.stage(now), self.started_in_stage(now) + 1);
    }

    pub fn next_stage(&self, now: u64) -> u64 {
        (self.until + STAGE * (i64::from(self.stage(now)) + 1)).unsigned_abs()
    }

    /// When slow start is over.
    pub fn over(&self, limit: Option<&Limit>) -> i64 {
        self.until + STAGE * i64::from(stages(limit))
    }
}

/// Stages until what is allowed reaches the limit.
fn stages(limit: Option<&Limit>) -> u32 {
    let per_stage = |rate: u64| rate.saturating_mul(STAGE.unsigned_abs()).div_ceil(1_000_000_000);
    let running = limit.and_then(|limit| limit.max_running).map(u64::from);
    let starts = limit.filter(|limit| limit.rate > 0).map(|limit| per_stage(limit.rate));
    let goal = running.into_iter().chain(starts).max().unwrap_or(GOAL).max(1);
    goal.next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_slow_start_doubles_until_the_limit_is_reached() {
        let closing = Closing::new(60_000, 60_000, 0, "".into());
        let limit = Limit { max_running: Some(5), rate: 0, burst: 1 };
        let allowed = |now| closing.allowed(Some(&limit), now);
        assert_eq!(
            [60_000, 69_999, 70_000, 80_000, 89_999, 90_000].map(allowed),
            [Some(1), Some(1), Some(2), Some(4), Some(4), None]
        );
        assert_eq!((closing.over(Some(&limit)), closing.next_stage(65_000)), (90_000, 70_000));
        assert_eq!(closing.allowed(None, 159_999), Some(512), "no limit: up to 1 024");
        assert_eq!(closing.allowed(None, 160_000), None);
        let rate = Limit { max_running: None, rate: 1_000_000, burst: 1 };
        assert_eq!(closing.over(Some(&rate)), 60_000 + 4 * STAGE, "1 per second are 10 per stage");
    }

    #[test]
    fn r6_starts_are_counted_by_stage() {
        let mut closing = Closing::new(-5_000, 60_000, 0, "".into());
        closing.note_start(1_000);
        closing.note_start(2_000);
        assert_eq!(closing.started_in_stage(4_999), 2);
        assert_eq!(closing.started_in_stage(5_000), 0);
    }
}
