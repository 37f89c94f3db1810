//! Schedules by namespace and id, in the order of their ids.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::{definition::ScheduleKey, schedule::SlotKey};

/// A map per namespace, so that an entry holds the id alone.
#[derive(Clone, Debug, Default)]
pub struct Index(BTreeMap<Arc<str>, Ids>);

type Ids = BTreeMap<Arc<str>, SlotKey>;

impl Index {
    /// Of keys that ascend: quicker than one after the other, and full.
    pub fn of(sorted: Vec<(ScheduleKey, SlotKey)>) -> Self {
        let of_one =
            |(one, _): &(ScheduleKey, _), (next, _): &(ScheduleKey, _)| one.namespace == next.namespace;
        let namespaces: Vec<(Arc<str>, usize)> =
            sorted.chunk_by(of_one).map(|all| (all[0].0.namespace.clone(), all.len())).collect();
        let mut rest = sorted.into_iter().map(|(key, slot)| (key.id, slot));
        let ids =
            namespaces.into_iter().map(|(namespace, count)| (namespace, rest.by_ref().take(count).collect()));
        Self(ids.collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(index: &Index, namespace: &str, start: Bound<&str>) -> Vec<(String, SlotKey)> {
        index.from(namespace, start).map(|(id, slot)| (id.to_string(), slot)).collect()
    }

    #[test]
    fn a_namespace_is_listed_in_the_order_of_its_ids_and_by_itself() {
        let keys = [("b", "x"), ("a", "2"), ("b", "1"), ("a", "10")];
        let mut sorted: Vec<_> = keys
            .iter()
            .zip(0..)
            .map(|((namespace, id), slot)| (ScheduleKey::new(namespace, id), slot))
            .collect();
        let mut one_by_one = Index::default();
        sorted.iter().cloned().for_each(|(key, slot)| one_by_one.insert(key, slot));
        sorted.sort();
        for mut index in [one_by_one, Index::of(sorted.clone())] {
            assert_eq!(ids(&index, "a", Bound::Unbounded), [("10".into(), 3), ("2".into(), 1)]);
            assert_eq!(ids(&index, "b", Bound::Excluded("1")), [("x".into(), 0)]);
            assert_eq!(ids(&index, "c", Bound::Unbounded), []);
            assert_eq!((index.len(), index.len_of("a"), index.len_of("c")), (4, 2, 0));
            index.remove(&ScheduleKey::new("b", "x"));
            assert_eq!(index.get(&ScheduleKey::new("b", "x")), None);
            assert_eq!(index.get(&ScheduleKey::new("b", "1")), Some(2));
            index.remove(&ScheduleKey::new("b", "1"));
            assert_eq!((index.len(), index.slots().collect::<Vec<_>>()), (2, vec![3, 1]));
        }
    }
}
