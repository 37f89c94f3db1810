//! Error reasons, and statuses that carry them.
//!
//! Three things are kept apart: the code says what a client may do next, the reason (one table, stable) is for
//! programs, the message for people. Each status carries one `google.rpc.ErrorInfo`; the rest where it fits.

mod library;

pub use library::Reasons;

use std::{collections::HashMap, error::Error, iter::successors, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// An error and what lies behind it in one line. Many libraries repeat their source's text in their own: what has been
/// said is not said again.
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    for text in successors(error.source(), |&error| error.source()).map(ToString::to_string) {
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
    }
    said
}

/// What lies at the bottom of an error: the layers above it often only say that something failed.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let innermost = successors(Some(error), |&error| error.source()).last();
    innermost.map(ToString::to_string).unwrap_or_default()
}

/// `google.rpc.ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "docket";

/// Declares the table once: variant, code, and what it means (docs/errors.md is checked against it).
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $code:ident;)+) => {
        /// Why a call was refused. The names never change; new ones may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)+ }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As in `google.rpc.ErrorInfo.reason`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)+ }
            }

            /// For docs.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// A field is missing, malformed or out of bounds; BadRequest names it.
    InvalidField = "INVALID_FIELD", InvalidArgument;
    /// The timing names no time that can come.
    NeverFires = "NEVER_FIRES", InvalidArgument;
    /// The bytes of the request are not a message of this call.
    MalformedMessage = "MALFORMED_MESSAGE", InvalidArgument;
    /// The page token is not one of this list, or belongs to another namespace or filter.
    InvalidPageToken = "INVALID_PAGE_TOKEN", InvalidArgument;
    /// The request id was used with another body.
    RequestIdReused = "REQUEST_ID_REUSED", InvalidArgument;
    /// There is no schedule of this id.
    ScheduleNotFound = "SCHEDULE_NOT_FOUND", NotFound;
    /// There is no run of this id, or it has left the history.
    RunNotFound = "RUN_NOT_FOUND", NotFound;
    /// No limit is set on this key, and it is not closed.
    LimitNotFound = "LIMIT_NOT_FOUND", NotFound;
    /// There is no mailbox of this id.
    MailboxNotFound = "MAILBOX_NOT_FOUND", NotFound;
    /// There is no document of this id.
    DocumentNotFound = "DOCUMENT_NOT_FOUND", NotFound;
    /// The folder of a folder source does not exist.
    FolderNotFound = "FOLDER_NOT_FOUND", NotFound;
    /// The stored etag is another one: read again, then write.
    EtagMismatch = "ETAG_MISMATCH", Aborted;
    /// The schedule that is there does not go together with the imported record: ImportError says why.
    ScheduleConflict = "SCHEDULE_CONFLICT", Aborted;
    /// There is a schedule of this id already, and the call was to create one.
    ScheduleExists = "SCHEDULE_EXISTS", AlreadyExists;
    /// The request id was used on a schedule that is deleted since; another one has its id: make a new request id.
    ScheduleReplaced = "SCHEDULE_REPLACED", FailedPrecondition;
    /// The schedule is paused: resume it first.
    SchedulePaused = "SCHEDULE_PAUSED", FailedPrecondition;
    /// The schedule was set aside: save it again.
    ScheduleQuarantined = "SCHEDULE_QUARANTINED", FailedPrecondition;
    /// The run is final.
    RunFinal = "RUN_FINAL", FailedPrecondition;
    /// The worker files into another archive than the namespace.
    ArchiveMismatch = "ARCHIVE_MISMATCH", FailedPrecondition;
    /// The mailbox is disconnected: connect it again.
    MailboxDisconnected = "MAILBOX_DISCONNECTED", FailedPrecondition;
    /// No key file is configured, so no credential can be kept.
    CredentialsOff = "CREDENTIALS_OFF", FailedPrecondition;
    /// The session is unknown: open StreamDueJobs again.
    SessionUnknown = "SESSION_UNKNOWN", FailedPrecondition;
    /// No valid token or client certificate, or none on a port that asks for none and is called from beyond loopback.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated;
    /// The identity lacks the role, namespace or kind.
    Forbidden = "FORBIDDEN", PermissionDenied;
    /// Folder sources are off, or the folder lies outside the configured root.
    FolderForbidden = "FOLDER_FORBIDDEN", PermissionDenied;
    /// The namespace holds as many schedules as configured.
    TooManySchedules = "TOO_MANY_SCHEDULES", ResourceExhausted;
    /// The schedule or the namespace has as many live runs, or backfills, as configured.
    TooManyRuns = "TOO_MANY_RUNS", ResourceExhausted;
    /// The namespace holds as many limits as it may.
    TooManyLimits = "TOO_MANY_LIMITS", ResourceExhausted;
    /// As many streams of WatchEvents are open as configured.
    TooManyWatchers = "TOO_MANY_WATCHERS", ResourceExhausted;
    /// The namespace holds as many mailboxes as configured.
    TooManyMailboxes = "TOO_MANY_MAILBOXES", ResourceExhausted;
    /// The caller has made more calls in this namespace than it may; RetryInfo says when to go on.
    TooManyCalls = "TOO_MANY_CALLS", ResourceExhausted;
    /// A message is larger than 4 MiB.
    MessageTooLarge = "MESSAGE_TOO_LARGE", ResourceExhausted;
    /// The caller's deadline passed before the call was applied; nothing was changed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded;
    /// The cursor is not kept any more: read state anew.
    CursorExpired = "CURSOR_EXPIRED", OutOfRange;
    /// The queue is full: try again shortly.
    Overloaded = "OVERLOADED", Unavailable;
    /// The store does not answer; nothing is acknowledged meanwhile.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable;
    /// Another scheduler leads, or none does at this moment; nothing has happened: try again.
    NotLeader = "NOT_LEADER", Unavailable;
    /// The process is starting or stopping.
    NotServing = "NOT_SERVING", Unavailable;
    /// Part of the contract, not of this release.
    NotImplemented = "NOT_IMPLEMENTED", Unimplemented;
    /// No service here has this method, or it does not take this encoding.
    UnknownMethod = "UNKNOWN_METHOD", Unimplemented;
    /// A fault in Docket; the log has the detail.
    Internal = "INTERNAL", Internal;
}

/// A status with its reason.
pub fn status(reason: Reason, message: impl Into<String>) -> Status {
    Status::with_error_details(reason.code(), message, details(reason))
}

/// A status that also says when to try again.
pub fn retry(reason: Reason, message: impl Into<String>, after: Duration) -> Status {
    let mut details = details(reason);
    details.set_retry_info(Some(after));
    Status::with_error_details(reason.code(), message, details)
}

/// A status that names the quota that is full, and of whom.
pub fn quota(reason: Reason, subject: &str, message: impl Into<String>) -> Status {
    let (message, mut details) = (message.into(), details(reason));
    details.add_quota_failure_violation(subject, &*message);
    Status::with_error_details(reason.code(), message, details)
}

/// An RPC or an option of the contract that this release does not serve.
pub fn not_implemented(what: &str) -> Status {
    status(Reason::NotImplemented, format!("{what} is not served by this release"))
}

/// One field that was refused: a path as the client wrote it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub message: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl From<Violation> for Status {
    fn from(violation: Violation) -> Self {
        invalid(Reason::InvalidField, violation)
    }
}

/// INVALID_ARGUMENT that names the field in its text and in BadRequest.
pub fn invalid(reason: Reason, violation: Violation) -> Status {
    let message = format!("{}: {}", violation.field, violation.message);
    let mut details = details(reason);
    details.add_bad_request_violation(violation.field, violation.message);
    Status::with_error_details(reason.code(), message, details)
}

/// The reason of a received status, where it is one of ours.
pub fn reason_of(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    Reason::ALL.iter().copied().find(|reason| info.domain == DOMAIN && info.reason == reason.name())
}

/// The field of a received status, and what would be right.
pub fn violation_of(status: &Status) -> Option<Violation> {
    let violation = status.get_details_bad_request()?.field_violations.into_iter().next()?;
    Some(Violation { field: violation.field, message: violation.description })
}

fn details(reason: Reason) -> ErrorDetails {
    ErrorDetails::with_error_info(reason.name(), DOMAIN, HashMap::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_reads_reason_field_and_remedy() {
        let status = invalid(Reason::InvalidField, Violation::new("schedule.spread", "must be at most 24 h"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "schedule.spread: must be at most 24 h");
        assert_eq!(reason_of(&status), Some(Reason::InvalidField));
        let bad = status.get_details_bad_request().expect("BadRequest");
        assert_eq!(bad.field_violations[0].field, "schedule.spread");
    }

    #[test]
    fn an_error_is_said_once_with_what_lies_behind_it() {
        #[derive(Debug)]
        struct Of(&'static str, Option<Box<Of>>);
        impl std::fmt::Display for Of {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Of {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.1.as_deref().map(|of| of as _)
            }
        }
        let behind =
            Of("no answer: refused", Some(Box::new(Of("refused", Some(Box::new(Of("os error 111", None)))))));
        let error = Of("database", Some(Box::new(behind)));
        assert_eq!(in_full(&error), "database: no answer: refused: os error 111");
        assert_eq!(cause(&error), "os error 111");
    }

    #[test]
    fn names_are_unique_and_upper_snake() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    /// Every reason has its row in the document, with its code and its meaning.
    #[test]
    fn the_document_holds_the_table() {
        let document = include_str!("../docs/errors.md");
        for reason in Reason::ALL {
            let row = document.lines().find(|line| line.contains(&format!("`{}`", reason.name())));
            let row = row.unwrap_or_else(|| panic!("{} is not in docs/errors.md", reason.name()));
            assert!(row.contains(reason.meaning().trim()), "{row}: {}", reason.meaning());
        }
    }
}
