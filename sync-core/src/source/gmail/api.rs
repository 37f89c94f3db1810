//! Calls to Gmail for one run: authorised, paid for from the quota, at the run's pace, and made again when that helps.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client as Http, Response, Url};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tracing::Instrument as _;

use super::answers::{History, Labels, List, Profile};
use super::error::{self, Error, unreadable};
use super::pace::Pace;
use super::quota::{Quota, SMALL};
use super::raw::{self, Decoder};
use super::{Patience, batch};
use crate::credential::{Access, Secret};
use crate::source::http::{self, Body};
use crate::source::oauth::{Client, Tokens};
use crate::source::{Class, Fault};
use crate::sync::Clock;

/// A page of 500 ids takes some 40 kB.
const JSON_MAX: usize = 8 << 20;
const ERROR_MAX: usize = 64 << 10;

pub struct Api {
    pub http: Http,
    pub base: Url,
    pub client: Client,
    pub tokens: Arc<dyn Tokens>,
    pub access: Access,
    pub quota: Arc<Quota>,
    /// Whose quota is spent.
    pub user: String,
    pub pace: Pace,
    pub patience: Patience,
    pub clock: Clock,
    /// The run's access token; never stored.
    pub token: Mutex<Option<Secret>>,
}

/// A message of this many bytes at the most.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Message(raw::Message),
    Larger,
}

struct Request {
    url: Url,
    /// A batch.
    body: Option<String>,
    cost: u32,
    read: Read,
}

#[derive(Clone, Copy)]
enum Read {
    Json,
    Message { max: usize },
    Parts { max: usize },
}

enum Answer {
    Json(bytes::Bytes),
    Got(Got),
    Parts { content_type: String, body: bytes::Bytes },
}

impl Api {
    pub async fn profile(&self) -> Result<Profile, Error> {
        self.json(self.url("profile", &[]), SMALL).await
    }

    pub async fn labels(&self) -> Result<Labels, Error> {
        self.json(self.url("labels", &[]), SMALL).await
    }

    pub async fn list(&self, parameters: &[(&str, &str)]) -> Result<List, Error> {
        let list: List = self.json(self.url("messages", parameters), self.quota.limits.list).await?;
        if list.is_sound() { Ok(list) } else { Err(unreadable("JSON of another shape")) }
    }

    pub async fn history(&self, parameters: &[(&str, &str)]) -> Result<History, Error> {
        self.json(self.url("history", parameters), self.quota.limits.history).await
    }

    pub async fn message(&self, id: &str, max: usize) -> Result<Got, Error> {
        let url = self.url(&format!("messages/{id}"), &[("format", "raw")]);
        let request = Request { url, body: None, cost: self.quota.limits.get, read: Read::Message { max } };
        match self.call(&request).await? {
            Answer::Got(got) => Ok(got),
            _ => Err(unreadable("something else")),
        }
    }

    /// The answer to several `messages.get`, of `max` bytes in all; cut after that.
    pub async fn messages(&self, ids: &[String], max: usize) -> Result<(String, bytes::Bytes), Error> {
        let base = self.base.path().trim_end_matches('/');
        let path = |id: &String| format!("{base}/gmail/v1/users/me/messages/{id}?format=raw");
        let paths: Vec<String> = ids.iter().map(path).collect();
        let mut url = self.base.clone();
        url.set_path(&format!("{base}/batch/gmail/v1"));
        let cost = self.quota.limits.get * u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let request = Request { url, body: Some(batch::encode(&paths)), cost, read: Read::Parts { max } };
        match self.call(&request).await? {
            Answer::Parts { content_type, body } => Ok((content_type, body)),
            _ => Err(unreadable("something else")),
        }
    }

    fn url(&self, path: &str, parameters: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/gmail/v1/users/me/{path}"));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        url
    }

    async fn json<T: DeserializeOwned>(&self, url: Url, cost: u32) -> Result<T, Error> {
        let request = Request { url, body: None, cost, read: Read::Json };
        match self.call(&request).await? {
            Answer::Json(body) => {
                serde_json::from_slice(&body).map_err(|_| unreadable("JSON of another shape"))
            }
            _ => Err(unreadable("something else")),
        }
    }

    /// Makes a call until it succeeds or patience ends.
    async fn call(&self, request: &Request) -> Result<Answer, Error> {
        let mut tries = 0;
        let mut is_fresh = false;
        loop {
            let token = self.token().await?;
            self.quota.spend(&self.user, request.cost).await;
            let permit = self.pace.enter().await;
            let span = tracing::debug_span!("provider", provider = "gmail", call = name(&request.url));
            let made = self.attempt(request, &token).instrument(span).await;
            tries += 1;
            let pause = match &made {
                Ok(_) => {
                    permit.went_well();
                    return made;
                }
                Err(Error::Unauthorized) if !is_fresh => {
                    drop(permit);
                    self.discard(&token).await;
                    is_fresh = true;
                    continue;
                }
                Err(Error::Passing(_)) => self.patience.pause(tries),
                Err(Error::Fault(Fault { class: Class::Throttled { retry_after, .. }, .. })) => {
                    permit.was_too_fast();
                    self.patience.pause_for(tries, *retry_after)
                }
                Err(_) => None,
            };
            match pause {
                Some(pause) => sleep(pause).await,
                None => return made,
            }
        }
    }

    async fn attempt(&self, request: &Request, token: &Secret) -> Result<Answer, Error> {
        let unavailable = |error| {
            Error::Passing(Fault::transient("gmail-unavailable", format!("Gmail: {}", http::told(&error))))
        };
        let http = match &request.body {
            Some(body) => self
                .http
                .post(request.url.clone())
                .header(CONTENT_TYPE, batch::CONTENT_TYPE)
                .body(body.clone()),
            None => self.http.get(request.url.clone()),
        };
        let response = http.bearer_auth(token.expose()).send().await.map_err(unavailable)?;
        if !response.status().is_success() {
            let (status, headers) = (response.status(), response.headers().clone());
            let body = match http::body(response, ERROR_MAX).await {
                Ok(Body::Whole(body) | Body::Cut(body)) => body,
                Err(_) => bytes::Bytes::new(),
            };
            return Err(error::of(status, &headers, &body, (self.clock)()));
        }
        match request.read {
            Read::Json => match http::body(response, JSON_MAX).await.map_err(unavailable)? {
                Body::Whole(body) if is_object(&body) => Ok(Answer::Json(body)),
                Body::Whole(_) => Err(unreadable("an answer that is cut or no JSON")),
                Body::Cut(_) => Err(unreadable("an answer of too many bytes")),
            },
            Read::Message { max } => read_message(response, max).await.map(Answer::Got),
            Read::Parts { max } => {
                let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let content_type = content_type.unwrap_or_default().to_owned();
                let (Body::Whole(body) | Body::Cut(body)) =
                    http::body(response, max).await.map_err(unavailable)?;
                Ok(Answer::Parts { content_type, body })
            }
        }
    }

    async fn token(&self) -> Result<Secret, Fault> {
        // Held over the refresh: the run's other calls wait for the same token.
        let mut token = self.token.lock().await;
        if let Some(token) = &*token {
            return Ok(token.clone());
        }
        let fresh = self.tokens.access_token(&self.access, &self.client).await?;
        *token = Some(fresh.clone());
        Ok(fresh)
    }

    async fn discard(&self, refused: &Secret) {
        let mut token = self.token.lock().await;
        if token.as_ref() == Some(refused) {
            *token = None;
        }
    }
}

/// Whole and of the shape that all answers have; a list would pass for an object without fields.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

async fn read_message(mut response: Response, max: usize) -> Result<Got, Error> {
    let mut decoder = Decoder::new(max);
    let told = |error| match error {
        raw::Error::Larger => Ok(Got::Larger),
        raw::Error::Unreadable => Err(unreadable("a message that is cut or no JSON")),
    };
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                if let Err(error) = decoder.push(&piece) {
                    return told(error);
                }
            }
            Ok(None) => return decoder.finish().map(Got::Message).or_else(told),
            Err(error) => {
                let message = format!("Gmail: {}", http::told(&error));
                return Err(Error::Passing(Fault::transient("gmail-unavailable", message)));
            }
        }
    }
}

impl Patience {
    fn pause(&self, tries: u32) -> Option<Duration> {
        (tries < self.tries).then(|| self.first * 2_u32.saturating_pow(tries - 1))
    }

    /// What takes longer is the scheduler's to wait for.
    fn pause_for(&self, tries: u32, asked: Option<Duration>) -> Option<Duration> {
        let pause = self.pause(tries)?.max(asked.unwrap_or_default());
        (pause <= self.longest).then_some(pause)
    }
}

/// What a call asks for, without the ids that it names.
fn name(url: &Url) -> String {
    let segments = url.path_segments().into_iter().flatten().skip_while(|segment| *segment != "me").skip(1);
    let mut named: Vec<&str> = segments.take(2).collect();
    if let [_, id] = named.as_mut_slice() {
        *id = "{id}";
    }
    if named.is_empty() { "batch".to_owned() } else { named.join("/") }
}
