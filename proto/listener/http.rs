//! Serves HTTP/1.1 on a port: small answers, for probes and scrapers. Every connection has its bounds.

use std::{convert::Infallible, error::Error, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::codegen::Service;

use super::{Bounds, Connection, Listener};

/// Of a port that probes and scrapers use.
pub const BOUNDS: Bounds = Bounds {
    connections: 128,
    connections_per_peer: 64,
    age: Duration::from_secs(5 * 60),
    grace: Duration::from_secs(10),
};
const HEADER_BYTES: usize = 16 << 10;
/// From the last answer, or from the beginning, to the end of a request's headers.
const HEADERS: Duration = Duration::from_secs(10);

/// Serves until `stopped`, then lets answers that are under way end. Requests have the [`super::Peer`] among their
/// extensions.
pub async fn serve<S, B>(mut listener: Listener, service: S, stopped: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    // Each connection holds a receiver.
    let (stop, stopping) = watch::channel(());
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            connection = listener.0.recv() => match connection {
                Some(Ok(connection)) => {
                    tokio::spawn(converse(connection, service.clone(), stopping.clone()));
                }
                Some(Err(_)) => {}
                None => break,
            },
            () = &mut stopped => break,
        }
    }
    drop((listener, stopping));
    let _ = stop.send(());
    let _ = timeout(BOUNDS.grace, stop.closed()).await;
}

async fn converse<S, B>(connection: Connection, service: S, mut stopping: watch::Receiver<()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let peer = connection.peer().cloned();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        service.clone().call(request)
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(connection), service);
    tokio::pin!(conversation);
    tokio::select! {
        // A peer that went away, or spoke something else, is nothing to tell.
        _ = &mut conversation => return,
        () = sleep(BOUNDS.age) => {}
        _ = stopping.changed() => {}
    }
    conversation.as_mut().graceful_shutdown();
    let _ = timeout(BOUNDS.grace, conversation).await;
}
