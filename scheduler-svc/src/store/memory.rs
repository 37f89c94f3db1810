//! A store in memory: for tests and `memory:`. Nothing survives the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{Batch, Cursor, Key, Opened, Page, Snapshot, Store, StoreError};

/// Records of one page of a scan.
const PAGE: usize = 1_000;

#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    seq: u64,
    records: BTreeMap<Key, Bytes>,
    /// What the next commits answer instead of success; for tests.
    faults: Vec<Fault>,
}

/// A way in which a commit can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and nobody knows.
    LostBefore,
    /// It is written, but the answer is lost.
    LostAfter,
    /// All that was ever written is gone.
    Emptied,
}

impl MemoryStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next commits go wrong in these ways, one each.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    #[cfg(test)]
    pub(super) fn state_is_empty(&self) -> bool {
        self.state().records.is_empty()
    }
}

impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let mut state = self.state();
        state.epoch += 1;
        let hot = state.records.iter().filter(|(key, _)| !key.is_cold());
        let hot = hot.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Opened { epoch: state.epoch, seq: state.seq, hot, took: Duration::ZERO })
    }

    fn commit(&self, epoch: u64, seq: u64, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        if epoch != state.epoch {
            return Err(StoreError::Fenced);
        }
        let fault = if state.faults.is_empty() { None } else { Some(state.faults.remove(0)) };
        if fault == Some(Fault::LostBefore) {
            return Err(StoreError::Unknown("the request was lost".into()));
        }
        if fault == Some(Fault::Emptied) {
            (state.records, state.seq) = (BTreeMap::new(), 0);
        }
        if state.seq + 1 < seq {
            return Err(StoreError::Lost);
        }
        if seq == state.seq + 1 {
            for write in batch.iter() {
                match &write.value {
                    Some(value) => state.records.insert(write.key.clone(), value.clone()),
                    None => state.records.remove(&write.key),
                };
            }
            state.seq = seq;
        } else if seq != state.seq {
            return Err(StoreError::Fatal(format!("commit {seq} after {}", state.seq)));
        }
        match fault {
            Some(Fault::LostAfter) => Err(StoreError::Unknown("the answer was lost".into())),
            Some(Fault::LostBefore | Fault::Emptied) | None => Ok(()),
        }
    }

    fn restore(&self, epoch: u64, seq: u64, snapshot: Arc<Snapshot>) -> Result<(), StoreError> {
        let mut state = self.state();
        if epoch != state.epoch {
            return Err(StoreError::Fenced);
        }
        state.records.retain(|key, _| key.is_cold());
        state.records.extend(snapshot.hot.iter().cloned());
        for write in snapshot.cold.iter() {
            match &write.value {
                Some(value) => state.records.insert(write.key.clone(), value.clone()),
                None => state.records.remove(&write.key),
            };
        }
        state.seq = seq;
        Ok(())
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.records.get(key).cloned()).collect())
    }

    fn scan(&self, from: Option<&Cursor>) -> Result<Page, StoreError> {
        let state = self.state();
        let begin = from.map_or(Bound::Unbounded, |last| Bound::Excluded(Key::from_bytes(last)));
        let cold = state.records.range((begin, Bound::Unbounded)).filter(|(key, _)| key.is_cold());
        let records: Vec<_> = cold.take(PAGE).map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Page { next: super::next_page(&records, PAGE), records })
    }

    fn outrank(&self, epoch: u64) {
        let mut state = self.state();
        state.epoch = state.epoch.max(epoch);
    }
}
