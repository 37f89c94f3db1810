//! Two sets of timers on two clocks: wall time for nominal times, elapsed time for everything that lasts.

use std::collections::BTreeSet;

use super::{gate::GateKey, id::SessionId, run::RunKey, schedule::SlotKey};

/// Both clocks, read together at the edge. Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch. May step either way.
    pub wall: i64,
    /// Monotonic, since the process started.
    pub elapsed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WallTimer {
    /// The schedule's next time is due.
    Due(SlotKey),
    /// The schedule's pause ends.
    Resume(SlotKey),
}

impl WallTimer {
    /// The same of another schedule.
    pub fn of(self, slot: SlotKey) -> Self {
        match self {
            Self::Due(_) => Self::Due(slot),
            Self::Resume(_) => Self::Resume(slot),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ElapsedTimer {
    /// The run's backoff is over.
    Backoff(RunKey),
    /// The run's attempt has had its time.
    Attempt(RunKey),
    /// The run has waited as long as it may for its first attempt.
    Queue(RunKey),
    /// A lease of the session may have ended.
    Session(SessionId),
    /// Something about the gate changes by itself.
    Gate(GateKey),
    /// Leases that were found at load and that no worker has claimed end.
    Orphans,
    /// Seen request ids are old enough to forget.
    Requests,
}

#[derive(Clone, Debug, Default)]
pub struct Timers {
    wall: BTreeSet<(i64, WallTimer)>,
    elapsed: BTreeSet<(u64, ElapsedTimer)>,
}

/// When to call the machine again: at the earlier of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    pub wall: Option<i64>,
    pub elapsed: Option<u64>,
}

impl Timers {
    pub fn set_wall(&mut self, at: i64, timer: WallTimer) {
        self.wall.insert((at, timer));
    }

    /// Many at once, best in their order.
    pub fn set_all_wall(&mut self, all: Vec<(i64, WallTimer)>) {
        self.wall.append(&mut all.into_iter().collect());
    }

    pub fn clear_wall(&mut self, at: i64, timer: WallTimer) {
        self.wall.remove(&(at, timer));
    }

    pub fn set(&mut self, at: u64, timer: ElapsedTimer) {
        self.elapsed.insert((at, timer));
    }

    pub fn clear(&mut self, at: u64, timer: ElapsedTimer) {
        self.elapsed.remove(&(at, timer));
    }

    pub fn pop_wall(&mut self, now: Now) -> Option<WallTimer> {
        let first = *self.wall.first().filter(|(at, _)| *at <= now.wall)?;
        self.wall.remove(&first);
        Some(first.1)
    }

    pub fn pop(&mut self, now: Now) -> Option<ElapsedTimer> {
        let first = *self.elapsed.first().filter(|(at, _)| *at <= now.elapsed)?;
        self.elapsed.remove(&first);
        Some(first.1)
    }

    pub fn next(&self) -> Wake {
        Wake { wall: self.wall.first().map(|(at, _)| *at), elapsed: self.elapsed.first().map(|(at, _)| *at) }
    }

    pub fn all_wall(&self) -> impl Iterator<Item = (i64, WallTimer)> {
        self.wall.iter().copied()
    }

    pub fn all(&self) -> impl Iterator<Item = (u64, ElapsedTimer)> {
        self.elapsed.iter().copied()
    }

    pub fn has_wall(&self, at: i64, timer: WallTimer) -> bool {
        self.wall.contains(&(at, timer))
    }
}
