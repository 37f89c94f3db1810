//! From records to items that can only be valid. Pure, so that pages are checked on any thread.

use std::sync::Arc;

use docket::{
    errors::{Reason, Violation},
    schedule::v1 as pb,
};
use sha2::{Digest as _, Sha256};

use super::super::{text, validate};
use crate::state_machine::{command::ImportItem, id::Uid};

/// Payloads of one command, in sum; one schedule more may be above it.
const ITEMS_BYTES: usize = 1 << 20;
const ID_BYTES: usize = 128;

pub struct Checker {
    /// Of all schedules.
    pub namespace: Arc<str>,
    pub restore: bool,
    /// Milliseconds; for schedules that say nothing.
    pub default_spread: u32,
    /// Whether [`Checked::named`] is wanted.
    pub digests: bool,
}

/// What one command takes, and what is left out of it.
#[derive(Debug, Default)]
pub struct Checked {
    pub items: Vec<ImportItem>,
    /// Digests of all ids, those that are refused among them.
    pub named: Vec<u128>,
    pub errors: Vec<pb::ImportError>,
}

/// Ids as they are remembered: 16 bytes each, whatever their length. Nobody finds two ids with one digest.
pub fn digest(id: &str) -> u128 {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(id)[..16]);
    u128::from_be_bytes(short)
}

impl Checker {
    /// `first`: the number of the page's first schedule in the stream, from 0.
    pub fn check(&self, first: u64, page: Vec<pb::ScheduleRecord>, now: i64) -> Vec<Checked> {
        let (mut parts, mut part, mut bytes) = (Vec::new(), Checked::default(), 0);
        // Uids are random. Those of a page share their first half, so that its records stand together in the store,
        // which then finds their places several times faster.
        let near = u128::from(rand::random::<u64>()) << 64;
        for (record, number) in page.into_iter().zip(first..) {
            let id = record.schedule.as_ref().map_or("", |schedule| &schedule.schedule_id);
            if self.digests {
                part.named.push(digest(id));
            }
            match self.item(&record, near, now) {
                Ok((item, size)) => {
                    part.items.push(item);
                    bytes += size;
                }
                Err(violation) => part.errors.push(error(id, number, violation)),
            }
            if bytes >= ITEMS_BYTES {
                parts.push(std::mem::take(&mut part));
                bytes = 0;
            }
        }
        parts.push(part);
        parts
    }

    /// An item, and the bytes of its task.
    fn item(
        &self,
        record: &pb::ScheduleRecord,
        near: u128,
        now: i64,
    ) -> Result<(ImportItem, usize), Violation> {
        let schedule = record.schedule.as_ref().ok_or_else(|| Violation::new("schedule", "is required"))?;
        if !schedule.namespace.is_empty() && *schedule.namespace != *self.namespace {
            let remedy = format!("must be empty or {}, that of the options", self.namespace);
            return Err(Violation::new("schedule.namespace", remedy));
        }
        // A record says everything: what it leaves out is zero, not this server's default.
        let default_spread = if self.restore { 0 } else { self.default_spread };
        let definition = validate::schedule(&self.namespace, schedule, default_spread)?;
        let size = definition.input.size();
        if self.restore {
            let snapshot = validate::record::snapshot(record, schedule, definition, now)?;
            return Ok((ImportItem::Restore(Box::new(snapshot)), size));
        }
        let uid = Uid(near | u128::from(rand::random::<u64>()));
        Ok((ImportItem::Save(Box::new(definition), uid), size))
    }
}

fn error(id: &str, number: u64, violation: Violation) -> pb::ImportError {
    let Violation { field, mut message } = violation;
    if id.is_empty() || field == "schedule.schedule_id" {
        message = format!("{message} (number {} in the stream)", number + 1);
    }
    pb::ImportError {
        schedule_id: text::clean(id, ID_BYTES),
        field,
        message,
        reason: Reason::InvalidField.name().into(),
    }
}
