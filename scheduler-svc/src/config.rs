//! Configuration: the compiled-in default file, then `--config FILE`, then `DOCKET_SECTION__KEY`.
//!
//! It is checked as a whole before anything is opened.

mod risks;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use docket::{
    identity::{self, tls},
    listener::settings::{Grpc, Http},
    settings::{self, ConfigError, Log, Runtime},
};
use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use serde::{Deserialize, Serialize};

use crate::{state_machine::history::Kept, store::redis::connect::Address, telemetry};

/// Entries of one ring of history.
const KEPT_MAX: u64 = 100;

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../default.toml");

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub grpc: Grpc,
    pub tls: tls::server::Settings,
    pub http: Http,
    pub auth: identity::Settings,
    pub store: Store,
    pub cluster: Cluster,
    pub lease: Lease,
    pub limits: Limits,
    pub events: Events,
    pub history: History,
    pub schedules: Schedules,
    pub workers: Workers,
    pub log: Log,
    pub telemetry: Telemetry,
    pub runtime: Runtime,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    #[serde(serialize_with = "settings::serialize_shown")]
    pub url: String,
    pub prefix: String,
    pub tls_ca_file: PathBuf,
    pub lease_ms: u64,
    pub ack: Ack,
    pub accept_older: bool,
}

/// The URL may hold a password, which is nobody's business.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.shown())
            .field("prefix", &self.prefix)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("lease_ms", &self.lease_ms)
            .field("ack", &self.ack)
            .field("accept_older", &self.accept_older)
            .finish()
    }
}

impl Store {
    /// The URL without credentials.
    pub fn shown(&self) -> String {
        match self.url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
            Some((scheme, place)) => format!("{scheme}://…@{place}"),
            None => self.url.clone(),
        }
    }
}

/// When answers to changes leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    Memory,
    Disk,
    Replica,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub advertise: String,
    pub tls_ca_file: PathBuf,
    pub tls_server_name: String,
    pub tls_cert_file: PathBuf,
    pub tls_key_file: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    pub term_ms: u64,
    pub heartbeat_ms: u64,
    pub reconnect_grace_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub schedules_per_namespace: usize,
    pub live_runs_per_namespace: usize,
    pub live_runs_per_schedule: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    pub kept: usize,
    pub kept_bytes: usize,
    pub watchers: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    pub runs: u8,
    pub failed_runs: u8,
    pub decisions: u8,
    pub bytes_max: u64,
    #[serde(default)]
    pub namespaces: BTreeMap<String, HistoryOf>,
}

/// What a namespace keeps; None is as for all.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryOf {
    pub runs: Option<u8>,
    pub failed_runs: Option<u8>,
    pub decisions: Option<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedules {
    pub default_spread_ms: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    pub archive_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    #[serde(serialize_with = "settings::serialize_shown")]
    pub otlp_endpoint: String,
    pub sample_ratio: f64,
    pub overdue_alarm_ms: u64,
}

/// Where the state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Embedded(PathBuf),
    Redis(Address),
    Memory,
}

/// Variables of this service's sections. One environment may serve both services; what neither knows is told as a risk.
fn environment() -> Env {
    const SECTIONS: [&str; 15] = [
        "grpc",
        "tls",
        "http",
        "auth",
        "store",
        "cluster",
        "lease",
        "limits",
        "events",
        "history",
        "schedules",
        "workers",
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
    /// How a leader is known: over TLS, if this one is called so.
    pub fn trust(&self) -> Option<tls::client::Trust> {
        let trust = tls::client::Trust {
            ca_file: self.cluster.tls_ca_file.clone(),
            cert_file: self.cluster.tls_cert_file.clone(),
            key_file: self.cluster.tls_key_file.clone(),
            server_name: self.cluster.tls_server_name.clone(),
        };
        (!self.tls.cert_file.as_os_str().is_empty()).then_some(trust)
    }
}

impl History {
    pub fn kept(&self) -> Kept {
        Kept { runs: self.runs, failed_runs: self.failed_runs, decisions: self.decisions }
    }

    /// Namespaces that have their own, in the order of their names.
    pub fn of_namespaces(&self) -> impl Iterator<Item = (Box<str>, Kept)> {
        let all = self.kept();
        self.namespaces.iter().map(move |(namespace, own)| {
            let kept = Kept {
                runs: own.runs.unwrap_or(all.runs),
                failed_runs: own.failed_runs.unwrap_or(all.failed_runs),
                decisions: own.decisions.unwrap_or(all.decisions),
            };
            (namespace.as_str().into(), kept)
        })
    }
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

    /// # Errors
    /// Names the key that is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_ack(&self.store_url()?)?;
        self.grpc.check().map_err(ConfigError)?;
        telemetry::filter(&self.log.level).map_err(ConfigError)?;
        self.http.check(self.grpc.listen).map_err(ConfigError)?;
        self.auth.check(self.grpc.listen).map_err(ConfigError)?;
        if self.tls.open().map_err(ConfigError)?.is_none() && self.http.tls {
            return Err(ConfigError("http.tls needs tls.cert_file and tls.key_file".into()));
        }
        if let Some(trust) = self.trust() {
            trust.read().map_err(|error| ConfigError(format!("cluster.tls: {error}")))?;
        }
        let bounds = |key: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError(format!("{key} is {value}; it must be {low} to {high}")))
            }
        };
        bounds("store.lease_ms", self.store.lease_ms, 1_000, 30_000)?;
        if self.store.prefix.is_empty() || self.store.prefix.contains(['{', '}']) {
            return Err(ConfigError("store.prefix must be set, and hold no braces".into()));
        }
        bounds("lease.term_ms", self.lease.term_ms, 5_000, 300_000)?;
        bounds("lease.heartbeat_ms", self.lease.heartbeat_ms, 1_000, self.lease.term_ms / 2)?;
        bounds("lease.reconnect_grace_ms", self.lease.reconnect_grace_ms, 1_000, self.lease.term_ms)?;
        bounds("limits.schedules_per_namespace", self.limits.schedules_per_namespace as u64, 1, 100_000_000)?;
        bounds("limits.live_runs_per_namespace", self.limits.live_runs_per_namespace as u64, 1, 100_000_000)?;
        bounds("limits.live_runs_per_schedule", self.limits.live_runs_per_schedule as u64, 1, 1_000)?;
        bounds("events.kept", self.events.kept as u64, 1_000, 10_000_000)?;
        bounds("events.kept_bytes", self.events.kept_bytes as u64, 1 << 20, 16 << 30)?;
        bounds("events.watchers", self.events.watchers as u64, 0, 10_000)?;
        bounds("history.bytes_max", self.history.bytes_max, 1 << 20, 1 << 40)?;
        let kept = |section: &str, kept: Kept| {
            bounds(&format!("{section}.runs"), kept.runs.into(), 1, KEPT_MAX)?;
            bounds(&format!("{section}.failed_runs"), kept.failed_runs.into(), 1, KEPT_MAX)?;
            bounds(&format!("{section}.decisions"), kept.decisions.into(), 1, KEPT_MAX)
        };
        kept("history", self.history.kept())?;
        for (namespace, own) in self.history.of_namespaces() {
            kept(&format!("history.namespaces.{namespace}"), own)?;
        }
        settings::check_collector(&self.telemetry.otlp_endpoint).map_err(ConfigError)?;
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            return Err(ConfigError(format!(
                "telemetry.sample_ratio is {}: set a number from 0 to 1",
                self.telemetry.sample_ratio
            )));
        }
        bounds("telemetry.overdue_alarm_ms", self.telemetry.overdue_alarm_ms, 5_000, 86_400_000)?;
        bounds("schedules.default_spread_ms", self.schedules.default_spread_ms.into(), 0, 86_400_000)
    }

    /// An embedded store syncs before each answer, and nothing but Redis has replicas.
    fn check_ack(&self, url: &StoreUrl) -> Result<(), ConfigError> {
        match (self.store.ack, url) {
            (Ack::Replica, StoreUrl::Embedded(_) | StoreUrl::Memory) => Err(ConfigError(
                "store.ack is replica, and only Redis has replicas: leave it at memory, or set store.url to a Redis"
                    .into(),
            )),
            (Ack::Disk, StoreUrl::Memory) => Err(ConfigError(
                "store.ack is disk, and store.url = \"memory:\" has none: leave it at memory, or set store.url to \
                 embedded:FOLDER"
                    .into(),
            )),
            (Ack::Memory | Ack::Disk | Ack::Replica, _) => Ok(()),
        }
    }

    /// # Errors
    /// When `store.url` is of no known form.
    pub fn store_url(&self) -> Result<StoreUrl, ConfigError> {
        let url = &self.store.url;
        match url.split_once(':') {
            Some(("memory", "")) => Ok(StoreUrl::Memory),
            Some(("embedded", folder)) if !folder.is_empty() => Ok(StoreUrl::Embedded(folder.into())),
            Some((scheme, _)) if scheme.contains("redis") || scheme == "unix" => Address::parse(url)
                .map(StoreUrl::Redis)
                .map_err(|why| ConfigError(format!("store.url: {why}"))),
            _ => Err(ConfigError(format!(
                "store.url is `{}`; write embedded:FOLDER, memory:, or redis://HOST",
                self.store.shown()
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
