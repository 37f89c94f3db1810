//! The HTTP port: `/livez` says that the process runs, `/readyz` that it serves and hears the scheduler.
//! `/metrics` is for Prometheus.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse as _,
    routing::get,
};
use docket::identity::Gate;
use tokio::{net::TcpListener, sync::watch};
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
    fn lets_in(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        self.open_metrics || self.gate.shows_metrics(peer.ip(), headers)
    }
}

/// Serves until `stopped`. `link` is absent in a process that runs no jobs.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    link: Option<watch::Receiver<LinkStatus>>,
    metrics: Arc<Metrics>,
    guard: Guard,
    stopping: CancellationToken,
    stopped: CancellationToken,
) -> std::io::Result<()> {
    let shown = link.clone();
    let page = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, headers: HeaderMap| {
        let status = shown.as_ref().map(|link| link.borrow().clone());
        let page = guard.lets_in(peer, &headers).then(|| metrics.render(status.as_ref()));
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
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await
}
