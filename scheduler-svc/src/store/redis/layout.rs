//! Where records lie in Redis. Fixed: what is stored was stored by it.
//!
//! With the prefix `docket`, all keys of a shard share the hash tag `{docket:0}`:
//!
//! | key | holds |
//! |---|---|
//! | `{docket:0}:owner` | a hash: who owns the shard, epoch, sequence, lease, generation, number of records, format |
//! | `{docket:0}:hot:G:B` | a hash, one of 1 024 buckets of generation G: a field per hot record |
//! | `{docket:0}:cold:B` | a hash, one of 1 024 buckets: a field per ring of a schedule |
//!
//! Fields are text ([`field`]); values are the messages of `docket/stored/v1/stored.proto`. A ring is one value: for
//! each entry its slot and its length (4 bytes each, big-endian), then the entry.

use bytes::Bytes;

use crate::{
    state_machine::id::{RunId, SHARD, Trigger, Uid},
    store::{Key, key::Name},
};

pub const BUCKETS: usize = 1_024;

/// Names of the keys of one shard.
#[derive(Clone, Debug)]
pub struct Keys {
    tag: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self { tag: format!("{{{prefix}:{SHARD}}}") }
    }

    pub fn owner(&self) -> String {
        format!("{}:owner", self.tag)
    }

    pub fn hot(&self, generation: u64, bucket: usize) -> String {
        format!("{}:hot:{generation}:{bucket}", self.tag)
    }

    pub fn cold(&self, bucket: usize) -> String {
        format!("{}:cold:{bucket}", self.tag)
    }
}

/// The bucket of a record: all records of a schedule share one.
pub fn bucket(key: &Key) -> usize {
    let bytes = key.as_bytes();
    let of_schedule = matches!(key.name(), Some(name) if uid(&name).is_some());
    // FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
    let hashed = if of_schedule { &bytes[3..19] } else { bytes };
    let hash = hashed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash % BUCKETS as u64) as usize
}

fn uid(name: &Name) -> Option<Uid> {
    match name {
        Name::Definition(uid, _) | Name::State(uid) => Some(*uid),
        Name::Decision(uid, _) | Name::Succeeded(uid, _) | Name::Unsucceeded(uid, _) => Some(*uid),
        Name::Run(id) => Some(id.uid),
        Name::Meta | Name::Copying | Name::Request { .. } | Name::Limit { .. } | Name::Closing { .. } => None,
    }
}

/// The field of a record. For a cold one, that of its ring, and its slot there.
pub fn field(key: &Key) -> (String, Option<u32>) {
    let Some(name) = key.name() else {
        // Not ours: it is kept as it is.
        let bytes = key.as_bytes().iter().map(|byte| format!("{byte:02x}"));
        return (format!("?{}", bytes.collect::<String>()), None);
    };
    match name {
        Name::Meta => ("m".into(), None),
        Name::Copying => ("x".into(), None),
        Name::Definition(uid, generation) => (format!("d{:032x}:{generation}", uid.0), None),
        Name::State(uid) => (format!("s{:032x}", uid.0), None),
        Name::Run(id) => (format!("r{:032x}:{}:{}", id.uid.0, id.trigger as u8, id.nominal), None),
        Name::Request { namespace, id } => (format!("q{namespace}/{id}"), None),
        Name::Limit { namespace, key } => (format!("l{namespace}/{key}"), None),
        Name::Closing { namespace, key } => (format!("c{namespace}/{key}"), None),
        Name::Decision(uid, slot) => (format!("D{:032x}", uid.0), Some(slot)),
        Name::Succeeded(uid, slot) => (format!("S{:032x}", uid.0), Some(slot)),
        Name::Unsucceeded(uid, slot) => (format!("U{:032x}", uid.0), Some(slot)),
    }
}

/// The key of a hot record. What is none of ours becomes a key that the machine refuses to know.
pub fn hot_key(field: &[u8]) -> Key {
    name(field).map_or_else(|| Key::from_bytes(field), |name| Key::new(&name))
}

fn name(field: &[u8]) -> Option<Name> {
    let field = std::str::from_utf8(field).ok()?;
    let rest = field.get(1..)?;
    let within = || rest.split_once('/').map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    let uid = parse_uid;
    Some(match field.as_bytes()[0] {
        b'm' if rest.is_empty() => Name::Meta,
        b'x' if rest.is_empty() => Name::Copying,
        b'd' => {
            let (of, generation) = rest.split_once(':')?;
            Name::Definition(uid(of)?, generation.parse().ok()?)
        }
        b's' => Name::State(uid(rest)?),
        b'r' => {
            let mut parts = rest.splitn(3, ':');
            let (of, trigger, nominal) = (parts.next()?, parts.next()?, parts.next()?);
            let trigger = Trigger::from_number(trigger.parse().ok()?)?;
            Name::Run(RunId { uid: uid(of)?, trigger, nominal: nominal.parse().ok()? })
        }
        b'q' => within().map(|(namespace, id)| Name::Request { namespace, id })?,
        b'l' => within().map(|(namespace, key)| Name::Limit { namespace, key })?,
        b'c' => within().map(|(namespace, key)| Name::Closing { namespace, key })?,
        _ => return None,
    })
}

/// One entry of a ring.
pub fn entry(ring: &[u8], slot: u32) -> Option<&[u8]> {
    let mut rest = ring;
    while let Some((found, value)) = next_entry(&mut rest) {
        if found == slot {
            return Some(value);
        }
    }
    None
}

/// All entries of a ring under their keys. None when the field is none of ours, or the ring is broken.
pub fn cold_records(field: &[u8], ring: &[u8]) -> Option<Vec<(Key, Bytes)>> {
    let (kind, uid) = std::str::from_utf8(field).ok()?.split_at_checked(1)?;
    let uid = parse_uid(uid)?;
    let name: fn(Uid, u32) -> Name = match kind {
        "D" => Name::Decision,
        "S" => Name::Succeeded,
        "U" => Name::Unsucceeded,
        _ => return None,
    };
    let (mut rest, mut records) = (ring, Vec::new());
    while let Some((slot, value)) = next_entry(&mut rest) {
        records.push((Key::new(&name(uid, slot)), Bytes::copy_from_slice(value)));
    }
    rest.is_empty().then_some(records)
}

/// Takes the first entry off; leaves a broken one where it is.
fn next_entry<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (head, after) = rest.split_at_checked(8)?;
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let (value, next) = after.split_at_checked(number(4)? as usize)?;
    *rest = next;
    Some((number(0)?, value))
}

fn parse_uid(text: &str) -> Option<Uid> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(Uid)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: Uid = Uid(0x0123_4567_89ab_cdef_0011_2233_4455_6677);

    #[test]
    fn hot_fields_lead_back_to_their_keys() {
        let names = [
            Name::Meta,
            Name::Definition(UID, 3),
            Name::State(UID),
            Name::Run(RunId { uid: UID, trigger: Trigger::Backfill, nominal: -5 }),
            Name::Request { namespace: "default".into(), id: "a:b".into() },
            Name::Limit { namespace: "default".into(), key: "mailbox:*".into() },
            Name::Closing { namespace: "shop".into(), key: "provider:x".into() },
            Name::Copying,
        ];
        for name in names {
            let key = Key::new(&name);
            let (field, slot) = field(&key);
            assert_eq!((hot_key(field.as_bytes()), slot), (key, None), "{field}");
        }
    }

    /// Golden: what is stored was stored by it.
    #[test]
    fn places_never_change() {
        assert_eq!(Keys::new("docket").hot(2, 7), "{docket:0}:hot:2:7");
        assert_eq!(bucket(&Key::new(&Name::State(UID))), 605);
        assert_eq!(bucket(&Key::new(&Name::Meta)), 640);
        assert_eq!(field(&Key::new(&Name::State(UID))).0, "s0123456789abcdef0011223344556677");
        assert_eq!(field(&Key::new(&Name::Succeeded(UID, 4))).1, Some(4));
    }

    #[test]
    fn records_of_a_schedule_share_a_bucket() {
        let run = Name::Run(RunId { uid: UID, trigger: Trigger::Manual, nominal: 9 });
        let names = [Name::State(UID), Name::Definition(UID, 8), Name::Decision(UID, 1), run];
        let buckets: Vec<usize> = names.iter().map(|name| bucket(&Key::new(name))).collect();
        assert_eq!(buckets, [buckets[0]; 4]);
    }

    #[test]
    fn foreign_fields_are_not_ours() {
        for field in
            [&b""[..], b"y", b"s12", b"m1", b"qab", b"\xff\xff", b"r0123456789abcdef0011223344556677:9"]
        {
            assert_eq!(hot_key(field).name(), None, "{field:?}");
        }
    }

    #[test]
    fn a_ring_is_read_by_slot_and_a_broken_one_ends_early() {
        let ring = [
            &[0, 0, 0, 7, 0, 0, 0, 2][..],
            b"ab",
            &[0, 0, 0, 1, 0, 0, 0, 0],
            &[0, 0, 0, 9, 0, 0, 0, 5],
            b"x",
        ]
        .concat();
        assert_eq!(entry(&ring, 7), Some(&b"ab"[..]));
        assert_eq!(entry(&ring, 1), Some(&b""[..]));
        assert_eq!(entry(&ring, 9), None);
        let field = field(&Key::new(&Name::Decision(UID, 0))).0;
        let whole = cold_records(field.as_bytes(), &ring[..18]).expect("two entries");
        let key = |slot| Key::new(&Name::Decision(UID, slot));
        assert_eq!(whole, [(key(7), "ab".into()), (key(1), Bytes::new())]);
        assert_eq!(cold_records(field.as_bytes(), &ring), None, "a copy must not leave out its end");
    }
}
