//! What the configurations of both services have in common: some sections, how addresses are checked and shown, how a configuration is
//! printed, and which variables nobody knows.

use std::{
    fmt,
    io::{self, Write as _},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, Serializer};

/// What stands for a secret.
pub const REDACTED: &str = "[redacted]";

/// Every section of either service: one environment may serve both.
const SECTIONS: [&str; 23] = [
    "archive",
    "auth",
    "cluster",
    "credentials",
    "events",
    "gmail",
    "grpc",
    "history",
    "http",
    "lease",
    "limits",
    "log",
    "oauth",
    "reader",
    "runtime",
    "schedules",
    "scheduler",
    "sources",
    "store",
    "telemetry",
    "tls",
    "worker",
    "workers",
];
const PREFIX: &str = "DOCKET_";

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
pub struct Runtime {
    pub address_file: PathBuf,
}

/// What is wrong, with the key.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConfigError {}

/// An address without user, password and query, which may be secrets.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.contains('@') { REDACTED.into() } else { url.into() };
    };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?[redacted]"));
    match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://{REDACTED}@{place}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

/// For `serialize_with`.
///
/// # Errors
/// Those of the serializer.
#[allow(clippy::ptr_arg)]
pub fn serialize_shown<S: Serializer>(url: &String, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(url))
}

/// `telemetry.otlp_endpoint`, where it is set.
///
/// # Errors
/// Says what to write.
pub fn check_collector(endpoint: &str) -> Result<(), String> {
    let is_place = |place: &str| {
        http::Uri::try_from(place).is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()))
    };
    if endpoint.is_empty() || endpoint.starts_with("http://") && is_place(endpoint) {
        return Ok(());
    }
    let why = if endpoint.starts_with("https://") {
        "traces are exported without TLS, to a collector beside this process"
    } else {
        "it is no address of a collector"
    };
    Err(format!("telemetry.otlp_endpoint is `{}`, and {why}: write http://HOST:PORT", shown(endpoint)))
}

/// What the log says of each variable of the environment that looks like a setting and is none. Never a value.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().filter_map(|name| unknown_variable(&name)).collect()
}

/// The names of this process's variables.
pub fn variables() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

fn unknown_variable(name: &str) -> Option<String> {
    let prefix = name.get(..PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) || is_of_kubernetes(name) {
        return None;
    }
    let key = &name[PREFIX.len()..];
    let known = |section: &str| SECTIONS.iter().any(|one| one.eq_ignore_ascii_case(section));
    if let Some((section, _)) = key.split_once("__") {
        return (!known(section))
            .then(|| format!("{name} is in the environment and changes nothing: there is no such section"));
    }
    let meant = key.split_once('_').filter(|(section, _)| known(section));
    let remedy = match meant {
        Some((section, rest)) => format!("write {prefix}{section}__{rest}, with two underscores"),
        None => "settings are written DOCKET_SECTION__KEY".into(),
    };
    Some(format!("{name} is in the environment and changes nothing: {remedy}"))
}

/// Every pod gets such variables for each Service of its namespace.
fn is_of_kubernetes(name: &str) -> bool {
    let shapes = ["_SERVICE_HOST", "_PORT", "_PROTO", "_ADDR", "_TCP", "_UDP"];
    name.contains("_SERVICE_PORT") || shapes.iter().any(|end| name.ends_with(end))
}

/// A configuration as a file that `--config` reads. What is secret must be shown as [`REDACTED`] by its own type.
///
/// # Errors
/// When a value cannot be written as TOML.
pub fn printed(config: &impl Serialize) -> Result<String, String> {
    toml::to_string(config).map_err(|error| error.to_string())
}

/// Prints `text`. Nobody has to read it to its end, as with `| head`.
pub fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_secrets() {
        for (url, expected) in [
            ("http://scheduler:7310", "http://scheduler:7310"),
            (
                "http://u:s3cret@scheduler:7310/x?token=s3cret",
                "http://[redacted]@scheduler:7310/x?[redacted]",
            ),
            ("u:s3cret@scheduler", "[redacted]"),
            ("localhost:4317", "localhost:4317"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn a_collector_is_reached_without_tls() {
        for fine in ["", "http://127.0.0.1:4317", "http://collector:4317/"] {
            assert_eq!(check_collector(fine), Ok(()));
        }
        for (wrong, why) in [
            ("localhost:4317", "no address of a collector: write http://HOST:PORT"),
            ("https://collector:4317", "without TLS"),
            ("https://u:s3cret@collector", "without TLS"),
            ("http://", "no address"),
            ("grpc://collector", "no address"),
        ] {
            let said = check_collector(wrong).unwrap_err();
            assert!(said.starts_with("telemetry.otlp_endpoint is `") && said.contains(why), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn variables_that_change_nothing_are_told_by_name() {
        let told = |name: &str| unknown_variables([name.to_owned()]).join("\n");
        for fine in [
            "PATH",
            "DOCKET_GRPC__LISTEN",
            "DOCKET_GMAIL__QUERY",
            "docket_store__url",
            "DOCKET_OAUTH__GOOGLE__CLIENT_ID",
            "DOCKET_SCHEDULER_SERVICE_HOST",
            "DOCKET_SCHEDULER_SERVICE_PORT_GRPC",
            "DOCKET_SCHEDULER_PORT_7310_TCP_ADDR",
        ] {
            assert_eq!(told(fine), "");
        }
        assert!(told("DOCKET_GRPC_LISTEN").ends_with("write DOCKET_GRPC__LISTEN, with two underscores"));
        assert!(told("DOCKET_SOTRE__URL").contains("no such section"));
        assert!(told("DOCKET_LEVEL").contains("DOCKET_SECTION__KEY"));
    }
}
