//! Compares what is due with what the shard does, from outside the shard: one that is stuck cannot say so.
//!
//! The shard notes, at least once a second, when it looked around, which time is due next, and since when a commit is
//! in flight. A healthy shard moves all three on. What stands still becomes overdue here.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use metrics::Gauge;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{LOOK, Look, Metrics, Registry, declared};
use crate::shard::Handle;

/// What the shard noted last. None while this process does not lead.
#[derive(Default)]
pub struct Watched(Mutex<Option<Note>>);

#[derive(Clone, Copy, Debug)]
struct Note {
    looked: Instant,
    /// Unix milliseconds, as is the next.
    due: Option<i64>,
    /// Since when this process leads: what came due before is not its delay.
    led: i64,
    in_flight: Option<Instant>,
}

/// How long each thing is overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Overdue {
    due: Duration,
    commit: Duration,
    shard: Duration,
}

impl Watched {
    pub fn note(&self, look: &Look, due: Option<i64>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let led = noted.map_or(look.now.wall, |former| former.led);
        *noted = Some(Note { looked: Instant::now(), due, led, in_flight: look.in_flight });
    }

    pub fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn overdue(&self, now: Instant, wall: i64) -> Overdue {
        let note = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        note.map_or_else(Overdue::default, |note| note.overdue(now, wall))
    }
}

impl Note {
    fn overdue(&self, now: Instant, wall: i64) -> Overdue {
        let late = self.due.map_or(0, |due| wall.saturating_sub(due.max(self.led)).max(0));
        Overdue {
            due: Duration::from_millis(late.unsigned_abs()),
            commit: self.in_flight.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            shard: now.saturating_duration_since(self.looked),
        }
    }
}

/// The watchdog's own metrics.
pub struct Shown {
    due: Gauge,
    commit: Gauge,
    shard: Gauge,
    alarm: Gauge,
    alarmed: AtomicBool,
}

impl Shown {
    pub(super) fn new(registry: &Registry) -> Self {
        let overdue = |what| registry.gauge(&declared::OVERDUE, &[what]);
        let alarm = registry.gauge(&declared::ALARM, &[]);
        Self {
            due: overdue("due"),
            commit: overdue("commit"),
            shard: overdue("shard"),
            alarm,
            alarmed: AtomicBool::new(false),
        }
    }
}

/// Between two times that histograms are taken up, in looks.
const UPKEEP: u32 = 5;

/// Looks around once a second, until `stopped`.
pub async fn run(metrics: Arc<Metrics>, shard: Handle, bound: Duration, stopped: CancellationToken) {
    let mut seconds = tokio::time::interval(LOOK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    while stopped.run_until_cancelled(seconds.tick()).await.is_some() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics.look(shard.epoch(), &shard.store_health(), shard.events());
        metrics.watch(bound, i64::try_from(wall.as_millis()).unwrap_or(i64::MAX));
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(UPKEEP) {
            metrics.upkeep();
        }
    }
}

impl Metrics {
    /// Looks once; says so in the log when something is overdue by more than `bound`, and when nothing is any more.
    /// `wall`: Unix milliseconds. Returns whether it alarms.
    pub fn watch(&self, bound: Duration, wall: i64) -> bool {
        let overdue = self.watched.overdue(Instant::now(), wall);
        let Overdue { due, commit, shard } = overdue;
        self.alarms.due.set(due.as_secs_f64());
        self.alarms.commit.set(commit.as_secs_f64());
        self.alarms.shard.set(shard.as_secs_f64());
        let alarms = due.max(commit).max(shard) > bound;
        self.alarms.alarm.set(f64::from(u8::from(alarms)));
        match (self.alarms.alarmed.swap(alarms, Ordering::Relaxed), alarms) {
            (false, true) => tracing::error!(
                due_s = due.as_secs_f64(),
                commit_s = commit.as_secs_f64(),
                shard_s = shard.as_secs_f64(),
                "schedules are overdue: a due time is not fired, a commit does not end, or the shard stands still"
            ),
            (true, false) => tracing::info!("nothing is overdue any more"),
            (true, true) | (false, false) => {}
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::timer::Now;

    #[test]
    fn what_stands_still_becomes_overdue() {
        let metrics = Metrics::new().expect("metrics");
        let bound = Duration::from_secs(30);
        assert!(!metrics.watch(bound, 1_000_000), "nobody leads");
        let look = Look { now: Now { wall: 1_000_000, elapsed: 0 }, in_flight: None };
        metrics.watched.note(&look, Some(900_000));
        assert!(
            !metrics.watch(bound, 1_010_000),
            "it was due long before, and this process leads for ten seconds"
        );
        assert!(metrics.watch(bound, 1_035_000), "35 seconds late");
        assert!(metrics.render().contains("docket_watchdog_alarm 1"));
        assert!(metrics.render().contains("docket_watchdog_overdue_seconds{what=\"due\"} 35"));
        let look = Look { now: Now { wall: 1_035_000, elapsed: 35_000 }, ..look };
        metrics.watched.note(&look, Some(1_004_000));
        assert!(metrics.watch(bound, 1_035_000), "31 seconds late, and it has led for as long");
        metrics.watched.note(&look, Some(1_100_000));
        assert!(!metrics.watch(bound, 1_035_000), "its time is to come");
        metrics.watched.end();
        assert!(!metrics.watch(bound, 9_000_000), "it is the next leader's to fire it");
    }

    #[test]
    fn a_commit_that_does_not_end_and_a_shard_that_stands_still_are_overdue() {
        let begin = Instant::now();
        let note = Note { looked: begin, due: None, led: 0, in_flight: Some(begin) };
        let later = begin + Duration::from_secs(40);
        let seconds = Duration::from_secs;
        assert_eq!(
            note.overdue(later, 0),
            Overdue { due: Duration::ZERO, commit: seconds(40), shard: seconds(40) }
        );
    }
}
