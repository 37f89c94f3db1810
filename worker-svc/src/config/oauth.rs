//! `[oauth.NAME]`: registrations at providers, which mailboxes name.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use docket::settings::{ConfigError, REDACTED};
use serde::{Deserialize, Serialize, Serializer};
use sync_core::{
    credential::{SECRET_MAX, Secret},
    source::oauth,
};

/// Given as text or as a file, not both. `Debug` shows no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    #[serde(deserialize_with = "text")]
    pub client_id: String,
    #[serde(default, serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    #[serde(default = "token_url")]
    pub token_url: String,
    #[serde(default = "api_url")]
    pub api_url: String,
}

fn redacted<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(REDACTED)
}

/// Numbers are refused for the same reason as in a [`Secret`].
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Secret::deserialize(deserializer).map(|text| text.expose().to_owned())
}

fn token_url() -> String {
    "https://oauth2.googleapis.com/token".into()
}

fn api_url() -> String {
    "https://gmail.googleapis.com".into()
}

/// Clients by their names, with their secrets.
///
/// # Errors
/// Names the key that is wrong, never its value.
pub fn clients(configured: &BTreeMap<String, Client>) -> Result<oauth::Clients, ConfigError> {
    let client = |(name, client): (&String, &Client)| Ok((name.clone(), check(name, client)?));
    Ok(Arc::new(configured.iter().map(client).collect::<Result<_, ConfigError>>()?))
}

fn check(name: &str, client: &Client) -> Result<oauth::Client, ConfigError> {
    let wrong = |key: &str, what: &str| ConfigError(format!("oauth.{name}.{key} {what}"));
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_name {
        let name = sync_core::text::clean(name, 64);
        let remedy = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -";
        return Err(ConfigError(format!("oauth names a client `{name}`; a name {remedy}")));
    }
    if client.client_id.trim().is_empty() {
        return Err(wrong("client_id", "is empty"));
    }
    for (key, url) in [("token_url", &client.token_url), ("api_url", &client.api_url)] {
        if !is_protected(url) {
            return Err(wrong(key, "must be an https:// address; http:// is for this machine alone"));
        }
    }
    let client_secret = match (&client.client_secret, &client.client_secret_file) {
        (Some(secret), None) => secret.clone(),
        (None, Some(file)) => read(file).map_err(|why| wrong("client_secret_file", &why))?,
        _ => return Err(wrong("client_secret", "or client_secret_file must be set, one of the two")),
    };
    if client_secret.is_empty() {
        return Err(wrong("client_secret", "is empty"));
    }
    Ok(oauth::Client {
        client_id: client.client_id.clone(),
        client_secret,
        token_url: client.token_url.clone(),
        api_url: client.api_url.trim_end_matches('/').to_owned(),
    })
}

fn read(file: &PathBuf) -> Result<Secret, String> {
    let meta = fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?;
    if meta.len() > SECRET_MAX as u64 {
        return Err(format!("is larger than {SECRET_MAX} bytes"));
    }
    let text = fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(Secret::new(text.trim()))
}

/// Whether secrets may be sent there.
pub(super) fn is_protected(url: &str) -> bool {
    if url.starts_with("https://") {
        return true;
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for url in ["https://x", "http://127.0.0.1:9/x", "http://localhost", "http://[::1]:80/"] {
            assert!(is_protected(url), "{url}");
        }
        for url in
            ["http://x", "http://localhost.evil.example", "http://127.0.0.1@evil.example", "ftp://x", ""]
        {
            assert!(!is_protected(url), "{url}");
        }
    }
}
