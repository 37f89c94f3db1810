//! ConnectMailbox: what a source needs, and its credential.

use docket::{
    errors::{self, Reason, Violation},
    library::v1::{self as pb, credential, mailbox::Source},
};
use sync_core::{
    archive::{Error, MailboxSpec, SourceConfig, record::GmailConfig},
    credential::{
        Credential, SECRET_MAX, Secret,
        vault::{self, Place, Sealed},
    },
    source::{
        imap::{self, Security},
        oauth::Clients,
    },
};
use tonic::Status;

use super::{Services, archive_error, field};

const USER_MAX: usize = 320;
const HOST_MAX: usize = 253;
const PORT: u16 = 993;

/// A source other than a folder.
pub fn source(source: &Source, clients: &Clients) -> Result<SourceConfig, Status> {
    match source {
        Source::Gmail(gmail) => {
            let oauth_client = client("mailbox.gmail.oauth_client", &gmail.oauth_client, clients)?;
            Ok(SourceConfig::Gmail(GmailConfig { oauth_client }))
        }
        Source::Imap(imap) => Ok(SourceConfig::Imap(imap_source(imap)?)),
        Source::Graph(_) => Err(errors::not_implemented("mailbox.graph")),
        Source::Folder(_) => Err(errors::not_implemented("mailbox.folder")),
    }
}

fn client(field: &str, name: &str, clients: &Clients) -> Result<String, Violation> {
    if clients.contains_key(name) {
        return Ok(name.to_owned());
    }
    let remedy = match clients.keys().cloned().collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => {
            "must name an OAuth client, and none is configured: the operator sets [oauth.NAME]".to_owned()
        }
        names => format!("must be one of the configured OAuth clients: {names}"),
    };
    Err(Violation::new(field, remedy))
}

fn imap_source(asked: &pb::ImapSource) -> Result<imap::Config, Violation> {
    let host = asked.host.trim_end_matches('.').to_ascii_lowercase();
    if !is_host(&host) {
        let remedy = "must be the name of a mail server, as in imap.example.com, without port or scheme";
        return Err(Violation::new("mailbox.imap.host", remedy));
    }
    let port = match asked.port {
        0 => Some(PORT),
        port => u16::try_from(port).ok().filter(|port| *port > 0),
    };
    let port = port.ok_or_else(|| Violation::new("mailbox.imap.port", "must be 1 to 65535, or 0 for 993"))?;
    let security = match pb::ImapSecurity::try_from(asked.security) {
        Ok(pb::ImapSecurity::Unspecified) if port == 143 => Security::Starttls,
        Ok(pb::ImapSecurity::Unspecified | pb::ImapSecurity::Implicit) => Security::Implicit,
        Ok(pb::ImapSecurity::Starttls) => Security::Starttls,
        Err(_) => {
            let remedy = "must be IMAP_SECURITY_IMPLICIT or IMAP_SECURITY_STARTTLS, or left out";
            return Err(Violation::new("mailbox.imap.security", remedy));
        }
    };
    let user = field::text("mailbox.imap.user", &asked.user, USER_MAX)?;
    if user.is_empty() {
        return Err(Violation::new("mailbox.imap.user", "is required: the name to log in with"));
    }
    Ok(imap::Config { host, port, security, user })
}

/// An address, or a name of letters, digits, hyphens and points. Other scripts come in their ASCII form (`xn--`).
fn is_host(host: &str) -> bool {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A name that ends in digits is an address in a spelling that resolvers understand and checks do not.
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= HOST_MAX
        && host.split('.').all(is_label)
        && last.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// The credential of a request, which keeps nothing of it.
pub fn credential(
    asked: &mut pb::ConnectMailboxRequest,
    source: &SourceConfig,
    clients: &Clients,
) -> Result<Option<Credential>, Status> {
    let given = asked.credential.take().and_then(|credential| credential.credential);
    let Some(given) = given else { return Ok(None) };
    let wrong = |what: &str| Status::from(Violation::new("credential", what));
    let credential = match (given, source) {
        (_, SourceConfig::Folder(_)) => return Err(wrong("is not for folder sources; leave it out")),
        (credential::Credential::Password(password), SourceConfig::Imap(_)) => {
            Credential::Password(secret("credential.password", password)?)
        }
        (credential::Credential::Password(_), _) => {
            return Err(wrong("must be `oauth`, with a refresh token: this source takes no passwords"));
        }
        (credential::Credential::Oauth(mut oauth), source) => {
            let refresh_token =
                secret("credential.oauth.refresh_token", std::mem::take(&mut oauth.refresh_token))?;
            let client = oauth_client(&oauth.client, source, clients)?;
            Credential::OAuth { client, refresh_token }
        }
    };
    Ok(Some(credential))
}

/// A Gmail mailbox has named its client already.
fn oauth_client(name: &str, source: &SourceConfig, clients: &Clients) -> Result<String, Violation> {
    const FIELD: &str = "credential.oauth.client";
    match source {
        SourceConfig::Gmail(gmail) if name.is_empty() || name == gmail.oauth_client => {
            Ok(gmail.oauth_client.clone())
        }
        SourceConfig::Gmail(_) => {
            Err(Violation::new(FIELD, "must be mailbox.gmail.oauth_client; leave it out to have it so"))
        }
        _ => client(FIELD, name, clients),
    }
}

fn secret(field: &str, text: String) -> Result<Secret, Violation> {
    let secret = Secret::new(text);
    if secret.is_empty() {
        return Err(Violation::new(field, "is required"));
    }
    if secret.expose().len() > SECRET_MAX {
        return Err(Violation::new(field, format!("must be at most {SECRET_MAX} bytes")));
    }
    if secret.expose().contains(['\0', '\r', '\n']) {
        return Err(Violation::new(field, "must not hold line breaks or NUL"));
    }
    Ok(secret)
}

/// Whether the namespace takes one more mailbox, if this is one. Two that are connected at once may both find room.
pub async fn check_room(services: &Services, spec: &MailboxSpec) -> Result<(), Status> {
    let (catalog, limit) = (&services.archive.catalog, services.mailboxes_per_namespace);
    match catalog.get_mailbox(&spec.namespace, &spec.mailbox_id).await {
        Ok(_) => return Ok(()),
        Err(Error::NotFound(_)) => {}
        Err(error) => return Err(archive_error(error)),
    }
    if catalog.count_mailboxes(&spec.namespace).await.map_err(archive_error)? < limit {
        return Ok(());
    }
    let why = format!(
        "the namespace holds {limit} mailboxes, as many as configured (limits.mailboxes_per_namespace)"
    );
    Err(errors::quota(Reason::TooManyMailboxes, "limits.mailboxes_per_namespace", why))
}

/// Seals what came with the request; without one, the mailbox has to have one for exactly this source.
pub async fn seal(
    services: &Services,
    spec: &MailboxSpec,
    credential: Option<Credential>,
) -> Result<Option<Sealed>, Status> {
    if !spec.source.needs_credential() {
        return Ok(None);
    }
    let place = Place { namespace: &spec.namespace, mailbox_id: &spec.mailbox_id };
    let Some(credential) = credential else {
        services.credentials.vault().map_err(vault_error)?;
        let catalog = &services.archive.catalog;
        let old = match catalog.get_mailbox(place.namespace, place.mailbox_id).await {
            Ok(mailbox) => Some(mailbox),
            Err(sync_core::archive::Error::NotFound(_)) => None,
            Err(error) => return Err(archive_error(error)),
        };
        let is_same = old.is_some_and(|old| old.spec.source == spec.source);
        let has_one = catalog.credential(place).await.map_err(archive_error)?.is_some();
        if is_same && has_one {
            return Ok(None);
        }
        let remedy = "is required: the one that is kept, if any, is for another source";
        return Err(Violation::new("credential", remedy).into());
    };
    services.credentials.seal(place, &credential).map(Some).map_err(vault_error)
}

fn vault_error(error: vault::Error) -> Status {
    match error {
        vault::Error::NotConfigured => errors::status(
            Reason::CredentialsOff,
            "credentials cannot be kept: the operator makes a key file (`worker-svc keys create`) and names it with \
             DOCKET_CREDENTIALS__KEY_FILE",
        ),
        error => {
            tracing::error!(%error, "seal a credential");
            errors::status(Reason::Internal, "the credential could not be sealed; the log has the detail")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in
            ["imap.example.com", "localhost", "192.0.2.1", "2001:db8::1", "xn--mller-kva.de", "a_b.example"]
        {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "a..b",
            "-a.de",
            "a b",
            "müller.de",
            "imap.example.com:993",
            "https://x",
            "0x7f.1",
            "127.1",
            "2130706433",
            "0177.0.0.1",
            "a@b",
            "a/b",
            "[::1]",
            "1.2.3.4.5",
            &"a".repeat(64),
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
