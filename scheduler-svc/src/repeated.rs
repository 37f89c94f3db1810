//! Trouble that comes again and again: each reason is told once, and then, as long as it lasts, no more often than every
//! ten seconds.

use std::time::{Duration, Instant};

/// Between two lines about a trouble that is known.
const PAUSE: Duration = Duration::from_secs(10);
/// Reasons that are told apart; more of them wait for the next line.
const REASONS: usize = 8;

#[derive(Debug, Default)]
pub struct Repeated {
    reasons: Vec<String>,
    /// When the last line was, and how often the trouble has come since.
    told: Option<Instant>,
    count: u64,
}

impl Repeated {
    /// The trouble has come. Returns whether it is to be told, with how often it has come since the last line.
    pub fn came(&mut self, why: &str, now: Instant) -> Option<u64> {
        self.count += 1;
        let known = self.reasons.iter().any(|reason| reason == why);
        let fresh = !known && self.reasons.len() < REASONS;
        if fresh {
            self.reasons.push(why.to_owned());
        }
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= PAUSE);
        (fresh || due).then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.count)
        })
    }

    /// It works. Returns whether there was trouble until now.
    pub fn over(&mut self) -> bool {
        std::mem::take(self).told.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_and_then_every_ten_seconds_with_a_count() {
        let begin = Instant::now();
        let mut trouble = Repeated::default();
        let lines: Vec<_> = (0..75).filter_map(|n| trouble.came("refused", begin + n * PAUSE / 30)).collect();
        assert_eq!(lines, [1, 30, 30]);
        assert_eq!(trouble.came("no route", begin + 25 * PAUSE / 10), Some(15), "another reason is news");
        assert_eq!(trouble.came("refused", begin + 25 * PAUSE / 10), None);
        assert!(trouble.over());
        assert!(!trouble.over(), "it was over already");
        assert_eq!(trouble.came("refused", begin + 26 * PAUSE / 10), Some(1), "it comes back");
    }

    #[test]
    fn reasons_without_number_are_bounded() {
        let begin = Instant::now();
        let mut trouble = Repeated::default();
        let lines = (0..1_000).filter(|n| trouble.came(&n.to_string(), begin).is_some()).count();
        assert_eq!(lines, REASONS);
    }
}
