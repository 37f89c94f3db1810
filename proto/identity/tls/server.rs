//! What a server shows, and whose clients' certificates it trusts.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{ServerConfig, server::WebPkiClientVerifier};
use serde::{Deserialize, Serialize};

use super::{Error, H2, authorities, chain, is_set, key, provider};
use crate::{identity::tokens::Stamp, listener::Protocol};

/// As in ALPN.
const HTTP1: &[u8] = b"http/1.1";

/// Between two looks at the files.
const PERIOD: Duration = Duration::from_secs(3);

/// The section `[tls]` of both services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// All empty = no TLS.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Empty = clients show no certificates.
    pub client_ca_file: PathBuf,
}

impl Settings {
    /// None where there is no TLS.
    ///
    /// # Errors
    /// Names the file that is missing or cannot be used.
    pub fn open(&self) -> Result<Option<Tls>, String> {
        match (is_set(&self.cert_file), is_set(&self.key_file)) {
            (true, true) => {}
            (false, false) if is_set(&self.client_ca_file) => {
                return Err("tls.client_ca_file needs tls.cert_file and tls.key_file".into());
            }
            (false, false) => return Ok(None),
            (true, false) => return Err("tls.cert_file needs tls.key_file".into()),
            (false, true) => return Err("tls.key_file needs tls.cert_file".into()),
        }
        let stamps = self.stamps();
        let config = self.read().map_err(|error| format!("tls: {error}"))?;
        let inner = Inner { settings: self.clone(), current: RwLock::new(config), seen: Mutex::new(stamps) };
        Ok(Some(Tls(Arc::new(inner))))
    }

    fn read(&self) -> Result<Configs, Error> {
        let wrong = |error: rustls::Error| Error::new(&self.cert_file, error);
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
        let builder = if is_set(&self.client_ca_file) {
            let roots = Arc::new(authorities(&self.client_ca_file)?);
            // Who shows none may still have a token; the gate asks.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = verifier.allow_unauthenticated().build();
            builder
                .with_client_cert_verifier(verifier.map_err(|error| Error::new(&self.client_ca_file, error))?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config =
            builder.with_single_cert(chain(&self.cert_file)?, key(&self.key_file)?).map_err(wrong)?;
        config.alpn_protocols = vec![HTTP1.to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(Configs { http1, http2: Arc::new(config) })
    }

    fn stamps(&self) -> [Option<Stamp>; 3] {
        [&self.cert_file, &self.key_file, &self.client_ca_file].map(|file| Stamp::of(file).ok())
    }
}

/// What new connections are made with. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    settings: Settings,
    current: RwLock<Configs>,
    seen: Mutex<[Option<Stamp>; 3]>,
}

struct Configs {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.settings).finish()
    }
}

impl Tls {
    pub fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        match protocol {
            Protocol::Http1 => current.http1.clone(),
            Protocol::Http2 => current.http2.clone(),
        }
    }

    /// Reads the files again if they have changed. Returns whether they are in use now.
    ///
    /// # Errors
    /// Once for each broken state; what was in use stays. A certificate whose key is not there yet is such a state.
    pub fn reload(&self) -> Result<bool, Error> {
        let now = self.0.settings.stamps();
        {
            let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return Ok(false);
            }
            *seen = now;
        }
        let config = self.0.settings.read()?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(true)
    }

    /// Follows the files. Never ends; it is dropped with the service.
    pub async fn keep(self) {
        let mut period = tokio::time::interval(PERIOD);
        loop {
            period.tick().await;
            match self.reload() {
                Ok(false) => {}
                Ok(true) => tracing::info!("the certificate was read again; new connections see it"),
                Err(error) => tracing::error!(%error, "the new certificate is refused; the old one stays"),
            }
        }
    }
}
