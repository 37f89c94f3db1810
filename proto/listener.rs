//! The connections of a gRPC server: accepted within bounds, over TLS where that is configured, each with what is known
//! of its other end.
//!
//! - A connection counts from the moment it is accepted, its handshake included; over the bounds it is closed at once.
//! - A handshake has its time, and waits for nobody else's; so has the beginning of HTTP/2.
//! - What goes wrong with one connection, or with accepting, ends nothing but that connection.

mod places;

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, client, server};
use tonic::transport::server::Connected;

use crate::identity::tls::{self, server::Tls};
use places::{Place, Places};

/// Of TLS, and then of HTTP/2: its preface and the head of a first frame.
const HANDSHAKE: Duration = Duration::from_secs(10);
const PREFACE_BYTES: usize = 24 + 9;
/// After accepting failed: most often there are no more file descriptors, and some will be free soon.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that the server has not taken yet.
const WAITING: usize = 16;

/// How many connections are open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    pub connections: usize,
    /// From one address. A proxy is one peer.
    pub connections_per_peer: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 800, connections_per_peer: 400 }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Subject alternative names of the certificate that it has shown; none without one.
    pub names: Arc<[String]>,
}

/// Yields connections until it is dropped.
pub struct Listener(mpsc::Receiver<io::Result<Connection>>);

impl Listener {
    pub fn new(listener: TcpListener, tls: Option<Tls>, bounds: Bounds) -> Self {
        let (ready, connections) = mpsc::channel(WAITING);
        tokio::spawn(accept(listener, tls, Places::new(bounds), ready));
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

async fn accept(listener: TcpListener, tls: Option<Tls>, places: Places, ready: Ready) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
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
        let Some(place) = places.take(address.ip()) else { continue };
        // A connection that ends meanwhile says so when it is read.
        let _ = stream.set_nodelay(true);
        match &tls {
            None => {
                let peer = Peer { address, names: Arc::default() };
                let connection = Connection::incoming(Io::Plain(stream), peer, place);
                if ready.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.config());
                tokio::spawn(shake_hands(acceptor, stream, address, place, ready.clone()));
            }
        }
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    ready: Ready,
) {
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "no TLS with a peer"),
        Err(_) => return tracing::debug!(%address, "a peer did not end its TLS handshake"),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = Peer { address, names: shown.map(tls::names).unwrap_or_default().into() };
    let connection = Connection::incoming(Io::Served(Box::new(stream)), peer, place);
    let _ = ready.send(Ok(connection)).await;
}

/// One connection, of either side.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    peer: Option<Peer>,
    opening: Option<Opening>,
    _place: Option<Place>,
}

/// A connection on which HTTP/2 has not begun yet: nothing but this closes one on which nobody speaks.
#[derive(Debug)]
struct Opening {
    read: usize,
    until: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Served(Box<server::TlsStream<TcpStream>>),
    Called(Box<client::TlsStream<TcpStream>>),
}

impl Connection {
    fn incoming(io: Io, peer: Peer, place: Place) -> Self {
        let opening = Opening { read: 0, until: Box::pin(sleep(HANDSHAKE)) };
        Self { io, peer: Some(peer), opening: Some(opening), _place: Some(place) }
    }

    pub fn outgoing(stream: TcpStream) -> Self {
        Self { io: Io::Plain(stream), peer: None, opening: None, _place: None }
    }

    pub fn outgoing_secure(stream: client::TlsStream<TcpStream>) -> Self {
        Self { io: Io::Called(Box::new(stream)), peer: None, opening: None, _place: None }
    }
}

impl Connected for Connection {
    type ConnectInfo = Option<Peer>;

    fn connect_info(&self) -> Option<Peer> {
        self.peer.clone()
    }
}

/// Does the same on whichever stream there is.
macro_rules! on {
    ($connection:expr, $stream:ident => $what:expr) => {
        match &mut $connection.get_mut().io {
            Io::Plain(stream) => {
                let $stream = Pin::new(stream);
                $what
            }
            Io::Served(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $what
            }
            Io::Called(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $what
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = on!(self.as_mut(), stream => stream.poll_read(context, buffer));
        let Some(opening) = &mut self.opening else { return polled };
        opening.read += buffer.filled().len() - before;
        if opening.read >= PREFACE_BYTES {
            self.opening = None;
        } else if polled.is_pending() && opening.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Served(stream) => stream.is_write_vectored(),
            Io::Called(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_shutdown(context))
    }
}
