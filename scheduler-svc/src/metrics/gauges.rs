//! What is there now. Of the shard only while this process leads: a standby shows nothing of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use metrics::Gauge;

use super::{KindMetrics, Metrics, Registry, declared};
use crate::{
    event_log::EventLog,
    state_machine::{look::Present, view::WaitKind},
    store::Health,
};

const CAUSES: [(WaitKind, &str); 6] = [
    (WaitKind::NoWorker, "no_worker"),
    (WaitKind::NoSlot, "no_slot"),
    (WaitKind::Backoff, "backoff"),
    (WaitKind::Paused, "paused"),
    (WaitKind::Overlap, "overlap"),
    (WaitKind::Limit, "limit"),
];

pub struct Gauges {
    schedules: Gauge,
    gates_closed: Gauge,
    sessions: Gauge,
    slots: Gauge,
    history: Gauge,
    events: Gauge,
    watchers: Gauge,
    away: Gauge,
    leader: Gauge,
    epoch: Gauge,
    /// Whether the last commit had no answer.
    unanswered: AtomicBool,
}

/// Of one kind, in the order of [`CAUSES`].
pub struct KindGauges {
    backlog: [Gauge; CAUSES.len()],
    age: [Gauge; CAUSES.len()],
    leases: Gauge,
}

/// What several kinds come to that share a label.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    backlog: [u64; CAUSES.len()],
    /// Unix milliseconds.
    oldest: [Option<i64>; CAUSES.len()],
    leases: u64,
}

impl Gauges {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |metric| registry.gauge(metric, &[]);
        Self {
            schedules: gauge(&declared::SCHEDULES),
            gates_closed: gauge(&declared::GATES_CLOSED),
            sessions: gauge(&declared::SESSIONS),
            slots: gauge(&declared::SLOTS),
            history: gauge(&declared::HISTORY),
            events: gauge(&declared::EVENTS),
            watchers: gauge(&declared::WATCHERS),
            away: gauge(&declared::AWAY),
            leader: gauge(&declared::LEADER),
            epoch: gauge(&declared::EPOCH),
            unanswered: AtomicBool::new(false),
        }
    }

    pub(super) fn note_commit(&self, done: bool) {
        self.unanswered.store(!done, Ordering::Relaxed);
    }

    pub(super) fn look_around(&self, epoch: u64, store: &Health, events: &EventLog) {
        let away = self.unanswered.load(Ordering::Relaxed) || !store.available;
        self.away.set(f64::from(u8::from(away)));
        self.leader.set(f64::from(u8::from(epoch > 0)));
        self.epoch.set(epoch as f64);
        self.events.set(events.len() as f64);
        self.watchers.set(events.watchers() as f64);
    }

    fn show(&self, present: &Present) {
        self.schedules.set(present.schedules as f64);
        self.gates_closed.set(present.gates_closed as f64);
        self.sessions.set(present.sessions as f64);
        self.slots.set(present.slots as f64);
        self.history.set(present.history_bytes as f64);
    }
}

impl KindGauges {
    pub(super) fn new(registry: &Registry, kind: &str) -> Self {
        let of = |metric| CAUSES.map(|(_, cause)| registry.gauge(metric, &[kind, cause]));
        Self {
            backlog: of(&declared::BACKLOG),
            age: of(&declared::BACKLOG_AGE),
            leases: registry.gauge(&declared::LEASES, &[kind]),
        }
    }

    fn show(&self, wall: i64, sum: &Sum) {
        self.leases.set(sum.leases as f64);
        for (place, backlog) in sum.backlog.iter().enumerate() {
            self.backlog[place].set(*backlog as f64);
            let age = sum.oldest[place].map_or(0, |oldest| wall.saturating_sub(oldest).max(0));
            self.age[place].set(age as f64 / 1000.0);
        }
    }
}

impl Metrics {
    /// `wall`: Unix milliseconds.
    pub(super) fn show(&self, wall: i64, present: &Present) {
        self.gauges.show(present);
        let mut sums: Vec<(Arc<KindMetrics>, Sum)> = Vec::new();
        for (kind, leases) in &present.leases {
            sum_of(&mut sums, self.kind(kind)).leases += leases;
        }
        for ((kind, cause), backlog) in &present.backlog {
            let sum = sum_of(&mut sums, self.kind(kind));
            let Some(place) = CAUSES.iter().position(|(other, _)| other == cause) else { continue };
            sum.backlog[place] += backlog.runs;
            let oldest =
                sum.oldest[place].map_or(backlog.oldest_due, |oldest| oldest.min(backlog.oldest_due));
            sum.oldest[place] = Some(oldest);
        }
        for kind in self.known_kinds() {
            let sum = sums.iter().find(|(other, _)| Arc::ptr_eq(other, &kind)).map(|(_, sum)| *sum);
            kind.gauges.show(wall, &sum.unwrap_or_default());
        }
    }
}

fn sum_of(sums: &mut Vec<(Arc<KindMetrics>, Sum)>, kind: Arc<KindMetrics>) -> &mut Sum {
    let place = sums.iter().position(|(other, _)| Arc::ptr_eq(other, &kind)).unwrap_or_else(|| {
        sums.push((kind, Sum::default()));
        sums.len() - 1
    });
    &mut sums[place].1
}
