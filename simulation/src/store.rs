//! The durable state behind the simulated network: keeps records, fences by epoch, knows nothing else.
//!
//! A real store may stand behind it. Then everything goes there too, what is loaded comes from there, and each of its
//! answers has to be the simulated one's.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use scheduler_svc::store::{Batch, Key, Opened, Snapshot, Store, StoreError, Write};

#[derive(Default)]
pub struct Durable {
    pub epoch: u64,
    pub seq: u64,
    pub records: BTreeMap<Key, Bytes>,
    real: Option<Arc<dyn Store>>,
    /// Records that have become garbage. A real store is shown them only when it is read.
    garbage: BTreeMap<Key, Bytes>,
    /// What was there is lost; the owner does not know yet.
    forgotten: bool,
    /// The batch that met the loss.
    refused: Option<(u64, Batch)>,
}

/// What a commit that has arrived did.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    Written,
    /// The same batch again.
    Known,
    Refused(StoreError),
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = self.real.as_ref().map(|real| real.kind());
        write!(f, "epoch {}, commit {}, {} records, on {on:?}", self.epoch, self.seq, self.records.len())
    }
}

impl Durable {
    pub fn on(real: Arc<dyn Store>) -> Self {
        Self { real: Some(real), ..Self::default() }
    }

    /// # Panics
    /// When the real store, if there is one, does not hold what was committed.
    pub fn open(&mut self) -> Opened {
        self.epoch += 1;
        // Its files were put back before anybody who holds the truth could write it anew.
        (self.forgotten, self.refused) = (false, None);
        let hot = self.records.iter().filter(|(key, _)| !key.is_cold());
        let hot: Vec<(Key, Bytes)> = hot.map(|(key, value)| (key.clone(), value.clone())).collect();
        let expected = Opened { epoch: self.epoch, seq: self.seq, hot, took: Duration::ZERO };
        let Some(real) = &self.real else { return expected };
        // Leases have no place in virtual time: the former owner makes way.
        real.resign();
        let mut opened = real.open().expect("the real store opens");
        for (key, value) in &mut opened.hot {
            if let Some(garbage) = self.garbage.get(key) {
                value.clone_from(garbage);
            }
        }
        assert_eq!((opened.epoch, opened.seq), (expected.epoch, expected.seq), "{} store", real.kind());
        let found: BTreeMap<&Key, &Bytes> = opened.hot.iter().map(|(key, value)| (key, value)).collect();
        let known: BTreeMap<&Key, &Bytes> = expected.hot.iter().map(|(key, value)| (key, value)).collect();
        assert!(found == known && found.len() == opened.hot.len(), "{} store: other records", real.kind());
        opened
    }

    /// From now on a record holds something else than what was written.
    pub fn garble(&mut self, key: Key, value: Bytes) {
        self.records.insert(key.clone(), value.clone());
        self.garbage.insert(key, value);
    }

    /// Everything is gone. Whoever commits next is told.
    pub fn forget(&mut self) {
        self.forgotten = true;
    }

    /// Takes everything that its owner holds. Returns what that comes to, as batches with their sequences.
    ///
    /// # Panics
    /// As for `commit`.
    pub fn restore(&mut self, epoch: u64, seq: u64, snapshot: &Snapshot) -> (Arrived, Vec<(u64, Batch)>) {
        if epoch != self.epoch {
            return (Arrived::Refused(StoreError::Fenced), Vec::new());
        }
        if seq <= self.seq {
            return (Arrived::Known, Vec::new());
        }
        self.forgotten = false;
        let mut written = Vec::new();
        if let Some((former, batch)) = self.refused.take().filter(|(former, _)| *former == self.seq + 1) {
            self.commit(epoch, former, &batch);
            written.push((former, batch));
        }
        let batch = Arc::new(self.difference(snapshot));
        let arrived = self.commit(epoch, seq, &batch);
        written.push((seq, batch));
        (arrived, written)
    }

    /// What makes a store of the records that are here one that holds the snapshot. History is never read back, so what
    /// the snapshot says of it is all that is said.
    fn difference(&self, snapshot: &Snapshot) -> Vec<Write> {
        let hot: BTreeMap<&Key, &Bytes> = snapshot.hot.iter().map(|(key, value)| (key, value)).collect();
        let gone = self.records.keys().filter(|key| !key.is_cold() && !hot.contains_key(key));
        let gone = gone.map(|key| Write { key: key.clone(), value: None });
        let changed = hot.iter().filter(|(key, value)| self.records.get(key) != Some(value));
        let changed =
            changed.map(|(key, value)| Write { key: (*key).clone(), value: Some((*value).clone()) });
        let cold = snapshot.cold.iter().filter(|write| self.records.get(&write.key) != write.value.as_ref());
        gone.chain(changed).chain(cold.cloned()).collect()
    }

    /// # Panics
    /// When the real store, if there is one, answers otherwise.
    pub fn commit(&mut self, epoch: u64, seq: u64, batch: &Batch) -> Arrived {
        if self.forgotten && epoch == self.epoch {
            if seq > self.seq {
                self.refused = Some((seq, batch.clone()));
            }
            return Arrived::Refused(StoreError::Lost);
        }
        // A copy that comes after later commits answers nobody; the client of a real store sends none.
        let belated = epoch == self.epoch && seq < self.seq;
        let arrived = self.arrives(epoch, seq, batch);
        if let Some(real) = self.real.as_ref().filter(|_| !belated) {
            let answer = answer(&**real, epoch, seq, batch);
            let same = match &arrived {
                Arrived::Written | Arrived::Known => answer.is_ok(),
                Arrived::Refused(StoreError::Fenced) => answer == Err(StoreError::Fenced),
                Arrived::Refused(_) => matches!(answer, Err(StoreError::Fatal(_) | StoreError::Lost)),
            };
            assert!(same, "{} store: {answer:?} instead of {arrived:?}", real.kind());
        }
        arrived
    }

    /// # Panics
    /// When the real store's history, if there is one, is not what was committed.
    pub fn compare_history(&self) {
        let Some(real) = &self.real else { return };
        let (mut found, mut from) = (BTreeMap::new(), None);
        loop {
            let page = real.scan(from.as_ref()).expect("a page of history");
            found.extend(page.records);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let known = self.records.iter().filter(|(key, _)| key.is_cold());
        assert!(found.iter().eq(known), "{} store: another history", real.kind());
    }

    fn arrives(&mut self, epoch: u64, seq: u64, batch: &Batch) -> Arrived {
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
            self.garbage.remove(&write.key);
            match &write.value {
                Some(value) => self.records.insert(write.key.clone(), value.clone()),
                None => self.records.remove(&write.key),
            };
        }
        self.seq = seq;
        Arrived::Written
    }
}

/// What a store says once it knows.
fn answer(store: &dyn Store, epoch: u64, seq: u64, batch: &Batch) -> Result<(), StoreError> {
    loop {
        match store.commit(epoch, seq, batch.clone()) {
            Err(StoreError::Unknown(_)) => {}
            answer => return answer,
        }
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
