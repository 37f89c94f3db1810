//! One connection as bytes: whichever stream carries it, and how long it may be silent.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_rustls::{client, server};
use tonic::transport::server::Connected;

use super::{HANDSHAKE, Peer, Protocol, places::Place};

/// The beginning of HTTP/2: its preface and the head of a first frame.
const PREFACE_BYTES: usize = 24 + 9;

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
pub(super) enum Io {
    Plain(TcpStream),
    Served(Box<server::TlsStream<TcpStream>>),
    Called(Box<client::TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) fn incoming(protocol: Protocol, io: Io, peer: Peer, place: Place) -> Self {
        // Whoever serves HTTP/1.1 has timeouts of its own.
        let opening =
            (protocol == Protocol::Http2).then(|| Opening { read: 0, until: Box::pin(sleep(HANDSHAKE)) });
        Self { io, peer: Some(peer), opening, _place: Some(place) }
    }

    /// None of a connection that this process has made.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
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
