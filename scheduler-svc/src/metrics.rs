//! What `/metrics` shows, in the text format of Prometheus.
//!
//! [`declared`] names every metric that is not every process's. Counts come from the shard's events ([`observer`]), and what is there now from a look at the state machine, once a second at the most ([`gauges`]).
//! [`watchdog`] compares what is due with what the shard does. Handles are made once and kept, so that a run costs
//! additions only.
//!
//! Labels are of bounded sets: a kind beyond the first [`KINDS_MAX`] is counted as `other`. Nothing names an owner, a
//! schedule or a run.

pub mod declared;
mod gauges;
mod observer;
pub mod watchdog;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use docket::metrics::{BuildError, Metric, OTHER, Registry, calls, calls::Calls, process, process::Process};

use gauges::{Gauges, KindGauges};
use observer::{Counts, KindCounts};
use watchdog::Watched;

use crate::{
    event_log::EventLog,
    state_machine::{look::Present, timer::Now},
    store::Health,
};

/// Kinds that are told apart.
pub const KINDS_MAX: usize = 50;

const ALL: &[&[Metric]] = &[declared::ALL, calls::ALL, process::ALL];

/// Between two looks at what is there now.
pub const LOOK: Duration = Duration::from_secs(1);

/// All metrics of this process. Shared by everything that counts.
pub struct Metrics {
    registry: Arc<Registry>,
    counts: Counts,
    kinds: Mutex<HashMap<Arc<str>, Arc<KindMetrics>>>,
    gauges: Gauges,
    calls: Arc<Calls>,
    process: Process,
    watched: Watched,
    alarms: watchdog::Shown,
}

impl Metrics {
    /// # Errors
    /// When a histogram is declared without buckets.
    pub fn new() -> Result<Arc<Self>, BuildError> {
        let registry = Arc::new(Registry::new(ALL)?);
        Ok(Arc::new(Self {
            counts: Counts::new(&registry),
            kinds: Mutex::default(),
            gauges: Gauges::new(&registry),
            calls: Arc::new(Calls::new(&registry, "docket.schedule.")),
            process: Process::new(&registry, env!("CARGO_PKG_VERSION")),
            watched: Watched::default(),
            alarms: watchdog::Shown::new(&registry),
            registry,
        }))
    }

    /// For the gRPC server.
    pub fn calls(&self) -> docket::calls::Calls {
        docket::calls::Calls(self.calls.clone())
    }

    /// The page.
    pub fn render(&self) -> String {
        self.process.look();
        self.registry.render()
    }

    /// Takes up what histograms were told. Called every few seconds, since they keep each value until then.
    pub fn upkeep(&self) {
        self.registry.upkeep();
    }

    /// What does not need the state machine.
    pub fn look(&self, epoch: u64, store: &Health, events: &EventLog) {
        self.gauges.look_around(epoch, store, events);
    }

    fn known_kinds(&self) -> Vec<Arc<KindMetrics>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn kind(&self, kind: &Arc<str>) -> Arc<KindMetrics> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get(kind) {
            return known.clone();
        }
        let name: Arc<str> = if kinds.len() < KINDS_MAX { kind.clone() } else { OTHER.into() };
        let made = || {
            let counts = KindCounts::new(&self.registry, &name);
            Arc::new(KindMetrics { counts, gauges: KindGauges::new(&self.registry, &name) })
        };
        kinds.entry(name.clone()).or_insert_with(made).clone()
    }
}

/// What is told of one kind.
struct KindMetrics {
    counts: KindCounts,
    gauges: KindGauges,
}

/// What one leadership of the shard tells. When it is dropped the leadership is over, and so is what was there.
pub struct ShardMetrics {
    metrics: Arc<Metrics>,
}

impl ShardMetrics {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl Drop for ShardMetrics {
    fn drop(&mut self) {
        self.metrics.watched.end();
        self.metrics.show(0, &Present::default());
    }
}

/// A commit that has its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub took: Duration,
    pub writes: usize,
    /// Whether the store said that it is durable.
    pub done: bool,
}

/// What the pump sees when it looks around.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub now: Now,
    /// When the commit in flight was first sent.
    pub in_flight: Option<Instant>,
}

#[cfg(test)]
mod tests;
