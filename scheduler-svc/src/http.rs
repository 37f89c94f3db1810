//! The HTTP port: `/livez` says that the process runs, `/readyz` that it serves: it leads, or knows who does. A moment
//! without a leader is not held against it (rule S3). `/metrics` is for Prometheus.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse as _,
    routing::get,
};
use docket::{
    identity::Gate,
    listener::{Listener, Peer, http},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{cluster::Leadership, metrics::Metrics, shard::Handle, store::Health};

/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long a replica stays ready without a leader.
const GRACE: Duration = Duration::from_secs(10);
/// Of a reason, at most.
const REASON_CHARS: usize = 200;

/// Who sees the metrics.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    pub gate: Gate,
    /// Whoever reaches the port.
    pub open_metrics: bool,
}

impl Guard {
    fn lets_in(&self, peer: &Peer, headers: &HeaderMap) -> bool {
        self.open_metrics || self.gate.shows_metrics(peer, headers)
    }
}

/// A line for people: why nobody leads, as far as this process has found out.
fn leaderless_because(health: &Health) -> String {
    let why: String = health.detail.chars().filter(|char| !char.is_control()).take(REASON_CHARS).collect();
    if health.available || why.is_empty() {
        return "no scheduler leads\n".into();
    }
    format!("no scheduler leads; the store cannot be used: {why}\n")
}

/// Serves until `stopping`; from then on it is not ready.
pub async fn serve(
    listener: Listener,
    leadership: watch::Receiver<Leadership>,
    shard: Handle,
    metrics: Arc<Metrics>,
    guard: Guard,
    stopping: CancellationToken,
    stopped: CancellationToken,
) {
    // Not before somebody has led: until then no call could be answered.
    let led = Arc::new(Mutex::new(None::<Instant>));
    let ready = move || {
        let stopping = stopping.is_cancelled();
        let mut led = led.lock().unwrap_or_else(PoisonError::into_inner);
        if *leadership.borrow() != Leadership::Open {
            *led = Some(Instant::now());
        }
        let health = shard.store_health();
        let leaderless = led.is_none_or(|led| led.elapsed() > GRACE);
        async move {
            if stopping {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into())
            } else if leaderless {
                (StatusCode::SERVICE_UNAVAILABLE, leaderless_because(&health))
            } else {
                (StatusCode::OK, "ready\n".into())
            }
        }
    };
    let page = move |Extension(peer): Extension<Peer>, headers: HeaderMap| {
        let page = guard.lets_in(&peer, &headers).then(|| metrics.render());
        async move {
            let refused = (StatusCode::UNAUTHORIZED, "a token of role metrics or operator is required\n");
            page.map(|page| ([(CONTENT_TYPE, METRICS)], page)).ok_or(refused).into_response()
        }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(page));
    http::serve(listener, router, stopped.cancelled_owned()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_a_replica_without_a_leader_says_why_in_one_short_line() {
        let health = |available, detail: &str| Health { available, detail: detail.into() };
        assert_eq!(leaderless_because(&Health::default()), "no scheduler leads\n");
        assert_eq!(leaderless_because(&health(true, "an advice")), "no scheduler leads\n");
        assert_eq!(
            leaderless_because(&health(false, "Connection refused (os error 111)")),
            "no scheduler leads; the store cannot be used: Connection refused (os error 111)\n"
        );
        let long = leaderless_because(&health(false, &"x\n".repeat(5_000)));
        assert!(long.len() < 300 && long.lines().count() == 1, "{long}");
    }
}
