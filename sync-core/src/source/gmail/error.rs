//! What Gmail's refusals mean. The `reason` decides, not the status: 403 is a matter of rates, of rights or of policy.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::retry;
use crate::source::{Class, Fault};
use crate::text::clean;

/// The limit that all mailboxes at Gmail share, as schedules name it.
pub const PROJECT: &str = "provider:gmail";
/// A day's quota is used up; nobody knows when the day ends there.
const DAY: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub enum Error {
    /// The access token is not accepted.
    Unauthorized,
    /// The message, or the place in the history, is not there (any more).
    NotFound,
    /// The request itself: a page token that has expired.
    BadRequest,
    /// Worth another try within the run.
    Passing(Fault),
    Fault(Fault),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Error {
    /// What it means where it was not expected.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Unauthorized => Fault::reauthorize(
                "gmail-unauthorized",
                "Gmail does not accept the consent any more; the user must connect again",
            ),
            Self::NotFound => Fault::transient("gmail-not-found", "Gmail does not know what was asked for"),
            Self::BadRequest => {
                Fault::permanent("gmail-bad-request", "Gmail does not understand the request")
            }
            Self::Passing(fault) | Self::Fault(fault) => fault,
        }
    }
}

#[derive(Default, Deserialize)]
struct Answer {
    error: Detail,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    message: String,
    status: String,
    errors: Vec<Item>,
    details: Vec<Item>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    reason: String,
}

/// Of an answer that is no success. `now` in Unix milliseconds.
pub fn of(status: StatusCode, headers: &HeaderMap, body: &[u8], now: i64) -> Error {
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    let is_json = answer.is_some();
    let detail = answer.unwrap_or_default().error;
    let message = clean(&detail.message, 200);
    let wait = retry::after(headers, &detail.message, now);
    let reasons = detail.errors.iter().chain(&detail.details).map(|item| item.reason.as_str());
    let reason =
        reasons.filter(|reason| !reason.is_empty()).find_map(|reason| known(reason, &detail.message));
    if let Some(meaning) = reason {
        return meaning.error(wait);
    }
    match status.as_u16() {
        401 => Error::Unauthorized,
        404 | 410 if is_json => Error::NotFound,
        400 if is_json && detail.status == "FAILED_PRECONDITION" => Error::Fault(Fault::permanent(
            "gmail-not-enabled",
            format!("Gmail refuses this account: {message}"),
        )),
        400 if is_json => Error::BadRequest,
        429 => Meaning::User.error(wait),
        403 if is_json => {
            Error::Fault(Fault::permanent("gmail-forbidden", format!("Gmail refuses: {message}")))
        }
        408 | 500..=599 => {
            let message = format!("Gmail answered {}", status.as_u16());
            Error::Passing(Fault::transient("gmail-unavailable", message))
        }
        // A page of HTML, by whoever is in between.
        _ => unreadable(&format!("an answer ({}) that is not its own", status.as_u16())),
    }
}

/// An answer that is not what Gmail sends.
pub fn unreadable(what: &str) -> Error {
    Error::Passing(Fault::transient("gmail-unreadable", format!("Gmail sent {what}")))
}

enum Meaning {
    User,
    Project,
    Day,
    Policy,
    Rights,
    Disabled,
}

fn known(reason: &str, message: &str) -> Option<Meaning> {
    Some(match reason {
        "userRateLimitExceeded" => Meaning::User,
        "rateLimitExceeded" | "RATE_LIMIT_EXCEEDED" if is_about_user(message) => Meaning::User,
        "rateLimitExceeded" | "RATE_LIMIT_EXCEEDED" => Meaning::Project,
        "dailyLimitExceeded" | "quotaExceeded" | "variableTermLimitExceeded" => Meaning::Day,
        "domainPolicy" => Meaning::Policy,
        "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => Meaning::Rights,
        "accessNotConfigured" | "SERVICE_DISABLED" => Meaning::Disabled,
        _ => return None,
    })
}

/// One word of Gmail's for two limits.
fn is_about_user(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["user-rate", "user rate", "per user", "for user", "concurrent"]
        .iter()
        .any(|words| message.contains(words))
}

impl Meaning {
    fn error(self, wait: Option<Duration>) -> Error {
        let throttled = |code, message: &str, retry_after, key: Option<&str>| {
            let key = key.map(str::to_owned);
            let class = Class::Throttled { retry_after, key };
            Error::Fault(Fault { class, code, message: message.to_owned() })
        };
        match self {
            Self::User => {
                throttled("gmail-user-limit", "Gmail asks for patience with this mailbox", wait, None)
            }
            Self::Project => throttled(
                "gmail-project-limit",
                "Gmail asks for patience with all mailboxes",
                wait,
                Some(PROJECT),
            ),
            Self::Day => {
                let message = "the day's quota at Gmail is used up";
                throttled("gmail-daily-limit", message, Some(wait.unwrap_or(DAY).max(DAY)), Some(PROJECT))
            }
            Self::Policy => Error::Fault(Fault::permanent(
                "gmail-domain-policy",
                "the account's administrator does not allow applications to read mail; the administrator must",
            )),
            Self::Rights => Error::Fault(Fault::reauthorize(
                "gmail-rights",
                "the consent does not cover reading mail; the user must connect again and leave it ticked",
            )),
            Self::Disabled => Error::Fault(Fault::permanent(
                "gmail-api-disabled",
                "the Gmail API is not enabled for the OAuth client's project; the operator must enable it",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> (Class, &'static str) {
        let error = of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), 0);
        let fault = error.into_fault();
        (fault.class, fault.code)
    }

    fn reason(reason: &str, message: &str) -> String {
        format!(
            r#"{{"error":{{"code":403,"message":"{message}","errors":[{{"domain":"x","reason":"{reason}"}}]}}}}"#
        )
    }

    fn throttled(retry_after: Option<u64>, key: Option<&str>) -> Class {
        Class::Throttled { retry_after: retry_after.map(Duration::from_secs), key: key.map(str::to_owned) }
    }

    #[test]
    fn reasons_decide() {
        for status in [403, 429] {
            let user = reason("userRateLimitExceeded", "");
            assert_eq!(class(status, &user), (throttled(None, None), "gmail-user-limit"));
            let project = reason("rateLimitExceeded", "Quota exceeded for quota metric");
            assert_eq!(class(status, &project), (throttled(None, Some(PROJECT)), "gmail-project-limit"));
            let user = reason("rateLimitExceeded", "User-rate limit exceeded.");
            assert_eq!(class(status, &user).1, "gmail-user-limit");
            let day = reason("dailyLimitExceeded", "");
            assert_eq!(class(status, &day), (throttled(Some(3600), Some(PROJECT)), "gmail-daily-limit"));
        }
        assert_eq!(class(403, &reason("domainPolicy", "")), (Class::Permanent, "gmail-domain-policy"));
        assert_eq!(class(403, &reason("insufficientPermissions", "")), (Class::Reauthorize, "gmail-rights"));
        assert_eq!(class(403, &reason("accessNotConfigured", "")).0, Class::Permanent);
        assert_eq!(class(403, &reason("somethingNew", "")), (Class::Permanent, "gmail-forbidden"));
        let new = r#"{"error":{"code":403,"status":"PERMISSION_DENIED","details":[{"@type":"t","reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}"#;
        assert_eq!(class(403, new).0, Class::Reauthorize);
    }

    #[test]
    fn statuses_decide_where_no_reason_is_given() {
        assert_eq!(class(429, "<html>"), (throttled(None, None), "gmail-user-limit"));
        for status in [500, 502, 503, 504, 408] {
            assert_eq!(class(status, "<html>Error</html>"), (Class::Transient, "gmail-unavailable"));
        }
        for status in [302, 400, 403, 404, 418] {
            assert_eq!(class(status, "<html>"), (Class::Transient, "gmail-unreadable"), "{status}");
        }
        let json = r#"{"error":{"message":"x"}}"#;
        assert!(matches!(of(StatusCode::NOT_FOUND, &HeaderMap::new(), json.as_bytes(), 0), Error::NotFound));
        assert!(matches!(
            of(StatusCode::BAD_REQUEST, &HeaderMap::new(), json.as_bytes(), 0),
            Error::BadRequest
        ));
        assert!(matches!(of(StatusCode::UNAUTHORIZED, &HeaderMap::new(), b"", 0), Error::Unauthorized));
        let off = r#"{"error":{"message":"Mail service not enabled","status":"FAILED_PRECONDITION"}}"#;
        assert_eq!(class(400, off), (Class::Permanent, "gmail-not-enabled"));
    }
}
