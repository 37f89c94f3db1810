//! What operators set: limits by key or pattern, and which of them counts for a key.
//!
//! A pattern ends in `*` and is the default of each key that begins with what stands before it. The limit of the exact
//! key counts alone; else that of the longest pattern.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::bucket::Rate;

/// Limits in one namespace.
pub const LIMITS_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// None = unlimited, 0 = closed.
    pub max_running: Option<u32>,
    /// 0 = unlimited.
    pub rate: Rate,
    pub burst: u32,
}

/// Namespace and key, or pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitName {
    pub namespace: Arc<str>,
    pub key: Box<str>,
}

impl LimitName {
    pub fn new(namespace: &Arc<str>, key: &str) -> Self {
        Self { namespace: namespace.clone(), key: key.into() }
    }

    /// What a pattern's keys begin with.
    pub fn prefix(&self) -> Option<&str> {
        self.key.strip_suffix('*')
    }
}

#[derive(Clone, Debug, Default)]
pub struct Limits {
    by_name: BTreeMap<LimitName, Limit>,
    count: HashMap<Arc<str>, usize>,
    /// How many patterns have a prefix of this length, by namespace: a key is looked up once per length.
    lengths: BTreeMap<(Arc<str>, usize), usize>,
    /// Grows with each change.
    pub version: u64,
}

impl Limits {
    pub fn has_room(&self, name: &LimitName) -> bool {
        self.by_name.contains_key(name) || self.count.get(&name.namespace).is_none_or(|n| *n < LIMITS_MAX)
    }

    pub fn set(&mut self, name: LimitName, limit: Limit) {
        self.version += 1;
        if self.by_name.insert(name.clone(), limit).is_none() {
            *self.count.entry(name.namespace.clone()).or_default() += 1;
            if let Some(prefix) = name.prefix() {
                *self.lengths.entry((name.namespace.clone(), prefix.len())).or_default() += 1;
            }
        }
    }

    pub fn remove(&mut self, name: &LimitName) -> bool {
        if self.by_name.remove(name).is_none() {
            return false;
        }
        self.version += 1;
        if let Some(count) = self.count.get_mut(&name.namespace) {
            *count -= 1;
        }
        if let Some(prefix) = name.prefix() {
            let length = (name.namespace.clone(), prefix.len());
            if let Some(count) = self.lengths.get_mut(&length) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&length);
                }
            }
        }
        true
    }

    pub fn get(&self, name: &LimitName) -> Option<Limit> {
        self.by_name.get(name).copied()
    }

    /// The limit that counts for a key.
    pub fn of(&self, key: &LimitName) -> Option<Limit> {
        self.get(key).or_else(|| {
            let (from, to) = ((key.namespace.clone(), 0), (key.namespace.clone(), key.key.len()));
            let lengths = self.lengths.range(from..=to).rev().map(|((_, length), _)| *length);
            lengths
                .filter_map(|length| key.key.get(..length))
                .find_map(|prefix| self.get(&LimitName::new(&key.namespace, &format!("{prefix}*"))))
        })
    }

    /// From `start` on, in the order of keys.
    pub fn range(&self, start: std::ops::Bound<LimitName>) -> impl Iterator<Item = (&LimitName, &Limit)> {
        self.by_name.range((start, std::ops::Bound::Unbounded))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&LimitName, &Limit)> {
        self.by_name.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_the_exact_key_counts_alone_then_the_longest_pattern() {
        let namespace: Arc<str> = "default".into();
        let name = |key: &str| LimitName::new(&namespace, key);
        let limit = |max| Limit { max_running: Some(max), rate: 0, burst: 1 };
        let mut limits = Limits::default();
        for (key, max) in [("*", 1), ("mailbox:*", 2), ("mailbox:vip-*", 3), ("mailbox:vip-7", 4)] {
            limits.set(name(key), limit(max));
        }
        let max = |limits: &Limits, key: &str| limits.of(&name(key)).and_then(|limit| limit.max_running);
        assert_eq!(max(&limits, "mailbox:vip-7"), Some(4));
        assert_eq!(max(&limits, "mailbox:vip-8"), Some(3));
        assert_eq!(max(&limits, "mailbox:"), Some(2));
        assert_eq!(max(&limits, "mail"), Some(1));
        assert_eq!(limits.of(&LimitName::new(&"shop".into(), "mail")), None, "each namespace has its own");
        assert!(limits.remove(&name("mailbox:vip-*")) && !limits.remove(&name("mailbox:vip-*")));
        assert_eq!(max(&limits, "mailbox:vip-8"), Some(2));
        limits.set(name("mailbox:vip-7"), Limit { max_running: None, rate: 0, burst: 1 });
        assert_eq!(max(&limits, "mailbox:vip-7"), None, "exempt from the pattern");
    }
}
