//! TLS to mail servers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::source::{Fault, network};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the file holds no certificate")]
    Empty,
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

/// Trusts the public authorities, and those in `ca_file` (PEM) for servers of one's own.
///
/// # Errors
/// When the file holds no certificates.
pub fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca_file {
        let before = roots.len();
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
        if roots.len() == before {
            return Err(Error::Empty);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// # Errors
/// A bad certificate is told apart; all else looks like a server that is not there.
pub async fn shake_hands(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Fault> {
    let Ok(name) = ServerName::try_from(host.to_owned()) else { return Err(network::unreachable()) };
    let connected = TlsConnector::from(config.clone()).connect(name, stream).await;
    connected.map_err(|error| {
        tracing::warn!(host, %error, "no TLS with a mail server");
        certificate_fault(host, &error).unwrap_or_else(network::unreachable)
    })
}

fn certificate_fault(host: &str, error: &io::Error) -> Option<Fault> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(why) = error else { return None };
    let why = match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name"
        }
        CertificateError::UnknownIssuer => {
            "its issuer is not trusted (the operator can add it: sources.ca_file)"
        }
        CertificateError::Revoked => "it was revoked",
        _ => "it cannot be verified",
    };
    let message = format!("the certificate of {host} is refused: {why}");
    Some(Fault::permanent("mail-server-certificate", message))
}
