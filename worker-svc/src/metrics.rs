//! What `/metrics` shows, in the text format of Prometheus.
//!
//! [`declared`] names every metric that is not every process's. [`jobs`] counts attempts, [`mail`] what sources, token endpoints and readers answer,
//! each by standing before the thing itself. Handles are made once and kept.
//!
//! Labels are of bounded sets: kinds are those that this worker is configured for. Nothing names an owner, a mailbox, a
//! run or a host.

pub mod declared;
mod jobs;
mod mail;

use std::{sync::Arc, time::Duration};

use docket::metrics::{BuildError, Metric, Registry, calls, calls::Calls, process, process::Process};
use metrics::Gauge;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub use jobs::CountedKind;
use mail::Mail;
pub use mail::{CountedReader, CountedSources, CountedTokens};

use crate::link::LinkStatus;

const UPKEEP: Duration = Duration::from_secs(5);

const ALL: &[&[Metric]] = &[declared::ALL, calls::ALL, process::ALL];

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
        let registry = Arc::new(Registry::new(ALL)?);
        registry.gauge(&declared::SLOTS, &[]).set(f64::from(slots));
        Ok(Arc::new(Self {
            connected: registry.gauge(&declared::CONNECTED, &[]),
            held: registry.gauge(&declared::HELD, &[]),
            mail: Arc::new(Mail::new(&registry)),
            calls: Arc::new(Calls::new(&registry, "docket.library.")),
            process: Process::new(&registry, env!("CARGO_PKG_VERSION")),
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
        self.registry.render()
    }

    /// Takes up what histograms were told, until `stopped`.
    pub async fn keep(self: Arc<Self>, stopped: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
            self.registry.upkeep();
        }
    }
}

#[cfg(test)]
mod tests;
