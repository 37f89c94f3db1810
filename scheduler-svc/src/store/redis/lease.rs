//! The owner's lease: what it knows of it, and the task that renews it (rules O5, O6).
//!
//! The renewal has a connection of its own, goes on while the state is loaded, and stops when the shard makes no
//! progress, so that a process that hangs does not keep the others out.

use std::{
    sync::{
        Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_redis::redis::{self, aio::MultiplexedConnection};

use super::{
    Inner, Position,
    judge::{Mine, Verdict, judge},
    script::{self, Failed, Said},
    server::Server,
};
use crate::{
    repeated::Repeated,
    store::{Health, StoreError},
};

/// A shard that has not moved for so long does not keep its lease.
const STALL: Duration = Duration::from_secs(10);

pub struct Lease {
    start: Instant,
    term: Duration,
    /// Milliseconds since `start`; 0 = not trusted.
    trusted_until: AtomicU64,
    progress: AtomicU64,
    lost: AtomicBool,
    /// What the last commit, the last renewal, the last wait for `store.ack`, and the last look of one that does not own
    /// the store came to.
    health: Mutex<[Option<String>; 4]>,
    /// What a person should mend.
    advice: Mutex<String>,
}

const COMMIT: usize = 0;
const RENEWAL: usize = 1;
const SECURED: usize = 2;

impl Lease {
    pub fn new(term: Duration) -> Self {
        Self {
            start: Instant::now(),
            term,
            trusted_until: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            health: Mutex::default(),
            advice: Mutex::default(),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from((at - self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// A renewal that was sent at `sent` has been granted. A tenth of the term is left for clocks that differ.
    pub fn granted(&self, sent: Instant) {
        let until = self.millis(sent + self.term - self.term / 10);
        self.trusted_until.fetch_max(until, Ordering::Relaxed);
    }

    pub fn is_trusted(&self) -> bool {
        self.millis(Instant::now()) < self.trusted_until.load(Ordering::Relaxed)
    }

    /// A new opening begins.
    pub fn begin(&self) {
        self.lost.store(false, Ordering::Relaxed);
        self.trusted_until.store(0, Ordering::Relaxed);
        self.progress();
    }

    pub fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
        self.trusted_until.store(0, Ordering::Relaxed);
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn progress(&self) {
        self.progress.store(self.millis(Instant::now()), Ordering::Relaxed);
    }

    fn is_stalled(&self) -> bool {
        let still = self.millis(Instant::now()).saturating_sub(self.progress.load(Ordering::Relaxed));
        u128::from(still) > STALL.as_millis()
    }

    /// Keeps what a commit came to, for status.
    pub fn note(&self, outcome: &Result<(), StoreError>) {
        if outcome == &Err(StoreError::Fenced) {
            self.lose();
        }
        self.keep(COMMIT, outcome.as_ref().err().map(ToString::to_string));
    }

    /// Keeps what a wait for `store.ack` came to.
    pub fn note_secured(&self, error: Option<&StoreError>) {
        if error == Some(&StoreError::Fenced) {
            self.lose();
        }
        self.keep(SECURED, error.map(|error| format!("changes are not acknowledged: {error}")));
    }

    /// Keeps what a look at the owner, or an opening, came to. What it came to as an owner is then a thing of the past.
    pub fn looked(&self, trouble: Option<String>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        *health = [None, None, None, trouble];
    }

    /// Says once what should be mended, and keeps it for status.
    pub fn advise(&self, advice: String) {
        let mut known = self.advice.lock().unwrap_or_else(PoisonError::into_inner);
        if !advice.is_empty() && *known != advice {
            tracing::warn!("{advice}");
        }
        *known = advice;
    }

    fn keep(&self, of: usize, trouble: Option<String>) {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)[of] = trouble;
    }

    pub fn health(&self) -> Health {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let troubles: Vec<&str> = health.iter().flatten().map(String::as_str).collect();
        let advice = || self.advice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let detail = if troubles.is_empty() { advice() } else { troubles.join("; ") };
        Health { available: troubles.is_empty(), detail }
    }
}

/// Renews until the opening that it belongs to is over.
pub async fn keep(inner: Weak<Inner>, nonce: String) {
    let mut connection: Option<MultiplexedConnection> = None;
    let mut trouble = Repeated::default();
    loop {
        let pause = {
            let Some(inner) = inner.upgrade() else { return };
            if inner.lease.is_lost() || inner.current(&nonce).is_none() {
                return;
            }
            if inner.lease.is_stalled() {
                tracing::error!("the shard makes no progress; the lease is not renewed");
            } else {
                let renewed = inner.renew(&mut connection, &nonce).await;
                if let Err(failed) = &renewed {
                    connection = None;
                    if let Some(times) = trouble.came(&failed.why, Instant::now()) {
                        tracing::warn!(why = failed.why, times, "renew the lease in Redis");
                    }
                } else if trouble.over() {
                    tracing::info!("the lease in Redis is renewed again");
                }
                inner.lease.keep(RENEWAL, renewed.err().map(|failed| failed.why));
            }
            // Thrice a term; sooner when it went wrong.
            inner.options.term / if connection.is_some() { 3 } else { 10 }
        };
        tokio::time::sleep(pause).await;
    }
}

impl Inner {
    /// Where this opening stands, if it is still the current one.
    fn current(&self, nonce: &str) -> Option<Position> {
        self.position().filter(|position| position.nonce == nonce)
    }

    async fn renew(&self, connection: &mut Option<MultiplexedConnection>, nonce: &str) -> Result<(), Failed> {
        let connection = match connection {
            Some(connection) => connection,
            None => {
                let fresh = self.pools.dedicated().await.map_err(|why| Failed { passing: true, why })?;
                connection.insert(fresh)
            }
        };
        // Each time: replicas come and go, and a master may have become one.
        let server = Server::ask(connection).await?;
        self.lease.advise(server.advice(self.options.ack));
        let Some(Position { epoch, .. }) = self.current(nonce) else { return Ok(()) };
        let term = self.options.term.as_millis() as u64;
        let sent = Instant::now();
        let said = self.say_renew(connection, nonce, epoch, term, &server.identity).await?;
        if said.word != "renewed" {
            self.judge_renewal(nonce, &said);
            return Ok(());
        }
        if server.replicas > 0 {
            // A master that stands alone in a partition must not keep its owner.
            let limit = (term / 3).max(1);
            let heard: u32 = redis::cmd("WAIT").arg(1).arg(limit).query_async(connection).await?;
            if heard == 0 {
                return Err(Failed { passing: true, why: "no replica has heard the renewal".into() });
            }
        }
        self.lease.granted(sent);
        Ok(())
    }

    pub(super) async fn say_renew(
        &self,
        connection: &mut MultiplexedConnection,
        nonce: &str,
        epoch: u64,
        term: u64,
        server: &str,
    ) -> Result<Said, Failed> {
        let mut call = self.scripts.renew.prepare_invoke();
        call.key(self.keys.owner()).arg(nonce).arg(epoch).arg(term).arg(server);
        script::run(&call, connection).await
    }

    /// The record is not ours. Whether that is a loss to be repaired, the next commit finds out.
    fn judge_renewal(&self, nonce: &str, said: &Said) {
        let Some(Position { epoch, seq, ring_from, .. }) = self.current(nonce) else { return };
        let found = said.found();
        // A reclaim under way has raised our own epoch.
        let ours = found.as_ref().is_some_and(|found| found.nonce == nonce);
        if !ours && judge(Mine { nonce, epoch, seq, ring_from }, found.as_ref()) == Verdict::Foreign {
            tracing::warn!("another scheduler has become the owner");
            self.lease.lose();
        }
    }
}
