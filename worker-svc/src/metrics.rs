//! What `/metrics` shows, in the text format of Prometheus.
//!
//! [`declared`] names every metric. [`jobs`] counts attempts, [`mail`] what sources, token endpoints and readers answer,
//! each by standing before the thing itself. Handles are made once and kept.
//!
//! Labels are of bounded sets: kinds are those that this worker is configured for. Nothing names an owner, a mailbox, a
//! run or a host.

mod calls;
pub mod declared;
mod jobs;
mod mail;
mod process;

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use calls::Calls;
use declared::{Metric, Sort};
pub use jobs::CountedKind;
use mail::Mail;
pub use mail::{CountedReader, CountedSources, CountedTokens};
use process::Process;

use crate::link::LinkStatus;

const OTHER: &str = "other";

/// Histograms keep each value until it is taken up.
const UPKEEP: Duration = Duration::from_secs(5);

/// All metrics of this process. Shared by everything that counts.
pub struct Metrics {
    registry: Arc<Registry>,
    connected: Gauge,
    held: Gauge,
    mail: Arc<Mail>,
    calls: Arc<Calls>,
    process: Process,
}

impl Metrics {
    /// `slots` as configured.
    ///
    /// # Errors
    /// When a histogram is declared without buckets.
    pub fn new(slots: u32) -> Result<Arc<Self>, BuildError> {
        let registry = Arc::new(Registry::new()?);
        registry.gauge(&declared::SLOTS, &[]).set(f64::from(slots));
        Ok(Arc::new(Self {
            connected: registry.gauge(&declared::CONNECTED, &[]),
            held: registry.gauge(&declared::HELD, &[]),
            mail: Arc::new(Mail::new(&registry)),
            calls: Arc::new(Calls::new(&registry)),
            process: Process::new(&registry),
            registry,
        }))
    }

    /// For the gRPC server.
    pub fn calls(&self) -> docket::calls::Calls {
        docket::calls::Calls(self.calls.clone())
    }

    /// The page. `link` is absent in a process that runs no jobs.
    pub fn render(&self, link: Option<&LinkStatus>) -> String {
        if let Some(link) = link {
            self.connected.set(f64::from(u8::from(link.connected)));
            self.held.set(link.held as f64);
        }
        self.process.look();
        self.registry.recorder.handle().render()
    }

    /// Takes up what histograms were told, until `stopped`.
    pub async fn keep(self: Arc<Self>, stopped: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
            self.registry.recorder.handle().run_upkeep();
        }
    }
}

/// Makes handles, and holds their values.
struct Registry {
    recorder: PrometheusRecorder,
}

impl Registry {
    fn new() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for metric in declared::ALL {
            if let Sort::Histogram(buckets) = metric.sort {
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets)?;
            }
        }
        let recorder = builder.build_recorder();
        for metric in declared::ALL {
            let (name, help) = (metric.name.into(), metric.help.into());
            match metric.sort {
                Sort::Counter => recorder.describe_counter(name, metric.unit, help),
                Sort::Gauge => recorder.describe_gauge(name, metric.unit, help),
                Sort::Histogram(_) => recorder.describe_histogram(name, metric.unit, help),
            }
        }
        Ok(Self { recorder })
    }

    fn counter(&self, metric: &Metric, labels: &[&str]) -> Counter {
        debug_assert!(matches!(metric.sort, Sort::Counter), "{}", metric.name);
        self.recorder.register_counter(&key(metric, labels), &METADATA)
    }

    fn gauge(&self, metric: &Metric, labels: &[&str]) -> Gauge {
        debug_assert!(matches!(metric.sort, Sort::Gauge), "{}", metric.name);
        self.recorder.register_gauge(&key(metric, labels), &METADATA)
    }

    fn histogram(&self, metric: &Metric, labels: &[&str]) -> Histogram {
        debug_assert!(matches!(metric.sort, Sort::Histogram(_)), "{}", metric.name);
        self.recorder.register_histogram(&key(metric, labels), &METADATA)
    }
}

const METADATA: Metadata<'static> = Metadata::new("docket", Level::INFO, None);

/// `labels`: their values, in the order in which they are declared.
fn key(metric: &Metric, labels: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
    let labels = metric.labels.iter().zip(labels).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
