//! Key-encryption keys: several versions, one active.

use std::collections::BTreeMap;
use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

pub const KEY_BYTES: usize = 32;
/// Old versions may be kept for backups.
pub const VERSIONS_MAX: usize = 100;

/// Version numbers begin at 1 and are never used again.
pub type Version = u32;

#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[derive(Clone, Debug)]
pub struct Keyring {
    keys: BTreeMap<Version, Key>,
    active: Version,
}

impl Keyring {
    /// None unless `active` is one of `keys`.
    pub fn new(keys: BTreeMap<Version, Key>, active: Version) -> Option<Self> {
        keys.contains_key(&active).then_some(Self { keys, active })
    }

    pub fn key(&self, version: Version) -> Option<&Key> {
        self.keys.get(&version)
    }

    /// What new credentials are sealed with.
    pub fn active(&self) -> Version {
        self.active
    }

    pub fn versions(&self) -> impl Iterator<Item = Version> {
        self.keys.keys().copied()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (Version, &Key)> {
        self.keys.iter().map(|(version, key)| (*version, key))
    }

    /// Under the next version, which it answers. None when there are as many as there may be.
    pub(super) fn add(&mut self, key: Key) -> Option<Version> {
        if self.keys.len() >= VERSIONS_MAX {
            return None;
        }
        let version = self.keys.keys().next_back().copied().unwrap_or(0).checked_add(1)?;
        self.keys.insert(version, key);
        Some(version)
    }

    /// Whether there is such a version.
    pub(super) fn activate(&mut self, version: Version) -> bool {
        let known = self.keys.contains_key(&version);
        if known {
            self.active = version;
        }
        known
    }

    /// Whether there was such a version, and it was not the active one.
    pub(super) fn remove(&mut self, version: Version) -> bool {
        version != self.active && self.keys.remove(&version).is_some()
    }
}
