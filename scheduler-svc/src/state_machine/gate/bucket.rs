//! A token bucket in whole numbers: what it holds after any span is exact, however often it was looked at.

/// Starts per second × 10⁶.
pub type Rate = u64;

/// One start. A rate of one millionth per second gives one billionth of a start in a millisecond.
const START: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Billionths of a start.
    level: u64,
    /// Elapsed milliseconds at which it held that.
    at: u64,
}

impl Bucket {
    pub fn full(burst: u32, now: u64) -> Self {
        Self { level: u64::from(burst) * START, at: now }
    }

    /// One that was empty at `since`, when nobody knows what came before.
    pub fn unknown(rate: Rate, burst: u32, since: u64, now: u64) -> Self {
        Self { level: 0, at: since }.filled(rate, burst, now)
    }

    pub fn filled(self, rate: Rate, burst: u32, now: u64) -> Self {
        let gained = rate.saturating_mul(now.saturating_sub(self.at));
        Self { level: self.level.saturating_add(gained).min(u64::from(burst) * START), at: now.max(self.at) }
    }

    pub fn has_start(self) -> bool {
        self.level >= START
    }

    /// Takes one start, if it holds one.
    pub fn take(&mut self) {
        self.level = self.level.saturating_sub(START);
    }

    /// When it holds one start.
    pub fn next_start(self, rate: Rate) -> u64 {
        self.when(START, rate)
    }

    pub fn when_full(self, rate: Rate, burst: u32) -> u64 {
        self.when(u64::from(burst) * START, rate)
    }

    fn when(self, level: u64, rate: Rate) -> u64 {
        self.at.saturating_add(level.saturating_sub(self.level).div_ceil(rate.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_refills_are_exact_however_often_it_is_looked_at() {
        // A third of a start per second, as exactly as the rate can say it.
        let (rate, burst) = (333_333, 5);
        let empty = Bucket { level: 0, at: 0 };
        let mut often = empty;
        for now in 1..=86_400_000 {
            if now % 7 == 0 || now == 86_400_000 {
                often = often.filled(rate, 1_000_000, now);
            }
        }
        assert_eq!(often, empty.filled(rate, 1_000_000, 86_400_000));
        assert_eq!(often.level, 333_333 * 86_400_000);
        assert_eq!(empty.next_start(rate), 3_001, "3 000 ms give 0.999999 of a start");
        assert!(!empty.filled(rate, burst, 3_000).has_start());
        assert!(empty.filled(rate, burst, 3_001).has_start());
    }

    #[test]
    fn r6_it_holds_no_more_than_its_burst() {
        let mut bucket = Bucket::full(3, 0).filled(1_000_000, 3, 3_600_000);
        for _ in 0..3 {
            assert!(bucket.has_start());
            bucket.take();
        }
        assert!(!bucket.has_start());
        assert_eq!((bucket.next_start(1_000_000), bucket.when_full(1_000_000, 3)), (3_601_000, 3_603_000));
    }
}
