//! The connections of a server: accepted within bounds, over TLS where that is configured, each with what is known of
//! its other end.
//!
//! - A connection counts from the moment it is accepted, its handshake included; over the bounds it is closed (`refusals`).
//! - A handshake has its time, and waits for nobody else's; so has the beginning of HTTP/2.
//! - A peer whose frames are no calls, or that connects again and again, has to wait (`budget`).
//! - What goes wrong with one connection, or with accepting, ends nothing but that connection.

mod budget;
mod connection;
mod frames;
pub mod http;
mod places;
mod refusals;
pub mod settings;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    identity::tls::{self, server::Tls},
    metrics::process::max_open_files,
};
pub use connection::Connection;
use connection::Io;
use places::Places;
use refusals::Refusals;

/// Of TLS, and then of HTTP/2.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After accepting failed: most often there are no more file descriptors, and some will be free soon.
const PAUSE: Duration = Duration::from_millis(100);
/// What a process opens besides connections: files of its store, logs, links to others.
const OTHER_FILES: usize = 200;
/// Connections that the server has not taken yet.
const WAITING: usize = 16;

/// How many connections are open at once, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub connections: usize,
    /// From one address. A proxy is one peer.
    pub connections_per_peer: usize,
    /// A connection takes no more calls after this, so that clients find new replicas, and certificates are looked at
    /// again…
    pub age: Duration,
    /// …and what is under way on it, streams included, has this long to end. The first is the server's to keep, the
    /// second this listener's.
    pub grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let (age, grace) = (Duration::from_secs(30 * 60), Duration::from_secs(5 * 60));
        Self { connections: 800, connections_per_peer: 400, age, grace }
    }
}

impl Bounds {
    fn streams_until(self) -> Instant {
        Instant::now() + self.age + self.grace / 2
    }

    /// What is told where this process may not open as many files.
    pub fn risk(self) -> Option<String> {
        self.risk_within(max_open_files()?)
    }

    fn risk_within(self, files: usize) -> Option<String> {
        let needed = self.connections + OTHER_FILES;
        (files < needed).then(|| {
            format!(
                "grpc.connections is {}, and this process may open {files} files: raise the limit (`ulimit -n`, \
                 LimitNOFILE) to {needed}, or lower the key",
                self.connections
            )
        })
    }
}

/// What is spoken on the connections of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// By then streams should have ended by themselves: half-way through the grace of an old connection.
    pub streams_until: Instant,
    /// Subject alternative names of the certificate that it has shown; none without one.
    pub names: Arc<[String]>,
}

/// Yields connections until it is dropped.
pub struct Listener(mpsc::Receiver<io::Result<Connection>>);

impl Listener {
    pub fn new(listener: TcpListener, protocol: Protocol, tls: Option<Tls>, bounds: Bounds) -> Self {
        let (ready, connections) = mpsc::channel(WAITING);
        tokio::spawn(accept(listener, protocol, tls, Places::new(bounds), ready));
        Self(connections)
    }
}

impl futures_core::Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

type Ready = mpsc::Sender<io::Result<Connection>>;

async fn accept(listener: TcpListener, protocol: Protocol, tls: Option<Tls>, places: Places, ready: Ready) {
    let mut refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &mut refusals) => accepted,
            () = ready.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take(address.ip()) else {
            if let Some(pause) = refusals.one_more(refuse(stream)) {
                sleep(pause).await;
            }
            continue;
        };
        // A connection that ends meanwhile says so when it is read.
        let _ = stream.set_nodelay(true);
        match &tls {
            None => {
                let streams_until = places.bounds().streams_until();
                let peer = Peer { address, streams_until, names: Arc::default() };
                let wait = place.begin();
                let connection = Connection::incoming(protocol, Io::Plain(stream), peer, place);
                if wait.is_zero() {
                    if ready.send(Ok(connection)).await.is_err() {
                        return;
                    }
                } else {
                    let ready = ready.clone();
                    tokio::spawn(async move {
                        sleep(wait).await;
                        let _ = ready.send(Ok(connection)).await;
                    });
                }
            }
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.config(protocol));
                let (ready, streams_until) = (ready.clone(), places.bounds().streams_until());
                tokio::spawn(async move {
                    let wait = place.begin();
                    // A sleep of nothing takes a tick of the timer, a millisecond.
                    if !wait.is_zero() {
                        sleep(wait).await;
                    }
                    let Some((io, names)) = shake_hands(acceptor, stream, address).await else { return };
                    let peer = Peer { address, streams_until, names };
                    let _ = ready.send(Ok(Connection::incoming(protocol, io, peer, place))).await;
                });
            }
        }
    }
}

async fn next(listener: &TcpListener, refusals: &mut Refusals) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let polled = listener.poll_accept(context);
        if polled.is_pending() {
            refusals.none_wait();
        }
        polled
    })
    .await
}

/// Returns what it took.
fn refuse(stream: TcpStream) -> Duration {
    let begin = Instant::now();
    // Without it the kernel remembers each for a minute.
    let _ = stream.set_zero_linger();
    drop(stream);
    begin.elapsed()
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(Io, Arc<[String]>)> {
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "no TLS with a peer");
            return None;
        }
        Err(_) => {
            tracing::debug!(%address, "a peer did not end its TLS handshake");
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let names = shown.map(tls::names).unwrap_or_default().into();
    Some((Io::Served(Box::new(stream)), names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_files_are_told() {
        let bounds = Bounds::default();
        assert_eq!(bounds.risk_within(1024), None);
        let told = bounds.risk_within(256).unwrap();
        assert!(
            told.contains("grpc.connections is 800") && told.contains("256 files") && told.contains("1000"),
            "{told}"
        );
    }
}
