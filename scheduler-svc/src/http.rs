//! The HTTP port: `/livez` says that the process runs, `/readyz` that it serves.

use axum::{Router, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `stopping`; from then on it is not ready.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    stopping: CancellationToken,
    stopped: CancellationToken,
) -> std::io::Result<()> {
    let ready = move || {
        let stopping = stopping.is_cancelled();
        async move {
            if stopping {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            } else {
                (StatusCode::OK, "ready\n")
            }
        }
    };
    let router = Router::new().route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready));
    axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await
}
