//! Commits and repairs of the owner (rules P2, O1, O7, O8).

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;
use deadpool_redis::redis::{self, aio::MultiplexedConnection};

use super::{
    Inner, Position,
    judge::{Mine, Verdict, judge},
    layout,
    replay::Ring,
    script::{self, FORMAT, Said},
    server::Server,
    writes,
};
use crate::store::{Batch, Snapshot, StoreError, Write};

/// Repairs within one call; more means that the store changes faster than it can be repaired.
const REPAIRS_MAX: u32 = 3;
/// Fields and values of one chunk of a snapshot.
const CHUNK: usize = 2_000;

/// One opening of the store.
pub struct Owner {
    pub nonce: String,
    /// What the shard calls it. Reclaiming raises `epoch` and leaves this alone.
    told: u64,
    pub epoch: u64,
    /// Of the last commit that was acknowledged.
    seq: u64,
    pub generation: u64,
    ring: Ring,
    pub connection: Option<MultiplexedConnection>,
}

impl Owner {
    pub fn new(nonce: String, epoch: u64, seq: u64, generation: u64) -> Self {
        Self { nonce, told: epoch, epoch, seq, generation, ring: Ring::default(), connection: None }
    }

    pub fn position(&self) -> Position {
        let Mine { nonce, epoch, seq, ring_from } = self.mine();
        let (told, generation) = (self.told, self.generation);
        Position { nonce: nonce.into(), told, epoch, seq, ring_from, generation }
    }

    /// Whether the shard knows it by this epoch.
    pub fn is(&self, told: u64) -> bool {
        self.told == told
    }

    fn mine(&self) -> Mine<'_> {
        let ring_from = self.ring.from().unwrap_or(self.seq + 1);
        Mine { nonce: &self.nonce, epoch: self.epoch, seq: self.seq, ring_from }
    }
}

impl Inner {
    pub(super) async fn commit(&self, epoch: u64, seq: u64, batch: Batch) -> Result<(), StoreError> {
        let mut held = self.owner.lock().await;
        let Some(owner) = held.as_mut().filter(|owner| owner.told == epoch) else {
            return Err(StoreError::Fenced);
        };
        if seq != owner.seq && seq != owner.seq + 1 {
            return Err(StoreError::Fatal(format!("commit {seq} after {}", owner.seq)));
        }
        for _ in 0..REPAIRS_MAX {
            self.connect(owner).await?;
            let said = self.send(owner, seq, &batch).await?;
            match said.word.as_str() {
                "committed" => {
                    if seq > owner.seq {
                        owner.seq = seq;
                        owner.ring.push(seq, batch, Instant::now());
                        self.show(Some(owner));
                    }
                    return Ok(());
                }
                "other" | "gap" => self.repair(owner, &said).await?,
                _ => return Err(foreign_key(&said)),
            }
        }
        Err(StoreError::Unknown("the owner record in Redis keeps changing".into()))
    }

    /// A connection whose other end has what this owner has.
    pub(super) async fn connect(&self, owner: &mut Owner) -> Result<(), StoreError> {
        if owner.connection.is_some() {
            return Ok(());
        }
        let mut connection = self.pools.dedicated().await.map_err(StoreError::Unknown)?;
        Server::ask(&mut connection).await?;
        let fields: Vec<Option<String>> = redis::cmd("HMGET")
            .arg(self.keys.owner())
            .arg(&["owner", "epoch", "seq"])
            .query_async(&mut connection)
            .await
            .map_err(script::Failed::from)?;
        let details = fields.into_iter().map(Option::unwrap_or_default).collect();
        owner.connection = Some(connection);
        self.repair(owner, &Said { word: String::new(), details }).await
    }

    /// Compares positions before anything else (rule O7).
    async fn repair(&self, owner: &mut Owner, said: &Said) -> Result<(), StoreError> {
        match judge(owner.mine(), said.found().as_ref()) {
            Verdict::GoOn => Ok(()),
            Verdict::Replay { from } => {
                let lost = owner.ring.since(from);
                tracing::warn!(
                    from,
                    batches = lost.len(),
                    "Redis has lost its last commits; they are sent again"
                );
                for (seq, batch) in lost {
                    let said = self.send(owner, seq, &batch).await?;
                    if said.word != "committed" {
                        return Err(StoreError::Unknown("the owner record changed during a replay".into()));
                    }
                }
                Ok(())
            }
            Verdict::Snapshot | Verdict::Reclaim => Err(StoreError::Lost),
            Verdict::Foreign => Err(StoreError::Fenced),
            Verdict::Impossible => {
                Err(StoreError::Fatal("somebody else writes to the store in our name".into()))
            }
        }
    }

    async fn send(&self, owner: &mut Owner, seq: u64, batch: &[Write]) -> Result<Said, StoreError> {
        let Some(connection) = &mut owner.connection else {
            return Err(StoreError::Unknown("no connection".into()));
        };
        let mut call = self.scripts.commit.prepare_invoke();
        call.key(self.keys.owner()).arg(&owner.nonce).arg(owner.epoch).arg(seq);
        writes::add(&mut call, &self.keys, owner.generation, batch);
        let said = script::run(&call, connection).await;
        if said.is_err() {
            // Whatever it was: the next try begins by comparing positions.
            owner.connection = None;
        }
        Ok(said?)
    }

    /// Writes everything into a generation that does not count yet, then makes it count (rule O8).
    pub(super) async fn restore(
        &self,
        epoch: u64,
        seq: u64,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), StoreError> {
        let mut held = self.owner.lock().await;
        let Some(owner) = held.as_mut().filter(|owner| owner.told == epoch) else {
            return Err(StoreError::Fenced);
        };
        let mut connection = self.pools.dedicated().await.map_err(StoreError::Unknown)?;
        Server::ask(&mut connection).await?;
        let (former, following) = self.reclaim(owner, &mut connection).await?;
        self.forget(&mut connection, following).await;
        tracing::warn!(records = snapshot.hot.len(), "Redis has lost state; all of it is written anew");
        let records = self.fill(owner, &mut connection, following, &snapshot).await?;
        let mut flip = self.scripts.flip.prepare_invoke();
        flip.key(self.keys.owner())
            .arg(&owner.nonce)
            .arg(owner.epoch)
            .arg(following)
            .arg(seq - 1)
            .arg(records);
        let said = script::run(&flip, &mut connection).await?;
        if said.word != "flipped" {
            return Err(StoreError::Fenced);
        }
        (owner.generation, owner.seq, owner.ring) = (following, seq - 1, Ring::default());
        for generation in former..following {
            self.forget(&mut connection, generation).await;
        }
        owner.connection = Some(connection);
        self.show(Some(owner));
        drop(held);
        self.commit(epoch, seq, snapshot.cold.clone()).await
    }

    /// Former and following generation.
    async fn reclaim(
        &self,
        owner: &mut Owner,
        connection: &mut MultiplexedConnection,
    ) -> Result<(u64, u64), StoreError> {
        let mut call = self.scripts.reclaim.prepare_invoke();
        call.key(self.keys.owner())
            .arg(&owner.nonce)
            .arg(owner.epoch)
            .arg(owner.epoch + 1)
            .arg(owner.seq)
            .arg(self.options.term.as_millis() as u64)
            .arg(FORMAT)
            .arg(&self.options.advertise)
            .arg(owner.generation);
        let said = script::run(&call, connection).await?;
        if said.word != "reclaimed" {
            return Err(StoreError::Fenced);
        }
        owner.epoch += 1;
        self.show(Some(owner));
        Ok((said.number(0), said.number(1)))
    }

    async fn fill(
        &self,
        owner: &Owner,
        connection: &mut MultiplexedConnection,
        generation: u64,
        snapshot: &Snapshot,
    ) -> Result<u64, StoreError> {
        let mut buckets: BTreeMap<usize, Vec<(String, &Bytes)>> = BTreeMap::new();
        for (key, value) in &snapshot.hot {
            buckets.entry(layout::bucket(key)).or_default().push((layout::field(key).0, value));
        }
        let mut records = 0;
        for (bucket, entries) in buckets {
            for chunk in entries.chunks(CHUNK / 2) {
                self.lease.progress();
                let mut call = self.scripts.fill.prepare_invoke();
                call.key(self.keys.owner()).key(self.keys.hot(generation, bucket));
                call.arg(&owner.nonce).arg(owner.epoch);
                for (field, value) in chunk {
                    call.arg(field).arg(&value[..]);
                }
                let said = script::run(&call, connection).await?;
                if said.word != "filled" {
                    return Err(StoreError::Fenced);
                }
                records += said.number(0);
            }
        }
        Ok(records)
    }

    /// What does not count is freed in the background; what stays costs memory and nothing else.
    async fn forget(&self, connection: &mut MultiplexedConnection, generation: u64) {
        let mut unlink = redis::cmd("UNLINK");
        for bucket in 0..layout::BUCKETS {
            unlink.arg(self.keys.hot(generation, bucket));
        }
        if let Err(error) = unlink.query_async::<()>(connection).await {
            tracing::warn!(%error, generation, "free a generation that does not count");
        }
    }
}

fn foreign_key(said: &Said) -> StoreError {
    let detail = said.details.first().map_or("", String::as_str);
    let kind = said.details.get(1).map_or("", String::as_str);
    StoreError::Fatal(format!(
        "{detail} is a {kind} of somebody else: give Docket a prefix of its own (store.prefix) or remove the key"
    ))
}
