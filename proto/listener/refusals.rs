//! How fast connections are refused. A flood of them would wake this process for each, and closing one takes longer than
//! accepting it: so they are refused by batches, which take a tenth of a processor at most. Meanwhile others that connect
//! wait as long as a pause, and beyond that in the kernel's queue.

use std::time::Duration;

/// What a batch may take, and the pause after it.
const BATCH: Duration = Duration::from_micros(200);
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
pub struct Refusals {
    /// What this batch has taken so far; none before its first.
    taken: Option<Duration>,
}

impl Refusals {
    /// One took so long. Returns how long to wait before the next connection is looked at.
    pub fn one_more(&mut self, took: Duration) -> Option<Duration> {
        let Some(taken) = self.taken.map(|taken| taken + took) else {
            // More are to gather first.
            self.taken = Some(Duration::ZERO);
            return Some(PAUSE);
        };
        let over = taken >= BATCH;
        self.taken = Some(if over { Duration::ZERO } else { taken });
        over.then_some(PAUSE)
    }

    /// No connection waits to be accepted.
    pub fn none_wait(&mut self) {
        self.taken = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(20);

    #[test]
    fn a_flood_is_refused_by_batches() {
        let mut refusals = Refusals::default();
        let (mut refused, mut paused) = (0, Duration::ZERO);
        while paused < Duration::from_secs(1) {
            paused += refusals.one_more(SHORT).unwrap_or_default();
            refused += 1;
        }
        let share = (SHORT * refused).as_secs_f64() / paused.as_secs_f64();
        assert!((0.09..0.12).contains(&share), "{share}");
    }

    #[test]
    fn those_that_come_one_by_one_are_refused_pause_by_pause() {
        let mut refusals = Refusals::default();
        for _ in 0..3 {
            assert_eq!(refusals.one_more(SHORT), Some(PAUSE));
            refusals.none_wait();
        }
    }

    #[test]
    fn one_that_takes_long_is_a_batch() {
        let mut refusals = Refusals::default();
        refusals.one_more(SHORT);
        assert_eq!(refusals.one_more(BATCH), Some(PAUSE));
    }
}
