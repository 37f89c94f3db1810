//! Configuration: the compiled-in default file, then `--config FILE`, then `DOCKET_SECTION__KEY`.
//!
//! It is checked as a whole before anything is opened.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use serde::{Deserialize, Serialize};

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../default.toml");

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub grpc: Listener,
    pub http: Listener,
    pub store: Store,
    pub lease: Lease,
    pub limits: Limits,
    pub events: Events,
    pub schedules: Schedules,
    pub log: Log,
    pub telemetry: Telemetry,
    pub runtime: Runtime,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub url: String,
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
pub struct Schedules {
    pub default_spread_ms: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    pub otlp_endpoint: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    pub address_file: PathBuf,
}

/// Where the state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Embedded(PathBuf),
    Memory,
}

/// What is wrong, with the key.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConfigError {}

/// Variables of this service's sections. Those of others are none of its business: one environment may serve both.
fn environment() -> Env {
    const SECTIONS: [&str; 10] =
        ["grpc", "http", "store", "lease", "limits", "events", "schedules", "log", "telemetry", "runtime"];
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
        self.store_url()?;
        let bounds = |key: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError(format!("{key} is {value}; it must be {low} to {high}")))
            }
        };
        bounds("lease.term_ms", self.lease.term_ms, 5_000, 300_000)?;
        bounds("lease.heartbeat_ms", self.lease.heartbeat_ms, 1_000, self.lease.term_ms / 2)?;
        bounds("lease.reconnect_grace_ms", self.lease.reconnect_grace_ms, 1_000, self.lease.term_ms)?;
        bounds("limits.schedules_per_namespace", self.limits.schedules_per_namespace as u64, 1, 100_000_000)?;
        bounds("limits.live_runs_per_schedule", self.limits.live_runs_per_schedule as u64, 1, 1_000)?;
        bounds("events.kept", self.events.kept as u64, 1_000, 10_000_000)?;
        bounds("events.kept_bytes", self.events.kept_bytes as u64, 1 << 20, 16 << 30)?;
        bounds("events.watchers", self.events.watchers as u64, 0, 10_000)?;
        bounds("schedules.default_spread_ms", self.schedules.default_spread_ms.into(), 0, 86_400_000)
    }

    /// # Errors
    /// When `store.url` is of no known form.
    pub fn store_url(&self) -> Result<StoreUrl, ConfigError> {
        let url = &self.store.url;
        match url.split_once(':') {
            Some(("memory", "")) => Ok(StoreUrl::Memory),
            Some(("embedded", folder)) if !folder.is_empty() => Ok(StoreUrl::Embedded(folder.into())),
            _ => Err(ConfigError(format!("store.url is `{url}`; write embedded:FOLDER or memory:"))),
        }
    }
}
