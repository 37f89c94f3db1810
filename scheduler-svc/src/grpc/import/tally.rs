//! What an import has come to so far.

use docket::{
    errors::{Violation, reason_of, violation_of},
    schedule::v1 as pb,
};
use tonic::Status;

use super::{super::refusal, Done};
use crate::state_machine::output::{Change, Difference, Refusal};

/// Errors and differences that an answer holds.
const LISTED: usize = 1_000;
/// Ids that delete_missing remembers: 32 MB.
const NAMED_MAX: usize = 2_000_000;

#[derive(Debug, Default)]
pub struct Tally {
    answer: pb::ImportSchedulesResponse,
    /// Digests of all ids that came.
    named: Vec<u128>,
}

impl Tally {
    pub fn add(&mut self, (named, imported, errors): Done) -> Result<(), Status> {
        self.named.extend(named);
        if self.named.len() > NAMED_MAX {
            let remedy = format!(
                "takes at most {NAMED_MAX} schedules in one stream: import in parts, each with a missing_filter"
            );
            return Err(Violation::new("options.delete_missing", remedy).into());
        }
        let answer = &mut self.answer;
        answer.created += imported.created as i64;
        answer.updated += imported.updated as i64;
        answer.unchanged += imported.unchanged as i64;
        answer.refused += (errors.len() + imported.refused.len()) as i64;
        let refused = imported.refused.into_iter().map(|(id, why)| error(&id, why));
        let room = LISTED - answer.errors.len();
        answer.errors.extend(errors.into_iter().chain(refused).take(room));
        imported.differences.into_iter().for_each(|difference| self.differs(difference));
        Ok(())
    }

    fn differs(&mut self, Difference { id, change, fields }: Difference) {
        let change = match change {
            Change::Created => pb::Change::Created,
            Change::Updated => pb::Change::Updated,
            Change::Unchanged => pb::Change::Unchanged,
        };
        self.note(&id, change, fields);
    }

    fn note(&mut self, id: &str, change: pb::Change, fields: Vec<&'static str>) {
        if self.answer.differences.len() < LISTED {
            self.answer.differences.push(pb::ImportDifference {
                schedule_id: id.into(),
                change: change.into(),
                fields: fields.into_iter().map(Into::into).collect(),
            });
        }
    }

    pub fn deleted(&mut self, count: u64) {
        self.answer.deleted += count as i64;
    }

    /// It would be deleted.
    pub fn missing(&mut self, id: &str) {
        self.deleted(1);
        self.note(id, pb::Change::Deleted, Vec::new());
    }

    /// Digests of the ids that came, in order. None when there were none.
    pub fn named(&mut self) -> Option<Vec<u128>> {
        self.named.sort_unstable();
        Some(std::mem::take(&mut self.named)).filter(|named| !named.is_empty())
    }

    pub fn into_response(self) -> pb::ImportSchedulesResponse {
        self.answer
    }
}

fn error(id: &str, why: Refusal) -> pb::ImportError {
    let status = refusal(why);
    let violation = violation_of(&status);
    let (field, message) = match violation {
        Some(Violation { field, message }) => (field, message),
        None => (String::new(), status.message().into()),
    };
    let reason = reason_of(&status).map_or_else(String::new, |reason| reason.name().into());
    pb::ImportError { schedule_id: id.into(), field, message, reason }
}
