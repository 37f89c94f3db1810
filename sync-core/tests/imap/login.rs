//! Certificates, STARTTLS and logins. Numbers are those of the list of bad inputs.

use std::sync::atomic::{AtomicU32, Ordering};

use sync_core::archive::MailboxState;
use sync_core::source::imap::Security;
use sync_core::sync::Class;

use crate::hostile::{failed, world};
use crate::scripted::{Act, Server};
use crate::world::{World, mail, password};

/// 60
#[tokio::test]
async fn nothing_is_said_to_who_has_no_good_certificate() {
    for (certificate, why) in [("other.pem", "another name"), ("old.pem", "certificate")] {
        let server = Server::with([], certificate, false).await;
        let world = world(&server).await;
        let failure = failed(&world, "run").await;
        assert_eq!(
            (failure.class, failure.code),
            (Class::Permanent, "mail-server-certificate"),
            "{certificate}"
        );
        assert!(failure.message.contains(why), "{}", failure.message);
        assert_eq!(server.seen.lock().unwrap().len(), 0);
    }
    let (server, other) = (Server::start([]).await, Server::start([]).await);
    let port = server.address.port();
    let world = World::new(&other.ca(), port, Security::Implicit, "alice", password("hunter2")).await;
    assert!(failed(&world, "run").await.message.contains("sources.ca_file"), "an issuer that nobody knows");
}

/// 60
#[tokio::test]
async fn starttls_or_nothing() {
    let server = Server::with((0..3).map(mail), "server.pem", true).await;
    let port = server.address.port();
    let world = World::new(&server.ca(), port, Security::Starttls, "alice", password("hunter2")).await;
    assert_eq!(world.run("run-1").await.unwrap().documents_new, 3);
    for (answer, code) in [
        ("{tag} BAD what?\r\n", "imap-no-starttls"),
        ("{tag} NO not here\r\n", "imap-no-starttls"),
        ("{tag} OK begin\r\n* CAPABILITY AUTH=PLAIN\r\n", "imap-protocol"),
    ] {
        server.seen.lock().unwrap().clear();
        server.play(move |command| (command == "STARTTLS").then(|| Act::Say(answer.into())));
        assert_eq!(failed(&world, "run-2").await.code, code);
        assert_eq!(*server.seen.lock().unwrap(), ["STARTTLS"], "nothing follows");
    }
    server.play(|command| (command == "PLAIN GREETING").then(|| Act::Say("* PREAUTH hello\r\n".into())));
    assert_eq!(failed(&world, "run-3").await.code, "imap-preauth");
}

/// 61
#[tokio::test]
async fn refusals_say_what_to_do() {
    let server = Server::start((0..3).map(mail)).await;
    let world = world(&server).await;
    let throttled = || Class::Throttled { retry_after: None, key: Some("provider:127.0.0.1".into()) };
    for (answer, class, code) in [
        ("{tag} NO [LIMIT] slow down\r\n", throttled(), "imap-throttled"),
        ("{tag} NO [THROTTLED] slow down\r\n", throttled(), "imap-throttled"),
        ("{tag} NO [ALERT] Too many simultaneous connections. (Failure)\r\n", throttled(), "imap-throttled"),
        ("* BYE Too many connections\r\n", throttled(), "imap-throttled"),
        ("{tag} NO [UNAVAILABLE] later\r\n", Class::Transient, "imap-unavailable"),
        ("{tag} NO [INUSE] later\r\n", Class::Transient, "imap-unavailable"),
        ("{tag} NO [CONTACTADMIN] call us\r\n", Class::Permanent, "imap-contact-admin"),
        ("{tag} BAD what is hunter2\r\n", Class::Permanent, "imap-not-understood"),
    ] {
        server.play(move |command| command.starts_with("AUTHENTICATE").then(|| Act::Say(answer.into())));
        let failure = failed(&world, "run-1").await;
        assert_eq!((failure.class, failure.code), (class, code), "{answer}");
    }
    // A good password may be refused once.
    let refused = || Act::Say("{tag} NO [AUTHENTICATIONFAILED] hunter2 is wrong\r\n".into());
    server.play_once(move |command| command.starts_with("AUTHENTICATE").then(refused));
    assert_eq!(world.run("run-2").await.unwrap().documents_new, 3);
    assert_eq!(world.mailbox().await.state, MailboxState::Connected);
    server.play(move |command| command.starts_with("AUTHENTICATE").then(refused));
    let failure = failed(&world, "run-3").await;
    assert_eq!((failure.class, failure.code), (Class::Reauthorize, "imap-login-refused"));
    let mailbox = world.mailbox().await;
    assert_eq!(mailbox.state, MailboxState::Reauthorize);
    assert!(!mailbox.state_reason.contains("hunter2"));
}

/// A server that wants fewer connections gets fewer, and the run goes on.
#[tokio::test]
async fn one_connection_is_enough() {
    let server = Server::start((0..30).map(mail)).await;
    let world = world(&server).await;
    let logins = AtomicU32::new(0);
    server.play(move |command| {
        let is_second = command.starts_with("AUTHENTICATE") && logins.fetch_add(1, Ordering::SeqCst) > 0;
        is_second.then(|| Act::Say("{tag} NO [LIMIT] one is enough\r\n".into()))
    });
    assert_eq!(world.run("run").await.unwrap().documents_new, 30);
}
