//! The HTTP port: `/livez` says that the process runs, `/readyz` that it serves and hears the scheduler.
//! `/metrics` is for Prometheus.

use std::sync::Arc;

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

use crate::{link::LinkStatus, metrics::Metrics};

/// The text format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

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

/// Serves until `stopped`. `link` is absent in a process that runs no jobs.
pub async fn serve(
    listener: Listener,
    link: Option<watch::Receiver<LinkStatus>>,
    metrics: Arc<Metrics>,
    guard: Guard,
    stopping: CancellationToken,
    stopped: CancellationToken,
) {
    let shown = link.clone();
    let page = move |Extension(peer): Extension<Peer>, headers: HeaderMap| {
        let status = shown.as_ref().map(|link| link.borrow().clone());
        let page = guard.lets_in(&peer, &headers).then(|| metrics.render(status.as_ref()));
        async move {
            let refused = (StatusCode::UNAUTHORIZED, "a token of role metrics or operator is required\n");
            page.map(|page| ([(CONTENT_TYPE, METRICS)], page)).ok_or(refused).into_response()
        }
    };
    let ready = move || {
        let status = link.as_ref().map(|link| link.borrow().clone());
        let answer = match (stopping.is_cancelled(), status) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
            (false, Some(LinkStatus { refusal: Some(refusal), .. })) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n"))
            }
            (false, Some(LinkStatus { connected: false, outage, .. })) => {
                let why = outage.map(|why| format!(": {why}")).unwrap_or_default();
                (StatusCode::SERVICE_UNAVAILABLE, format!("the scheduler is not connected{why}\n"))
            }
            (false, _) => (StatusCode::OK, "ready\n".to_owned()),
        };
        async move { answer }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(page));
    http::serve(listener, router, stopped.cancelled_owned()).await;
}
