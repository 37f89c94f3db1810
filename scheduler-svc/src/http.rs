//! The HTTP port: `/livez` says that the process runs, `/readyz` that it serves: it leads, or knows who does. A moment
//! without a leader is not held against it (rule S3). `/metrics` is for Prometheus.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{cluster::Leadership, metrics::Metrics};

/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long a replica stays ready without a leader.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `stopping`; from then on it is not ready.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    leadership: watch::Receiver<Leadership>,
    metrics: Arc<Metrics>,
    stopping: CancellationToken,
    stopped: CancellationToken,
) -> std::io::Result<()> {
    // Not before somebody has led: until then no call could be answered.
    let led = Arc::new(Mutex::new(None::<Instant>));
    let ready = move || {
        let stopping = stopping.is_cancelled();
        let mut led = led.lock().unwrap_or_else(PoisonError::into_inner);
        if *leadership.borrow() != Leadership::Open {
            *led = Some(Instant::now());
        }
        let leaderless = led.is_none_or(|led| led.elapsed() > GRACE);
        async move {
            if stopping {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            } else if leaderless {
                (StatusCode::SERVICE_UNAVAILABLE, "no scheduler leads\n")
            } else {
                (StatusCode::OK, "ready\n")
            }
        }
    };
    let page = move || {
        let page = metrics.render();
        async move { ([(CONTENT_TYPE, METRICS)], page) }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(page));
    axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await
}
