//! The section `[auth]` of both services.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Gate, tokens::Tokens};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Empty = there is none.
    pub tokens_file: PathBuf,
    pub allow_anonymous: bool,
    /// Of one caller in one namespace; 0 = as many as it likes.
    pub calls_per_second: u32,
    /// 0 = twice the rate.
    pub calls_burst: u32,
}

impl Settings {
    fn has_file(&self) -> bool {
        !self.tokens_file.as_os_str().is_empty()
    }

    /// `listen` is that of gRPC.
    ///
    /// # Errors
    /// Names the key that has to be set.
    pub fn check(&self, listen: SocketAddr) -> Result<(), String> {
        if self.has_file() && self.allow_anonymous {
            return Err("auth.allow_anonymous contradicts auth.tokens_file: set one of the two".into());
        }
        let beyond = !listen.ip().to_canonical().is_loopback();
        if beyond && !self.has_file() && !self.allow_anonymous {
            return Err(format!(
                "grpc.listen is {listen}, which others reach, and callers need no credentials: set auth.tokens_file \
                 (`scheduler-svc token new` makes tokens), or auth.allow_anonymous = true where the network itself \
                 keeps strangers out"
            ));
        }
        self.gate().map(|_| ())
    }

    /// What is valid and will be regretted.
    pub fn risk(&self, listen: SocketAddr, has_tls: bool) -> Option<String> {
        if listen.ip().to_canonical().is_loopback() {
            return None;
        }
        if self.allow_anonymous {
            return Some(format!(
                "auth.allow_anonymous is set and grpc.listen is {listen}: whoever reaches it may call everything"
            ));
        }
        (!has_tls).then(|| {
            format!(
                "tls.cert_file is empty and grpc.listen is {listen}: tokens travel in the clear, unless the network \
                 encrypts"
            )
        })
    }

    /// A file that lets nobody in.
    pub fn empty_file(&self) -> Option<String> {
        let is_empty =
            self.has_file() && Tokens::open(&self.tokens_file).is_ok_and(|tokens| tokens.is_empty());
        is_empty.then(|| {
            format!(
                "auth.tokens_file: {} has no entries, so all calls are refused; `scheduler-svc token new` makes them",
                self.tokens_file.display()
            )
        })
    }

    fn limited(&self, gate: Gate) -> Gate {
        gate.with_rates(self.calls_per_second, self.calls_burst)
    }

    /// # Errors
    /// When the tokens file cannot be read whole.
    pub fn gate(&self) -> Result<Gate, String> {
        if self.has_file() {
            let tokens = Tokens::open(&self.tokens_file);
            let tokens = tokens.map_err(|error| format!("auth.tokens_file: {error}"))?;
            return Ok(self.limited(Gate::known(tokens)));
        }
        Ok(self.limited(if self.allow_anonymous { Gate::open() } else { Gate::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_tokens_in_the_clear_are_told() {
        let (here, anywhere) = ("127.0.0.1:0".parse().unwrap(), "0.0.0.0:7310".parse().unwrap());
        let open = Settings { allow_anonymous: true, ..Settings::default() };
        assert!(open.risk(anywhere, true).unwrap().contains("auth.allow_anonymous"));
        assert_eq!(open.risk(here, false), None);
        let tokens = Settings { tokens_file: "tokens".into(), ..Settings::default() };
        assert!(tokens.risk(anywhere, false).unwrap().contains("tls.cert_file"));
        assert_eq!(tokens.risk(anywhere, true), None);
    }

    #[test]
    fn a_file_that_lets_nobody_in_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings = Settings { tokens_file: file.path().into(), ..Settings::default() };
        assert!(settings.empty_file().unwrap().contains("has no entries"));
        let entry = crate::identity::tokens::hash("t");
        let entry = format!(
            "[[identity]]\nname = \"a\"\nroles = [\"operator\"]\nnamespaces = [\"*\"]\nhash = \"{entry}\"\n"
        );
        std::fs::write(file.path(), entry).unwrap();
        assert!(settings.gate().is_ok());
        assert_eq!(settings.empty_file(), None);
        assert_eq!(Settings::default().empty_file(), None);
    }

    #[test]
    fn a_port_that_others_reach_asks_for_credentials_or_says_that_it_does_not() {
        let (here, anywhere) = ("127.0.0.1:0".parse().unwrap(), "0.0.0.0:7310".parse().unwrap());
        assert_eq!(Settings::default().check(here), Ok(()));
        assert_eq!(Settings::default().check("[::1]:1".parse().unwrap()), Ok(()));
        let why = Settings::default().check(anywhere).unwrap_err();
        assert!(why.contains("auth.tokens_file") && why.contains("auth.allow_anonymous"), "{why}");
        assert_eq!(Settings { allow_anonymous: true, ..Settings::default() }.check(anywhere), Ok(()));
        let file = tempfile::NamedTempFile::new().unwrap();
        let with_file = Settings { tokens_file: file.path().into(), ..Settings::default() };
        assert_eq!(with_file.check(anywhere), Ok(()));
        let both = Settings { allow_anonymous: true, ..with_file };
        assert!(both.check(here).is_err());
        let missing = Settings { tokens_file: "/no/such/file".into(), ..Settings::default() };
        assert!(missing.check(here).unwrap_err().starts_with("auth.tokens_file: "));
    }
}
