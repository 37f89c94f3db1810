//! Keys of records. Their bytes sort records of one schedule together.

use smallvec::SmallVec;

use crate::state_machine::id::{RunId, SHARD, Trigger, Uid};

/// Shard, tag, then the parts in big-endian order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmallVec<[u8; 40]>);

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    // Hot.
    Meta,
    Definition(Uid, u32),
    State(Uid),
    Run(RunId),
    Request {
        namespace: String,
        id: String,
    },
    Limit {
        namespace: String,
        key: String,
    },
    Closing {
        namespace: String,
        key: String,
    },
    /// Says that a copy into this store is not finished.
    Copying,
    // Cold.
    Decision(Uid, u32),
    Succeeded(Uid, u32),
    Unsucceeded(Uid, u32),
}

const META: u8 = b'm';
const DEFINITION: u8 = b'd';
const STATE: u8 = b's';
const RUN: u8 = b'r';
const REQUEST: u8 = b'q';
const LIMIT: u8 = b'l';
const CLOSING: u8 = b'c';
const COPYING: u8 = b'x';
/// Cold tags are upper case.
const DECISION: u8 = b'D';
const SUCCEEDED: u8 = b'S';
const UNSUCCEEDED: u8 = b'U';

impl Key {
    pub fn new(name: &Name) -> Self {
        match name {
            Name::Meta => Self::tagged(META),
            Name::Definition(uid, generation) => Self::of(DEFINITION, *uid).with(&generation.to_be_bytes()),
            Name::State(uid) => Self::of(STATE, *uid),
            Name::Run(id) => Self::of(RUN, id.uid).with(&[id.trigger as u8]).with(&id.nominal.to_be_bytes()),
            Name::Request { namespace, id } => Self::within(REQUEST, namespace, id),
            Name::Limit { namespace, key } => Self::within(LIMIT, namespace, key),
            Name::Closing { namespace, key } => Self::within(CLOSING, namespace, key),
            Name::Copying => Self::tagged(COPYING),
            Name::Decision(uid, slot) => Self::of(DECISION, *uid).with(&slot.to_be_bytes()),
            Name::Succeeded(uid, slot) => Self::of(SUCCEEDED, *uid).with(&slot.to_be_bytes()),
            Name::Unsucceeded(uid, slot) => Self::of(UNSUCCEEDED, *uid).with(&slot.to_be_bytes()),
        }
    }

    fn tagged(tag: u8) -> Self {
        Self(SmallVec::new()).with(&SHARD.to_be_bytes()).with(&[tag])
    }

    /// A name in a namespace.
    fn within(tag: u8, namespace: &str, name: &str) -> Self {
        let length = namespace.len().min(usize::from(u8::MAX)) as u8;
        Self::tagged(tag).with(&[length]).with(namespace.as_bytes()).with(name.as_bytes())
    }

    fn of(tag: u8, uid: Uid) -> Self {
        Self::tagged(tag).with(&uid.0.to_be_bytes())
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Cold records are not loaded by `open`.
    pub fn is_cold(&self) -> bool {
        self.0.get(2).is_some_and(u8::is_ascii_uppercase)
    }

    /// None when the key is none of ours.
    pub fn name(&self) -> Option<Name> {
        let (tag, rest) = (*self.0.get(2)?, self.0.get(3..)?);
        if self.0[..2] != SHARD.to_be_bytes() {
            return None;
        }
        let uid = || Some((Uid(u128::from_be_bytes(rest.get(..16)?.try_into().ok()?)), rest.get(16..)?));
        let slot = || {
            let (uid, rest) = uid()?;
            Some((uid, u32::from_be_bytes(rest.try_into().ok()?)))
        };
        let within = || {
            let (length, rest) = rest.split_first()?;
            let (namespace, name) = rest.split_at_checked((*length).into())?;
            Some((String::from_utf8(namespace.to_vec()).ok()?, String::from_utf8(name.to_vec()).ok()?))
        };
        Some(match tag {
            META if rest.is_empty() => Name::Meta,
            COPYING if rest.is_empty() => Name::Copying,
            DEFINITION => slot().map(|(uid, generation)| Name::Definition(uid, generation))?,
            STATE => uid().filter(|(_, rest)| rest.is_empty()).map(|(uid, _)| Name::State(uid))?,
            RUN => {
                let (uid, rest) = uid()?;
                let (trigger, nominal) = rest.split_first()?;
                Name::Run(RunId {
                    uid,
                    trigger: Trigger::from_number((*trigger).into())?,
                    nominal: i64::from_be_bytes(nominal.try_into().ok()?),
                })
            }
            REQUEST => within().map(|(namespace, id)| Name::Request { namespace, id })?,
            LIMIT => within().map(|(namespace, key)| Name::Limit { namespace, key })?,
            CLOSING => within().map(|(namespace, key)| Name::Closing { namespace, key })?,
            DECISION => slot().map(|(uid, slot)| Name::Decision(uid, slot))?,
            SUCCEEDED => slot().map(|(uid, slot)| Name::Succeeded(uid, slot))?,
            UNSUCCEEDED => slot().map(|(uid, slot)| Name::Unsucceeded(uid, slot))?,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_its_key() {
        let uid = Uid(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let names = [
            (Name::Meta, false),
            (Name::Definition(uid, 3), false),
            (Name::State(uid), false),
            (Name::Run(RunId { uid, trigger: Trigger::Backfill, nominal: -5 }), false),
            (Name::Request { namespace: "default".into(), id: "a:b".into() }, false),
            (Name::Limit { namespace: "default".into(), key: "mailbox:*".into() }, false),
            (Name::Closing { namespace: "shop".into(), key: "provider:x".into() }, false),
            (Name::Copying, false),
            (Name::Decision(uid, 4), true),
            (Name::Succeeded(uid, 9), true),
            (Name::Unsucceeded(uid, 0), true),
        ];
        for (name, cold) in names {
            let key = Key::new(&name);
            assert_eq!((key.name(), key.is_cold()), (Some(name), cold));
        }
    }

    #[test]
    fn foreign_keys_are_not_ours() {
        for bytes in [&b""[..], b"\0\0", b"\0\0y", b"\0\0s1234", b"\0\x01m", b"\0\0m!", b"\0\0q\xffab"] {
            assert_eq!(Key::from_bytes(bytes).name(), None, "{bytes:?}");
        }
    }
}
