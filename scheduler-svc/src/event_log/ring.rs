//! The newest items, numbered from 1, bounded in number and bytes.
//!
//! Items lie in chunks that never change. Whoever reads takes hold of some chunks, which is quick, and looks through
//! them while the ring goes on; what it holds stays until it lets go. The oldest chunk goes as a whole.

use std::{collections::VecDeque, sync::Arc};

/// A chunk is closed at so many items or bytes, so that little goes at once and little is held by a reader.
const CHUNK_ITEMS: usize = 256;
const CHUNK_BYTES: usize = 256 << 10;
/// Of a small ring a chunk is no more than this part.
const CHUNKS_MIN: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub items: usize,
    pub bytes: usize,
}

#[derive(Debug)]
pub struct Chunk<T> {
    items: Vec<T>,
    bytes: usize,
}

#[derive(Debug)]
pub struct Ring<T> {
    bounds: Bounds,
    /// With the number of its first item, ascending.
    chunks: VecDeque<(u64, Arc<Chunk<T>>)>,
    newest: u64,
    items: usize,
    bytes: usize,
}

/// Puts items with their weights into chunks, for [`Ring::append`].
pub fn pack<T>(bounds: Bounds, items: impl Iterator<Item = (usize, T)>) -> Vec<Arc<Chunk<T>>> {
    let (items_max, bytes_max) =
        (CHUNK_ITEMS.min(bounds.items / CHUNKS_MIN), CHUNK_BYTES.min(bounds.bytes / CHUNKS_MIN));
    let mut chunks = Vec::new();
    let mut open = Chunk { items: Vec::new(), bytes: 0 };
    for (weight, item) in items {
        if !open.items.is_empty() && (open.items.len() >= items_max || open.bytes + weight > bytes_max) {
            chunks.push(Arc::new(std::mem::replace(&mut open, Chunk { items: Vec::new(), bytes: 0 })));
        }
        open.bytes += weight;
        open.items.push(item);
    }
    if !open.items.is_empty() {
        chunks.push(Arc::new(open));
    }
    chunks
}

impl<T> Ring<T> {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, chunks: VecDeque::new(), newest: 0, items: 0, bytes: 0 }
    }

    /// Returns what had to go.
    pub fn append(&mut self, chunks: Vec<Arc<Chunk<T>>>) -> Vec<Arc<Chunk<T>>> {
        for chunk in chunks {
            let first = self.newest + 1;
            self.newest += chunk.items.len() as u64;
            self.items += chunk.items.len();
            self.bytes += chunk.bytes;
            self.chunks.push_back((first, chunk));
        }
        let mut gone = Vec::new();
        while self.items > self.bounds.items || self.bytes > self.bounds.bytes {
            let Some((_, chunk)) = self.chunks.pop_front() else { break };
            self.items -= chunk.items.len();
            self.bytes -= chunk.bytes;
            gone.push(chunk);
        }
        gone
    }

    /// Number of the newest item; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Number of the oldest item that is kept; one more than the newest when there is none.
    pub fn oldest(&self) -> u64 {
        self.chunks.front().map_or(self.newest + 1, |(first, _)| *first)
    }

    /// The items after a number, of at most so many chunks. None when some of them are gone, or the number is of an
    /// item that never was.
    pub fn after(&self, seq: u64, chunks: usize) -> Option<Slice<T>> {
        if seq > self.newest || seq + 1 < self.oldest() {
            return None;
        }
        let wanted = seq + 1;
        let index = self.chunks.partition_point(|(first, _)| *first <= wanted).saturating_sub(1);
        let chunks = self.chunks.iter().skip(index).take(chunks).cloned().collect();
        Some(Slice { wanted, chunks })
    }
}

/// Items that follow each other.
#[derive(Debug)]
pub struct Slice<T> {
    wanted: u64,
    chunks: Vec<(u64, Arc<Chunk<T>>)>,
}

impl<T> Slice<T> {
    /// With their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.chunks.iter().flat_map(|(first, chunk)| {
            let skip = self.wanted.saturating_sub(*first);
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX);
            (*first + skip..).zip(chunk.items.iter().skip(skipped))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(items: usize, bytes: usize) -> Ring<u64> {
        Ring::new(Bounds { items, bytes })
    }

    /// Appends as one batch: each item is its number, and weighs so much.
    fn add(ring: &mut Ring<u64>, count: u64, weight: usize) {
        let numbers = ring.newest + 1..=ring.newest + count;
        let chunks = pack(ring.bounds, numbers.map(|number| (weight, number)));
        ring.append(chunks);
    }

    fn kept(ring: &Ring<u64>) -> Vec<u64> {
        rest(ring, ring.oldest() - 1)
    }

    fn rest(ring: &Ring<u64>, seq: u64) -> Vec<u64> {
        let slice = ring.after(seq, usize::MAX).expect("kept");
        slice.iter().inspect(|(seq, item)| assert_eq!(seq, *item)).map(|(_, item)| *item).collect()
    }

    #[test]
    fn it_keeps_the_newest() {
        let mut ring = ring(10, 1_000);
        assert_eq!((kept(&ring), ring.newest()), (vec![], 0));
        for batch in [1, 3, 6] {
            add(&mut ring, batch, 1);
        }
        assert_eq!(kept(&ring), (1..=10).collect::<Vec<_>>(), "as many as may be");
        add(&mut ring, 1, 1);
        assert_eq!(kept(&ring), (2..=11).collect::<Vec<_>>());
        add(&mut ring, 1_000, 1);
        assert_eq!(kept(&ring), (1_002..=1_011).collect::<Vec<_>>(), "one batch may overwrite it many times");
    }

    #[test]
    fn bytes_are_a_bound_of_their_own() {
        let mut ring = ring(1_000, 80);
        add(&mut ring, 8, 10);
        assert_eq!(kept(&ring).len(), 8);
        add(&mut ring, 1, 30);
        assert_eq!(kept(&ring), (4..=9).collect::<Vec<_>>());
        add(&mut ring, 1, 81);
        assert_eq!(kept(&ring), Vec::<u64>::new(), "what is larger than the ring is not kept");
        assert_eq!(ring.newest(), 10, "its number is taken");
        assert!(ring.after(9, 1).is_none() && ring.after(10, 1).is_some());
    }

    #[test]
    fn numbers_before_the_oldest_and_after_the_newest_are_refused() {
        let mut ring = ring(10, 1_000);
        add(&mut ring, 25, 1);
        let (oldest, newest) = (ring.oldest(), ring.newest());
        for gone in [0, oldest - 2, newest + 1, u64::MAX] {
            assert!(ring.after(gone, 9).is_none(), "{gone}");
        }
        for seq in oldest - 1..=newest {
            assert_eq!(rest(&ring, seq), (seq + 1..=newest).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_look_takes_hold_of_a_bounded_part() {
        let mut ring = ring(10_000, 1 << 20);
        for _ in 0..100 {
            add(&mut ring, 3, 1);
        }
        let slice = ring.after(4, 2).expect("kept");
        assert_eq!(slice.iter().map(|(seq, _)| seq).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
        add(&mut ring, 10_000, 1);
        assert_eq!(slice.iter().count(), 5, "what a reader holds stays while it is overwritten");
        assert!(ring.after(4, 2).is_none());
    }

    #[test]
    fn chunks_are_small() {
        let bounds = Bounds { items: 1_000_000, bytes: 1 << 30 };
        let packed = pack(bounds, (0..1_000).map(|item| (1, item)));
        assert!(packed.iter().all(|chunk| chunk.items.len() <= CHUNK_ITEMS));
        let packed = pack(bounds, (0..100).map(|item| (50 << 10, item)));
        assert!(packed.iter().all(|chunk| chunk.bytes <= CHUNK_BYTES));
    }
}
