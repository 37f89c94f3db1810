//! What a turn has changed, as the records that it writes.

use std::{hash::BuildHasher as _, mem};

use bytes::Bytes;

use super::{StateMachine, run::RunKey, schedule::SlotKey};
use crate::{
    record,
    store::{Key, Write, key::Name},
};

impl StateMachine {
    pub(super) fn touch(&mut self, slot: SlotKey) {
        let dirty = &mut self.schedules[slot].dirty;
        dirty.state = true;
        if !mem::replace(&mut dirty.listed, true) {
            self.dirty_schedules.push(slot);
        }
    }

    pub(super) fn touch_run(&mut self, key: RunKey) {
        if !mem::replace(&mut self.runs[key].dirty, true) {
            self.dirty_runs.push(key);
        }
    }

    pub(super) fn put(&mut self, name: &Name, value: Bytes) {
        self.write(Key::new(name), Some(value));
    }

    pub(super) fn delete(&mut self, name: &Name) {
        self.write(Key::new(name), None);
    }

    /// A batch names each key once: stores may apply its writes in any order.
    fn write(&mut self, key: Key, value: Option<Bytes>) {
        let (hasher, writes) = (&self.hasher, &mut self.out.writes);
        let hash = hasher.hash_one(&key);
        if let Some(index) = self.written.find(hash, |index| writes[*index].key == key) {
            writes[*index].value = value;
            return;
        }
        self.written.insert_unique(hash, writes.len(), |index| hasher.hash_one(&writes[*index].key));
        writes.push(Write { key, value });
    }

    pub(super) fn write_dirty(&mut self) {
        for slot in mem::take(&mut self.dirty_schedules) {
            let Some(schedule) = self.schedules.get_mut(slot) else { continue };
            let dirty = mem::take(&mut schedule.dirty);
            let (uid, generation) = (schedule.uid, schedule.generation);
            if dirty.definition {
                let value = record::definition(&schedule.definition);
                self.put(&Name::Definition(uid, generation), value);
            }
            if dirty.state {
                let value = record::state(&self.schedules[slot]);
                self.put(&Name::State(uid), value);
            }
        }
        for key in mem::take(&mut self.dirty_runs) {
            let Some(run) = self.runs.get_mut(key).filter(|run| run.dirty) else { continue };
            (run.dirty, run.stored) = (false, true);
            let (id, value) = (run.id, record::run(run));
            self.put(&Name::Run(id), value);
            self.retally(key);
        }
        self.meta_dirty |= self.meta_pending && !self.out.writes.is_empty();
        if mem::take(&mut self.meta_dirty) {
            self.meta_pending = false;
            let value = record::meta(&self.archives);
            self.put(&Name::Meta, value);
        }
    }
}
