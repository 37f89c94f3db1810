//! How many schedules share one cron timing and have no spread, so that all of them are due in the same seconds.

use std::sync::Arc;

use super::{
    definition::Definition,
    timing::{Cron, Timing},
};

/// By the address of the shared timing: equal texts are one while a schedule has them.
#[derive(Clone, Debug, Default)]
pub struct Crowds(hashbrown::HashMap<usize, u32>);

impl Crowds {
    /// A schedule has this definition now instead of that.
    pub fn count_uses(&mut self, former: Option<&Definition>, current: Option<&Definition>) {
        if let Some(cron) = former.and_then(crowded)
            && let Some(count) = self.0.get_mut(&address(cron))
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address(cron));
            }
        }
        if let Some(cron) = current.and_then(crowded) {
            *self.0.entry(address(cron)).or_default() += 1;
        }
    }

    /// What others have counted.
    pub fn add(&mut self, other: Self) {
        for (cron, count) in other.0 {
            *self.0.entry(cron).or_default() += count;
        }
    }

    /// Schedules whose due times are those of this definition, and all of them in the same seconds.
    pub fn of(&self, definition: &Definition) -> u32 {
        crowded(definition).and_then(|cron| self.0.get(&address(cron)).copied()).unwrap_or(0)
    }
}

/// Whether two definitions are of one crowd.
pub fn same(one: &Definition, other: &Definition) -> bool {
    matches!((crowded(one), crowded(other)), (Some(one), Some(other)) if Arc::ptr_eq(one, other))
}

fn crowded(definition: &Definition) -> Option<&Arc<Cron>> {
    match &definition.timing {
        Timing::Cron(cron) if definition.spread == 0 => Some(cron),
        Timing::Cron(_) | Timing::Every { .. } | Timing::At(_) => None,
    }
}

fn address(cron: &Arc<Cron>) -> usize {
    Arc::as_ptr(cron).addr()
}
