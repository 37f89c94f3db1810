//! Mailboxes with credentials: what is asked for, what is kept, what is never shown.

use docket::{errors::Reason, library::v1 as pb};
use pb::{credential::Credential as Given, mailbox::Source};
use sync_core::credential::{Credential, Secret};
use tonic::Status;

use super::world::{World, mailbox, refused};

const PASSWORD: &str = "hunter2";

fn imap() -> pb::ImapSource {
    pb::ImapSource {
        host: "IMAP.Example.com.".into(),
        user: "alice@example.com".into(),
        ..Default::default()
    }
}

fn with(source: Source) -> pb::Mailbox {
    pb::Mailbox { source: Some(source), ..mailbox("mb", "alice") }
}

fn gmail() -> pb::Mailbox {
    with(Source::Gmail(pb::GmailSource { oauth_client: "google".into() }))
}

fn password(text: &str) -> Option<Given> {
    Some(Given::Password(text.into()))
}

fn oauth(client: &str, refresh_token: &str) -> Option<Given> {
    Some(Given::Oauth(pb::OAuthCredential { client: client.into(), refresh_token: refresh_token.into() }))
}

async fn connect(
    world: &World,
    mailbox: pb::Mailbox,
    credential: Option<Given>,
) -> Result<pb::Mailbox, Status> {
    let credential = credential.map(|credential| pb::Credential { credential: Some(credential) });
    let request = pb::ConnectMailboxRequest { mailbox: Some(mailbox), credential };
    let answer = world.mailboxes.clone().connect_mailbox(request).await;
    assert!(!format!("{answer:?}").contains(PASSWORD), "{answer:?}");
    Ok(answer?.into_inner().mailbox.unwrap())
}

async fn kept(world: &World) -> Option<Credential> {
    let mailbox = world.archive.catalog.get_mailbox("default", "mb").await.unwrap();
    world.credentials.access(&mailbox, None).read().await.ok()
}

#[tokio::test]
async fn a_mailbox_with_a_password_or_a_token_is_connected() {
    let world = World::new().await;
    let shown = connect(&world, with(Source::Imap(imap())), password(PASSWORD)).await.unwrap();
    let Some(Source::Imap(source)) = &shown.source else { panic!("{shown:?}") };
    assert_eq!(
        (source.host.as_str(), source.port, source.security()),
        ("imap.example.com", 993, pb::ImapSecurity::Implicit)
    );
    assert_eq!(kept(&world).await, Some(Credential::Password(Secret::new(PASSWORD))));
    let starttls = pb::ImapSource { port: 143, ..imap() };
    let other = connect(&world, with(Source::Imap(starttls)), password("other")).await.unwrap();
    let Some(Source::Imap(source)) = &other.source else { panic!("{other:?}") };
    assert_eq!(source.security(), pb::ImapSecurity::Starttls, "that is what port 143 speaks");
    assert_ne!(other.etag, shown.etag);
    connect(&world, gmail(), oauth("", "1//token")).await.unwrap();
    let token = |text: &str| Credential::OAuth { client: "google".into(), refresh_token: Secret::new(text) };
    assert_eq!(kept(&world).await, Some(token("1//token")));
    let imap_oauth = connect(&world, with(Source::Imap(imap())), oauth("google", "1//imap")).await;
    assert!(imap_oauth.is_ok());
    assert_eq!(kept(&world).await, Some(token("1//imap")));
}

/// A password is never shown to another server than the one it came with.
#[tokio::test]
async fn a_new_source_needs_its_own_credential() {
    let world = World::new().await;
    let asked = with(Source::Imap(imap()));
    refused(connect(&world, asked.clone(), None).await, Reason::InvalidField, "credential");
    let first = connect(&world, asked.clone(), password(PASSWORD)).await.unwrap();
    let same = connect(&world, asked, None).await.unwrap();
    assert_eq!(same.etag, first.etag);
    for changed in [
        pb::ImapSource { host: "evil.example".into(), ..imap() },
        pb::ImapSource { port: 143, ..imap() },
        pb::ImapSource { user: "bob".into(), ..imap() },
    ] {
        let answer = connect(&world, with(Source::Imap(changed)), None).await;
        refused(answer, Reason::InvalidField, "credential");
    }
    refused(connect(&world, gmail(), None).await, Reason::InvalidField, "credential");
    assert_eq!(kept(&world).await, Some(Credential::Password(Secret::new(PASSWORD))));
    // Who disconnects takes the credential away.
    let request = pb::DisconnectMailboxRequest { mailbox_id: "mb".into(), ..Default::default() };
    world.mailboxes.clone().disconnect_mailbox(request).await.unwrap();
    assert_eq!(kept(&world).await, None);
    refused(connect(&world, with(Source::Imap(imap())), None).await, Reason::InvalidField, "credential");
}

#[tokio::test]
async fn without_a_key_file_credentials_are_refused() {
    let world = World::with(true, false).await;
    for (mailbox, credential) in [
        (with(Source::Imap(imap())), password(PASSWORD)),
        (gmail(), oauth("google", PASSWORD)),
        (gmail(), None),
    ] {
        let answer = connect(&world, mailbox, credential).await;
        refused(answer, Reason::CredentialsOff, "DOCKET_CREDENTIALS__KEY_FILE");
    }
}

#[tokio::test]
async fn each_wrong_field_of_a_source_is_named() {
    let world = World::new().await;
    let imap_with = |change: &dyn Fn(&mut pb::ImapSource)| {
        let mut source = imap();
        change(&mut source);
        with(Source::Imap(source))
    };
    let secret = || password(PASSWORD);
    for host in
        ["", "a b", "imap.example.com:993", "127.1", "0x7f000001", "https://imap.example.com", "ä.example"]
    {
        let answer = connect(&world, imap_with(&|it| it.host = host.into()), secret()).await;
        refused(answer, Reason::InvalidField, "mailbox.imap.host");
    }
    let cases = [
        ("mailbox.imap.port", imap_with(&|it| it.port = 65_536), secret()),
        ("mailbox.imap.port", imap_with(&|it| it.port = -1), secret()),
        ("mailbox.imap.security", imap_with(&|it| it.security = 9), secret()),
        ("mailbox.imap.user", imap_with(&|it| it.user = String::new()), secret()),
        ("mailbox.imap.user", imap_with(&|it| it.user = "a\r\nb".into()), secret()),
        ("mailbox.gmail.oauth_client", with(Source::Gmail(pb::GmailSource::default())), oauth("", "x")),
        ("credential", gmail(), secret()),
        ("credential.password", with(Source::Imap(imap())), password("")),
        ("credential.password", with(Source::Imap(imap())), password("a\r\nb")),
        ("credential.password", with(Source::Imap(imap())), password(&"x".repeat(8_193))),
        ("credential.oauth.refresh_token", gmail(), oauth("google", "")),
        ("credential.oauth.client", gmail(), oauth("other", "x")),
        ("credential.oauth.client", with(Source::Imap(imap())), oauth("other", "x")),
    ];
    for (field, mailbox, credential) in cases {
        refused(connect(&world, mailbox, credential).await, Reason::InvalidField, field);
    }
}
