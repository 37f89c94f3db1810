//! Waits until commits are on Redis' disk, or at a replica (rule O10, `store.ack`).
//!
//! On a connection of its own: first a small write that only succeeds if this Redis has everything (`secure.lua`), then
//! a wait for that write. The log and the stream to replicas are in order, so everything before it is there too; and what
//! was committed to another Redis, or lost since, is found out instead of being taken for safe.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, aio::MultiplexedConnection};

use super::{
    Inner,
    connect::ANSWER,
    fsync::{self, Fsync, Watch},
    script::{self, Failed},
    server::Server,
};
use crate::store::StoreError;

/// When answers to changes leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// Once Redis and the leader have them.
    #[default]
    Memory,
    /// Once Redis has them on its disk.
    Disk,
    /// Once a replica has them in memory.
    Replica,
}

/// Where commits are waited for.
pub struct Line {
    connection: MultiplexedConnection,
    fsync: Option<Fsync>,
    limit: Duration,
}

impl Inner {
    pub(super) async fn secure(&self, epoch: u64, seq: u64) -> Result<u64, StoreError> {
        let mut line = self.line.lock().await;
        let outcome = self.secure_on(&mut line, epoch, seq).await;
        if outcome.is_err() {
            *line = None;
        }
        self.lease.note_secured(outcome.as_ref().err());
        outcome
    }

    async fn secure_on(&self, line: &mut Option<Line>, epoch: u64, seq: u64) -> Result<u64, StoreError> {
        let line = match line {
            Some(line) => line,
            None => line.insert(self.line().await.map_err(|failed| StoreError::Unknown(failed.why))?),
        };
        let Some(position) = self.position().filter(|position| position.told == epoch) else {
            return Err(StoreError::Fenced);
        };
        let mut call = self.scripts.secure.prepare_invoke();
        call.key(self.keys.owner()).arg(&position.nonce).arg(position.epoch).arg(seq);
        let said = script::run(&call, &mut line.connection).await?;
        if said.word != "touched" {
            self.recover(epoch).await?;
            return Err(StoreError::Unknown("Redis had lost commits; they are there again".into()));
        }
        let waited = match self.options.ack {
            Ack::Memory => Ok(()),
            Ack::Disk => line.until_synced().await,
            Ack::Replica => line.until_replicated().await,
        };
        // Never the end of the process: fires go on.
        waited.map_err(|failed| StoreError::Unknown(failed.why))?;
        Ok(said.number(0))
    }

    async fn line(&self) -> Result<Line, Failed> {
        let dedicated = self.pools.dedicated().await;
        let mut connection = dedicated.map_err(|why| Failed { passing: true, why })?;
        let server = Server::ask(&mut connection).await?;
        let fsync = match self.options.ack {
            Ack::Disk => Some(Fsync::ask(&mut connection, &server).await?),
            Ack::Memory | Ack::Replica => None,
        };
        connection.set_response_timeout(self.options.patience + ANSWER);
        Ok(Line { connection, fsync, limit: self.options.patience })
    }

    /// Redis has not what was committed: compares positions, and sends again what is at hand.
    async fn recover(&self, epoch: u64) -> Result<(), StoreError> {
        let mut held = self.owner.lock().await;
        let owner = held.as_mut().filter(|owner| owner.is(epoch)).ok_or(StoreError::Fenced)?;
        owner.connection = None;
        self.connect(owner).await
    }
}

impl Line {
    async fn until_synced(&mut self) -> Result<(), Failed> {
        match self.fsync {
            Some(Fsync::BeforeAnswers) | None => Ok(()),
            Some(Fsync::Tells) => {
                let told = fsync::told(&mut self.connection, self.limit).await?;
                let why = "Redis has not synced its append-only file (store.ack = disk): look at its disk, and set \
                           appendfsync everysec or always";
                if told { Ok(()) } else { Err(Failed { passing: true, why: why.into() }) }
            }
            Some(Fsync::EverySecond) => self.watch().await,
        }
    }

    /// As [`Watch`] says.
    async fn watch(&mut self) -> Result<(), Failed> {
        let mut watch = Watch::new(Instant::now());
        let begin = Instant::now();
        loop {
            let info: String =
                redis::cmd("INFO").arg("persistence").query_async(&mut self.connection).await?;
            if watch.is_synced(Instant::now(), &info)? {
                return Ok(());
            }
            if begin.elapsed() > self.limit {
                let why = "Redis does not come to the end of a sync (store.ack = disk): its disk is too slow";
                return Err(Failed { passing: true, why: why.into() });
            }
            tokio::time::sleep(Watch::PAUSE).await;
        }
    }

    async fn until_replicated(&mut self) -> Result<(), Failed> {
        let wait = redis::cmd("WAIT").arg(1).arg(self.limit.as_millis() as u64).to_owned();
        let replicas: u32 = wait.query_async(&mut self.connection).await?;
        let why = "no replica has taken the last commits (store.ack = replica): connect one, or set store.ack to disk \
                   or memory";
        if replicas > 0 { Ok(()) } else { Err(Failed { passing: true, why: why.into() }) }
    }
}
