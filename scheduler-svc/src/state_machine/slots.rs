//! The schedules in memory, each in a slot of its own. A slot that is given up is taken again.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::schedule::{Schedule, SlotKey};

#[derive(Clone, Debug, Default)]
pub struct Slots(Slab<Schedule>);

impl Slots {
    /// The slot that the next one gets.
    pub fn next(&self) -> SlotKey {
        short(self.0.vacant_key())
    }

    pub fn insert(&mut self, schedule: Schedule) -> SlotKey {
        short(self.0.insert(schedule))
    }

    /// # Panics
    /// If there is none.
    pub fn remove(&mut self, slot: SlotKey) -> Schedule {
        self.0.remove(slot as usize)
    }

    pub fn get(&self, slot: SlotKey) -> Option<&Schedule> {
        self.0.get(slot as usize)
    }

    pub fn get_mut(&mut self, slot: SlotKey) -> Option<&mut Schedule> {
        self.0.get_mut(slot as usize)
    }

    pub fn contains(&self, slot: SlotKey) -> bool {
        self.0.contains(slot as usize)
    }

    /// In the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (SlotKey, &Schedule)> {
        self.0.iter().map(|(slot, schedule)| (short(slot), schedule))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All slots that are taken lie below it.
    pub fn end(&self) -> SlotKey {
        short(self.0.capacity())
    }

    pub fn reserve(&mut self, count: usize) {
        // A store of a million is loaded at once; growing by halves would leave a third of it unused.
        self.0.reserve_exact(count);
    }
}

/// Memory ends long before the slots do.
fn short(slot: usize) -> SlotKey {
    debug_assert!(slot <= SlotKey::MAX as usize);
    slot as SlotKey
}

impl Index<SlotKey> for Slots {
    type Output = Schedule;

    fn index(&self, slot: SlotKey) -> &Schedule {
        &self.0[slot as usize]
    }
}

impl IndexMut<SlotKey> for Slots {
    fn index_mut(&mut self, slot: SlotKey) -> &mut Schedule {
        &mut self.0[slot as usize]
    }
}
