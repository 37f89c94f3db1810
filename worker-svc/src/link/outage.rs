//! Why a stream failed, as it is told to people.

use docket::errors::cause;
use tonic::Code;

/// What lies at the bottom of it.
pub fn why(status: &tonic::Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => cause(source),
        None => status.message().to_owned(),
    }
}

/// For a worker that was never connected: perhaps one side speaks TLS, and the other does not. Whoever gets plain text
/// in place of TLS sends a short alert, if anything, and closes.
pub fn hint(url: &str, why: &str) -> &'static str {
    let holds = |parts: &[&str]| parts.iter().any(|part| why.contains(part));
    if url.starts_with("https://") && holds(&["InvalidContentType"]) {
        "; the scheduler seems to have no TLS: then scheduler.url is http://"
    } else if url.starts_with("http://")
        && holds(&["connection closed", "invalid size", "reset", "broken pipe"])
    {
        "; if the scheduler has TLS, scheduler.url is https://"
    } else {
        ""
    }
}

/// Whether the same hello would be answered the same until a person changes something.
pub fn is_refusal(status: &tonic::Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}
