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
    let router = Router::new().route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready));
    axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await
}
