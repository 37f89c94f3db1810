//! What one peer may have done for it that is no call, by the second: so that floods of frames slow down their sender and
//! nobody else. The time is handed in.

use std::time::{Duration, Instant};

/// About a microsecond of a processor each.
pub type Cost = u32;

/// 2 % of a processor, and what piles up of it in half a second: a thousand callers that give up at once are no flood.
const PER_SECOND: f64 = 20_000.0;
const MAX: f64 = 10_000.0;
/// Nobody waits longer at a time, so that keepalive is answered.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Less than nothing is a debt.
    left: f64,
    at: Instant,
}

impl Budget {
    pub fn full(now: Instant) -> Self {
        Self { left: MAX, at: now }
    }

    /// Returns how long to wait before the next.
    pub fn charge(&mut self, cost: Cost, now: Instant) -> Duration {
        self.left = self.left(now) - f64::from(cost);
        self.at = now;
        Duration::from_secs_f64((-self.left / PER_SECOND).max(0.0)).min(WAIT_MAX)
    }

    fn left(&self, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left + earned).min(MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_waits_for_its_turn() {
        let begin = Instant::now();
        let mut budget = Budget::full(begin);
        assert_eq!(budget.charge(10_000, begin), Duration::ZERO);
        assert_eq!(budget.charge(2_000, begin), Duration::from_millis(100));
        assert_eq!(budget.charge(2_000, begin + Duration::from_millis(100)), Duration::from_millis(100));
        assert_eq!(budget.charge(10_000_000, begin), WAIT_MAX);
    }

    #[test]
    fn it_fills_again_and_no_further() {
        let begin = Instant::now();
        let mut budget = Budget::full(begin);
        budget.charge(10_000, begin);
        assert_eq!(budget.charge(5_000, begin + Duration::from_millis(250)), Duration::ZERO);
        assert_eq!(budget.charge(10_001, begin + Duration::from_secs(60)), Duration::from_micros(50));
    }
}
