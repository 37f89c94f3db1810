//! Servers that break the rules, lose their memory, or mean harm. Numbers are those of the list of bad inputs.

use std::sync::atomic::{AtomicU32, Ordering};

use sync_core::archive::MessageState;
use sync_core::source::imap::{Limits, Security};
use sync_core::sync::{Class, Failure};

use crate::scripted::{Act, Server, body, head};
use crate::world::{World, impatient, mail, numbers, password};

pub async fn world(server: &Server) -> World {
    let port = server.address.port();
    World::new(&server.ca(), port, Security::Implicit, "alice", password("hunter2")).await
}

fn say(text: impl Into<String>) -> Option<Act> {
    Some(Act::Say(text.into()))
}

/// The failure of the next run, once the server answers like this.
pub async fn failed(world: &World, run: &str) -> Failure {
    let failure = world.run(run).await.unwrap_err();
    assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    failure
}

#[tokio::test]
async fn a_good_server_is_read_newest_first() {
    let server = Server::start((0..35).map(mail)).await;
    let world = world(&server).await;
    let outcome = world.run("run-1").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_read), (35, 35));
    assert_eq!(world.documents().await, numbers(0..35));
    let bodies = server.seen.lock().unwrap().clone();
    let bodies = bodies.iter().filter_map(|it| it.strip_suffix(" (UID BODY.PEEK[])"));
    let bodies: Vec<u32> = bodies.map(|it| it.trim_start_matches("UID FETCH ").parse().unwrap()).collect();
    let first_page = &bodies[..10];
    assert!(first_page.iter().all(|uid| *uid > 20), "at most a page and what is under way: {bodies:?}");
    assert_eq!(
        server.count("SELECT") + server.count("STORE") + server.count("BODY[]"),
        0,
        "nothing is changed"
    );
    server.mail.lock().unwrap().messages.insert(40, mail(35));
    assert_eq!(world.run("run-2").await.unwrap().documents_new, 1);
    assert_eq!(server.count("BODY.PEEK[])"), 36, "nothing is fetched twice");
    assert_eq!(server.count("LOGOUT"), server.count("AUTHENTICATE"), "it takes leave");
}

/// 54
#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    for act in [Act::Nothing, Act::Drip, Act::Say("HTTP/1.1 400 Bad Request\r\n\r\n".into())] {
        let server = Server::start([]).await;
        let world = world(&server).await.within(impatient());
        server.play(move |command| (command == "GREETING").then(|| act.clone()));
        let failure = failed(&world, "run").await;
        assert_eq!((failure.class, failure.code), (Class::Transient, "mail-server-unreachable"));
    }
    let server = Server::start([]).await;
    let world = world(&server).await.within(impatient());
    for act in [Act::Nothing, Act::Drip] {
        server.play(move |command| command.starts_with("EXAMINE").then(|| act.clone()));
        assert_eq!(failed(&world, "run").await.code, "imap-slow");
    }
    server.play(|command| (command == "GREETING").then(|| Act::Say("* PREAUTH hello\r\n".into())));
    assert_eq!(failed(&world, "run").await.code, "imap-preauth");
}

/// 55
#[tokio::test]
async fn literals_are_bounded() {
    let server = Server::start((0..3).map(mail)).await;
    let world = world(&server).await;
    let is_head = |command: &str| command.contains("HEADER.FIELDS");
    server.play(move |command| {
        is_head(command).then(|| Act::Say("* 1 FETCH (UID 1 BODY[] {4294967296}\r\n".into()))
    });
    assert_eq!(failed(&world, "run-1").await.code, "imap-protocol");
    server.play(move |command| {
        is_head(command).then(|| Act::SayAndClose("* 1 FETCH (UID 1 X {100}\r\nshort".into()))
    });
    assert_eq!(failed(&world, "run-2").await.code, "imap-connection-lost");
    server.play(move |command| {
        is_head(command).then(|| Act::Say("* 1 FETCH (UID \"1 {3}\r\nabc\")\r\n".into()))
    });
    assert_eq!(failed(&world, "run-3").await.code, "imap-protocol");
    // A body that is larger than it was announced, or than any may be, is that message's failure and no other's.
    server.play(|command| {
        let large = |size: u64| Act::SayAndClose(format!("* 1 FETCH (UID 1 BODY[] {{{size}}}\r\n"));
        match command {
            "UID FETCH 1 (UID BODY.PEEK[])" => Some(large(1 << 20)),
            "UID FETCH 2 (UID BODY.PEEK[])" => Some(large(60 << 20)),
            _ => None,
        }
    });
    let outcome = world.run("run-4").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_failed), (1, 2));
    let reasons: Vec<_> =
        world.messages(&[MessageState::Failed]).await.into_iter().map(|it| it.reason).collect();
    assert!(reasons.iter().any(|it| it.contains("more than it had announced")), "{reasons:?}");
    assert!(reasons.iter().any(|it| it.contains("too large: 60 MiB")), "{reasons:?}");
}

/// 55, too: a message that says itself that it is too large is not even asked for.
#[tokio::test]
async fn a_large_message_is_not_fetched() {
    let server = Server::start((0..2).map(mail)).await;
    let world = world(&server).await;
    server.play(|command| {
        let text = mail(1);
        let size = format!("RFC822.SIZE {}", text.len());
        let large = head(2, 2, &text).replace(&size, "RFC822.SIZE 62914560");
        command
            .contains("HEADER.FIELDS")
            .then(|| Act::Say(head(1, 1, &mail(0)) + &large + "{tag} OK done\r\n"))
    });
    let outcome = world.run("run").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_failed), (1, 1));
    assert_eq!(server.count("BODY.PEEK[])"), 1);
}

/// 56
#[tokio::test]
async fn new_uids_double_nothing_and_nothing_is_fetched_again() {
    let server = Server::start((0..25).map(mail)).await;
    let world = world(&server).await;
    world.run("run-0").await.unwrap();
    // Up, down, to nothing, and to nothing once more; each time with other UIDs and one more mail.
    for (at, validity) in [8, 3, 0, 0, 9].into_iter().enumerate() {
        {
            let mut mail_ = server.mail.lock().unwrap();
            mail_.validity = validity;
            let shifted = mail_.messages.values().cloned().collect::<Vec<_>>();
            mail_.messages =
                (1000 * (at as u32 + 1)..).zip(shifted.into_iter().chain([mail(25 + at)])).collect();
        }
        let outcome = world.run(&format!("run-{}", at + 1)).await.unwrap();
        assert_eq!(
            (outcome.documents_new, outcome.duplicates, outcome.messages_read),
            (1, 0, 1),
            "{validity}"
        );
    }
    assert_eq!(world.documents().await, numbers(0..30));
    assert_eq!(server.count("BODY.PEEK[])"), 30);
}

/// 56, too: from one EXAMINE to the next.
#[tokio::test]
async fn uidvalidity_that_changes_within_a_run_ends_it() {
    let server = Server::start((0..25).map(mail)).await;
    let world = world(&server).await.within(Limits { connections: 1, page: 10, ..Limits::default() });
    let validity = AtomicU32::new(100);
    server.play(move |command| {
        let next = || validity.fetch_add(1, Ordering::SeqCst);
        command
            .starts_with("EXAMINE")
            .then(|| Act::Say(format!("* OK [UIDVALIDITY {}] x\r\n{{tag}} OK\r\n", next())))
    });
    // With one connection the folder stays open, so one run sees one number.
    assert_eq!(world.run("run-1").await.unwrap().documents_new, 25);
    assert_eq!(world.run("run-2").await.unwrap().messages_read, 0);
}

/// 57
#[tokio::test]
async fn numbers_that_cannot_be_are_borne() {
    let server = Server::start((0..12).map(mail)).await;
    let world = world(&server).await;
    server.play(|command| {
        if command.starts_with("EXAMINE") {
            return say(
                "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n* 1 EXISTS\r\n{tag} OK\r\n",
            );
        }
        if command.starts_with("UID SEARCH UID 1:") {
            return say(
                "* SEARCH 12 3 3 7 1 2\r\n* SEARCH 4 5 6 8 9 10 11 12 4000000000 0 x\r\n{tag} OK\r\n",
            );
        }
        None
    });
    assert_eq!(world.run("run-1").await.unwrap().documents_new, 12);
    server.behave();
    assert_eq!(world.run("run-2").await.unwrap().messages_read, 0);
}

/// 58
#[tokio::test]
async fn answers_that_belong_to_other_messages_are_not_taken() {
    let server = Server::start((0..5).map(mail)).await;
    let world = world(&server).await;
    server.play(|command| match command {
        // Nothing for a message that is there; empty data; another one's body; one nobody asked for.
        "UID FETCH 1 (UID BODY.PEEK[])" => say("{tag} OK\r\n"),
        "UID FETCH 2 (UID BODY.PEEK[])" => say("* 2 FETCH (UID 2 BODY[] \"\")\r\n{tag} OK\r\n"),
        "UID FETCH 3 (UID BODY.PEEK[])" => say(body(3, 3, &mail(4)) + "{tag} OK\r\n"),
        "UID FETCH 4 (UID BODY.PEEK[])" => say(body(5, 5, &mail(4)) + &body(4, 4, &mail(3)) + "{tag} OK\r\n"),
        "UID FETCH 5 (UID BODY.PEEK[])" => say(
            "* 1 EXPUNGE\r\n* 9 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen) UID 5)\r\n* VANISHED 3:9\r\n* OK [X] y\r\n".to_owned()
                + &body(5, 5, &mail(4))
                + "{tag} OK\r\n",
        ),
        _ => None,
    });
    let outcome = world.run("run-1").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_failed), (2, 3));
    assert_eq!(world.documents().await, numbers(3..5));
    server.behave();
    assert_eq!(world.run("run-2").await.unwrap().documents_new, 3, "tried again, and well");
    assert_eq!(world.documents().await, numbers(0..5));
}

/// 58, too: a listing that leaves a message out must not lose it.
#[tokio::test]
async fn a_message_that_is_not_listed_is_asked_for_again() {
    let server = Server::start((0..5).map(mail)).await;
    let world = world(&server).await;
    server.play_once(|command| {
        let some = head(1, 1, &mail(0)) + &head(3, 3, &mail(2));
        command.contains("HEADER.FIELDS").then(|| Act::Say(some + "{tag} OK\r\n"))
    });
    assert_eq!(world.run("run-1").await.unwrap().documents_new, 5);
    // Gone between search and fetch: it is not there, and that is all.
    let server = Server::start((0..5).map(mail)).await;
    let world = self::world(&server).await;
    let mail_ = server.mail.clone();
    server.play(move |command| {
        if command.contains("HEADER.FIELDS") {
            mail_.lock().unwrap().messages.remove(&2);
        }
        None
    });
    let outcome = world.run("run-1").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_failed), (4, 0));
}

/// 62
#[tokio::test]
async fn strange_folders_are_found_by_name_and_use() {
    let server = Server::start((0..3).map(mail)).await;
    let mut world = world(&server).await;
    let list = "* LIST (\\HasNoChildren) \".\" INBOX\r\n\
                * LIST () \".\" \"Rechnungen.B&APw-cher \\\"2026\\\" \\\\\"\r\n\
                * LIST (\\Noselect) \".\" Rechnungen\r\n* LIST (\\Archive) NIL {4}\r\nAblg\r\n* LIST broken\r\n";
    server
        .play(move |command| command.starts_with("LIST").then(|| Act::Say(format!("{list}{{tag}} OK\r\n"))));
    world
        .change(|spec| spec.folders = vec!["Rechnungen/Bücher \"2026\" \\".into(), "\\archive".into()])
        .await;
    assert_eq!(world.run("run-1").await.unwrap().documents_new, 3);
    assert!(server.count(r#"EXAMINE "Rechnungen.B&APw-cher \"2026\" \\""#) > 0);
    assert!(server.count("EXAMINE \"Ablg\"") > 0);
    let source = world.source().await;
    assert_eq!(source.look().await.unwrap(), ["Ablg", "INBOX", "Rechnungen.Bücher \"2026\" \\"]);
    // A folder that is not there is named, after the others were read.
    world.change(|spec| spec.folders = vec!["Rechnungen".into(), "INBOX".into(), "Weg".into()]).await;
    server.mail.lock().unwrap().messages.insert(9, mail(3));
    let failure = failed(&world, "run-2").await;
    assert_eq!(
        (failure.class, failure.code, failure.outcome.documents_new),
        (Class::Permanent, "imap-folder-missing", 1)
    );
    assert!(failure.message.contains("`Rechnungen`, `Weg`"), "{}", failure.message);
    assert_eq!(world.source().await.look().await.unwrap_err().code, "imap-folder-missing");
}

/// Some servers tell special uses only to whoever asks for them.
#[tokio::test]
async fn special_uses_are_asked_for() {
    let server = Server::start((0..3).map(mail)).await;
    let mut world = world(&server).await;
    server.play(|command| match command {
        "CAPABILITY" => say("* CAPABILITY IMAP4rev1 SPECIAL-USE AUTH=PLAIN LITERAL+\r\n{tag} OK\r\n"),
        "LIST (SPECIAL-USE) \"\" \"*\"" => say("* LIST (\\All) \"/\" \"[Gmail]/All Mail\"\r\n{tag} OK\r\n"),
        _ if command.starts_with("LIST") => say("* LIST () \"/\" \"[Gmail]/All Mail\"\r\n{tag} OK\r\n"),
        // Without SASL-IR: the password waits for its turn.
        _ if command == "AUTHENTICATE PLAIN" => say("+ \r\n"),
        _ => None,
    });
    world.change(|spec| spec.folders = vec!["\\All".into()]).await;
    assert_eq!(world.run("run").await.unwrap().documents_new, 3);
    // base64 of NUL alice NUL hunter2
    assert_eq!(server.count("AGFsaWNlAGh1bnRlcjI="), server.count("AUTHENTICATE"));
}

/// 62
#[tokio::test]
async fn fifty_thousand_folders_are_read_past() {
    let server = Server::start((0..3).map(mail)).await;
    let mut world = world(&server).await;
    server.play(|command| {
        let many = || (0..50_000).map(|n| format!("* LIST () \"/\" \"folder {n}\"\r\n")).collect::<String>();
        command.starts_with("LIST").then(|| Act::Say(many() + "{tag} OK\r\n"))
    });
    world.change(|spec| spec.folders = vec!["folder 49999".into()]).await;
    assert_eq!(world.run("run").await.unwrap().documents_new, 3);
    assert_eq!(world.source().await.look().await.unwrap().len(), sync_core::source::FOLDERS_MAX);
}

/// 61, 62: one message over which connections break, or that the server refuses, is that message's failure.
#[tokio::test]
async fn one_bad_message_blocks_nothing() {
    let server = Server::start((0..25).map(mail)).await;
    let world = world(&server).await;
    server.play(|command| match command {
        "UID FETCH 12 (UID BODY.PEEK[])" => {
            Some(Act::SayAndClose("* 12 FETCH (UID 12 BODY[] {500}\r\nhalf a".into()))
        }
        "UID FETCH 13 (UID BODY.PEEK[])" => Some(Act::SayAndClose("* BYE [X] mailbox deleted\r\n".into())),
        "UID FETCH 14 (UID BODY.PEEK[])" => say("{tag} NO The requested message could not be converted\r\n"),
        _ if command.contains("HEADER.FIELDS") && command.contains("6:25") => {
            say("{tag} BAD not number 15\r\n")
        }
        _ if command.contains("UID FETCH 15 ") => say("{tag} NO not that one\r\n"),
        _ => None,
    });
    let outcome = world.run("run-1").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_failed), (21, 4));
    let reasons: Vec<_> =
        world.messages(&[MessageState::Failed]).await.into_iter().map(|it| it.reason).collect();
    assert!(reasons.iter().any(|it| it.contains("could not be converted")), "{reasons:?}");
    server.behave();
    assert_eq!(world.run("run-2").await.unwrap().documents_new, 4);
    assert_eq!(world.documents().await, numbers(0..25));
}

/// If the server gives nothing out, it is not the messages' fault.
#[tokio::test]
async fn a_server_that_gives_nothing_out_fails_the_run() {
    let server = Server::start((0..25).map(mail)).await;
    let world = world(&server).await;
    server.play(|command| {
        command.contains("BODY.PEEK[])").then(|| Act::Say("{tag} NO disk is gone\r\n".into()))
    });
    let failure = failed(&world, "run-1").await;
    assert_eq!((&failure.class, failure.code), (&Class::Transient, "imap-refused"));
    assert!(failure.outcome.messages_failed < 10, "{failure:?}");
    server.play(|command| {
        command.contains("HEADER.FIELDS").then(|| Act::Say("{tag} NO disk is gone\r\n".into()))
    });
    assert_eq!(failed(&world, "run-2").await.code, "imap-refused");
    server.behave();
    world.run("run-3").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..25));
}

/// A connection that the server has closed meanwhile is replaced.
#[tokio::test]
async fn a_connection_that_breaks_between_pages_is_replaced() {
    let server = Server::start((0..35).map(mail)).await;
    let world = world(&server).await;
    server.play_once(|command| {
        let is_second = command.contains("HEADER.FIELDS") && command.contains("16:25");
        is_second.then(|| Act::SayAndClose("* BYE idle for too long\r\n".into()))
    });
    assert_eq!(world.run("run-1").await.unwrap().documents_new, 35);
    server.mail.lock().unwrap().messages.insert(40, mail(35));
    server.play_once(|command| command.contains("HEADER.FIELDS").then(|| Act::SayAndClose(String::new())));
    assert_eq!(world.run("run-2").await.unwrap().documents_new, 1);
    assert_eq!(world.documents().await, numbers(0..36));
}

/// Two mails may have one Message-ID; a mail may have none, or a header without end.
#[tokio::test]
async fn mails_without_a_proper_header_are_told_apart() {
    let twin = mail(1).replace("Subject: m0001", "Subject: another").replace("|0001|", "|0901|");
    let bare = "X: y\r\n\r\nINVOICE Acme|0902|2026-01-01|1.00\r\n".to_owned();
    let long = format!("Subject: {}\r\n\r\nINVOICE Acme|0903|2026-01-01|1.00\r\n", "x".repeat(20_000));
    let server = Server::start([mail(1), twin, bare.clone(), bare, long]).await;
    let world = world(&server).await;
    server.play({
        let mail_ = server.mail.clone();
        move |command| {
            let cut = || {
                let all = mail_.lock().unwrap();
                let heads = all.messages.iter().map(|(uid, text)| match text.len() {
                    20_000.. => format!(
                        "* {uid} FETCH (UID {uid} RFC822.SIZE {} BODY[HEADER.FIELDS (X)]<0> {{8192}}\r\nSubject: {})\r\n",
                        text.len(),
                        "x".repeat(8183)
                    ),
                    _ => head(*uid as usize, *uid, text),
                });
                Act::Say(heads.collect::<String>() + "{tag} OK\r\n")
            };
            command.contains("HEADER.FIELDS").then(cut)
        }
    });
    let outcome = world.run("run-1").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.duplicates, outcome.messages_read), (4, 1, 5));
    assert_eq!(world.documents().await, ["0001", "0901", "0902", "0903"]);
}

/// 59: what a server says of CONDSTORE is never needed.
#[tokio::test]
async fn modification_sequences_may_say_anything() {
    let server = Server::start((0..5).map(mail)).await;
    let world = world(&server).await;
    let sequences = [
        "[HIGHESTMODSEQ 0] x",
        "[NOMODSEQ] x",
        "[HIGHESTMODSEQ 18446744073709551616] x",
        "[HIGHESTMODSEQ 2] x",
    ];
    for (at, said) in sequences.into_iter().enumerate() {
        server.play(move |command| {
            let selected =
                || format!("* 5 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK {said}\r\n{{tag}} OK\r\n");
            match command {
                "CAPABILITY" => say(
                    "* CAPABILITY IMAP4rev1 CONDSTORE QRESYNC AUTH=PLAIN SASL-IR LITERAL+\r\n{tag} OK\r\n",
                ),
                _ if command.starts_with("ENABLE") || command.contains("CONDSTORE") => {
                    say("{tag} BAD no\r\n")
                }
                _ if command.starts_with("EXAMINE") => say(selected()),
                _ => None,
            }
        });
        server.mail.lock().unwrap().messages.insert(100 + at as u32, mail(5 + at));
        world.run(&format!("run-{at}")).await.unwrap();
        assert_eq!(world.documents().await, numbers(0..6 + at), "{said}");
    }
    assert_eq!(server.count("BODY.PEEK[])"), 9, "nothing is fetched twice");
}
