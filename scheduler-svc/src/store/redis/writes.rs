//! A batch as the arguments of the commit script: writes of the same kind and bucket stand together.

use std::collections::BTreeMap;

use bytes::Bytes;
use deadpool_redis::redis::ScriptInvocation;

use super::layout::{self, Keys};
use crate::store::Write;

/// Arguments of one group: Lua unpacks no more than some 8 000 values at once.
const ARGUMENTS_MAX: usize = 3_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Put,
    Delete,
    Ring,
    Drop,
}

#[derive(Debug)]
enum Argument {
    Text(String),
    Bytes(Bytes),
}

/// Adds the writes of a batch to a call of the commit script.
pub fn add(invocation: &mut ScriptInvocation<'_>, keys: &Keys, generation: u64, writes: &[Write]) {
    let mut groups: BTreeMap<(What, usize), Vec<Argument>> = BTreeMap::new();
    for write in writes {
        let bucket = layout::bucket(&write.key);
        let (field, slot) = layout::field(&write.key);
        let what = match (slot, &write.value) {
            (None, Some(_)) => What::Put,
            (None, None) => What::Delete,
            (Some(_), Some(_)) => What::Ring,
            (Some(_), None) => What::Drop,
        };
        let arguments = groups.entry((what, bucket)).or_default();
        arguments.push(Argument::Text(field));
        arguments.extend(slot.map(|slot| Argument::Text(slot.to_string())));
        arguments.extend(write.value.clone().map(Argument::Bytes));
    }
    for ((what, bucket), arguments) in groups {
        let (word, key, width) = match what {
            What::Put => ("put", keys.hot(generation, bucket), 2),
            What::Delete => ("del", keys.hot(generation, bucket), 1),
            What::Ring => ("ring", keys.cold(bucket), 3),
            What::Drop => ("drop", keys.cold(bucket), 2),
        };
        for chunk in arguments.chunks(ARGUMENTS_MAX / width * width) {
            invocation.key(&key).arg(word).arg(chunk.len());
            for argument in chunk {
                match argument {
                    Argument::Text(text) => invocation.arg(text),
                    Argument::Bytes(bytes) => invocation.arg(&**bytes),
                };
            }
        }
    }
}
