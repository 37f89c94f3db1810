use std::collections::BTreeMap;

use docket::{
    errors::{Reason, reason_of},
    library::v1 as pb,
};
use prost_types::Timestamp;

use tonic_types::StatusExt as _;

use super::world::{MAILBOXES_MAX, World, mailbox, refused, synced};

fn folder(path: &str, format: i32) -> Option<pb::mailbox::Source> {
    Some(pb::mailbox::Source::Folder(pb::FolderSource { path: path.into(), format }))
}

fn get(mailbox_id: &str) -> pb::GetMailboxRequest {
    pb::GetMailboxRequest { mailbox_id: mailbox_id.into(), ..Default::default() }
}

fn disconnect(mailbox_id: &str, delete_documents: bool) -> pb::DisconnectMailboxRequest {
    pb::DisconnectMailboxRequest { mailbox_id: mailbox_id.into(), delete_documents, ..Default::default() }
}

#[tokio::test]
async fn a_mailbox_is_connected_shown_and_connected_again() {
    let world = World::new().await;
    world.mail("mb-1/a.eml", &["hello"]);
    let asked = pb::Mailbox {
        since: Some(Timestamp { seconds: 1_000, nanos: 0 }),
        labels: BTreeMap::from([("plan".into(), "pro".into())]).into_iter().collect(),
        state: pb::MailboxState::Disconnected.into(),
        messages: 99,
        ..mailbox("mb-1", "alice")
    };
    let first = world.connect(asked.clone()).await.unwrap();
    assert!(first.created);
    let first = first.mailbox.unwrap();
    assert_eq!((first.namespace.as_str(), first.state()), ("default", pb::MailboxState::Connected));
    assert_eq!((first.messages, &first.labels, &first.source), (0, &asked.labels, &asked.source));
    let shown = world.mailboxes.clone().get_mailbox(get("mb-1")).await.unwrap().into_inner().mailbox.unwrap();
    assert_eq!(shown, first);
    let same = world.connect(asked.clone()).await.unwrap();
    assert_eq!((same.created, same.mailbox.unwrap().etag), (false, first.etag.clone()), "nothing changed");
    let other = world.connect(pb::Mailbox { address: "new@mail.example".into(), ..asked }).await.unwrap();
    assert!(!other.created && other.mailbox.unwrap().etag != first.etag);
    refused(world.connect(mailbox("mb-1", "bob")).await, Reason::InvalidField, "mailbox.owner");
}

#[tokio::test]
async fn a_namespace_takes_so_many_mailboxes_and_no_more() {
    let world = World::new().await;
    let of = |n: u64, namespace: &str| {
        let id = format!("mb-{n}");
        std::fs::create_dir_all(world.root().join(&id)).unwrap();
        pb::Mailbox { namespace: namespace.into(), ..mailbox(&id, "alice") }
    };
    for n in 0..MAILBOXES_MAX {
        world.connect(of(n, "full")).await.unwrap();
    }
    let refused = world.connect(of(MAILBOXES_MAX, "full")).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::TooManyMailboxes));
    let quota = refused.get_details_quota_failure().expect("QuotaFailure");
    assert_eq!(quota.violations[0].subject, "limits.mailboxes_per_namespace");
    assert!(world.connect(of(0, "full")).await.is_ok(), "one that is there is no new one");
    assert!(world.connect(of(0, "other")).await.is_ok());
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let world = World::new().await;
    std::fs::create_dir(world.root().join("mb")).unwrap();
    let good = || mailbox("mb", "alice");
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let wrong = [
        ("mailbox.namespace", pb::Mailbox { namespace: "a/b".into(), ..good() }),
        ("mailbox.mailbox_id", pb::Mailbox { mailbox_id: String::new(), ..good() }),
        ("mailbox.owner", pb::Mailbox { owner: "al ice".into(), ..good() }),
        ("mailbox.address", pb::Mailbox { address: "a\nb".into(), ..good() }),
        ("mailbox.source", pb::Mailbox { source: None, ..good() }),
        ("mailbox.folder.path", pb::Mailbox { source: folder("", 0), ..good() }),
        ("mailbox.folder.path", pb::Mailbox { source: folder("a\0b", 0), ..good() }),
        ("mailbox.folder.format", pb::Mailbox { source: folder("mb", 77), ..good() }),
        ("mailbox.folder.format", pb::Mailbox { source: folder("mb", 2), ..good() }),
        ("mailbox.since", pb::Mailbox { since: Some(Timestamp { seconds: -1, nanos: 0 }), ..good() }),
        ("mailbox.folders", pb::Mailbox { folders: vec!["x".into(); 65], ..good() }),
        ("mailbox.folders[1]", pb::Mailbox { folders: vec!["x".into(), String::new()], ..good() }),
        ("mailbox.labels", pb::Mailbox { labels: labels(&[("", "x")]), ..good() }),
        ("mailbox.labels", pb::Mailbox { labels: labels(&[("x", &"y".repeat(64))]), ..good() }),
    ];
    for (field, asked) in wrong {
        refused(world.connect(asked).await, Reason::InvalidField, field);
    }
    let mut client = world.mailboxes.clone();
    let empty = pb::ConnectMailboxRequest::default();
    refused(client.connect_mailbox(empty).await, Reason::InvalidField, "mailbox");
    let password = pb::credential::Credential::Password("hunter2".into());
    let credential = Some(pb::Credential { credential: Some(password) });
    let request = pb::ConnectMailboxRequest { mailbox: Some(good()), credential };
    let answer = client.connect_mailbox(request).await;
    assert!(!format!("{answer:?}").contains("hunter2"));
    refused(answer, Reason::InvalidField, "credential");
    let graph = Some(pb::mailbox::Source::Graph(pb::GraphSource::default()));
    let later = world.connect(pb::Mailbox { source: graph, ..good() }).await;
    refused(later, Reason::NotImplemented, "mailbox.graph");
    refused(client.get_mailbox(get("mb")).await, Reason::MailboxNotFound, "");
    refused(client.get_mailbox(get("no such")).await, Reason::InvalidField, "mailbox_id");
}

#[tokio::test]
async fn folders_stay_below_the_root() {
    let world = World::new().await;
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), world.root().join("way-out")).unwrap();
    for path in ["../secret", "/etc", "way-out"] {
        let answer = world.connect(pb::Mailbox { source: folder(path, 0), ..mailbox("mb", "alice") }).await;
        refused(answer, Reason::FolderForbidden, "mailbox.folder.path");
    }
    refused(world.connect(mailbox("mb", "alice")).await, Reason::FolderNotFound, "mailbox.folder.path");
    let off = World::with(false, true).await;
    refused(off.connect(mailbox("mb", "alice")).await, Reason::FolderForbidden, "FOLDER_ROOT");
}

#[tokio::test]
async fn mailboxes_are_listed_by_id_and_owner_in_pages() {
    let world = World::new().await;
    for (id, owner) in [("mb-3", "bob"), ("mb-1", "alice"), ("mb-2", "alice")] {
        world.mail(&format!("{id}/a.eml"), &[]);
        world.connect(mailbox(id, owner)).await.unwrap();
    }
    world.connect(pb::Mailbox { namespace: "other".into(), ..mailbox("mb-1", "zoe") }).await.unwrap();
    let list = async |owner: &str, page_size, page_token: &str| {
        let (owner, page_token) = (owner.to_owned(), page_token.to_owned());
        let request = pb::ListMailboxesRequest { owner, page_size, page_token, ..Default::default() };
        let answer = world.mailboxes.clone().list_mailboxes(request).await?.into_inner();
        let ids: Vec<_> = answer.mailboxes.into_iter().map(|mailbox| mailbox.mailbox_id).collect();
        Ok::<_, tonic::Status>((ids.join(" "), answer.next_page_token))
    };
    assert_eq!(list("", 0, "").await.unwrap(), ("mb-1 mb-2 mb-3".into(), String::new()));
    assert_eq!(list("alice", 0, "").await.unwrap().0, "mb-1 mb-2");
    let (first, token) = list("", 2, "").await.unwrap();
    assert_eq!(first, "mb-1 mb-2");
    // What comes in before the place does not move it.
    world.connect(pb::Mailbox { source: folder("mb-1", 0), ..mailbox("mb-0", "carol") }).await.unwrap();
    assert_eq!(list("", 2, &token).await.unwrap(), ("mb-3".into(), String::new()));
    refused(list("alice", 2, &token).await, Reason::InvalidPageToken, "page_token");
    refused(list("", 2, "junk").await, Reason::InvalidPageToken, "page_token");
    refused(list("", -1, "").await, Reason::InvalidField, "page_size");
    refused(list("a b", 0, "").await, Reason::InvalidField, "owner");
}

#[tokio::test]
async fn messages_say_what_became_of_them() {
    let world = World::new().await;
    world.mail("mb/filed.eml", &["DOC invoice|Acme|1|2026-05-03|9.00"]);
    world.mail("mb/none.eml", &["hello"]);
    world.mail("mb/bad.eml", &["BAD"]);
    world.connect(mailbox("mb", "alice")).await.unwrap();
    assert_eq!(synced(world.sync("mb", "run-1").await), [1, 0, 3, 1]);
    let states = [pb::MessageState::Filed, pb::MessageState::NoDocument, pb::MessageState::Failed];
    for (state, subject) in states.into_iter().zip(["filed", "none", "bad"]) {
        let found = world.messages("mb", &[state]).await;
        assert_eq!((found.len(), found[0].subject.as_str(), found[0].state()), (1, subject, state));
        assert_eq!(
            (found[0].run_id.as_str(), found[0].document_ids.len()),
            ("run-1", usize::from(subject == "filed"))
        );
    }
    assert_eq!(world.messages("mb", &states[1..]).await.len(), 2);
    assert_eq!(world.messages("mb", &[]).await.len(), 3);
    let failed = world.messages("mb", &[pb::MessageState::Failed]).await;
    assert_eq!(failed[0].reason, "not a mail");

    let mut client = world.mailboxes.clone();
    let request = |mailbox_id: &str, states: Vec<i32>, page_token: &str| pb::ListMessagesRequest {
        mailbox_id: mailbox_id.into(),
        states,
        page_size: 2,
        page_token: page_token.into(),
        ..Default::default()
    };
    let first = client.list_messages(request("mb", vec![], "")).await.unwrap().into_inner();
    let token = first.next_page_token;
    let rest = client.list_messages(request("mb", vec![], &token)).await.unwrap().into_inner();
    let ids = first.messages.iter().chain(&rest.messages).map(|message| message.source_id.as_str());
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert!(rest.next_page_token.is_empty());
    let other = client.list_messages(request("mb", vec![1], &token)).await;
    refused(other, Reason::InvalidPageToken, "page_token");
    let span = |from, to| pb::ListMessagesRequest {
        received_from: from,
        received_to: to,
        page_token: String::new(),
        ..request("mb", vec![], "")
    };
    let all = world.messages("mb", &[]).await;
    let newest = all[0].received_time.unwrap();
    let newer = all.iter().filter(|message| message.received_time == Some(newest)).count();
    let from = client.list_messages(span(Some(newest), None)).await.unwrap().into_inner();
    assert_eq!(from.messages.len(), newer.min(2), "from is inclusive");
    let to = client.list_messages(span(None, Some(newest))).await.unwrap().into_inner();
    assert_eq!(to.messages.len(), (3 - newer).min(2), "to is not");
    let other =
        client.list_messages(pb::ListMessagesRequest { page_token: token, ..span(Some(newest), None) });
    refused(other.await, Reason::InvalidPageToken, "page_token");
    refused(
        client.list_messages(span(Some(newest), Some(newest))).await,
        Reason::InvalidField,
        "received_to",
    );
    for unknown in [0, 9] {
        let answer = client.list_messages(request("mb", vec![1, unknown], "")).await;
        refused(answer, Reason::InvalidField, "states[1]");
    }
    refused(client.list_messages(request("no", vec![], "")).await, Reason::MailboxNotFound, "");
}

#[tokio::test]
async fn deleting_documents_leaves_what_another_mailbox_received() {
    let world = World::new().await;
    let (shared, own) = ("DOC invoice|Acme|BOTH|2026-05-03|9.00", "DOC invoice|Acme|ONE|2026-05-04|8.00");
    world.mail("first/a.eml", &[shared, own]);
    world.mail("second/b.eml", &["hello", shared]);
    for id in ["first", "second"] {
        world.connect(mailbox(id, "alice")).await.unwrap();
        synced(world.sync(id, &format!("run-{id}")).await);
    }
    let mut client = world.mailboxes.clone();
    let done = client.disconnect_mailbox(disconnect("first", true)).await.unwrap().into_inner();
    assert_eq!((done.documents_deleted, done.documents_moved), (1, 1));
    let left = world.list(pb::DocumentFilter::default()).await.unwrap();
    assert_eq!((left.len(), left[0].mailbox_id.as_str()), (1, "second"));
    assert_eq!(left[0].message.as_ref().unwrap().subject, "b");
    let second = world.messages("second", &[]).await.remove(0);
    assert_eq!(second.document_ids, [left[0].document_id.clone()]);
    synced(world.sync("second", "again").await);
    assert_eq!(world.numbers(pb::DocumentFilter::default()).await, ["BOTH"]);
    let done = client.disconnect_mailbox(disconnect("second", true)).await.unwrap().into_inner();
    assert_eq!((done.documents_deleted, done.documents_moved), (1, 0));
}

#[tokio::test]
async fn disconnecting_keeps_or_deletes_documents() {
    let world = World::new().await;
    world.mail("mb/a.eml", &["DOC invoice|Acme|1|2026-05-03|9.00"]);
    world.connect(mailbox("mb", "alice")).await.unwrap();
    synced(world.sync("mb", "run-1").await);
    let mut client = world.mailboxes.clone();
    let kept = client.disconnect_mailbox(disconnect("mb", false)).await.unwrap().into_inner();
    assert_eq!((kept.documents_deleted, world.list(Default::default()).await.unwrap().len()), (0, 1));
    let kept = kept.mailbox.unwrap();
    assert_eq!((kept.state(), kept.documents), (pb::MailboxState::Disconnected, 1));
    let again = client.disconnect_mailbox(disconnect("mb", false)).await.unwrap().into_inner();
    assert_eq!(again.mailbox.unwrap().etag, kept.etag, "nothing changed");
    let gone = client.disconnect_mailbox(disconnect("mb", true)).await.unwrap().into_inner();
    assert_eq!((gone.documents_deleted, gone.mailbox.unwrap().documents), (1, 0));
    assert!(world.list(Default::default()).await.unwrap().is_empty());
    assert!(!world.connect(mailbox("mb", "alice")).await.unwrap().created);
    assert_eq!(synced(world.sync("mb", "run-2").await), [1, 0, 1, 0], "connecting again files it anew");
    refused(client.disconnect_mailbox(disconnect("no", false)).await, Reason::MailboxNotFound, "");
    refused(client.disconnect_mailbox(disconnect("no", true)).await, Reason::MailboxNotFound, "");
    refused(client.disconnect_mailbox(disconnect("", false)).await, Reason::InvalidField, "mailbox_id");
}
