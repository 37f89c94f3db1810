//! Gmail's quota: units per user and per project, each per minute. A call waits until both have room for its cost.
//!
//! One value serves all runs of a process. Several processes share the project's quota by configuration: each gets its
//! part. Within any minute no more than the limit is spent: a bucket holds a sixth of it and fills with the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Users whose bucket is remembered; full buckets say nothing and are forgotten first.
const USERS_MAX: usize = 10_000;
const MINUTE: f64 = 60.0;
/// The part of a minute's units that may be spent at once.
const BURST: f64 = 1.0 / 6.0;

/// Units, as of 2026-05-01. Projects made before have other numbers.
#[derive(Clone, Debug)]
pub struct Limits {
    pub user_per_minute: u32,
    pub project_per_minute: u32,
    pub get: u32,
    pub list: u32,
    pub history: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { user_per_minute: 6_000, project_per_minute: 1_200_000, get: 20, list: 5, history: 2 }
    }
}

/// `profile` and `labels.list`.
pub const SMALL: u32 = 1;

/// Is told how long a call has to wait for its units; nothing for most.
pub type Waits = Arc<dyn Fn(Duration) + Send + Sync>;

pub struct Quota {
    pub limits: Limits,
    /// For metrics.
    pub waits: Option<Waits>,
    state: Mutex<State>,
}

struct State {
    project: Bucket,
    users: HashMap<String, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    burst: f64,
    per_second: f64,
    units: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: u32, now: Instant) -> Self {
        let per_minute = f64::from(per_minute.max(1));
        let burst = per_minute * BURST;
        Self { burst, per_second: (per_minute - burst) / MINUTE, units: burst, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.units = (self.units + passed * self.per_second).min(self.burst);
        self.at = now;
    }

    /// Takes the units, which may have to come first: in that long.
    fn take(&mut self, cost: u32, now: Instant) -> Duration {
        self.fill(now);
        self.units -= f64::from(cost);
        Duration::from_secs_f64((-self.units / self.per_second).max(0.0))
    }
}

impl Quota {
    pub fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let project = Bucket::new(limits.project_per_minute, now);
        Self { limits, waits: None, state: Mutex::new(State { project, users: HashMap::new() }) }
    }

    /// Waits until a call of this cost may be made for `user`.
    pub async fn spend(&self, user: &str, cost: u32) {
        let wait = self.take(user, cost, Instant::now());
        if let Some(waits) = &self.waits {
            waits(wait);
        }
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    fn take(&self, user: &str, cost: u32, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.users.len() >= USERS_MAX && !state.users.contains_key(user) {
            state.users.retain(|_, bucket| {
                bucket.fill(now);
                bucket.units < bucket.burst
            });
        }
        let fresh = || Bucket::new(self.limits.user_per_minute, now);
        let of_user = state.users.entry(user.to_owned()).or_insert_with(fresh).take(cost, now);
        of_user.max(state.project.take(cost, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls of 20 units are made within the first minute, one after the other.
    fn calls(quota: &Quota, users: &[&str]) -> usize {
        let begin = Instant::now();
        let (mut now, mut made) = (begin, 0);
        loop {
            now += quota.take(users[made % users.len()], 20, now);
            if now - begin > Duration::from_secs(60) {
                return made;
            }
            made += 1;
        }
    }

    #[test]
    fn neither_limit_is_passed_in_a_minute() {
        let limits = Limits { user_per_minute: 6_000, project_per_minute: 12_000, ..Limits::default() };
        let one = calls(&Quota::new(limits.clone()), &["a"]);
        assert!((295..=300).contains(&one), "{one}");
        let project = calls(&Quota::new(limits), &["a", "b", "c", "d"]);
        assert!((590..=600).contains(&project), "{project}");
    }

    #[test]
    fn idle_users_are_forgotten() {
        let quota = Quota::new(Limits::default());
        let now = Instant::now();
        for user in 0..USERS_MAX {
            quota.take(&user.to_string(), 20, now);
        }
        quota.take("one more", 20, now + Duration::from_secs(60));
        assert!(quota.state.lock().unwrap().users.len() <= 2);
    }
}
