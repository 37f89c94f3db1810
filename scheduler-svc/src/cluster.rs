//! Who leads: one process owns the store and its shard, the others stand by and pass calls on.
//!
//! ```text
//!             another's lease lives                  another owner has opened the store
//!   Standby ◄───────────────────────── opening ◄──────────────────────────── Leader
//!      │                                  ▲   └──── the lease is ours ──────────▲
//!      └────── its lease has ended ───────┘
//! ```
//!
//! Nothing here decides who is right; the store does, by its epoch. A process that has lost it drops the state that it
//! holds, and stands by like any other (rules O2, S4). On a store that only one process can open there is nobody to stand
//! by for, and what goes wrong ends the process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    pipeline::Halt,
    repeated::Repeated,
    shard::{self, Handle, Observer, Shard, StartError},
    state_machine,
    store::{Peer, Store, StoreError},
};

/// Between two looks at a lease that lives. A resigned one is seen within it.
const LOOK: Duration = Duration::from_millis(250);
/// How long the shard may take to commit what it was asked before it stopped.
const LAST_COMMIT: Duration = Duration::from_secs(4);

/// What is known of the leadership here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This process leads.
    Mine {
        epoch: u64,
    },
    Theirs(Peer),
    /// Nobody leads, or it is not known who.
    Open,
}

impl Leadership {
    /// Of a process that has no others beside it.
    pub fn alone(epoch: u64) -> watch::Receiver<Self> {
        watch::Sender::new(Self::Mine { epoch }).subscribe()
    }
}

/// What the log has of why this process stands by.
#[derive(Default)]
struct Told {
    reason: String,
    trouble: Repeated,
}

pub struct Cluster {
    handle: Handle,
    config: state_machine::Config,
    observer: Box<dyn Fn() -> Box<dyn Observer> + Send + Sync>,
    known: watch::Sender<Leadership>,
    looked: CancellationToken,
}

impl Cluster {
    pub fn new(
        handle: Handle,
        config: state_machine::Config,
        observer: impl Fn() -> Box<dyn Observer> + Send + Sync + 'static,
    ) -> Self {
        let known = watch::Sender::new(Leadership::Open);
        Self { handle, config, observer: Box::new(observer), known, looked: CancellationToken::new() }
    }

    /// Cancelled once it has looked at the store and does not lead: from then on there may be nobody to wait for.
    pub fn looked(&self) -> CancellationToken {
        self.looked.clone()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.known.subscribe()
    }

    /// Leads whenever it can, until `stopping`. Then it resigns, and from there on it only looks who leads, for calls that
    /// are still to be passed on, until it is dropped. On a store that others cannot open it ends then.
    ///
    /// # Errors
    /// When this process cannot go on.
    pub async fn run(
        &self,
        stopping: &CancellationToken,
        resigned: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut told = Told::default();
        while !stopping.is_cancelled() {
            match self.open().await? {
                Ok(shard) => {
                    told = Told::default();
                    let load_ms = shard.load_time.as_millis() as u64;
                    info!(epoch = shard.epoch, records = shard.loaded, load_ms, "leads");
                    self.known.send_replace(Leadership::Mine { epoch: shard.epoch });
                    self.lead(shard, stopping).await?;
                    self.known.send_replace(Leadership::Open);
                }
                Err(waiting) => {
                    self.stand_by(&waiting, &mut told, Instant::now());
                    let pause = tokio::time::sleep(LOOK);
                    tokio::select! { () = pause => {}, () = stopping.cancelled() => {} }
                }
            }
        }
        resigned.cancel();
        if self.handle.store().is_shared() { self.follow().await } else { Ok(()) }
    }

    /// Either the shard, or what keeps this process from leading for now.
    async fn open(&self) -> anyhow::Result<Result<Shard, StoreError>> {
        // A look costs less than an opening that is refused.
        let store = self.handle.store().clone();
        if let Some(by) = task::spawn_blocking(move || store.owner()).await? {
            return Ok(Err(StoreError::Held { left: LOOK, by }));
        }
        let (handle, config, observer) = (self.handle.clone(), self.config, (self.observer)());
        let opened = task::spawn_blocking(move || shard::start_at(&handle, config, observer)).await?;
        match opened {
            Ok(shard) => Ok(Ok(shard)),
            Err(StartError::Store(waiting @ (StoreError::Held { .. } | StoreError::Unknown(_)))) => {
                Ok(Err(waiting))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn lead(&self, mut shard: Shard, stopping: &CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = stopping.cancelled() => {
                self.handle.vacate();
                let halt = tokio::time::timeout(LAST_COMMIT, &mut shard.stopped).await;
                self.known.send_replace(Leadership::Open);
                let store = self.handle.store().clone();
                task::spawn_blocking(move || store.resign()).await?;
                match halt {
                    Ok(Ok(Some(halt))) => anyhow::bail!("the last commit failed: {halt}"),
                    Ok(_) | Err(_) => Ok(()),
                }
            }
            // The seat of a shard that failed is not vacated: callers are told why until the process ends.
            halt = &mut shard.stopped => match halt {
                Ok(Some(Halt::Fenced)) if self.handle.store().is_shared() => {
                    self.handle.vacate();
                    warn!("another scheduler has taken over; what this one held is dropped");
                    Ok(())
                }
                Ok(Some(halt)) => anyhow::bail!("the store can no longer be written: {halt}"),
                Ok(None) => anyhow::bail!("the shard ended without a reason"),
                Err(_) => anyhow::bail!("the shard ended by a panic; the lines above tell where"),
            }
        }
    }

    fn stand_by(&self, waiting: &StoreError, told: &mut Told, now: Instant) {
        self.looked.cancel();
        if let StoreError::Unknown(reason) = waiting {
            if let Some(times) = told.trouble.came(reason, now) {
                warn!(
                    store = self.handle.store().address(),
                    reason, times, "stands by: the store cannot be used"
                );
            }
            told.reason.clear();
            return self.know(Leadership::Open);
        }
        told.trouble = Repeated::default();
        let (leadership, reason) = match waiting {
            StoreError::Held { by, .. } => {
                (Leadership::Theirs(by.clone()), format!("{} leads since epoch {}", by.address, by.epoch))
            }
            other => (Leadership::Open, other.to_string()),
        };
        if told.reason != reason {
            info!(reason, "stands by");
            told.reason = reason;
        }
        self.know(leadership);
    }

    fn know(&self, leadership: Leadership) {
        self.known.send_if_modified(|known| {
            let changed = *known != leadership;
            *known = leadership;
            changed
        });
    }

    async fn follow(&self) -> anyhow::Result<()> {
        loop {
            let store: Arc<dyn Store> = self.handle.store().clone();
            let owner = task::spawn_blocking(move || store.owner()).await?;
            self.know(owner.map_or(Leadership::Open, Leadership::Theirs));
            tokio::time::sleep(LOOK).await;
        }
    }
}
