//! `LimitService`.

use std::sync::Arc;

use docket::{
    errors::Violation,
    identity,
    schedule::v1::{self as pb, limit_service_server::LimitService},
};
use tonic::{Request, Response, Status};

use super::{Services, call_error, convert, deadline, field, mismatch, page, request_id};
use crate::state_machine::{
    command::{self, Command},
    gate::limit::Limit,
    output::Answer,
    view::LimitView,
};

const RUNNING_MAX: i32 = 1_000_000;
const BURST_MAX: u32 = 1_000_000;
const RATE_MIN: f64 = 0.001;
const RATE_MAX: f64 = 100_000.0;
/// Of a start per second, as a rate is kept.
const RATE_UNIT: f64 = 1e6;

pub struct Api(pub Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

impl Api {
    async fn ask<T>(&self, request: &Request<T>, command: Command) -> Result<Answer, Status> {
        self.0.shard.call(command, deadline(request)).await.map_err(call_error)
    }
}

#[tonic::async_trait]
impl LimitService for Api {
    async fn set_limit(&self, request: Request<pb::SetLimitRequest>) -> Reply<pb::SetLimitResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let asked = body.limit.as_ref().ok_or_else(|| Violation::new("limit", "is required"))?;
        let namespace = field::id("limit.namespace", identity.namespace(&asked.namespace)?)?;
        identity.about(&asked.key);
        let without_id = pb::SetLimitRequest { request_id: String::new(), ..body.clone() };
        let set = command::SetLimit {
            namespace: namespace.into(),
            key: pattern("limit.key", &asked.key)?.into(),
            limit: limit(asked)?,
            request: request_id("SetLimit", &body.request_id, &without_id)?,
        };
        let Answer::Limit(view) = self.ask(&request, Command::SetLimit(Box::new(set))).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(pb::SetLimitResponse { limit: Some(shown(&view)) }))
    }

    async fn list_limits(&self, request: Request<pb::ListLimitsRequest>) -> Reply<pb::ListLimitsResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        let prefix = field::optional_id("key_prefix", &body.key_prefix)?;
        let binding = page::binding(&[b"ListLimits", namespace.as_bytes(), prefix.as_bytes()]);
        let list = command::ListLimits {
            namespace: namespace.into(),
            prefix: prefix.into(),
            after: page::position(binding, &body.page_token)?,
            limit: field::page_size(body.page_size)?,
        };
        let Answer::Limits { limits, next } = self.ask(&request, Command::ListLimits(list)).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(pb::ListLimitsResponse {
            limits: limits.iter().map(shown).collect(),
            next_page_token: next.map(|last| page::token(binding, &last)).unwrap_or_default(),
        }))
    }

    async fn delete_limit(&self, request: Request<pb::DeleteLimitRequest>) -> Reply<pb::DeleteLimitResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        identity.about(&body.key);
        let without_id = pb::DeleteLimitRequest { request_id: String::new(), ..body.clone() };
        let delete = command::DeleteLimit {
            namespace: field::id("namespace", identity.namespace(&body.namespace)?)?.into(),
            key: pattern("key", &body.key)?.into(),
            request: request_id("DeleteLimit", &body.request_id, &without_id)?,
        };
        let Answer::LimitDeleted = self.ask(&request, Command::DeleteLimit(delete)).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(pb::DeleteLimitResponse {}))
    }
}

/// A key, or the beginning of keys and one `*` at the end.
fn pattern<'a>(field: &str, value: &'a str) -> Result<&'a str, Violation> {
    let prefix = value.strip_suffix('*').unwrap_or(value);
    let checked =
        if prefix.len() < value.len() { field::optional_id(field, prefix) } else { field::id(field, prefix) };
    checked.map(|_| value).map_err(|_| {
        Violation::new(
            field,
            "must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ -, and may end in one `*`, as in `mailbox:*`",
        )
    })
}

fn limit(asked: &pb::Limit) -> Result<Limit, Violation> {
    let max_running = asked.max_running.map(|max| {
        (0..=RUNNING_MAX).contains(&max).then_some(max.unsigned_abs()).ok_or_else(|| {
            Violation::new(
                "limit.max_running",
                format!("must be 0 (closes the key) to {RUNNING_MAX}; leave it out for unlimited"),
            )
        })
    });
    let rate = asked.starts_per_second;
    if rate != 0.0 && !(RATE_MIN..=RATE_MAX).contains(&rate) {
        let remedy = format!("must be {RATE_MIN} to {RATE_MAX}, or 0 for unlimited");
        return Err(Violation::new("limit.starts_per_second", remedy));
    }
    if rate == 0.0 && asked.burst != 0 {
        return Err(Violation::new("limit.burst", "needs starts_per_second; leave it 0 without one"));
    }
    Ok(Limit {
        max_running: max_running.transpose()?,
        rate: (rate * RATE_UNIT).round() as u64,
        burst: field::number("limit.burst", asked.burst, 1, BURST_MAX, 1)?,
    })
}

fn shown(view: &LimitView) -> pb::Limit {
    let limit = view.limit;
    let rate = limit.map_or(0, |limit| limit.rate);
    pb::Limit {
        namespace: view.namespace.to_string(),
        key: view.key.to_string(),
        max_running: limit.and_then(|limit| limit.max_running).map(|max| max as i32),
        starts_per_second: rate as f64 / RATE_UNIT,
        burst: limit.filter(|_| rate > 0).map_or(0, |limit| limit.burst as i32),
        running: view.running as i32,
        closed_until: view.closed_until.map(convert::timestamp),
        reason: view.reason.to_string(),
    }
}
