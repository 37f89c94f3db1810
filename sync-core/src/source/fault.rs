//! What can go wrong with a source as a whole, classed by what happens next.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again later; nobody has to do anything.
    Transient,
    /// The provider asks for patience. `key` names what is exhausted, if more than this mailbox.
    Throttled { retry_after: Option<Duration>, key: Option<String> },
    /// The user must give consent or a password again.
    Reauthorize,
    /// It will fail again until someone changes something.
    Permanent,
}

/// A source's failure. `code` is for programs and never changes; `message` tells a person what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Fault {
    pub class: Class,
    pub code: &'static str,
    pub message: String,
}

impl Fault {
    pub fn transient(code: &'static str, message: impl Into<String>) -> Self {
        Self { class: Class::Transient, code, message: message.into() }
    }

    pub fn throttled(code: &'static str, message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { class: Class::Throttled { retry_after, key: None }, code, message: message.into() }
    }

    /// What asks for patience may be asked by other mailboxes too; `key` names it, unless the fault already says better.
    pub fn shared_by(mut self, key: &str) -> Self {
        if let Class::Throttled { key: known, .. } = &mut self.class {
            known.get_or_insert_with(|| key.to_owned());
        }
        self
    }

    pub fn reauthorize(code: &'static str, message: impl Into<String>) -> Self {
        Self { class: Class::Reauthorize, code, message: message.into() }
    }

    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { class: Class::Permanent, code, message: message.into() }
    }
}
