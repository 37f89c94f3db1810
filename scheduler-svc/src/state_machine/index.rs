//! Schedules by namespace and id, in the order of their ids.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::{definition::ScheduleKey, schedule::SlotKey};

/// A map per namespace, so that an entry holds the id alone.
#[derive(Clone, Debug, Default)]
pub struct Index(BTreeMap<Arc<str>, Ids>);

type Ids = BTreeMap<Arc<str>, SlotKey>;

impl Index {
    /// Of keys that ascend: quicker than one after the other, and full.
    pub fn of(sorted: impl IntoIterator<Item = (ScheduleKey, SlotKey)>) -> Self {
        let mut namespaces = Vec::<(Arc<str>, Vec<(Arc<str>, SlotKey)>)>::new();
        for (ScheduleKey { namespace, id }, slot) in sorted {
            match namespaces.last_mut().filter(|(last, _)| *last == namespace) {
                Some((_, ids)) => ids.push((id, slot)),
                None => namespaces.push((namespace, vec![(id, slot)])),
            }
        }
        Self(namespaces.into_iter().map(|(namespace, ids)| (namespace, ids.into_iter().collect())).collect())
    }

    pub fn get(&self, key: &ScheduleKey) -> Option<SlotKey> {
        self.0.get(&key.namespace)?.get(&key.id).copied()
    }

    pub fn insert(&mut self, key: ScheduleKey, slot: SlotKey) {
        self.0.entry(key.namespace).or_default().insert(key.id, slot);
    }

    pub fn remove(&mut self, key: &ScheduleKey) {
        let Some(ids) = self.0.get_mut(&key.namespace) else { return };
        ids.remove(&key.id);
        if ids.is_empty() {
            self.0.remove(&key.namespace);
        }
    }

    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub fn len_of(&self, namespace: &str) -> usize {
        self.0.get(namespace).map_or(0, BTreeMap::len)
    }

    pub fn slots(&self) -> impl Iterator<Item = SlotKey> {
        self.0.values().flat_map(|ids| ids.values().copied())
    }

    /// The ids of a namespace from `start` on.
    pub fn from<'a>(
        &'a self,
        namespace: &str,
        start: Bound<&str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, SlotKey)> + use<'a> {
        let ids = self.0.get(namespace).map(|ids| ids.range::<str, _>((start, Bound::Unbounded)));
        ids.into_iter().flatten().map(|(id, slot)| (id, *slot))
    }
}
