//! Answers, and errors in Gmail's form.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use futures_util::stream;
use serde_json::{Value, json};

use super::world::{Exceeded, Then};

/// Status, headers and body, to be sent by itself or as a part of a batch.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    pub cut: Option<usize>,
    /// For the header, Unix milliseconds.
    pub date: Option<i64>,
}

impl Answer {
    pub fn json(value: &Value) -> Self {
        Self::of(200, "application/json; charset=UTF-8", value.to_string())
    }

    pub fn of(status: u16, content_type: &str, body: String) -> Self {
        let headers = vec![("content-type", content_type.into())];
        Self { status, headers, body, cut: None, date: None }
    }

    pub fn error(status: u16, reason: &str, message: &str) -> Self {
        let error = json!({"error": {
            "code": status,
            "message": message,
            "errors": [{"message": message, "domain": "global", "reason": reason}],
        }});
        Self::of(status, "application/json; charset=UTF-8", error.to_string())
    }

    pub fn not_found() -> Self {
        Self::error(404, "notFound", "Requested entity was not found.")
    }

    pub fn exceeded(which: Exceeded) -> Self {
        match which {
            Exceeded::User => Self::error(403, "userRateLimitExceeded", "User Rate Limit Exceeded"),
            Exceeded::Project => Self::error(403, "rateLimitExceeded", "Rate Limit Exceeded"),
        }
    }

    /// What an order says; `None` if the call does its work after all.
    pub fn ordered(then: &Then) -> Option<Self> {
        let mut answer = match (then.status, &then.body, &then.reason) {
            (None, None, None) => return None,
            (status, Some(body), _) => Self::of(status.unwrap_or(200), "application/json", body.clone()),
            (status, None, Some(reason)) => {
                Self::error(status.unwrap_or(403), reason, then.message.as_deref().unwrap_or(reason))
            }
            (status, None, None) => {
                let page =
                    "<!DOCTYPE html><html><title>Error</title><p>The server encountered an error.</html>";
                Self::of(status.unwrap_or(200), "text/html", page.into())
            }
        };
        answer.headers.extend(then.retry_after.clone().map(|value| ("retry-after", value)));
        answer.cut = then.cut;
        Some(answer)
    }

    pub fn part(&self) -> String {
        let reason =
            StatusCode::from_u16(self.status).ok().and_then(|it| it.canonical_reason()).unwrap_or("");
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("HTTP/1.1 {} {reason}\r\n{headers}\r\n{}\r\n", self.status, self.body)
    }

    pub fn response(self) -> Response<Body> {
        let mut builder = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            builder = builder.header(*name, value);
        }
        let date =
            self.date.and_then(chrono::DateTime::from_timestamp_millis).unwrap_or_else(chrono::Utc::now);
        builder = builder.header(header::DATE, date.to_rfc2822().replace("+0000", "GMT"));
        let body = match self.cut {
            None => Body::from(self.body),
            Some(cut) => {
                let whole = self.body.into_bytes();
                let begin = whole[..cut.min(whole.len())].to_vec();
                Body::from_stream(stream::iter([Ok::<_, std::io::Error>(begin)]))
            }
        };
        builder.body(body).unwrap_or_default()
    }
}
