//! How many calls a caller may make in a namespace: a bucket for each pair, which fills as time passes.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Pairs that are told apart. A caller of all namespaces makes up names as it likes; beyond this all share one bucket.
const PAIRS_MAX: usize = 10_000;
const SHARED: u64 = 0;

#[derive(Debug)]
pub struct Rates {
    per_second: f64,
    burst: f64,
    names: RandomState,
    buckets: Mutex<HashMap<u64, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    calls: f64,
    at: Instant,
}

impl Rates {
    /// None where calls are not counted. `burst` 0 is twice the rate.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let burst = if burst == 0 { f64::from(per_second) * 2.0 } else { f64::from(burst) };
        let (names, buckets) = (RandomState::new(), Mutex::default());
        (per_second > 0).then(|| Self { per_second: per_second.into(), burst, names, buckets })
    }

    /// # Errors
    /// When to try again.
    pub fn take(&self, caller: &str, namespace: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pair = self.names.hash_one((caller, namespace));
        if buckets.len() >= PAIRS_MAX && !buckets.contains_key(&pair) {
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
            if buckets.len() >= PAIRS_MAX {
                pair = SHARED;
            }
        }
        let bucket = buckets.entry(pair).or_insert(Bucket { calls: self.burst, at: now });
        *bucket = Bucket { calls: self.filled(*bucket, now), at: now };
        if bucket.calls >= 1.0 {
            bucket.calls -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.calls) / self.per_second))
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.calls + passed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_spends_its_own_bucket_which_fills() {
        let rates = Rates::new(10, 5).expect("on");
        let begin = Instant::now();
        for _ in 0..5 {
            assert_eq!(rates.take("shop", "a", begin), Ok(()));
        }
        assert_eq!(rates.take("shop", "a", begin), Err(Duration::from_millis(100)));
        assert_eq!(rates.take("shop", "b", begin), Ok(()));
        assert_eq!(rates.take("other", "a", begin), Ok(()));
        assert_eq!(rates.take("shop", "a", begin + Duration::from_millis(100)), Ok(()));
        assert!(rates.take("shop", "a", begin + Duration::from_millis(150)).is_err());
        assert!(Rates::new(0, 5).is_none());
    }

    #[test]
    fn made_up_namespaces_take_no_more_room_than_there_is() {
        let rates = Rates::new(1, 1).expect("on");
        let begin = Instant::now();
        for n in 0..3 * PAIRS_MAX {
            let _ = rates.take("shop", &n.to_string(), begin);
        }
        assert!(rates.buckets.lock().unwrap().len() <= PAIRS_MAX + 1);
        let later = begin + Duration::from_secs(60);
        assert_eq!(rates.take("shop", "new", later), Ok(()));
        assert!(rates.buckets.lock().unwrap().len() < 10, "what is full again is forgotten");
    }
}
