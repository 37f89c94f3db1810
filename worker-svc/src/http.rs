//! The HTTP port: `/livez` says that the process runs, `/readyz` that it serves and hears the scheduler.

use axum::{Router, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::link::LinkStatus;

/// Serves until `stopped`. `link` is absent in a process that runs no jobs.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    link: Option<watch::Receiver<LinkStatus>>,
    stopping: CancellationToken,
    stopped: CancellationToken,
) -> std::io::Result<()> {
    let ready = move || {
        let connected = link.as_ref().is_none_or(|link| link.borrow().connected);
        let answer = match (stopping.is_cancelled(), connected) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
            (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "the scheduler is not connected\n"),
            (false, true) => (StatusCode::OK, "ready\n"),
        };
        async move { answer }
    };
    let router = Router::new().route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready));
    axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await
}
