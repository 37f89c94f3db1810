//! The HTTP port: `/livez` says that the process runs, `/readyz` that it serves and hears the scheduler.
//! `/metrics` is for Prometheus.

use std::sync::Arc;

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{link::LinkStatus, metrics::Metrics};

/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until `stopped`. `link` is absent in a process that runs no jobs.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    link: Option<watch::Receiver<LinkStatus>>,
    metrics: Arc<Metrics>,
    stopping: CancellationToken,
    stopped: CancellationToken,
) -> std::io::Result<()> {
    let shown = link.clone();
    let page = move || {
        let status = shown.as_ref().map(|link| link.borrow().clone());
        let page = metrics.render(status.as_ref());
        async move { ([(CONTENT_TYPE, METRICS)], page) }
    };
    let ready = move || {
        let status = link.as_ref().map(|link| link.borrow().clone());
        let answer = match (stopping.is_cancelled(), status) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
            (false, Some(LinkStatus { refusal: Some(refusal), .. })) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n"))
            }
            (false, Some(LinkStatus { connected: false, .. })) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the scheduler is not connected\n".to_owned())
            }
            (false, _) => (StatusCode::OK, "ready\n".to_owned()),
        };
        async move { answer }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(page));
    axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await
}
