//! The durable state behind the simulated network: keeps records, fences by epoch, knows nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;
use scheduler_svc::store::{Batch, Key, Opened, StoreError};

#[derive(Debug, Default)]
pub struct Durable {
    pub epoch: u64,
    pub seq: u64,
    pub records: BTreeMap<Key, Bytes>,
}

/// What a commit that has arrived did.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    Written,
    /// The same batch again.
    Known,
    Refused(StoreError),
}

impl Durable {
    pub fn open(&mut self) -> Opened {
        self.epoch += 1;
        let hot = self.records.iter().filter(|(key, _)| !key.is_cold());
        let hot = hot.map(|(key, value)| (key.clone(), value.clone())).collect();
        Opened { epoch: self.epoch, seq: self.seq, hot }
    }

    pub fn commit(&mut self, epoch: u64, seq: u64, batch: &Batch) -> Arrived {
        if epoch != self.epoch {
            return Arrived::Refused(StoreError::Fenced);
        }
        if seq <= self.seq {
            return Arrived::Known;
        }
        if seq != self.seq + 1 {
            return Arrived::Refused(StoreError::Fatal(format!("commit {seq} after {}", self.seq)));
        }
        for write in batch.iter() {
            match &write.value {
                Some(value) => self.records.insert(write.key.clone(), value.clone()),
                None => self.records.remove(&write.key),
            };
        }
        self.seq = seq;
        Arrived::Written
    }
}

/// How a commit fares on its way. The owner is told `Unknown` in all cases but the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It never arrives.
    LostBefore,
    /// It is written; the answer is lost.
    LostAfter,
    /// It arrives after the owner has given up waiting, perhaps after later commits.
    Late,
    /// The store breaks down: the owner has to end.
    Breaks,
}
