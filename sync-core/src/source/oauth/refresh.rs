//! A refresh token for an access token.
//!
//! Only one answer means that the user must give consent again: `invalid_grant`, from a server whose clock agrees with
//! ours. Providers use that word for a wrong clock as well, and everything else (no answer, 5xx, a page of HTML, a
//! client that the operator configured wrongly) says nothing about the user.

use std::sync::Arc;

use chrono::DateTime;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Client as Http, StatusCode};
use serde::Deserialize;
use tracing::Instrument as _;

use super::{Client, Tokens};
use crate::credential::access::Traded;
use crate::credential::{Access, Credential, SECRET_MAX, Secret};
use crate::source::{Fault, http};
use crate::sync::Clock;

const ANSWER_MAX: usize = 64 << 10;
/// Clocks that differ by more make `invalid_grant` doubtful.
const SKEW_MS: i64 = 5 * 60 * 1000;

pub struct Refresher {
    http: Http,
    clock: Clock,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Refresher {
    pub fn new(http: Http, clock: Clock) -> Self {
        Self { http, clock }
    }
}

impl Tokens for Refresher {
    fn access_token<'a>(
        &'a self,
        access: &'a Access,
        client: &'a Client,
    ) -> BoxFuture<'a, Result<Secret, Fault>> {
        let (http, clock, client) = (self.http.clone(), self.clock.clone(), Arc::new(client.clone()));
        Box::pin(
            access.trade(move |credential| async move { trade(&http, &clock, &client, credential).await }),
        )
    }
}

async fn trade(
    http: &Http,
    clock: &Clock,
    client: &Client,
    credential: Credential,
) -> Result<Traded<Secret>, Fault> {
    let Credential::OAuth { client: name, refresh_token } = credential else {
        return Err(Fault::reauthorize(
            "credential-kind",
            "the mailbox needs consent, not a password; connect it again",
        ));
    };
    let span = tracing::debug_span!("provider", provider = "oauth", call = "refresh");
    let (status, headers, body) = ask(http, client, &refresh_token).instrument(span).await?;
    let skew = skew(&headers, clock());
    let answer = understand(status, &body, skew)?;
    let rotated = answer.rotated.filter(|rotated| *rotated != refresh_token);
    Ok(Traded {
        result: answer.access,
        rotated: rotated.map(|refresh_token| Credential::OAuth { client: name, refresh_token }),
    })
}

async fn ask(
    http: &Http,
    client: &Client,
    refresh_token: &Secret,
) -> Result<(StatusCode, HeaderMap, Vec<u8>), Fault> {
    let form = form(&[
        ("grant_type", "refresh_token"),
        ("client_id", &client.client_id),
        ("client_secret", client.client_secret.expose()),
        ("refresh_token", refresh_token.expose()),
    ]);
    let unavailable = |why: &str| Fault::transient("oauth-unavailable", format!("the token server: {why}"));
    let request =
        http.post(&client.token_url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
    let response = request.send().await.map_err(|error| unavailable(http::told(&error)))?;
    let (status, headers) = (response.status(), response.headers().clone());
    match http::body(response, ANSWER_MAX).await {
        Ok(http::Body::Whole(body)) => Ok((status, headers, body.to_vec())),
        Ok(http::Body::Cut(_)) => Err(unavailable("its answer is too long")),
        Err(error) => Err(unavailable(http::told(&error))),
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    // Any base does; only the query is used.
    let Ok(mut url) = reqwest::Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// By how many milliseconds our clock is ahead of the server's.
fn skew(headers: &HeaderMap, now: i64) -> i64 {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    date.map_or(0, |date| now.saturating_sub(date.timestamp_millis()))
}

struct Understood {
    access: Secret,
    rotated: Option<Secret>,
}

fn understand(status: StatusCode, body: &[u8], skew: i64) -> Result<Understood, Fault> {
    if status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
    {
        let message = format!("the token server answered {}; it is asked again later", status.as_u16());
        return Err(Fault::transient("oauth-unavailable", message));
    }
    let unreadable = || {
        let message = format!("the token server's answer ({}) cannot be read", status.as_u16());
        Fault::transient("oauth-unreadable", message)
    };
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unreadable())?;
    if let Some(error) = answer.error {
        return Err(refusal(&error, answer.error_description.as_deref().unwrap_or_default(), skew));
    }
    let usable = |token: &Secret| !token.is_empty() && token.expose().len() <= SECRET_MAX;
    let access = answer.access_token.filter(usable).filter(|_| status.is_success());
    Ok(Understood { access: access.ok_or_else(unreadable)?, rotated: answer.refresh_token.filter(usable) })
}

fn refusal(error: &str, description: &str, skew: i64) -> Fault {
    let is_about_time = ["timeframe", "clock", "iat", "not yet valid"].iter().any(|word| {
        description.to_ascii_lowercase().split(|c: char| !c.is_ascii_alphabetic()).any(|it| it == *word)
            || (word.contains(' ') && description.to_ascii_lowercase().contains(word))
    });
    match error {
        "invalid_grant" if is_about_time || skew.abs() > SKEW_MS => Fault::transient(
            "oauth-clock",
            format!(
                "the token server refused, and clocks differ by {} s; set this machine's clock",
                skew.abs() / 1000
            ),
        ),
        "invalid_grant" => Fault::reauthorize(
            "oauth-invalid-grant",
            "the consent has ended (revoked, expired, or the password was changed); the user must connect again",
        ),
        "access_denied" | "admin_policy_enforced" | "org_internal" => Fault::permanent(
            "oauth-policy",
            "the account's administrator does not allow this application; the administrator must",
        ),
        "invalid_client"
        | "unauthorized_client"
        | "deleted_client"
        | "invalid_request"
        | "unsupported_grant_type" => {
            let message =
                "the token server does not accept the OAuth client; the operator must correct [oauth.NAME]";
            Fault::permanent("oauth-client-refused", message)
        }
        "temporarily_unavailable" | "server_error" | "slow_down" => {
            Fault::transient("oauth-unavailable", "the token server is overloaded; it is asked again later")
        }
        other => {
            let other = crate::text::clean(other, 60);
            Fault::transient("oauth-unreadable", format!("the token server refused with `{other}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Class;

    fn class(status: u16, body: &str, skew: i64) -> Class {
        understand(StatusCode::from_u16(status).unwrap(), body.as_bytes(), skew)
            .map(|_| ())
            .unwrap_err()
            .class
    }

    #[test]
    fn only_an_ended_consent_asks_the_user() {
        let ended = r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#;
        assert_eq!(class(400, ended, 0), Class::Reauthorize);
        assert_eq!(class(400, ended, 3_600_000), Class::Transient, "our clock is wrong");
        let clock = r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token and in a reasonable timeframe. Check your iat and exp values"}"#;
        assert_eq!(class(400, clock, 0), Class::Transient);
        assert_eq!(class(503, ended, 0), Class::Transient, "whatever a server in trouble says");
        assert_eq!(class(429, "{}", 0), Class::Transient);
        assert_eq!(class(400, "<html>Bad Request</html>", 0), Class::Transient);
        assert_eq!(class(200, "{\"access_token\":", 0), Class::Transient);
        assert_eq!(class(200, "{}", 0), Class::Transient);
        assert_eq!(class(401, r#"{"error":"invalid_client"}"#, 0), Class::Permanent);
        assert_eq!(class(403, r#"{"error":"admin_policy_enforced"}"#, 0), Class::Permanent);
        assert_eq!(class(400, r#"{"error":"something_new"}"#, 0), Class::Transient);
    }

    #[test]
    fn answers_of_any_shape_are_read() {
        for extra in
            ["", r#","expires_in":0"#, r#","expires_in":"3599""#, r#","expires_in":null,"scope":"x y""#]
        {
            let body = format!(r#"{{"access_token":"at","token_type":"Bearer"{extra}}}"#);
            let read = understand(StatusCode::OK, body.as_bytes(), 0).unwrap();
            assert_eq!((read.access.expose(), read.rotated), ("at", None));
        }
        let read = understand(StatusCode::OK, br#"{"access_token":"at","refresh_token":"rt"}"#, 0).unwrap();
        assert_eq!(read.rotated.unwrap().expose(), "rt");
    }
}
