//! A real server.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, FutureExt};
use sync_core::archive::{MailboxState, MessageState};
use sync_core::credential::{Credential, Secret};
use sync_core::source::imap::{Limits, Security};
use sync_core::sync::{Class, Point, Probe, Settings};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::dovecot::Dovecot;
use crate::token;
use crate::world::{AsAccessToken, World, job, mail, numbers, password};

async fn world(dovecot: &Dovecot, user: &str) -> World {
    World::new(&dovecot.ca(), dovecot.tls_port, Security::Implicit, user, password("secret")).await
}

#[tokio::test]
async fn passwords_tokens_tls_and_starttls() {
    let mut dovecot = Dovecot::start();
    for n in 0..3 {
        dovecot.deliver("alice", "", &mail(n));
    }
    dovecot.hand_over();
    let implicit = world(&dovecot, "alice").await;
    assert_eq!(implicit.run("run").await.unwrap().documents_new, 3);
    let (ca, port) = (dovecot.ca(), dovecot.plain_port);
    let starttls = World::new(&ca, port, Security::Starttls, "alice", password("secret")).await;
    assert_eq!(starttls.run("run").await.unwrap().documents_new, 3);
    // Another kind of TLS than the port speaks is a server that is not there.
    let wrong = World::new(&ca, port, Security::Implicit, "alice", password("secret")).await;
    let failure = wrong.run("run").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Transient, "mail-server-unreachable"));

    let oauth = |expires| Credential::OAuth {
        client: "google".into(),
        refresh_token: Secret::new(token::make("alice", expires)),
    };
    let mut tokens =
        World::new(&ca, dovecot.tls_port, Security::Implicit, "alice", oauth(4_000_000_000)).await;
    assert_eq!(tokens.run("run").await.unwrap_err().code, "imap-oauth-off");
    tokens.tokens = Some(Arc::new(AsAccessToken));
    assert_eq!(tokens.run("run").await.unwrap().documents_new, 3);
    tokens.connect(&oauth(1_700_000_001)).await;
    let failure = tokens.run("run-2").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Reauthorize, "imap-login-refused"));
}

#[tokio::test]
async fn a_wrong_password_asks_the_user_and_a_right_one_goes_on() {
    let mut dovecot = Dovecot::start();
    dovecot.deliver("alice", "", &mail(0));
    dovecot.hand_over();
    let world = world(&dovecot, "alice").await;
    world.connect(&password("wrong")).await;
    let failure = world.run("run-1").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Reauthorize, "imap-login-refused"));
    assert_eq!(world.mailbox().await.state, MailboxState::Reauthorize);
    assert_eq!(world.run("run-2").await.unwrap_err().code, "mailbox-reauthorize");
    world.connect(&password("secret")).await;
    assert_eq!(world.run("run-3").await.unwrap().documents_new, 1);
}

#[tokio::test]
async fn folders_moves_and_new_uids_double_nothing() {
    let mut dovecot = Dovecot::start();
    for n in 0..20 {
        dovecot.deliver("alice", "", &mail(n));
    }
    for n in 20..25 {
        dovecot.deliver("alice", ".Archive", &mail(n));
    }
    dovecot.deliver("alice", ".Rechnungen.B&APw-cher", &mail(25));
    dovecot.hand_over();
    let mut world = world(&dovecot, "alice").await;
    world
        .change(|spec| spec.folders = ["INBOX", "\\Archive", "Rechnungen/Bücher"].map(Into::into).to_vec())
        .await;
    let outcome = world.run("run-1").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_read), (26, 26));
    assert_eq!(world.source().await.look().await.unwrap(), ["Archive", "INBOX", "Rechnungen.Bücher"]);

    // Nobody would notice that it was read.
    let cur = dovecot.maildir("alice").join("cur");
    let flagged = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.split_once(":2,").is_some_and(|(_, flags)| flags.contains('S'))
    };
    assert!(!fs::read_dir(&cur).into_iter().flatten().flatten().any(|entry| flagged(&entry)));

    // One is moved, all get new UIDs, one is new.
    let moved = ["cur", "new"]
        .iter()
        .flat_map(|it| fs::read_dir(dovecot.maildir("alice").join(it)).unwrap().flatten());
    let moved = moved.map(|entry| entry.path()).find(|path| path.is_file()).unwrap();
    let name = moved.file_name().unwrap().to_string_lossy().split(':').next().unwrap().to_owned();
    fs::rename(&moved, dovecot.maildir("alice").join(".Archive/new").join(name)).unwrap();
    dovecot.forget_uids("alice", 12_345);
    dovecot.deliver("alice", "", &mail(26));
    dovecot.hand_over();
    let outcome = world.run("run-2").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.duplicates, outcome.messages_read), (1, 0, 1));
    assert_eq!(world.documents().await, numbers(0..27));
}

/// A message is processed again although its folder got new UIDs and it lies elsewhere now.
#[tokio::test]
async fn a_message_is_found_again_where_it_is_now() {
    let mut dovecot = Dovecot::start();
    let file = dovecot.deliver("alice", "", &mail(0));
    dovecot.deliver("alice", "", &mail(1));
    dovecot.deliver("alice", ".Archive", &mail(2));
    dovecot.hand_over();
    let mut world = world(&dovecot, "alice").await;
    world.change(|spec| spec.folders = ["INBOX", "Archive"].map(Into::into).to_vec()).await;
    assert_eq!(world.run("run-1").await.unwrap().documents_new, 3);
    let mailbox = dovecot.maildir("alice");
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let now = [mailbox.join("new").join(&name), mailbox.join("cur").join(format!("{name}:2,"))];
    let now = now.iter().find(|path| path.exists()).unwrap();
    fs::rename(now, mailbox.join(".Archive/new").join(&name)).unwrap();
    dovecot.hand_over();
    // The run that notices the move does not have to read it.
    assert_eq!(world.run("run-2").await.unwrap().messages_read, 0);
    let selection = sync_core::archive::erase::Selection::default();
    world.archive.catalog.reprocess_messages("default", "mb", &selection).await.unwrap();
    let outcome = world.run("run-3").await.unwrap();
    assert_eq!((outcome.messages_failed, outcome.documents_new), (0, 0));
    assert!(world.messages(&[]).await.iter().all(|message| message.run_id == "run-3"));
    assert_eq!(world.messages(&[MessageState::Failed]).await.len(), 0);
}

#[tokio::test]
async fn an_empty_mailbox_is_no_failure_and_fills_later() {
    let mut dovecot = Dovecot::start();
    let world = world(&dovecot, "alice").await;
    assert_eq!(world.run("run-1").await.unwrap().messages_read, 0);
    dovecot.deliver("alice", "", &mail(0));
    dovecot.hand_over();
    assert_eq!(world.run("run-2").await.unwrap().documents_new, 1);
    assert_eq!(world.run("run-3").await.unwrap().messages_read, 0);
}

#[tokio::test]
async fn older_mail_is_left_alone() {
    let mut dovecot = Dovecot::start();
    for n in 0..3 {
        let file = dovecot.deliver("alice", "", &mail(n));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_000_000 + 3_600 * n as u64);
        fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }
    dovecot.hand_over();
    let mut world = world(&dovecot, "alice").await;
    world.change(|spec| spec.since = Some((1_767_000_000 + 1_800) * 1000)).await;
    assert_eq!(world.run("run-1").await.unwrap().messages_read, 2);
    world.change(|spec| spec.since = None).await;
    assert_eq!(world.run("run-2").await.unwrap().messages_read, 1);
    assert_eq!(world.documents().await, numbers(0..3));
}

/// Lets so many steps of a run pass, then holds it for ever.
struct Stop(AtomicUsize, Notify);

impl Probe for Stop {
    fn reached(&self, _: Point) -> BoxFuture<'_, ()> {
        async move {
            let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_err() {
                self.1.notify_one();
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// D1, D2: a first sync of several thousand mails, killed again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_a_long_first_sync_goes_on_where_it_was_killed() {
    const COUNT: usize = 3000;
    let mut dovecot = Dovecot::start();
    for n in 0..COUNT {
        dovecot.deliver("alice", "", &mail(n));
    }
    dovecot.hand_over();
    let world = world(&dovecot, "alice").await.within(Limits::default());
    let mut kills = 0;
    loop {
        let stop = Arc::new(Stop(AtomicUsize::new(1500 + 37 * kills), Notify::new()));
        let syncer = world.syncer_with(Settings::default()).with_probe(stop.clone());
        let job = job(&format!("run-{kills}"));
        let ended = tokio::select! {
            ended = syncer.run(&job, |_| {}, CancellationToken::new()) => Some(ended),
            () = stop.1.notified() => None,
        };
        match ended {
            Some(ended) => break assert_eq!(ended.unwrap().messages_failed, 0),
            None => kills += 1,
        }
        assert!(kills < 50, "no progress: {} documents", world.documents().await.len());
    }
    assert!(kills >= 3, "{kills}");
    assert_eq!(world.documents().await, numbers(0..COUNT));
    let mailbox = world.mailbox().await;
    assert_eq!((mailbox.messages, mailbox.documents, mailbox.duplicates), (3000, 3000, 0));
}
