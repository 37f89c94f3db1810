//! Redis as the store: for more than one scheduler (rules P2, O1 to O10).
//!
//! One hash says who owns the shard: a random nonce per opening, the epoch, the sequence of the last commit, the lease.
//! Scripts check it before they write anything, so a former owner changes nothing. The epoch gives safety, the lease
//! liveness: a renewal of its own keeps others from opening, and bounds how long this owner trusts itself without a
//! commit ([`Store::trusted`]).
//!
//! Redis may lose what it acknowledged: the last second of its log, or what a replica had not yet when it became master.
//! The owner holds the whole state, so it repairs that: after each loss of touch it compares positions ([`judge`]) and
//! goes on, sends the last batches again ([`replay`]), or has the machine write everything into a new generation
//! ([`Store::restore`]).
//!
//! Read in this order: [`layout`] (what lies where), the scripts (`*.lua`), [`judge`], `owner`, `lease`.
//!
//! Absent on purpose: any idea of what the records mean.

pub mod connect;
mod fsync;
mod judge;
mod layout;
mod lease;
mod load;
mod owner;
mod replay;
mod script;
mod secure;
mod server;
mod writes;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use deadpool_redis::redis::{self, aio::MultiplexedConnection};
use tokio::runtime::Runtime;

use super::{Batch, Cursor, Health, Key, Opened, Page, Peer, Snapshot, Store, StoreError};
use connect::{Address, Pools};
use layout::Keys;
use lease::Lease;
use owner::Owner;
use script::Scripts;
pub use secure::Ack;

/// How the store is used.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: Address,
    /// Before all keys.
    pub prefix: String,
    /// Certificate of the authority that signed the server's, as PEM. None = those that the host trusts.
    pub ca_pem: Option<Vec<u8>>,
    /// Of the owner.
    pub term: Duration,
    /// Where other schedulers reach this one; empty if nowhere.
    pub advertise: String,
    /// Whether a store is taken that is older than what this process has seen.
    pub accept_older: bool,
    /// When answers to changes leave (rule O10).
    pub ack: Ack,
    /// One wait for it; then Redis is looked at anew.
    pub patience: Duration,
    /// How long a grant may take until Redis has it on disk, where it cannot say (rule O3).
    pub grant: Duration,
    /// How long an owner that holds the truth may take to come back to a Redis that has changed (rule O4).
    pub courtesy: Duration,
}

impl Options {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            prefix: "docket".into(),
            ca_pem: None,
            term: Duration::from_secs(3),
            advertise: String::new(),
            accept_older: false,
            ack: Ack::default(),
            patience: Duration::from_secs(5),
            grant: Duration::from_secs(2),
            courtesy: Duration::from_secs(10),
        }
    }
}

pub struct RedisStore {
    inner: Arc<Inner>,
    /// Of its own, so that renewals do not wait behind anything.
    runtime: Option<Runtime>,
}

struct Inner {
    options: Options,
    keys: Keys,
    pools: Pools,
    scripts: Scripts,
    owner: tokio::sync::Mutex<Option<Owner>>,
    /// Where the owner stands, for those that must not wait while it is busy.
    position: Mutex<Option<Position>>,
    lease: Lease,
    /// On which commits are waited for.
    line: tokio::sync::Mutex<Option<secure::Line>>,
    /// The highest epoch that this process has seen.
    seen: AtomicU64,
    /// Openings get a higher epoch than this one, whatever the store says.
    outranked: AtomicU64,
}

#[derive(Clone, Debug)]
struct Position {
    nonce: String,
    /// What the shard calls its epoch.
    told: u64,
    epoch: u64,
    seq: u64,
    ring_from: u64,
    generation: u64,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("address", &self.inner.options.address).finish()
    }
}

impl RedisStore {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(options: Options) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // A load reads on two connections.
            .worker_threads(2)
            .thread_name("redis")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Fatal(format!("start a thread: {error}")))?;
        let pools = {
            let _entered = runtime.enter();
            Pools::new(&options.address, options.ca_pem.clone())?
        };
        let inner = Inner {
            keys: Keys::new(&options.prefix),
            lease: Lease::new(options.term),
            line: tokio::sync::Mutex::new(None),
            options,
            pools,
            scripts: Scripts::new(),
            owner: tokio::sync::Mutex::new(None),
            position: Mutex::new(None),
            seen: AtomicU64::new(0),
            outranked: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner), runtime: Some(runtime) })
    }

    /// Blocks until it is done, wherever it is called from.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, outcome) = mpsc::sync_channel(1);
        let Some(runtime) = &self.runtime else { return Err(StoreError::Fatal("stopped".into())) };
        runtime.spawn(async move {
            // Nobody is listening only when the caller's thread is gone.
            let _ = done.send(work.await);
        });
        outcome.recv().map_err(|_| StoreError::Unknown("the thread that talks to Redis ended".into()))
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for RedisStore {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn address(&self) -> String {
        self.inner.options.address.shown.clone()
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let inner = self.inner.clone();
        let opened = self.wait(async move { inner.open().await })?;
        let trouble = match &opened {
            Err(StoreError::Unknown(why)) => Some(why.clone()),
            Err(_) | Ok(_) => None,
        };
        self.inner.lease.looked(trouble);
        opened
    }

    fn commit(&self, epoch: u64, seq: u64, batch: Batch) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        let outcome = self.wait(async move { inner.commit(epoch, seq, batch).await })?;
        self.inner.lease.note(&outcome);
        outcome
    }

    fn restore(&self, epoch: u64, seq: u64, snapshot: Arc<Snapshot>) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        let outcome = self.wait(async move { inner.restore(epoch, seq, snapshot).await })?;
        self.inner.lease.note(&outcome);
        outcome
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let (inner, keys) = (self.inner.clone(), keys.to_vec());
        self.wait(async move { inner.read(&keys).await })?
    }

    fn secures(&self) -> bool {
        self.inner.options.ack != Ack::Memory
    }

    fn secure(&self, epoch: u64, seq: u64) -> Result<u64, StoreError> {
        let inner = self.inner.clone();
        self.wait(async move { inner.secure(epoch, seq).await })?
    }

    fn trusted(&self) -> bool {
        self.inner.lease.is_trusted()
    }

    fn deposed(&self) -> bool {
        self.inner.lease.is_lost()
    }

    fn progress(&self) {
        self.inner.lease.progress();
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn owner(&self) -> Option<Peer> {
        let inner = self.inner.clone();
        let seen = self.wait(async move { inner.holder().await }).ok()?;
        self.inner.lease.looked(seen.as_ref().err().cloned());
        seen.ok()?
    }

    fn resign(&self) {
        let inner = self.inner.clone();
        if let Ok(Err(why)) = self.wait(async move { inner.resign().await }) {
            tracing::warn!(%why, "resign; others wait for the end of the lease");
        }
    }

    fn health(&self) -> Health {
        self.inner.lease.health()
    }

    /// A page is a bucket.
    fn scan(&self, from: Option<&Cursor>) -> Result<Page, StoreError> {
        let bucket =
            from.and_then(|cursor| Some(u16::from_be_bytes(cursor[..].try_into().ok()?))).unwrap_or(0);
        let inner = self.inner.clone();
        let records = self.wait(async move { inner.read_cold(bucket.into()).await })??;
        let next = (bucket + 1).min(layout::BUCKETS as u16);
        let next = (usize::from(next) < layout::BUCKETS).then(|| next.to_be_bytes().into());
        Ok(Page { records, next })
    }

    fn outrank(&self, epoch: u64) {
        self.inner.outranked.fetch_max(epoch, Ordering::Relaxed);
    }
}

impl Inner {
    fn position(&self) -> Option<Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the owner is now is for all to see.
    fn show(&self, owner: Option<&Owner>) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = owner.map(Owner::position);
    }

    async fn read_cold(&self, bucket: usize) -> Result<Vec<(Key, Bytes)>, StoreError> {
        let place = self.keys.cold(bucket);
        let read = async |connection: &mut MultiplexedConnection| {
            redis::cmd("HGETALL").arg(&place).query_async(connection).await
        };
        let rings: Vec<(Vec<u8>, Vec<u8>)> = self.pools.with(read).await.map_err(StoreError::Unknown)?;
        let mut records = Vec::new();
        for (field, ring) in rings {
            records.extend(layout::cold_records(&field, &ring).ok_or_else(|| {
                let field = String::from_utf8_lossy(&field);
                StoreError::Fatal(format!("field {field} of {place} is not Docket's, or is damaged"))
            })?);
        }
        Ok(records)
    }

    /// Cold records, or hot ones by key.
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let generation = self.position().map_or(0, |position| position.generation);
        let mut pipe = redis::pipe();
        for key in keys {
            let (field, slot) = layout::field(key);
            let bucket = layout::bucket(key);
            let place =
                if slot.is_some() { self.keys.cold(bucket) } else { self.keys.hot(generation, bucket) };
            pipe.hget(place, field);
        }
        let found: Vec<Option<Vec<u8>>> = self
            .pools
            .with(async |connection| pipe.query_async(connection).await)
            .await
            .map_err(StoreError::Unknown)?;
        let value = |(key, value): (&Key, Option<Vec<u8>>)| match layout::field(key).1 {
            Some(slot) => value.and_then(|ring| layout::entry(&ring, slot).map(Bytes::copy_from_slice)),
            None => value.map(Bytes::from),
        };
        Ok(keys.iter().zip(found).map(value).collect())
    }
}

#[cfg(test)]
mod tests;
