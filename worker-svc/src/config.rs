//! Configuration: the compiled-in default file, then `--config FILE`, then `DOCKET_SECTION__KEY`.
//!
//! It is checked as a whole before anything is opened.

pub mod archive;
pub mod gmail;
pub mod oauth;
mod risks;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use docket::{
    identity::{self, bearer::Bearer, tls},
    listener::settings::{Grpc, Http},
    settings::{self, ConfigError, Log, Runtime},
};
use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use serde::{Deserialize, Serialize};
use sync_core::{
    credential::key_file,
    source::{imap, network::Network},
};

use crate::telemetry;

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Kinds that this program can run.
const KINDS: [&str; 2] = ["document-sync", "noop"];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub grpc: Grpc,
    pub tls: tls::server::Settings,
    pub http: Http,
    pub auth: identity::Settings,
    pub scheduler: Scheduler,
    pub worker: Worker,
    pub limits: Limits,
    pub archive: archive::Archive,
    pub sources: Sources,
    pub credentials: Credentials,
    pub gmail: gmail::Gmail,
    #[serde(default)]
    pub oauth: BTreeMap<String, oauth::Client>,
    pub reader: Reader,
    pub log: Log,
    pub telemetry: Telemetry,
    pub runtime: Runtime,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduler {
    #[serde(serialize_with = "settings::serialize_shown")]
    pub url: String,
    pub token_file: PathBuf,
    pub tls_ca_file: PathBuf,
    pub tls_cert_file: PathBuf,
    pub tls_key_file: PathBuf,
}

impl Scheduler {
    /// How the scheduler is known over TLS.
    pub fn trust(&self) -> tls::client::Trust {
        tls::client::Trust {
            ca_file: self.tls_ca_file.clone(),
            cert_file: self.tls_cert_file.clone(),
            key_file: self.tls_key_file.clone(),
            server_name: String::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub id: String,
    pub slots: u32,
    pub kinds: String,
    pub drain_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub mailboxes_per_namespace: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    pub folder_root: PathBuf,
    pub allow_networks: String,
    pub ca_file: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub key_file: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    pub children: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    #[serde(serialize_with = "settings::serialize_shown")]
    pub otlp_endpoint: String,
}

/// Variables of this service's sections. One environment may serve both services; what neither knows is told as a risk.
fn environment() -> Env {
    const SECTIONS: [&str; 16] = [
        "grpc",
        "tls",
        "http",
        "auth",
        "scheduler",
        "worker",
        "limits",
        "archive",
        "sources",
        "credentials",
        "gmail",
        "oauth",
        "reader",
        "log",
        "telemetry",
        "runtime",
    ];
    let ours = |key: &figment::value::UncasedStr| {
        let section = key.as_str().split("__").next().unwrap_or_default();
        key.as_str().contains("__") && SECTIONS.iter().any(|one| one.eq_ignore_ascii_case(section))
    };
    Env::prefixed("DOCKET_").filter(ours).split("__")
}

impl Config {
    /// # Errors
    /// Names the key that is unknown, missing or out of bounds.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(ConfigError(format!("--config {}: there is no such file", file.display())));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let config: Self =
            figment.merge(environment()).extract().map_err(|error| ConfigError(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.archive.check()?;
        self.grpc.check().map_err(ConfigError)?;
        self.http.check(self.grpc.listen).map_err(ConfigError)?;
        telemetry::filter(&self.log.level).map_err(ConfigError)?;
        self.auth.check(self.grpc.listen).map_err(ConfigError)?;
        if self.tls.open().map_err(ConfigError)?.is_none() && self.http.tls {
            return Err(ConfigError("http.tls needs tls.cert_file and tls.key_file".into()));
        }
        settings::check_collector(&self.telemetry.otlp_endpoint).map_err(ConfigError)?;
        self.bearer()?;
        self.gmail.check()?;
        oauth::clients(&self.oauth)?;
        self.allowed_networks()?;
        if let Some(unknown) = self.kinds().find(|kind| !KINDS.contains(kind)) {
            return Err(ConfigError(format!(
                "worker.kinds names `{unknown}`; known are {}",
                KINDS.join(", ")
            )));
        }
        if self.worker.slots > 10_000 {
            return Err(ConfigError(format!("worker.slots is {}; it must be 0 to 10000", self.worker.slots)));
        }
        if self.worker.slots > 0 && self.kinds().next().is_none() {
            return Err(ConfigError(
                "worker.kinds is empty; name at least one, or set worker.slots to 0".into(),
            ));
        }
        if self.limits.mailboxes_per_namespace == 0 {
            return Err(ConfigError("limits.mailboxes_per_namespace is 0; it must be at least 1".into()));
        }
        match self.scheduler.url.split_once("://") {
            Some(("http", _)) => Ok(()),
            Some(("https", _)) => {
                let read = self.scheduler.trust().read();
                read.map(|_| ()).map_err(|error| ConfigError(format!("scheduler.tls: {error}")))
            }
            _ => Err(ConfigError(format!(
                "scheduler.url is `{}`; write http://HOST:PORT, or https://HOST:PORT",
                settings::shown(&self.scheduler.url)
            ))),
        }
    }

    /// Looks at the files that the worker needs to run, and that commands such as `keys create` may have yet to make.
    ///
    /// # Errors
    /// Names the key and what to do.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        let (keys, ca, folder) =
            (&self.credentials.key_file, &self.sources.ca_file, &self.sources.folder_root);
        if is_set(keys)
            && let Err(error) = key_file::read(keys)
        {
            let remedy = if keys.exists() { "" } else { "; `worker-svc keys create` makes one" };
            return Err(ConfigError(format!("credentials.key_file: {error}{remedy}")));
        }
        if is_set(ca)
            && let Err(error) = imap::tls::config(Some(ca))
        {
            let remedy = "name a file of PEM certificates, or leave it empty for the public authorities";
            return Err(ConfigError(format!("sources.ca_file {}: {error}; {remedy}", ca.display())));
        }
        if is_set(folder)
            && let Err(error) = fs::read_dir(folder)
        {
            let remedy = "name a folder that this process may read, or leave it empty for none";
            return Err(ConfigError(format!("sources.folder_root {}: {error}; {remedy}", folder.display())));
        }
        Ok(())
    }

    /// What the worker says to the scheduler of who it is.
    ///
    /// # Errors
    /// When `scheduler.token_file` holds no token.
    pub fn bearer(&self) -> Result<Bearer, ConfigError> {
        let bearer = Bearer::open(&self.scheduler.token_file);
        bearer.map_err(|why| ConfigError(format!("scheduler.token_file: {why}")))
    }

    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.worker.kinds.split(',').map(str::trim).filter(|kind| !kind.is_empty())
    }

    /// # Errors
    /// When one of `sources.allow_networks` is none.
    pub fn allowed_networks(&self) -> Result<Vec<Network>, ConfigError> {
        let names = self.sources.allow_networks.split(',').map(str::trim).filter(|name| !name.is_empty());
        let network = |name: &str| {
            Network::parse(name).ok_or_else(|| {
                let remedy = "write networks as in 10.1.0.0/16, separated by commas";
                ConfigError(format!("sources.allow_networks names `{name}`; {remedy}"))
            })
        };
        names.map(network).collect()
    }

    /// The configured name, or the host's, as far as it is made of characters that an id may have.
    pub fn worker_id(&self) -> String {
        if !self.worker.id.is_empty() {
            return self.worker.id.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host
            .trim()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "._:@-".contains(*c))
            .take(128)
            .collect();
        if host.is_empty() { "worker".into() } else { host }
    }
}

#[cfg(test)]
mod tests;
