//! Settings, tests of the connection, processing again, erasing.

use std::{fs, path::Path};

use docket::{errors::Reason, library::v1 as pb};
use prost_types::Timestamp;

use super::world::{World, mailbox, refused, synced};

const INVOICE: &str = "DOC invoice|Acme|1|2026-05-03|9.00";

fn update(mailbox: pb::Mailbox, etag: &str) -> pb::UpdateMailboxRequest {
    pb::UpdateMailboxRequest { mailbox: Some(mailbox), etag: etag.into() }
}

fn test(mailbox_id: &str) -> pb::TestMailboxRequest {
    pb::TestMailboxRequest { mailbox_id: mailbox_id.into(), ..Default::default() }
}

#[tokio::test]
async fn settings_change_and_the_source_does_not() {
    let world = World::new().await;
    world.mail("mb/a.eml", &[INVOICE]);
    let first = world.connect(mailbox("mb", "alice")).await.unwrap().mailbox.unwrap();
    let mut client = world.mailboxes.clone();
    let wanted = pb::Mailbox {
        mailbox_id: "mb".into(),
        address: "new@mail.example".into(),
        labels: [("plan".to_owned(), "pro".to_owned())].into(),
        folders: vec!["Invoices".into()],
        since: Some(Timestamp { seconds: 1_000, nanos: 0 }),
        ..Default::default()
    };
    let changed = client.update_mailbox(update(wanted.clone(), &first.etag)).await.unwrap().into_inner();
    let changed = changed.mailbox.unwrap();
    assert_eq!(
        (&changed.address, &changed.labels, &changed.folders),
        (&wanted.address, &wanted.labels, &wanted.folders)
    );
    assert_eq!((&changed.source, &changed.owner, changed.since), (&first.source, &first.owner, wanted.since));
    let stale = client.update_mailbox(update(wanted.clone(), &first.etag)).await;
    refused(stale, Reason::EtagMismatch, "read it again");
    let same = client.update_mailbox(update(wanted.clone(), &changed.etag)).await.unwrap().into_inner();
    assert_eq!(same.mailbox.unwrap().etag, changed.etag, "nothing changed");
    let whole = pb::Mailbox { address: "x@mail.example".into(), ..changed.clone() };
    assert!(client.update_mailbox(update(whole, "")).await.is_ok(), "as it was read, without etag");

    let other = mailbox("elsewhere", "alice").source;
    for (field, asked) in [
        ("mailbox.source", pb::Mailbox { source: other, ..wanted.clone() }),
        ("mailbox.owner", pb::Mailbox { owner: "bob".into(), ..wanted.clone() }),
        ("mailbox.address", pb::Mailbox { address: "a\nb".into(), ..wanted.clone() }),
        ("mailbox.folders[0]", pb::Mailbox { folders: vec![String::new()], ..wanted.clone() }),
        ("mailbox.mailbox_id", pb::Mailbox::default()),
    ] {
        refused(client.update_mailbox(update(asked, "")).await, Reason::InvalidField, field);
    }
    refused(
        client.update_mailbox(pb::UpdateMailboxRequest::default()).await,
        Reason::InvalidField,
        "mailbox",
    );
    let nobody = pb::Mailbox { mailbox_id: "no".into(), ..wanted };
    refused(client.update_mailbox(update(nobody, "")).await, Reason::MailboxNotFound, "");
}

#[tokio::test]
async fn a_test_says_what_is_wrong_and_what_to_do() {
    let world = World::new().await;
    world.mail("mb/a.eml", &["hello"]);
    world.connect(mailbox("mb", "alice")).await.unwrap();
    let mut client = world.mailboxes.clone();
    let good = client.test_mailbox(test("mb")).await.unwrap().into_inner();
    assert_eq!((good.ok, good.code.as_str()), (true, ""));
    fs::remove_dir_all(world.root().join("mb")).unwrap();
    let gone = client.test_mailbox(test("mb")).await.unwrap().into_inner();
    assert_eq!((gone.ok, gone.code.as_str()), (false, "FOLDER_MISSING"));
    assert!(gone.message.contains("mount or create it"), "{}", gone.message);

    // Ports that are closed, forbidden or silent about mail look the same.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = http.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in http.incoming().flatten() {
            use std::io::Write as _;
            let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let mut answers = Vec::new();
    for (host, port) in
        [("127.0.0.1", closed), ("127.0.0.1", port), ("10.255.0.1", 993), ("169.254.169.254", 80)]
    {
        let source =
            pb::ImapSource { host: host.into(), port: port.into(), user: "x".into(), ..Default::default() };
        let asked =
            pb::Mailbox { source: Some(pb::mailbox::Source::Imap(source)), ..mailbox("imap", "alice") };
        let password = pb::credential::Credential::Password("hunter2".into());
        let credential = Some(pb::Credential { credential: Some(password) });
        let request = pb::ConnectMailboxRequest { mailbox: Some(asked), credential };
        client.connect_mailbox(request).await.unwrap();
        answers.push(client.test_mailbox(test("imap")).await.unwrap().into_inner());
    }
    assert_eq!(answers[0].code, "MAIL_SERVER_UNREACHABLE");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");

    let request = pb::DisconnectMailboxRequest { mailbox_id: "imap".into(), ..Default::default() };
    client.disconnect_mailbox(request).await.unwrap();
    refused(client.test_mailbox(test("imap")).await, Reason::MailboxDisconnected, "connect it again");
    refused(client.test_mailbox(test("no")).await, Reason::MailboxNotFound, "");
    refused(client.test_mailbox(test("")).await, Reason::InvalidField, "mailbox_id");
}

#[tokio::test]
async fn messages_are_read_again_as_selected() {
    let world = World::new().await;
    world.mail("mb/a.eml", &[INVOICE]);
    world.mail("mb/b.eml", &["hello"]);
    world.mail("mb/c.eml", &["BAD"]);
    world.connect(mailbox("mb", "alice")).await.unwrap();
    synced(world.sync("mb", "run-1").await);
    let messages = world.messages("mb", &[]).await;
    let oldest =
        messages.iter().map(|it| it.received_time.unwrap()).min_by_key(|it| (it.seconds, it.nanos)).unwrap();
    let mut client = world.mailboxes.clone();
    let mb = || pb::ReprocessMessagesRequest { mailbox_id: "mb".into(), ..Default::default() };
    let later = Timestamp { seconds: oldest.seconds + 10_000, nanos: 0 };
    let states = |state: pb::MessageState| vec![state.into()];
    let cases = [
        (3, mb()),
        (1, pb::ReprocessMessagesRequest { states: states(pb::MessageState::NoDocument), ..mb() }),
        (2, pb::ReprocessMessagesRequest { states: vec![1, 2], ..mb() }),
        (
            1,
            pb::ReprocessMessagesRequest {
                source_ids: vec![messages[0].source_id.clone(), "x".into()],
                ..mb()
            },
        ),
        (3, pb::ReprocessMessagesRequest { received_from: Some(oldest), received_to: Some(later), ..mb() }),
        (0, pb::ReprocessMessagesRequest { received_from: Some(later), ..mb() }),
        (3, pb::ReprocessMessagesRequest { extractor_below: 1_000, ..mb() }),
        (0, pb::ReprocessMessagesRequest { extractor_below: 1, ..mb() }),
    ];
    for (count, request) in cases {
        let marked = client.reprocess_messages(request.clone()).await.unwrap().into_inner().marked;
        assert_eq!(marked, count, "{request:?}");
    }
    assert_eq!(
        synced(world.sync("mb", "run-2").await),
        [0, 0, 0, 1],
        "each is read again, and nothing is new"
    );
    assert!(world.messages("mb", &[]).await.iter().all(|message| message.run_id == "run-2"));
    for (field, request) in [
        ("states[0]", pb::ReprocessMessagesRequest { states: vec![0], ..mb() }),
        ("source_ids", pb::ReprocessMessagesRequest { source_ids: vec!["x".into(); 1_001], ..mb() }),
        ("source_ids[0]", pb::ReprocessMessagesRequest { source_ids: vec![String::new()], ..mb() }),
        ("extractor_below", pb::ReprocessMessagesRequest { extractor_below: -1, ..mb() }),
        (
            "received_to",
            pb::ReprocessMessagesRequest { received_from: Some(later), received_to: Some(oldest), ..mb() },
        ),
    ] {
        refused(client.reprocess_messages(request).await, Reason::InvalidField, field);
    }
    let nobody = pb::ReprocessMessagesRequest { mailbox_id: "no".into(), ..mb() };
    refused(client.reprocess_messages(nobody).await, Reason::MailboxNotFound, "");
}

/// All files below `folder` that hold `text`.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(holding(&entry.path(), text));
        } else if fs::read(entry.path()).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes()) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn nothing_is_left_of_an_erased_owner() {
    let world = World::new().await;
    world.mail(
        "ma/a.eml",
        &[
            "DOC invoice|Vanishing Ltd|GONE-1|2026-05-03|9.00",
            "DOC invoice|Vanishing Ltd|GONE-2|2026-05-04|9.00",
        ],
    );
    world.mail("mb/vanishing subject.eml", &["DOC invoice|Vanishing Ltd|GONE-3|2026-05-05|9.00"]);
    world.mail("mc/c.eml", &["DOC invoice|Staying AG|STAY-1|2026-05-03|9.00"]);
    for (id, owner) in [("ma", "vanisher"), ("mb", "vanisher"), ("mc", "stayer")] {
        world.connect(mailbox(id, owner)).await.unwrap();
        synced(world.sync(id, &format!("run-{id}")).await);
    }
    let source = pb::ImapSource { host: "mail.example".into(), user: "x".into(), ..Default::default() };
    let asked = pb::Mailbox { source: Some(pb::mailbox::Source::Imap(source)), ..mailbox("md", "vanisher") };
    let password = pb::credential::Credential::Password("hunter2".into());
    let credential = Some(pb::Credential { credential: Some(password) });
    let mut client = world.mailboxes.clone();
    client.connect_mailbox(pb::ConnectMailboxRequest { mailbox: Some(asked), credential }).await.unwrap();
    let place = sync_core::credential::vault::Place { namespace: "default", mailbox_id: "md" };
    let sealed = world.archive.catalog.credential(place).await.unwrap().unwrap();
    let sealed = sync_core::text::hex(&sealed.content);
    // One document is deleted before, so that there is a tombstone; a stray blob is there, too.
    let first =
        world.list(pb::DocumentFilter { owner: "vanisher".into(), ..Default::default() }).await.unwrap();
    let first = first[0].document_id.clone();
    let request = pb::DeleteDocumentRequest { document_id: first.clone(), ..Default::default() };
    world.documents.clone().delete_document(request).await.unwrap();
    world.archive.blobs.put("default", "vanisher", "GONE-4".into()).await.unwrap();

    // The mails themselves are the source's.
    for folder in ["ma", "mb"] {
        fs::remove_dir_all(world.root().join(folder)).unwrap();
    }
    let texts = ["vanisher", "Vanishing Ltd", "vanishing ltd", "GONE-", "vanishing subject", &sealed, &first];
    for text in texts {
        assert!(!holding(world.folder(), text).is_empty(), "{text} is looked for in the right place");
    }
    let request = |owner: &str| pb::EraseOwnerRequest { owner: owner.into(), ..Default::default() };
    let erased = client.erase_owner(request("vanisher")).await.unwrap().into_inner();
    assert_eq!((erased.mailboxes, erased.documents, erased.blobs), (3, 2, 4));
    for text in texts {
        assert_eq!(holding(world.folder(), text), [""; 0], "{text}");
    }
    assert_eq!(world.numbers(Default::default()).await, ["STAY-1"]);
    let again = client.erase_owner(request("vanisher")).await.unwrap().into_inner();
    assert_eq!((again.mailboxes, again.documents, again.blobs), (0, 0, 0));
    refused(client.erase_owner(request("")).await, Reason::InvalidField, "owner");
}
