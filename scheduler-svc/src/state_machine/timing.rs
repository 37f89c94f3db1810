//! When a schedule's times are: cron in zones, fixed intervals, one instant.
//!
//! Pure functions from what was last decided to what comes next. All times are wall milliseconds since the Unix
//! epoch; cron times are whole seconds. The next time is always later than the one asked from.

pub mod cron;
pub mod expression;
mod normal;
mod parse;
mod steps;
pub mod zone;

#[cfg(test)]
mod bounded;
#[cfg(test)]
mod properties;

use std::sync::{Arc, Weak};

pub use cron::{Cron, CronError, CronSource, Fold, Gap, Oddity};

/// Version of the tz database that times are computed with.
pub const TZDB: &str = chrono_tz::IANA_TZDB_VERSION;

/// Ranges with more times are not counted.
const COUNT_MAX: u64 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Timing {
    Cron(Arc<Cron>),
    /// `anchor` as the user set it; the schedule keeps the one that counts.
    Every {
        interval: i64,
        anchor: Option<i64>,
    },
    At(i64),
}

/// A timing with its phase: all that is needed to compute times.
#[derive(Clone, Copy, Debug)]
pub struct Times<'a> {
    pub timing: &'a Timing,
    pub anchor: i64,
    /// Times before it are not named.
    pub start: Option<i64>,
    /// Times at or after it are not named.
    pub end: Option<i64>,
}

impl Times<'_> {
    /// The first time after `after`.
    pub fn next(&self, after: i64) -> Option<i64> {
        let after = self.start.map_or(after, |start| after.max(start - 1));
        let next = match self.timing {
            Timing::Cron(cron) => cron.next(after.div_euclid(1000))?.checked_mul(1000)?,
            Timing::Every { interval, .. } => {
                let steps = after.checked_sub(self.anchor)?.div_euclid(*interval).checked_add(1)?;
                // The anchor itself is a time only when asked from before it; nothing is named earlier.
                self.anchor.checked_add(steps.max(0).checked_mul(*interval)?)?
            }
            Timing::At(at) => Some(*at).filter(|at| *at > after)?,
        };
        self.end.is_none_or(|end| next < end).then_some(next)
    }

    /// The last time in `(after, through]`.
    ///
    /// `next` never falls as its argument grows, so the last time is found by bisection, in some forty steps
    /// however long the range and however dense the times.
    pub fn latest(&self, after: i64, through: i64) -> Option<i64> {
        let mut latest = self.next(after).filter(|next| *next <= through)?;
        let mut too_late = through;
        while latest < too_late {
            let middle = latest + (too_late - latest) / 2;
            match self.next(middle).filter(|next| *next <= through) {
                Some(next) => latest = next,
                None => too_late = middle,
            }
        }
        Some(latest)
    }

    /// How many times are in `(after, through]`. None when more than 10 000.
    pub fn count(&self, after: i64, through: i64) -> Option<u64> {
        if let Timing::Every { interval, .. } = self.timing {
            let Some(first) = self.next(after).filter(|first| *first <= through) else { return Some(0) };
            let last = self.latest(after, through)?;
            return u64::try_from((last - first) / interval + 1).ok().filter(|count| *count <= COUNT_MAX);
        }
        let after = self.start.map_or(after, |start| after.max(start - 1));
        let through = self.end.map_or(through, |end| through.min(end - 1));
        match self.timing {
            Timing::Cron(cron) => cron.count(after.div_euclid(1000), through.div_euclid(1000), COUNT_MAX),
            Timing::Every { .. } | Timing::At(_) => {
                Some(u64::from(self.next(after).is_some_and(|at| at <= through)))
            }
        }
    }

    /// Whether `time` is one of the times.
    pub fn names(&self, time: i64) -> bool {
        self.next(time - 1) == Some(time)
    }
}

/// The stable offset of a schedule in its spread window, in milliseconds below `window`.
///
/// FNV-1a over namespace, `/` and id, finished as splitmix64 does. It never changes: golden values are tested.
pub fn spread_offset(namespace: &str, schedule_id: &str, window: u32) -> i64 {
    if window == 0 {
        return 0;
    }
    let bytes = namespace.bytes().chain([b'/']).chain(schedule_id.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((hash ^ (hash >> 31)) % u64::from(window)) as i64
}

pub type Compiled = Result<Arc<Cron>, CronError>;

/// Lets schedules with the same cron text share one compiled [`Cron`].
#[derive(Debug, Default)]
pub struct Interner {
    known: hashbrown::HashMap<CronSource, Weak<Cron>>,
    purge_at: usize,
}

impl Interner {
    pub fn intern(&mut self, timing: Timing) -> Timing {
        let Timing::Cron(cron) = timing else { return timing };
        if let Some(known) = self.known.get(cron.source()).and_then(Weak::upgrade) {
            return Timing::Cron(known);
        }
        self.add(&cron);
        Timing::Cron(cron)
    }

    /// What a text means, compiled unless it is known.
    ///
    /// # Errors
    /// See [`Cron::new`].
    pub fn compile(&mut self, source: CronSource) -> Compiled {
        if let Some(known) = self.known.get(&source).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let cron = Arc::new(Cron::new(source)?);
        self.add(&cron);
        Ok(cron)
    }

    fn add(&mut self, cron: &Arc<Cron>) {
        if self.known.len() >= self.purge_at {
            self.known.retain(|_, cron| cron.strong_count() > 0);
            self.purge_at = (self.known.len() * 2).max(1024);
        }
        self.known.insert(cron.source().clone(), Arc::downgrade(cron));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(expression: &str) -> Timing {
        let source = CronSource {
            expressions: vec![expression.into()],
            time_zone: "Europe/Berlin".into(),
            gap: Gap::default(),
            fold: Fold::default(),
        };
        Timing::Cron(Arc::new(Cron::new(source).expect(expression)))
    }

    fn times(timing: &Timing) -> Times<'_> {
        Times { timing, anchor: 0, start: None, end: None }
    }

    #[test]
    fn an_interval_keeps_its_phase() {
        let every = Timing::Every { interval: 60_000, anchor: None };
        let times = Times { timing: &every, anchor: 7_000, start: None, end: None };
        assert_eq!(times.next(7_000), Some(67_000));
        assert_eq!(times.next(66_999), Some(67_000));
        assert_eq!(times.next(1_000_000_000), Some(1_000_027_000));
        assert_eq!(times.next(-5_000_000), Some(7_000), "nothing is named before the anchor");
    }

    #[test]
    fn latest_and_count_agree_with_walking() {
        let timings = [
            cron("*/7 3-5 * * *"),
            cron("0 0 1 * *"),
            Timing::Every { interval: 91_000, anchor: None },
            Timing::At(1_770_000_000_000),
        ];
        let (after, through) = (1_769_900_000_123, 1_770_300_000_456);
        for timing in &timings {
            let times = times(timing);
            let walked: Vec<i64> = std::iter::successors(times.next(after), |at| times.next(*at))
                .take_while(|at| *at <= through)
                .collect();
            assert_eq!(times.latest(after, through), walked.last().copied(), "{timing:?}");
            assert_eq!(times.count(after, through), Some(walked.len() as u64), "{timing:?}");
        }
    }

    #[test]
    fn the_latest_of_400_days_of_seconds_is_found_at_once() {
        let timing = cron("* * * * * *");
        let times = times(&timing);
        let now = 1_770_000_000_500;
        assert_eq!(times.latest(now - 400 * 86_400_000, now), Some(1_770_000_000_000));
        assert_eq!(times.count(now - 400 * 86_400_000, now), None);
    }

    #[test]
    fn bounds_are_kept() {
        let every = Timing::Every { interval: 10_000, anchor: None };
        let times = Times { timing: &every, anchor: 0, start: Some(25_000), end: Some(50_000) };
        let named: Vec<i64> = std::iter::successors(times.next(0), |at| times.next(*at)).collect();
        assert_eq!(named, [30_000, 40_000]);
    }

    #[test]
    fn spread_offsets_never_change() {
        assert_eq!(spread_offset("default", "mb-123", 0), 0);
        let offsets: Vec<i64> =
            ["mb-123", "mb-124", "user-1"].iter().map(|id| spread_offset("default", id, 600_000)).collect();
        assert_eq!(offsets, GOLDEN_OFFSETS);
        let mut buckets = [0; 10];
        for n in 0..10_000 {
            buckets[(spread_offset("default", &format!("mb-{n}"), 600_000) / 60_000) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1150).contains(count)), "{buckets:?}");
    }

    const GOLDEN_OFFSETS: [i64; 3] = [157_937, 64_124, 365_026];

    #[test]
    fn equal_crons_are_shared() {
        let mut interner = Interner::default();
        let (Timing::Cron(one), Timing::Cron(other)) =
            (interner.intern(cron("0 2 * * *")), interner.intern(cron("0 2 * * *")))
        else {
            panic!("cron stays cron");
        };
        assert!(Arc::ptr_eq(&one, &other));
    }
}
