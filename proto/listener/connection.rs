//! One connection as bytes: whichever stream carries it, and how long it may be silent.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_rustls::{client, server};
use tonic::transport::server::Connected;

use super::{HANDSHAKE, Peer, Protocol, frames::Frames, places::Place};

/// The beginning of HTTP/2: its preface and the head of a first frame.
const PREFACE_BYTES: usize = 24 + 9;

/// One connection, of either side.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    /// None of a connection that this process has made.
    served: Option<Served>,
}

/// What a server knows of a connection.
#[derive(Debug)]
struct Served {
    peer: Peer,
    place: Place,
    /// The end of its age and grace. tonic, as of 0.14, knows one of the two: with a grace it sends no GOAWAY.
    ends: Pin<Box<Sleep>>,
    /// None when HTTP/2 has begun, and of HTTP/1.1, whose server has timeouts of its own.
    opening: Option<Opening>,
    /// None of HTTP/1.1.
    frames: Option<Frames>,
    /// Until nothing is read.
    paused: Option<Pin<Box<Sleep>>>,
}

/// A connection on which HTTP/2 has not begun yet: nothing but this closes one on which nobody speaks.
#[derive(Debug)]
struct Opening {
    read: usize,
    until: Pin<Box<Sleep>>,
}

impl Served {
    fn pause(&mut self, wait: Duration) {
        if wait > Duration::ZERO {
            self.paused = Some(Box::pin(sleep(wait)));
        }
    }

    /// Ready when something may be read.
    fn poll_may_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Some(pause) = &mut self.paused {
            ready!(pause.as_mut().poll(context));
            self.paused = None;
        }
        Poll::Ready(Ok(()))
    }

    /// These bytes have been read; none where there is nothing to read.
    fn has_read(&mut self, bytes: &[u8], context: &mut Context<'_>) -> io::Result<()> {
        let cost = self.frames.as_mut().map_or(0, |frames| frames.read(bytes));
        if cost > 0 {
            self.pause(self.place.charge(cost));
        }
        let Some(opening) = &mut self.opening else { return Ok(()) };
        opening.read += bytes.len();
        if opening.read >= PREFACE_BYTES {
            self.opening = None;
        } else if bytes.is_empty() && opening.until.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Served(Box<server::TlsStream<TcpStream>>),
    Called(Box<client::TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) fn incoming(protocol: Protocol, io: Io, peer: Peer, place: Place) -> Self {
        let bounds = place.bounds();
        let ends = Box::pin(sleep(bounds.age + bounds.grace));
        let http2 = protocol == Protocol::Http2;
        let opening = http2.then(|| Opening { read: 0, until: Box::pin(sleep(HANDSHAKE)) });
        let frames = http2.then(Frames::default);
        Self { io, served: Some(Served { peer, place, ends, opening, frames, paused: None }) }
    }

    /// None of a connection that this process has made.
    pub fn peer(&self) -> Option<&Peer> {
        self.served.as_ref().map(|served| &served.peer)
    }

    pub fn outgoing(stream: TcpStream) -> Self {
        Self { io: Io::Plain(stream), served: None }
    }

    pub fn outgoing_secure(stream: client::TlsStream<TcpStream>) -> Self {
        Self { io: Io::Called(Box::new(stream)), served: None }
    }
}

impl Connected for Connection {
    type ConnectInfo = Option<Peer>;

    fn connect_info(&self) -> Option<Peer> {
        self.peer().cloned()
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
        if let Some(served) = &mut self.served {
            ready!(served.poll_may_read(context))?;
        }
        let before = buffer.filled().len();
        let polled = on!(self.as_mut(), stream => stream.poll_read(context, buffer));
        let Some(served) = &mut self.served else { return polled };
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(served.has_read(&buffer.filled()[before..], context)),
            Poll::Pending => {
                served.has_read(&[], context).map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
            }
            failed => failed,
        }
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
