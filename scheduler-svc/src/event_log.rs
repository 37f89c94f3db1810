//! What happened last, for apps that list or watch events (rule R8).
//!
//! The shard appends, after the commit that holds the change (rule P1); it waits for nobody. A watcher has no queue
//! here. It keeps its place, a [`Cursor`], and reads on at its own pace; a bell tells it that there is more. What was
//! overwritten before it was read is lost to it, and it hears so: [`Expired`] (rule W10). So a watcher costs the
//! scheduler at most one wake-up per batch.
//!
//! The log is memory. It begins anew with each start of the process, and whenever the machine is loaded anew after a
//! panic (rule P4). Each such life has a name that no other life has, and a cursor is good for its own life only.

mod cursor;
mod entry;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use cursor::Cursor;
use cursor::Life;
pub use entry::{Entry, Kind, Subject};
pub use ring::Slice;
use ring::{Ring, pack};

use crate::state_machine::output::Event;

/// Pieces of the ring that one look takes hold of.
const CHUNKS_PER_LOOK: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Events that are kept.
    pub events: usize,
    /// What they may weigh together; see [`Entry::weight`].
    pub bytes: usize,
    /// Who may watch at once.
    pub watchers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { events: 100_000, bytes: 64 << 20, watchers: 100 }
    }
}

/// Shared by the shard, which appends, and by all who read.
#[derive(Debug)]
pub struct EventLog {
    ring_bounds: ring::Bounds,
    /// Held for a few steps only, on either side: readers look through chunks that they have taken hold of.
    state: Mutex<State>,
    bell: watch::Sender<()>,
    watchers: Arc<Semaphore>,
    most_watchers: usize,
}

#[derive(Debug)]
struct State {
    life: Life,
    ring: Ring<Entry>,
}

/// The events after a cursor are not all kept, or it is no cursor of this log: state has to be read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// As many watch as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyWatchers;

impl EventLog {
    pub fn new(bounds: Bounds, epoch: u64) -> Self {
        let ring_bounds = ring::Bounds { items: bounds.events, bytes: bounds.bytes };
        Self {
            ring_bounds,
            state: Mutex::new(State { life: life(epoch), ring: Ring::new(ring_bounds) }),
            bell: watch::Sender::new(()),
            watchers: Arc::new(Semaphore::new(bounds.watchers)),
            most_watchers: bounds.watchers,
        }
    }

    /// Begins anew under a later epoch: all cursors are void.
    pub fn begin(&self, epoch: u64) {
        let fresh = State { life: life(epoch), ring: Ring::new(self.ring_bounds) };
        let former = std::mem::replace(&mut *self.state(), fresh);
        self.bell.send_replace(());
        drop(former);
    }

    /// Keeps what apps may see of these.
    pub fn append(&self, events: Vec<Event>) {
        let entries = events.into_iter().filter_map(Entry::of);
        let chunks = pack(self.ring_bounds, entries.map(|entry| (entry.weight(), entry)));
        if chunks.is_empty() {
            return;
        }
        let overwritten = self.state().ring.append(chunks);
        self.bell.send_replace(());
        // What it holds is freed without the lock.
        drop(overwritten);
    }

    /// After the newest event.
    pub fn now(&self) -> Cursor {
        let state = self.state();
        Cursor { life: state.life, seq: state.ring.newest() }
    }

    /// Before the oldest event that is kept.
    pub fn oldest(&self) -> Cursor {
        let state = self.state();
        Cursor { life: state.life, seq: state.ring.oldest() - 1 }
    }

    /// The next events after a cursor, a bounded number; none when it is at the end.
    ///
    /// # Errors
    /// [`Expired`], see there.
    pub fn after(&self, cursor: Cursor) -> Result<Slice<Entry>, Expired> {
        let state = self.state();
        if cursor.life != state.life {
            return Err(Expired);
        }
        state.ring.after(cursor.seq, CHUNKS_PER_LOOK).ok_or(Expired)
    }

    /// How many events are kept.
    pub fn len(&self) -> u64 {
        let state = self.state();
        (state.ring.newest() + 1).saturating_sub(state.ring.oldest())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who watches now.
    pub fn watchers(&self) -> usize {
        self.most_watchers - self.watchers.available_permits().min(self.most_watchers)
    }

    /// A place among those who watch.
    ///
    /// # Errors
    /// [`TooManyWatchers`], see there.
    pub fn watch(&self) -> Result<Watcher, TooManyWatchers> {
        let place = self.watchers.clone().try_acquire_owned().map_err(|_| TooManyWatchers)?;
        Ok(Watcher { bell: self.bell.subscribe(), _place: place })
    }

    /// A panic in here leaves a ring that is whole: what is pushed or dropped is one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Epochs alone would do, but for stores that begin with the first again: in memory, or restored from a copy.
fn life(epoch: u64) -> Life {
    Life { epoch, nonce: rand::random() }
}

/// Hears that there is more to read. Dropping it frees its place.
#[derive(Debug)]
pub struct Watcher {
    bell: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// From here on [`Self::rung`] tells of what is appended. Called before one looks, so that nothing falls between.
    pub fn listen(&mut self) {
        self.bell.mark_unchanged();
    }

    /// Waits for something new since [`Self::listen`]. May be dropped and called again.
    pub async fn rung(&mut self) {
        if self.bell.changed().await.is_err() {
            // The log is gone: there is never more.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests;
