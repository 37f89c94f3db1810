//! HTTP around it: Gmail's calls, batches, the token endpoint, and `/admin`.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response, Uri, header};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::answer::Answer;
use super::api::{self, Get};
use super::world::{Fault, Quota, Shared, Then, World};

/// Serves until the task is dropped.
pub async fn serve(listener: tokio::net::TcpListener, world: Shared) -> std::io::Result<()> {
    let router = Router::new()
        .route("/gmail/v1/users/me/{*call}", get(call))
        .route("/batch/gmail/v1", post(batch))
        .route("/token", post(token))
        .route("/admin/accounts", post(account))
        .route("/admin/messages", post(message))
        .route("/admin/faults", post(fault))
        .route("/admin/settings", post(settings))
        .route("/admin/stats", get(stats))
        .layer(DefaultBodyLimit::max(100 << 20))
        .with_state(world);
    axum::serve(listener, router).await
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

fn with<T>(world: &Shared, change: impl FnOnce(&mut World) -> T) -> T {
    change(&mut world.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

async fn obey(then: Option<&Then>) {
    let Some(then) = then else { return };
    if then.hang {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(Duration::from_millis(then.delay_ms)).await;
}

async fn call(State(world): State<Shared>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let target = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let asked = Get::parse(&target, false);
    let is_message = asked.path.contains("/messages/");
    begun(&world, is_message);
    let (then, answer) = with(&world, |world| api::get(world, bearer(&headers).as_deref(), &asked));
    obey(then.as_ref()).await;
    ended(&world, is_message);
    answer.response()
}

fn begun(world: &Shared, counts: bool) {
    with(world, |world| {
        world.running += u64::from(counts);
        world.stats.most_at_once = world.stats.most_at_once.max(world.running);
    });
}

fn ended(world: &Shared, counts: bool) {
    with(world, |world| world.running -= u64::from(counts));
}

async fn batch(State(world): State<Shared>, headers: HeaderMap, body: String) -> Response<Body> {
    begun(&world, true);
    let then = with(&world, |world| world.count("batch", None));
    obey(then.as_ref()).await;
    if let Some(answer) = then.as_ref().and_then(Answer::ordered) {
        ended(&world, true);
        return answer.response();
    }
    let token = bearer(&headers);
    let mut parts = String::new();
    let (mut id, mut delayed) = (String::new(), None);
    for line in body.lines().map(str::trim) {
        if let Some(value) = line.strip_prefix("Content-ID: <") {
            id = value.trim_end_matches('>').to_owned();
        }
        if let Some(target) = line.strip_prefix("GET ") {
            let asked = Get::parse(target, true);
            let (then, answer) = with(&world, |world| api::get(world, token.as_deref(), &asked));
            // A part that never comes.
            if !then.as_ref().is_some_and(|then| then.hang) {
                let head = "Content-Type: application/http\r\nContent-ID:";
                parts += &format!("--batch_fake\r\n{head} <response-{id}>\r\n\r\n{}", answer.part());
            }
            delayed = then.map(|then| Then { hang: false, ..then }).or(delayed);
        }
    }
    obey(delayed.as_ref()).await;
    ended(&world, true);
    let mut answer =
        Answer::of(200, "multipart/mixed; boundary=batch_fake", format!("{parts}--batch_fake--\r\n"));
    answer.cut = then.and_then(|then| then.cut);
    answer.response()
}

async fn token(State(world): State<Shared>, body: String) -> Response<Body> {
    let pairs = Get::parse(&format!("?{body}"), false).query.into_iter().collect::<HashMap<_, _>>();
    let (then, mut answer) = with(&world, |world| api::token(world, &pairs));
    answer.date = with(&world, |world| world.now);
    obey(then.as_ref()).await;
    answer.response()
}

#[derive(Deserialize)]
struct Account {
    address: String,
    refresh_token: String,
    #[serde(default)]
    labels: Vec<String>,
}

async fn account(State(world): State<Shared>, body: Bytes) -> Response<Body> {
    let Ok(asked) = serde_json::from_slice::<Account>(&body) else {
        return Answer::error(400, "badRequest", "address and refresh_token are required").response();
    };
    with(&world, |world| {
        world.mailbox(&asked.address).labels = asked.labels;
        world.refresh_tokens.insert(asked.refresh_token, asked.address);
    });
    Answer::json(&json!({})).response()
}

/// `address`, and if wanted `time` in Unix milliseconds, `labels` separated by commas, and `unindexed`.
async fn message(State(world): State<Shared>, uri: Uri, body: Bytes) -> Response<Body> {
    let query = format!("?{}", uri.query().unwrap_or_default());
    let placed = Get::parse(&query, false).query.into_iter().collect::<HashMap<_, _>>();
    let Some(address) = placed.get("address") else {
        return Answer::error(400, "badRequest", "address is required").response();
    };
    let labels = placed.get("labels").map_or("INBOX", String::as_str).split(',').map(str::to_owned).collect();
    let time = placed.get("time").and_then(|time| time.parse().ok());
    let time = time.unwrap_or_else(|| chrono::Utc::now().timestamp_millis());
    let is_unindexed = placed.contains_key("unindexed");
    let id = with(&world, |world| world.mailbox(address).add(body.to_vec(), time, labels, is_unindexed));
    Answer::json(&json!({"id": id})).response()
}

async fn fault(State(world): State<Shared>, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) if fault.times > 0 => {
            with(&world, |world| world.faults.push_back(fault));
            Answer::json(&json!({})).response()
        }
        _ => Answer::error(400, "badRequest", "see `Fault` in world.rs").response(),
    }
}

/// A message of an account, with its new labels or without any: then it is removed.
#[derive(Deserialize)]
struct Change {
    address: String,
    id: String,
    labels: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Settings {
    change: Option<Change>,
    quota: Option<Quota>,
    rotates: Option<bool>,
    gap: Option<bool>,
    circle: Option<bool>,
    tokens_expired: Option<bool>,
    /// An address whose history is forgotten.
    forget_history: Option<String>,
    /// A refresh token that is not accepted any more.
    revoke: Option<String>,
    /// What the token endpoint's clock shows, Unix milliseconds.
    now: Option<i64>,
    /// Access tokens are not accepted any more.
    #[serde(default)]
    expire: bool,
}

async fn settings(State(world): State<Shared>, body: Bytes) -> Response<Body> {
    let Ok(asked) = serde_json::from_slice::<Settings>(&body) else {
        return Answer::error(400, "badRequest", "see `Settings` in server.rs").response();
    };
    with(&world, |world| {
        world.quota = asked.quota.unwrap_or_else(|| world.quota.clone());
        world.rotates = asked.rotates.unwrap_or(world.rotates);
        world.now = asked.now.or(world.now);
        world.gap = asked.gap.unwrap_or(world.gap);
        world.circle = asked.circle.unwrap_or(world.circle);
        world.tokens_expired = asked.tokens_expired.unwrap_or(world.tokens_expired);
        if let Some(Change { address, id, labels }) = asked.change {
            match labels {
                Some(labels) => world.mailbox(&address).label(&id, labels),
                None => world.mailbox(&address).remove(&id),
            }
        }
        if let Some(address) = asked.forget_history {
            world.mailbox(&address).forget_history();
        }
        if let Some(token) = asked.revoke {
            world.refresh_tokens.remove(&token);
        }
        if asked.expire {
            world.access_tokens.clear();
        }
    });
    Answer::json(&json!({})).response()
}

async fn stats(State(world): State<Shared>) -> Response<Body> {
    let stats = with(&world, |world| json!(world.stats));
    Answer::json(&stats).response()
}
