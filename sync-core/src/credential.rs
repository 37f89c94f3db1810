//! What lets Docket into a mailbox: kept sealed, opened only for a run or a test of the connection.
//!
//! ```text
//! key file ── wraps ──► data key, one per credential ── seals ──► password or refresh token
//! versions, one active     in the row, with the version            in the row
//! ```
//!
//! Guarantees:
//! - A credential is stored only sealed. Namespace and mailbox are part of what the seal covers: a row that is copied
//!   to another mailbox does not open.
//! - Keys change without downtime: a new version becomes active, old rows stay readable, and `rotation` wraps their
//!   data keys anew, a page at a time.
//! - Secrets show as `[redacted]` and are wiped from memory when dropped.
//! - One process at a time trades a refresh token for an access token, and a rotated one is saved first ([`access`]).
//!
//! Absent on purpose: consent (the app's), and any way to read a credential back over the API.

pub mod access;
pub mod key_file;
pub mod keyring;
pub mod rotation;
pub mod store;
pub mod vault;

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use zeroize::Zeroizing;

pub use access::Access;
pub use store::Credentials;
pub use vault::Vault;

/// Bytes of one secret.
pub const SECRET_MAX: usize = 8 << 10;

/// Text that must not be seen. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// For the one place that sends or seals it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An environment variable of digits reads as a number, with other digits than it had. That is refused, by an error
/// that does not show it.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const REMEDY: &str = "must be text: put it into double quotes, or into a file";
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom(REMEDY))
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom(REMEDY))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom(REMEDY))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom(REMEDY))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// What an app hands over for a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Password(Secret),
    OAuth {
        /// Name of a configured OAuth client.
        client: String,
        refresh_token: Secret,
    },
}

const PASSWORD: u8 = 1;
const OAUTH: u8 = 2;

impl Credential {
    /// As bytes to be sealed: a tag, then each text with its length. One allocation, so that nothing is left behind
    /// when it is wiped.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let (tag, texts) = match self {
            Self::Password(password) => (PASSWORD, vec![password.expose()]),
            Self::OAuth { client, refresh_token } => (OAUTH, vec![client.as_str(), refresh_token.expose()]),
        };
        let length = 1 + texts.iter().map(|text| 4 + text.len()).sum::<usize>();
        // The seal's tag is appended in place.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + vault::OVERHEAD));
        bytes.push(tag);
        for text in texts {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, mut rest) = bytes.split_first()?;
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (text, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            rest = after;
            std::str::from_utf8(text).ok()
        };
        match *tag {
            PASSWORD => Some(Self::Password(Secret::new(text()?))),
            OAUTH => {
                let client = text()?.to_owned();
                Some(Self::OAuth { client, refresh_token: Secret::new(text()?) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let credential =
            Credential::OAuth { client: "google".into(), refresh_token: Secret::new("1//token") };
        assert_eq!(format!("{credential:?}"), r#"OAuth { client: "google", refresh_token: [redacted] }"#);
        assert!(!format!("{:?}", Credential::Password(Secret::new("hunter2"))).contains("hunter2"));
    }

    #[test]
    fn bytes_and_back() {
        for credential in [
            Credential::Password(Secret::new("pässword \0 \" \\")),
            Credential::OAuth { client: "google".into(), refresh_token: Secret::new("1//x") },
        ] {
            let bytes = credential.encode();
            assert_eq!(Credential::decode(&bytes), Some(credential));
            for cut in 0..bytes.len() {
                assert_eq!(Credential::decode(&bytes[..cut]), None, "{cut}");
            }
        }
        assert_eq!(Credential::decode(&[9, 0, 0, 0, 0]), None);
        assert_eq!(Credential::decode(&[1, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }

    #[test]
    fn configuration_errors_show_no_secret() {
        assert_eq!(serde_json::from_str::<Secret>("\"x\"").unwrap().expose(), "x");
        for wrong in ["8675309", "-8675309", "86.75309", "[\"8675309\"]", "{\"a\": \"8675309\"}"] {
            let error = serde_json::from_str::<Secret>(wrong).unwrap_err().to_string();
            assert!(!error.contains("86"), "{error}");
        }
    }
}
