//! Wall clocks, one per scheduler host: true time plus an offset that may step either way.

use super::World;
use scheduler_svc::state_machine::timer::Now;

#[derive(Clone, Copy, Debug, Default)]
pub struct Host {
    pub offset: i64,
}

impl World {
    pub(crate) fn wall(&self, scheduler: usize) -> i64 {
        super::START + self.now as i64 + self.hosts[self.schedulers[scheduler].host].offset
    }

    /// Both clocks of a scheduler process. Elapsed time begins anew with each process.
    pub(crate) fn clock(&self, scheduler: usize) -> Now {
        Now { wall: self.wall(scheduler), elapsed: self.now - self.schedulers[scheduler].born }
    }
}
