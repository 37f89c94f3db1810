//! What Gmail's calls answer.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use super::answer::Answer;
use super::world::{Then, World};

/// A GET, by itself or in a batch.
pub struct Get<'a> {
    pub path: &'a str,
    pub query: Vec<(String, String)>,
    pub in_batch: bool,
}

impl Get<'_> {
    pub fn parse(target: &str, in_batch: bool) -> Get<'_> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let decode = |text: &str| percent(&text.replace('+', " "));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Get { path, query: query.split('&').filter(|it| !it.is_empty()).map(pair).collect(), in_batch }
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str, default: usize) -> usize {
        self.one(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

pub fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The answer, and the order that was given for the call, if any.
pub fn get(world: &mut World, token: Option<&str>, get: &Get<'_>) -> (Option<Then>, Answer) {
    let Some(call) = get.path.split_once("/gmail/v1/users/me/").map(|(_, call)| call) else {
        return (None, Answer::not_found());
    };
    let id = call.strip_prefix("messages/");
    let kind = match call {
        _ if id.is_some() && get.in_batch => "part",
        _ if id.is_some() => "get",
        "messages" => "list",
        other => other,
    };
    let then = world.count(kind, id);
    if let Some(answer) = then.as_ref().and_then(Answer::ordered) {
        return (then, answer);
    }
    let Some(address) = token.and_then(|token| world.access_tokens.get(token)).cloned() else {
        return (then, Answer::error(401, "authError", "Invalid Credentials"));
    };
    let cost = match kind {
        "part" | "get" => world.quota.get,
        "list" => world.quota.list,
        "history" => world.quota.history,
        _ => 1,
    };
    if let Err(exceeded) = world.spend(&address, cost) {
        return (then, Answer::exceeded(exceeded));
    }
    let mut answer = match (kind, id) {
        (_, Some(id)) => message(world, &address, id),
        ("profile", _) => Answer::json(&world.mailbox(&address).profile()),
        ("labels", _) => labels(world, &address),
        ("list", _) => list(world, &address, get),
        ("history", _) => history(world, &address, get),
        _ => Answer::not_found(),
    };
    answer.cut = then.as_ref().and_then(|then| then.cut);
    (then, answer)
}

fn message(world: &mut World, address: &str, id: &str) -> Answer {
    let Some(message) = world.mailbox(address).get(id) else { return Answer::not_found() };
    Answer::json(&json!({
        "id": id,
        "threadId": id,
        "labelIds": message.labels,
        "snippet": "Your \"invoice\" \\",
        "historyId": "1",
        "internalDate": message.time.to_string(),
        "sizeEstimate": message.raw.len(),
        "raw": URL_SAFE.encode(&message.raw),
    }))
}

fn labels(world: &mut World, address: &str) -> Answer {
    let system =
        ["INBOX", "SENT", "SPAM", "TRASH"].map(|name| json!({"id": name, "name": name, "type": "system"}));
    let own = world.mailbox(address).labels.clone();
    let own = own.iter().map(|name| json!({"id": name, "name": name, "type": "user"}));
    Answer::json(&json!({"labels": system.into_iter().chain(own).collect::<Vec<Value>>()}))
}

/// Where a page token says that its page begins.
fn skip(world: &World, get: &Get<'_>, kind: &str) -> Result<usize, Answer> {
    let bad = || Answer::error(400, "invalidArgument", "Invalid pageToken");
    match get.one("pageToken") {
        None => Ok(0),
        Some(_) if world.tokens_expired => Err(bad()),
        Some(token) => token.strip_prefix(kind).and_then(|it| it.parse().ok()).ok_or_else(bad),
    }
}

fn list(world: &mut World, address: &str, get: &Get<'_>) -> Answer {
    let skip = match skip(world, get, "list-") {
        Ok(skip) => skip,
        Err(answer) => return answer,
    };
    let with_all = get.one("includeSpamTrash") == Some("true");
    let max = get.number("maxResults", 100).min(500);
    let is_circle = world.circle;
    let mut page = world.mailbox(address).list(get.one("q").unwrap_or_default(), with_all, skip, max);
    if is_circle {
        page["nextPageToken"] = "list-0".into();
    }
    Answer::json(&page)
}

fn history(world: &mut World, address: &str, get: &Get<'_>) -> Answer {
    let skip = match skip(world, get, "history-") {
        Ok(skip) => skip,
        Err(answer) => return answer,
    };
    let Some(start) = get.one("startHistoryId").and_then(|start| start.parse().ok()) else {
        return Answer::error(400, "invalidArgument", "Missing startHistoryId");
    };
    let kinds = get.query.iter().filter(|(name, _)| name == "historyTypes").map(|(_, kind)| kind.clone());
    let kinds: Vec<String> = kinds.collect();
    let gap = world.gap && get.one("pageToken").is_none();
    let page =
        world.mailbox(address).history(start, &kinds, skip, get.number("maxResults", 100).min(500), gap);
    page.map_or_else(Answer::not_found, |page| Answer::json(&page))
}

/// `POST /token`.
pub fn token(world: &mut World, form: &HashMap<String, String>) -> (Option<Then>, Answer) {
    let then = world.count("token", None);
    if let Some(answer) = then.as_ref().and_then(Answer::ordered) {
        return (then, answer);
    }
    let refused = |status, error: &str, description: &str| {
        let body = json!({"error": error, "error_description": description});
        Answer::of(status, "application/json", body.to_string())
    };
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let answer = if (field("client_id"), field("client_secret"))
        != (super::world::CLIENT_ID, super::world::CLIENT_SECRET)
    {
        refused(401, "invalid_client", "The OAuth client was not found.")
    } else if field("grant_type") != "refresh_token" {
        refused(400, "unsupported_grant_type", "")
    } else {
        match world.refresh(field("refresh_token")) {
            None => refused(400, "invalid_grant", "Token has been expired or revoked."),
            Some((access, rotated)) => {
                let mut body = json!({"access_token": access, "expires_in": 3599, "token_type": "Bearer"});
                if let Some(rotated) = rotated {
                    body["refresh_token"] = rotated.into();
                }
                Answer::json(&body)
            }
        }
    };
    (then, answer)
}
