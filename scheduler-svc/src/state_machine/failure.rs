//! Why an attempt failed, and what follows from it.

use super::definition::Retry;
use crate::planted::{Bug, planted};

/// How long a run may wait for throttled providers in total.
pub const THROTTLED_MAX: i64 = 24 * 3_600_000;
/// Milliseconds, where a throttled report does not say.
pub const THROTTLED_DEFAULT: u32 = 60_000;
/// A run that is to blame for the loss of so many workers is not tried again (rule W7).
pub const LOSSES_MAX: u32 = 3;
/// A run that is handed back, or does not reach a worker, this often is treated as failing.
pub const INTERRUPTIONS_MAX: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    Transient = 1,
    Throttled = 2,
    Reauthorize = 3,
    Permanent = 4,
    Lost = 5,
    Timeout = 6,
    Cancelled = 7,
    Interrupted = 8,
    Superseded = 9,
}

impl Class {
    pub const ALL: [Self; 9] = [
        Self::Transient,
        Self::Throttled,
        Self::Reauthorize,
        Self::Permanent,
        Self::Lost,
        Self::Timeout,
        Self::Cancelled,
        Self::Interrupted,
        Self::Superseded,
    ];

    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u32 == number)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub class: Class,
    pub code: Box<str>,
    pub message: Box<str>,
    /// Milliseconds; 0 = not said.
    pub retry_after: u32,
    pub limit: Box<str>,
}

impl Failure {
    pub fn new(class: Class, code: &str, message: impl Into<Box<str>>) -> Self {
        Self { class, code: code.into(), message: message.into(), retry_after: 0, limit: "".into() }
    }
}

/// What a run has been through, as far as it decides what comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Attempts that count against `max_attempts`.
    pub failures: u32,
    pub losses: u32,
    pub interruptions: u32,
    /// Milliseconds.
    pub throttled: i64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ready again, at once.
    Again,
    /// Ready again after so many milliseconds.
    After(i64),
    Final,
}

impl Budget {
    /// Counts a failed attempt and says what follows. `retry_after` is in milliseconds, 0 = not said; `jitter` is a
    /// stable number of run and attempt; `blamed` is about losses only.
    pub fn spend(
        &mut self,
        class: Class,
        retry_after: u32,
        retry: &Retry,
        jitter: u64,
        blamed: bool,
    ) -> Next {
        match class {
            Class::Permanent | Class::Reauthorize | Class::Cancelled | Class::Superseded => Next::Final,
            Class::Transient | Class::Timeout => self.fail(retry_after, retry, jitter),
            Class::Throttled => {
                let wait = if retry_after == 0 { THROTTLED_DEFAULT } else { retry_after };
                self.throttled += i64::from(wait);
                if self.throttled > THROTTLED_MAX { Next::Final } else { Next::After(wait.into()) }
            }
            Class::Lost if blamed => {
                self.losses += 1;
                if self.losses >= LOSSES_MAX && !planted(Bug::LossesUncounted) {
                    Next::Final
                } else {
                    Next::Again
                }
            }
            Class::Lost | Class::Interrupted => {
                self.interruptions += 1;
                if self.interruptions > INTERRUPTIONS_MAX {
                    self.fail(retry_after, retry, jitter)
                } else {
                    Next::Again
                }
            }
        }
    }

    fn fail(&mut self, retry_after: u32, retry: &Retry, jitter: u64) -> Next {
        self.failures += 1;
        let spared = u32::from(planted(Bug::RetriesOnceLess));
        if self.failures + spared >= retry.max_attempts && !planted(Bug::RetriesUnbounded) {
            return Next::Final;
        }
        if retry_after > 0 {
            return Next::After(retry_after.into());
        }
        Next::After(backoff(retry, self.failures, jitter))
    }
}

/// `min × 2^(failures − 1)`, at most `max`, ±20 %.
fn backoff(retry: &Retry, failures: u32, jitter: u64) -> i64 {
    let doubled = i64::from(retry.min_backoff) << failures.saturating_sub(1).min(31);
    let base = doubled.min(retry.max_backoff.into());
    base * 4 / 5 + (jitter % 1000) as i64 * base * 2 / 5 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_failures_back_off_and_then_fail_the_run() {
        let retry = Retry { max_attempts: 4, min_backoff: 10_000, max_backoff: 15_000 };
        let mut budget = Budget::default();
        for base in [10_000, 15_000, 15_000] {
            let Next::After(wait) = budget.spend(Class::Transient, 0, &retry, 12_345, false) else {
                panic!("retries")
            };
            assert!((base * 8 / 10..=base * 12 / 10).contains(&wait), "{wait} around {base}");
        }
        assert_eq!(budget.spend(Class::Transient, 0, &retry, 0, false), Next::Final);
    }

    #[test]
    fn a_day_of_throttling_is_the_bound_and_counts_no_failure() {
        let mut budget = Budget::default();
        let hour = 3_600_000;
        for _ in 0..24 {
            assert_eq!(
                budget.spend(Class::Throttled, hour, &Retry::default(), 0, false),
                Next::After(3_600_000)
            );
        }
        assert_eq!(budget.failures, 0);
        assert_eq!(budget.spend(Class::Throttled, hour, &Retry::default(), 0, false), Next::Final);
    }

    #[test]
    fn every_class_ends_within_its_bound() {
        for class in Class::ALL {
            let mut budget = Budget::default();
            let ends = (0..2_000).any(|_| budget.spend(class, 0, &Retry::default(), 7, true) == Next::Final);
            assert!(ends, "{class:?} never ends");
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        let retry = Retry::default();
        for jitter in 0..5_000 {
            let wait = backoff(&retry, 1, jitter);
            assert!((8_000..=12_000).contains(&wait));
        }
    }
}
