//! How a run ends.

use std::time::Duration;

use serde::Serialize;

use crate::archive::claim::Refused;
use crate::archive::commit::Committed;
use crate::credential::access::CLAIM_LOST;
use crate::source::{self, Fault};

/// What this attempt committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub documents_new: u64,
    /// Exact duplicates, dropped.
    pub duplicates: u64,
    /// Messages that were not known before.
    pub messages_read: u64,
    pub messages_failed: u64,
}

impl Outcome {
    pub(super) fn add(&mut self, committed: &Committed) {
        self.documents_new += committed.documents_new;
        self.duplicates += committed.duplicates;
        self.messages_read += committed.messages;
        self.messages_failed += committed.failed;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages passed, those known before included.
    pub done: u64,
    pub total: Option<u64>,
    /// The last message's subject: foreign text, bounded and without control characters.
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    Transient,
    Throttled {
        retry_after: Option<Duration>,
        key: Option<String>,
    },
    Reauthorize,
    Permanent,
    /// Another attempt has the mailbox; final.
    Superseded,
    Cancelled,
}

/// Why a run ended early. `code` is for programs and never changes.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Failure {
    pub class: Class,
    pub code: &'static str,
    pub message: String,
    /// What was committed before; it stays.
    pub outcome: Outcome,
}

impl Failure {
    pub(super) fn new(class: Class, code: &'static str, message: impl Into<String>) -> Self {
        Self { class, code, message: message.into(), outcome: Outcome::default() }
    }

    /// The code as the API has it.
    pub fn name(&self) -> String {
        self.code.replace('-', "_").to_ascii_uppercase()
    }

    pub(super) fn cancelled() -> Self {
        Self::new(Class::Cancelled, "cancelled", "the run was cancelled")
    }

    pub(super) fn with(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        if fault.code == CLAIM_LOST {
            return Refused::Superseded.into();
        }
        let class = match fault.class {
            source::Class::Transient => Class::Transient,
            source::Class::Throttled { retry_after, key } => Class::Throttled { retry_after, key },
            source::Class::Reauthorize => Class::Reauthorize,
            source::Class::Permanent => Class::Permanent,
        };
        Self::new(class, fault.code, fault.message)
    }
}

impl From<crate::archive::Error> for Failure {
    fn from(error: crate::archive::Error) -> Self {
        use crate::archive::Error;
        let (class, code) = match &error {
            Error::Database(_) | Error::Blobs(_) => (Class::Transient, "archive-unavailable"),
            Error::NotFound(_) => (Class::Permanent, "mailbox-not-found"),
            Error::Damaged(_) => (Class::Permanent, "archive-damaged"),
            Error::VersionMismatch | Error::OwnerMismatch | Error::Unusable(_) => {
                (Class::Permanent, "archive-unusable")
            }
        };
        // Apps read the message, and must not learn from it where blobs are on this host.
        let message = match &error {
            Error::Blobs(_) => "the archive's blob store failed; the worker's log has the detail".into(),
            _ => error.to_string(),
        };
        let failure = Self::new(class, code, message);
        if matches!(error, Error::Database(_) | Error::Blobs(_)) {
            tracing::warn!(code = failure.name(), %error, "the archive failed");
        }
        failure
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::Superseded => Self::new(Class::Superseded, "superseded", message),
            Refused::Disconnected => Self::new(Class::Permanent, "mailbox-disconnected", message),
            Refused::Reauthorize => Self::new(Class::Reauthorize, "mailbox-reauthorize", message),
            Refused::Archive(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_does_not_learn_where_blobs_are() {
        let source = std::io::Error::other("/data/blobs/documents/00: no space left on device");
        let error = object_store::Error::Generic { store: "LocalFileSystem", source: source.into() };
        let failure = Failure::from(crate::archive::Error::Blobs(error));
        assert_eq!(
            (failure.class.clone(), failure.name().as_str()),
            (Class::Transient, "ARCHIVE_UNAVAILABLE")
        );
        assert!(!failure.message.contains("/data"), "{}", failure.message);
    }

    #[test]
    fn d1_who_lost_the_claim_while_it_traded_a_token_is_superseded() {
        let failure =
            Failure::from(Fault::transient(CLAIM_LOST, "a newer attempt has taken the mailbox over"));
        assert_eq!((failure.class, failure.code), (Class::Superseded, "superseded"));
    }
}
