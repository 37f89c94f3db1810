//! Identities. Each has one text form, and parses back only from that.

use std::fmt;

/// Always 0 until shards spread over replicas; keys and run ids carry it from the first day.
pub const SHARD: u16 = 0;

/// One life of a schedule: random, made at the edge, new after delete and create.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub u128);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What caused a run. Part of its id, so that a manual run can never be mistaken for a scheduled one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Trigger {
    Scheduled = 1,
    Manual = 2,
    Backfill = 3,
}

impl Trigger {
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Scheduled, Self::Manual, Self::Backfill].into_iter().find(|trigger| *trigger as u32 == number)
    }

    fn letter(self) -> char {
        match self {
            Self::Scheduled => 's',
            Self::Manual => 'm',
            Self::Backfill => 'b',
        }
    }
}

/// The same occurrence always has the same id: `{shard}-{uid}-{s|m|b}{nominal milliseconds}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    pub uid: Uid,
    pub trigger: Trigger,
    pub nominal: i64,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SHARD}-{}-{}{}", self.uid, self.trigger.letter(), self.nominal)
    }
}

impl RunId {
    /// None unless the text is exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (_shard, uid, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let uid = Uid(u128::from_str_radix(uid, 16).ok()?);
        let trigger = match rest.chars().next()? {
            's' => Trigger::Scheduled,
            'm' => Trigger::Manual,
            'b' => Trigger::Backfill,
            _ => return None,
        };
        let id = Self { uid, trigger, nominal: rest[1..].parse().ok()? };
        (id.to_string() == text).then_some(id)
    }
}

/// One stream of a worker, random, made at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl SessionId {
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

/// Where a reply goes: the shard's number for a waiting caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_have_one_spelling() {
        let id = RunId { uid: Uid(0xabc), trigger: Trigger::Manual, nominal: 1_795_485_600_000 };
        let text = "0-00000000000000000000000000000abc-m1795485600000";
        assert_eq!(id.to_string(), text);
        assert_eq!(RunId::parse(text), Some(id));
        for bad in [
            "",
            "0-abc-m1795485600000",
            "0-00000000000000000000000000000ABC-m1795485600000",
            "1-00000000000000000000000000000abc-m1795485600000",
            "0-00000000000000000000000000000abc-x1795485600000",
            "0-00000000000000000000000000000abc-m01795485600000",
            "0-00000000000000000000000000000abc-m+1",
            "0-00000000000000000000000000000abc-é1",
        ] {
            assert_eq!(RunId::parse(bad), None, "{bad}");
        }
    }
}
