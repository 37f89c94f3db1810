//! Becoming the owner, and reading the hot records (rules O1, O3, O4, O9).

use std::{
    ops::Range,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use deadpool_redis::redis::{self, aio::MultiplexedConnection};
use futures_util::{StreamExt as _, stream};

use super::{
    Ack, Inner,
    fsync::{self, Fsync},
    layout,
    lease::keep,
    owner::Owner,
    script::{self, FORMAT, Failed},
    server::Server,
};
use crate::store::{Key, Opened, Packer, Peer, StoreError};

/// Buckets that are asked for at once.
const BUCKETS_AT_ONCE: usize = 32;
/// Redis goes on while an answer is read.
const ASKS_AT_ONCE: usize = 2;
/// Loads that are begun anew because something changed meanwhile.
const LOADS_MAX: u32 = 3;
/// Between two looks at a lease that seems absent.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// Fields and values of several hashes.
type Buckets = Vec<Vec<(Vec<u8>, Vec<u8>)>>;

fn records(buckets: Buckets) -> Vec<(Key, Bytes)> {
    let mut packer = Packer::default();
    let all = buckets.into_iter().flatten();
    all.map(|(field, value)| (layout::hot_key(&field), packer.pack(&value))).collect()
}

struct Grant {
    epoch: u64,
    seq: u64,
    generation: u64,
    records: u64,
    resigned: bool,
    at: Instant,
}

impl Inner {
    pub(super) async fn open(self: &Arc<Self>) -> Result<Opened, StoreError> {
        *self.owner.lock().await = None;
        self.show(None);
        self.lease.begin();
        let mut connection = self.pools.dedicated().await.map_err(StoreError::Unknown)?;
        let server = Server::ask(&mut connection).await?;
        if self.options.ack == Ack::Disk {
            Fsync::ask(&mut connection, &server).await?;
        }
        self.lease.advise(server.advice(self.options.ack));
        self.wait_for_others(&mut connection, &server).await?;
        let nonce = format!("{:032x}", rand::random::<u128>());
        let grant = self.grant(&mut connection, &nonce).await?;
        self.seen.fetch_max(grant.epoch, Ordering::Relaxed);
        self.lease.granted(grant.at);
        let mut owner = Owner::new(nonce.clone(), grant.epoch, grant.seq, grant.generation);
        owner.connection = Some(connection.clone());
        self.show(Some(&owner));
        *self.owner.lock().await = Some(owner);
        tokio::spawn(keep(Arc::downgrade(self), nonce.clone()));
        let taken = self.take(&mut connection, &server, &nonce, &grant).await;
        if taken.is_err() {
            self.abandon(&server).await;
        }
        let (hot, took) = taken?;
        Ok(Opened { epoch: grant.epoch, seq: grant.seq, hot, took })
    }

    /// What there is, once the grant is on disk; and how long reading it took.
    async fn take(
        &self,
        connection: &mut MultiplexedConnection,
        server: &Server,
        nonce: &str,
        grant: &Grant,
    ) -> Result<(Vec<(Key, Bytes)>, Duration), StoreError> {
        let begun = Instant::now();
        let hot = self.load(connection, nonce, grant).await?;
        let took = begun.elapsed();
        if !grant.resigned {
            self.until_durable(connection, server, grant.at).await?;
        }
        Ok((hot, took))
    }

    /// An opening that came to nothing keeps nobody waiting, itself included: its lease ends now. It has said nothing; but
    /// it is no resignation, since its predecessor may not have resigned.
    async fn abandon(&self, server: &Server) {
        let Some(owner) = self.owner.lock().await.take() else { return };
        self.show(None);
        let ended = async {
            let dedicated = self.pools.dedicated().await;
            let mut connection = dedicated.map_err(|why| Failed { passing: true, why })?;
            self.say_renew(&mut connection, &owner.nonce, owner.epoch, 1, &server.identity).await
        };
        if let Err(Failed { why, .. }) = ended.await {
            tracing::warn!(why, "end the lease of an opening that failed; the next try waits for it");
        }
    }

    /// A lease has to be absent twice; and when Redis is not the one that the lease was granted by, an owner that holds
    /// the truth comes first (rule O4).
    async fn wait_for_others(
        &self,
        connection: &mut MultiplexedConnection,
        server: &Server,
    ) -> Result<(), StoreError> {
        let fields: Vec<Option<String>> = redis::cmd("HMGET")
            .arg(self.keys.owner())
            .arg(&["owner", "resigned", "redis"])
            .query_async(connection)
            .await
            .map_err(Failed::from)?;
        let field = |at: usize| fields.get(at).and_then(Option::as_deref).unwrap_or_default();
        if field(0).is_empty() || field(1) == "1" {
            return Ok(());
        }
        let changed = !field(2).is_empty() && field(2) != server.identity;
        let wait = if changed { self.options.courtesy } else { SECOND_LOOK };
        let begin = Instant::now();
        loop {
            if let Some((left, by)) = self.lease_left(connection).await? {
                return Err(StoreError::Held { left, by });
            }
            let Some(left) = wait.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) else {
                return Ok(());
            };
            tokio::time::sleep(left.min(SECOND_LOOK)).await;
        }
    }

    /// How long the lease of the owner lasts, and whose it is.
    async fn lease_left(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<(Duration, Peer)>, StoreError> {
        type Fields = (Option<i64>, Option<u64>, Option<String>);
        let ((lease, epoch, address), (seconds, micros)): (Fields, (i64, i64)) = redis::pipe()
            .cmd("HMGET")
            .arg(self.keys.owner())
            .arg(&["lease", "epoch", "advertise"])
            .cmd("TIME")
            .query_async(connection)
            .await
            .map_err(Failed::from)?;
        let left = lease.unwrap_or(0) - (seconds * 1_000 + micros / 1_000);
        let left = u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis);
        let peer = Peer { address: address.unwrap_or_default().into(), epoch: epoch.unwrap_or(0) };
        Ok(left.map(|left| (left, peer)))
    }

    pub(super) async fn holder(&self) -> Result<Option<Peer>, String> {
        let seen = self.pools.with(async |connection| Ok(self.lease_left(connection).await)).await?;
        let held = seen.map_err(|error| match error {
            StoreError::Unknown(why) => why,
            other => other.to_string(),
        });
        Ok(held?.map(|(_, peer)| peer))
    }

    async fn grant(&self, connection: &mut MultiplexedConnection, nonce: &str) -> Result<Grant, StoreError> {
        let outranked = self.outranked.load(Ordering::Relaxed);
        let mut call = self.scripts.open.prepare_invoke();
        call.key(self.keys.owner())
            .arg(nonce)
            .arg(self.options.term.as_millis() as u64)
            .arg(FORMAT)
            .arg(self.seen.load(Ordering::Relaxed).max(outranked))
            .arg(u8::from(self.options.accept_older || outranked > 0))
            .arg(&self.options.advertise);
        let at = Instant::now();
        let said = script::run(&call, connection).await?;
        match said.word.as_str() {
            "opened" => Ok(Grant {
                epoch: said.number(0),
                seq: said.number(1),
                generation: said.number(2),
                records: said.number(3),
                resigned: said.number(4) == 1,
                at,
            }),
            "held" => {
                let by = Peer {
                    address: said.details.get(2).cloned().unwrap_or_default().into(),
                    epoch: said.number(0),
                };
                Err(StoreError::Held { left: Duration::from_millis(said.number(1)), by })
            }
            "unreadable" => Err(StoreError::Fatal(format!(
                "the store needs a program that reads format {}; this one reads {FORMAT}: use the newer release",
                said.number(0)
            ))),
            "lower" => Err(StoreError::Fatal(format!(
                "the store is of epoch {}, and this process has seen {}: it was emptied, or an older backup was \
                 restored. Set store.accept_older if that is meant",
                said.number(0),
                self.seen.load(Ordering::Relaxed)
            ))),
            other => Err(StoreError::Fatal(format!("open answered {other}"))),
        }
    }

    /// Reads buckets whole, then looks whether all is as it was: a scan across a failover could skip records. Two connections
    /// share the work, each with its own look.
    async fn load(
        &self,
        connection: &mut MultiplexedConnection,
        nonce: &str,
        grant: &Grant,
    ) -> Result<Vec<(Key, Bytes)>, StoreError> {
        let mut other = self.pools.dedicated().await.map_err(StoreError::Unknown)?;
        let half = layout::BUCKETS / 2;
        for _ in 0..LOADS_MAX {
            let (mut hot, mut others) = tokio::try_join!(
                self.read_buckets(connection, grant.generation, 0..half),
                self.read_buckets(&other, grant.generation, half..layout::BUCKETS),
            )?;
            hot.append(&mut others);
            self.check_owner(connection, nonce, grant).await?;
            self.check_owner(&mut other, nonce, grant).await?;
            if hot.len() as u64 == grant.records {
                return Ok(hot);
            }
            tracing::warn!(read = hot.len(), expected = grant.records, "records are missing; read anew");
        }
        Err(StoreError::Fatal(format!(
            "the store says that it holds {} records and does not: somebody else has changed its keys; restore a backup",
            grant.records
        )))
    }

    async fn check_owner(
        &self,
        connection: &mut MultiplexedConnection,
        nonce: &str,
        grant: &Grant,
    ) -> Result<(), StoreError> {
        let fields: Vec<Option<String>> = redis::cmd("HMGET")
            .arg(self.keys.owner())
            .arg(&["owner", "epoch", "seq", "records"])
            .query_async(connection)
            .await
            .map_err(Failed::from)?;
        let expected =
            [nonce.to_owned(), grant.epoch.to_string(), grant.seq.to_string(), grant.records.to_string()];
        if fields.iter().zip(&expected).all(|(field, expected)| field.as_ref() == Some(expected)) {
            return Ok(());
        }
        Err(StoreError::Unknown("the owner record changed while the records were read".into()))
    }

    async fn read_buckets(
        &self,
        connection: &MultiplexedConnection,
        generation: u64,
        buckets: Range<usize>,
    ) -> Result<Vec<(Key, Bytes)>, StoreError> {
        let end = buckets.end;
        let ask = |first: usize| {
            let mut pipe = redis::pipe();
            for bucket in first..(first + BUCKETS_AT_ONCE).min(end) {
                pipe.hgetall(self.keys.hot(generation, bucket));
            }
            let mut connection = connection.clone();
            async move {
                let buckets = pipe.query_async::<Buckets>(&mut connection).await.map_err(Failed::from)?;
                let records = tokio::task::spawn_blocking(|| records(buckets)).await;
                records.map_err(|panic| StoreError::Fatal(panic.to_string()))
            }
        };
        let mut answers =
            pin!(stream::iter(buckets.step_by(BUCKETS_AT_ONCE)).map(ask).buffered(ASKS_AT_ONCE));
        let mut hot = Vec::new();
        while let Some(records) = answers.next().await {
            hot.append(&mut records?);
        }
        Ok(hot)
    }

    /// Nothing is said before the grant is on disk (rule O3): a grant that is lost could be given twice.
    async fn until_durable(
        &self,
        connection: &mut MultiplexedConnection,
        server: &Server,
        at: Instant,
    ) -> Result<(), StoreError> {
        if server.tells_fsync() {
            if !fsync::told(connection, self.options.term).await? && !fsync::is_off(connection).await {
                let why = "Redis has not written the grant to disk: look at its disk, and set appendfsync everysec there";
                return Err(StoreError::Unknown(why.into()));
            }
            return Ok(());
        }
        if let Some(left) = self.options.grant.checked_sub(at.elapsed()).filter(|_| server.has_log) {
            tokio::time::sleep(left).await;
        }
        Ok(())
    }

    pub(super) async fn resign(&self) -> Result<(), String> {
        let mut owner = self.owner.lock().await;
        let Some(owner) = owner.take() else { return Ok(()) };
        self.show(None);
        let mut connection = match owner.connection {
            Some(connection) => connection,
            None => self.pools.dedicated().await?,
        };
        let said = self.say_renew(&mut connection, &owner.nonce, owner.epoch, 0, "").await;
        said.map(|_| ()).map_err(|failed| failed.why)
    }
}
