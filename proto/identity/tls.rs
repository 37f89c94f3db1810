//! TLS of both sides: what a server shows and whom it trusts, what a client shows and whom it trusts.
//!
//! Files are read again when they change, so certificates rotate while connections stay. A server looks every few
//! seconds; a client whenever it connects. rustls with ring; HTTP/2 is the only protocol that is offered.

pub mod client;
pub mod server;

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// HTTP/2, as in ALPN.
const H2: &[u8] = b"h2";

/// The setting, the file, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl Error {
    fn new(file: &Path, why: impl fmt::Display) -> Self {
        Self(format!("{}: {why}", file.display()))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn is_set(file: &Path) -> bool {
    !file.as_os_str().is_empty()
}

/// The certificate first, then those that lead to its authority.
fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).and_then(|certificates| certificates.collect());
    let chain = read.map_err(|error| Error::new(file, error))?;
    if chain.is_empty() { Err(Error::new(file, "holds no certificate")) } else { Ok(chain) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    // What the parser says of a key is not for a log.
    PrivateKeyDer::from_pem_file(file).map_err(|_| Error::new(file, "holds no private key (PEM)"))
}

fn authorities(file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|error| Error::new(file, error))?;
    }
    Ok(roots)
}

/// The subject alternative names that identities are found by: URIs and DNS names.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(read) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    read.valid_uri_names().chain(read.valid_dns_names()).map(str::to_owned).collect()
}
