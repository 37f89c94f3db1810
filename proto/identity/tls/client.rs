//! Connections to another service: plain, or over TLS with what the files hold at that moment.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::{
    codegen::{BoxFuture, Service},
    transport::{Channel, Endpoint},
};

use super::{Error, H2, authorities, chain, is_set, key, provider};
use crate::listener::Connection;

const CONNECT: Duration = Duration::from_secs(3);
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Whom a client trusts, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Empty = the public authorities.
    pub ca_file: PathBuf,
    /// Both empty = nothing is shown.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// The name that the server's certificate has to hold. Empty = the one that is connected to.
    pub server_name: String,
}

impl Trust {
    /// What a connection is made with now.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn read(&self) -> Result<Arc<ClientConfig>, Error> {
        let roots = if is_set(&self.ca_file) {
            authorities(&self.ca_file)?
        } else {
            RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
        };
        let wrong = |error: rustls::Error| Error::new(&self.cert_file, error);
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
        let builder = builder.with_root_certificates(roots);
        let mut config = match (is_set(&self.cert_file), is_set(&self.key_file)) {
            (true, true) => {
                builder.with_client_auth_cert(chain(&self.cert_file)?, key(&self.key_file)?).map_err(wrong)?
            }
            (false, false) => builder.with_no_client_auth(),
            _ => return Err(Error("a certificate needs its key, and a key its certificate".into())),
        };
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(Arc::new(config))
    }
}

/// Connects when a channel is first used, and again whenever it has to.
#[derive(Clone, Debug)]
pub struct Connector {
    /// None = plain.
    trust: Option<Trust>,
}

/// A channel to `http://HOST:PORT`, or to `https://HOST:PORT` with `trust`. `set`: what else the endpoint needs.
///
/// # Errors
/// When the URL is none.
pub fn channel(
    url: &str,
    trust: &Trust,
    set: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, tonic::transport::Error> {
    let secure = url.starts_with("https://");
    // The library would do TLS of its own for https; here the connector does.
    let place = if secure { url.replacen("https://", "http://", 1) } else { url.to_owned() };
    let mut endpoint = set(Endpoint::from_shared(place)?);
    if secure && let Ok(origin) = url.parse() {
        endpoint = endpoint.origin(origin);
    }
    let connector = Connector { trust: secure.then(|| trust.clone()) };
    Ok(endpoint.connect_with_connector_lazy(connector))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let trust = self.trust.clone();
        Box::pin(async move { connect(trust, &uri).await.map(TokioIo::new) })
    }
}

async fn connect(trust: Option<Trust>, uri: &Uri) -> io::Result<Connection> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if trust.is_some() { 443 } else { 80 });
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout(CONNECT, TcpStream::connect((host, port))).await.map_err(late)??;
    stream.set_nodelay(true)?;
    let Some(trust) = trust else { return Ok(Connection::outgoing(stream)) };
    let config = trust.read().map_err(io::Error::other)?;
    let name = if trust.server_name.is_empty() { host } else { &trust.server_name };
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let shaken = timeout(HANDSHAKE, TlsConnector::from(config).connect(name, stream)).await.map_err(late)?;
    Ok(Connection::outgoing_secure(shaken?))
}
