//! Messages that carry secrets show nothing of them in `Debug`.

use std::fmt;

use crate::library::v1::{Credential, OAuthCredential, credential};

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credential.fmt(f)
    }
}

impl fmt::Debug for credential::Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oauth(oauth) => oauth.fmt(f),
            Self::Password(_) => f.write_str("Password([redacted])"),
        }
    }
}

impl fmt::Debug for OAuthCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthCredential").field("client", &self.client).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::v1::ConnectMailboxRequest;

    #[test]
    fn a_request_shows_no_secret() {
        let oauth = OAuthCredential { client: "google".into(), refresh_token: "hunter2".into() };
        for secret in
            [credential::Credential::Password("hunter2".into()), credential::Credential::Oauth(oauth)]
        {
            let credential = Some(Credential { credential: Some(secret) });
            let shown = format!("{:?}", ConnectMailboxRequest { mailbox: None, credential });
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
