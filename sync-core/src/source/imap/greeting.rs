//! From a connection to TLS and the server's greeting.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::response::{self, Kind, Response};
use super::session::{Server, bounds};
use super::verdict::{Problem, broken_fault};
use super::wire::{Broken, Wire};
use super::{Security, tls};
use crate::source::{Fault, network};

/// TLS, and whether the server has greeted already.
pub async fn secured(server: &Server, stream: TcpStream) -> Result<(TlsStream<TcpStream>, bool), Fault> {
    let host = &server.config.host;
    match server.config.security {
        Security::Implicit => Ok((tls::shake_hands(&server.tls, host, stream).await?, false)),
        Security::Starttls => {
            let mut wire = Wire::new(stream, bounds(server.limits.greeting), server.limits.idle);
            read(&mut wire).await?;
            let stream = start_tls(wire).await?;
            Ok((tls::shake_hands(&server.tls, host, stream).await?, true))
        }
    }
}

/// Nothing that was said before TLS counts after it, and nothing may be said in between.
async fn start_tls(mut wire: Wire<TcpStream>) -> Result<TcpStream, Fault> {
    let no_tls = || {
        Fault::permanent(
            "imap-no-starttls",
            "the mail server offers no TLS by STARTTLS on this port, and a password is not sent without; try security \
             IMPLICIT on port 993",
        )
    };
    let garbled = |broken: Broken| broken_fault(&broken);
    wire.send(b"D0 STARTTLS\r\n").await.map_err(garbled)?;
    loop {
        match response::parse(wire.line().await.map_err(garbled)?).map_err(garbled)? {
            Response::Tagged { status, .. } if status.kind == Kind::Ok => break,
            Response::Tagged { .. } => return Err(no_tls()),
            Response::Status(status) if status.kind == Kind::Bye => {
                return Err(Problem::Refused(status).fault(None));
            }
            _ => {}
        }
    }
    wire.into_inner().ok_or_else(|| broken_fault(&Broken::Grammar("it went on before TLS began")))
}

pub async fn read<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Result<(), Fault> {
    // Who speaks something else, or nothing, is no mail server as far as anybody is told.
    let line = wire.line().await.and_then(response::parse).map_err(|broken| {
        tracing::warn!(%broken, "no greeting of a mail server");
        network::unreachable()
    })?;
    match line {
        Response::Status(status) if status.kind == Kind::Ok => Ok(()),
        Response::Status(status) if status.kind == Kind::Bye => Err(Problem::Refused(status).fault(None)),
        Response::Status(status) if status.kind == Kind::Preauth => {
            let message = "the mail server takes everybody for logged in; that is nobody's mailbox";
            Err(Fault::permanent("imap-preauth", message))
        }
        _ => Err(network::unreachable()),
    }
}
