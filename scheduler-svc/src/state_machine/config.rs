//! What the machine is set to.

use super::history::Kept;

/// Bounds and spans. Milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub lease: u64,
    pub heartbeat: u64,
    pub reconnect_grace: u64,
    pub schedules_per_namespace: usize,
    /// Over it nobody starts runs by hand; times that are due still run.
    pub live_runs_per_namespace: usize,
    /// Of one schedule under overlap `allow`.
    pub live_runs_max: usize,
    /// Timers that one turn handles.
    pub timers_per_turn: usize,
    pub assignments_per_turn: usize,
    /// Leases of lost workers that one turn ends.
    pub losses_per_turn: usize,
    /// Jobs in one message.
    pub max_batch: usize,
    /// The one archive that workers which file documents have to have. Leaked, as below. None = that of the first.
    pub archive: Option<&'static str>,
    pub history: Kept,
    /// Of namespaces that have their own, by name. Leaked at the start, so that all of this is `Copy`.
    pub history_of: &'static [(Box<str>, Kept)],
    /// Over it, the history that is oldest is given up.
    pub history_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: 15_000,
            heartbeat: 5_000,
            reconnect_grace: 5_000,
            schedules_per_namespace: 1_000_000,
            live_runs_per_namespace: 1_000_000,
            live_runs_max: 16,
            timers_per_turn: 2_000,
            assignments_per_turn: 4_000,
            losses_per_turn: 1_000,
            max_batch: 1_000,
            archive: None,
            history: Kept::default(),
            history_of: &[],
            history_bytes_max: 8 << 30,
        }
    }
}
