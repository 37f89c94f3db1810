//! Disk records: the one place that knows both the machine's types and the stored protobuf (format level 1).
//!
//! What is read holds nothing of the bytes that it was read from: a store may keep many records in one allocation.

mod definition;
mod limit;
mod request;
mod run;
mod state;

use std::collections::BTreeMap;

use bytes::Bytes;
use docket::stored::v1 as stored;
use prost::Message as _;

use crate::state_machine::{id::Trigger, timing::TZDB};

pub use definition::{definition, read_definition};
pub use limit::{StoredClosing, closing, limit, read_closing, read_limit};
pub use request::{read_request, request};
pub use run::{finished, read_finished, read_run, run};
pub use state::{decision, read_decision, read_state, state};

/// The level that this program writes.
pub const FORMAT: u32 = 1;

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl From<prost::DecodeError> for Unreadable {
    fn from(error: prost::DecodeError) -> Self {
        Self(error.to_string())
    }
}

impl From<&str> for Unreadable {
    fn from(why: &str) -> Self {
        Self(why.into())
    }
}

fn bytes(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

/// What holds for the whole store.
#[derive(Debug)]
pub struct Meta {
    /// Version of the tz database that next times were computed with.
    pub tzdb: String,
    /// Archive id by namespace.
    pub archives: BTreeMap<String, Box<str>>,
}

pub fn meta(archives: &BTreeMap<String, Box<str>>) -> Bytes {
    bytes(&stored::Meta {
        format: FORMAT,
        least_reader: FORMAT,
        tzdb: TZDB.into(),
        archives: archives.iter().map(|(namespace, id)| (namespace.clone(), id.to_string())).collect(),
    })
}

/// # Errors
/// Also when a newer program wrote what this one does not understand.
pub fn read_meta(value: Bytes) -> Result<Meta, Unreadable> {
    let meta = stored::Meta::decode(&*value)?;
    if meta.least_reader > FORMAT {
        return Err(Unreadable(format!(
            "the store has format level {}; this program reads up to {FORMAT}: use a newer one",
            meta.least_reader
        )));
    }
    let archives = meta.archives.into_iter().map(|(namespace, id)| (namespace, id.into())).collect();
    Ok(Meta { tzdb: meta.tzdb, archives })
}

fn read_trigger(number: u32) -> Result<Trigger, Unreadable> {
    Trigger::from_number(number).ok_or_else(|| "an unknown trigger".into())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn meta_of(tzdb: &str) -> Bytes {
        bytes(&stored::Meta {
            format: FORMAT,
            least_reader: FORMAT,
            tzdb: tzdb.into(),
            archives: BTreeMap::new(),
        })
    }

    /// A state as it was before records lay under their numbers.
    pub fn as_former(state: &Bytes) -> Bytes {
        let state = stored::State::decode(state.clone()).expect("a state");
        let (kept, sizes) = (0, Bytes::new());
        bytes(&stored::State { numbered: false, kept_decisions: kept, kept_succeeded: kept, sizes, ..state })
    }

    /// A state whose next time is another one.
    pub fn with_next(state: &Bytes, next: i64) -> Bytes {
        let state = stored::State::decode(state.clone()).expect("a state");
        bytes(&stored::State { next: Some(next), ..state })
    }
}
