//! Mail from an IMAP server.

use serde::{Deserialize, Serialize};

/// How the connection comes to TLS. Without TLS there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// From the first byte.
    #[default]
    Implicit,
    Starttls,
}

/// What a mailbox says about its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// A name or an address.
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub user: String,
}
