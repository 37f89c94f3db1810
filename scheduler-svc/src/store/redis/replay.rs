//! The last batches that were committed, to be sent again when Redis has lost them (rule O7). Bounded in time and bytes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::store::Batch;

/// Longer than Redis may lose with `appendfsync everysec` (2 s), or a replica may lag behind by default
/// (`min-replicas-max-lag`, 10 s).
const KEPT_FOR: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Default)]
pub struct Ring {
    batches: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    batch: Batch,
    bytes: usize,
    at: Instant,
}

impl Ring {
    pub fn push(&mut self, seq: u64, batch: Batch, at: Instant) {
        let bytes = batch.iter().map(|write| 64 + write.value.as_ref().map_or(0, bytes::Bytes::len)).sum();
        self.bytes += bytes;
        self.batches.push_back(Kept { seq, batch, bytes, at });
        while self.batches.len() > 1
            && (self.bytes > BYTES_MAX || self.batches.front().is_some_and(|kept| at - kept.at > KEPT_FOR))
        {
            self.bytes -= self.batches.pop_front().map_or(0, |kept| kept.bytes);
        }
    }

    /// The first sequence that is at hand.
    pub fn from(&self) -> Option<u64> {
        self.batches.front().map(|kept| kept.seq)
    }

    pub fn since(&self, seq: u64) -> Vec<(u64, Batch)> {
        self.batches
            .iter()
            .filter(|kept| kept.seq >= seq)
            .map(|kept| (kept.seq, kept.batch.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::store::{Key, Write, key::Name};

    fn batch(bytes: usize) -> Batch {
        Arc::new(vec![Write { key: Key::new(&Name::Meta), value: Some(Bytes::from(vec![0; bytes])) }])
    }

    #[test]
    fn it_keeps_ten_seconds() {
        let (mut ring, start) = (Ring::default(), Instant::now());
        for second in 0..30 {
            ring.push(second, batch(10), start + Duration::from_secs(second));
        }
        assert_eq!(ring.from(), Some(19));
        assert_eq!(ring.since(28).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [28, 29]);
    }

    #[test]
    fn it_keeps_64_mb_and_always_the_last() {
        let (mut ring, now) = (Ring::default(), Instant::now());
        for seq in 1..=5 {
            ring.push(seq, batch(30 << 20), now);
        }
        assert_eq!(ring.from(), Some(4));
        ring.push(6, batch(100 << 20), now);
        assert_eq!(ring.from(), Some(6));
    }
}
