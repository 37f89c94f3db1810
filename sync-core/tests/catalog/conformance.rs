//! What every catalog must do, whatever database is under it.

mod duplicates;
mod mailboxes;

pub use duplicates::*;
pub use mailboxes::*;

use sync_core::archive::blobs::Put;
use sync_core::archive::claim::{Claim, Holder, Refused};
use sync_core::archive::commit::{Batch, Committed, Outcome, Processed};
use sync_core::archive::erase::Selection;
use sync_core::archive::mailboxes::{Change, MailboxFilter};
use sync_core::archive::{
    Archive, Catalog, DocumentFilter, DocumentPlace, Error, MailboxState, MessageFilter, MessagePlace,
    MessageState,
};
use sync_core::document::{FoundDocument, Kind, State};
use sync_core::source::Item;
use sync_core::text;

use super::support::{NOW, NS, document, spec};

async fn connect(catalog: &Catalog, mailbox_id: &str, owner: &str) {
    catalog.connect_mailbox(&spec(mailbox_id, owner, "mail"), None, NOW).await.unwrap();
}

async fn claim(catalog: &Catalog, mailbox_id: &str, run: &str, attempt: u32) -> Result<Claim, Refused> {
    catalog.claim(NS, mailbox_id, &Holder { run_id: run.into(), attempt }).await
}

fn put(document: &FoundDocument) -> Put {
    use sha2::{Digest, Sha256};
    let sha256 = text::hex(&Sha256::digest(&document.content));
    let nonce: u64 = rand::random();
    Put { key: format!("blob/{nonce:x}"), sha256, size: document.content.len() as u64 }
}

/// A message that brings `lines`, one document each.
fn message(id: &str, lines: &[&str]) -> Processed {
    let found = lines.iter().enumerate().map(|(part, line)| {
        let document = document(line, part);
        let put = put(&document);
        (document, put)
    });
    processed(id, Outcome::Read(found.collect()))
}

fn processed(id: &str, outcome: Outcome) -> Processed {
    Processed {
        source_id: id.into(),
        locator: format!("at {id}"),
        received_time: NOW,
        message_id: None,
        from: "shop@supplier.example".into(),
        subject: format!("subject {id}"),
        reason: String::new(),
        outcome,
    }
}

fn batch(messages: Vec<Processed>, cursor: &str) -> Batch {
    Batch { messages, cursor: Some(cursor.into()) }
}

/// Connects if needed, claims, and files `lines` as one message.
async fn file(catalog: &Catalog, mailbox_id: &str, owner: &str, id: &str, lines: &[&str]) -> Committed {
    connect(catalog, mailbox_id, owner).await;
    let mut claim = claim(catalog, mailbox_id, &format!("run-{id}"), 1).await.unwrap();
    catalog.commit(&mut claim, &batch(vec![message(id, lines)], id), NOW).await.unwrap()
}

pub async fn file_with_blob(archive: &Archive, name: &str) -> String {
    let document = document(&format!("{name}|1|2026-01-01|1.00"), 0);
    let put = archive.blobs.put(NS, "alice", document.content.clone().into()).await.unwrap();
    connect(&archive.catalog, "mb", "alice").await;
    let mut claim = claim(&archive.catalog, "mb", name, 1).await.unwrap();
    let message = processed(name, Outcome::Read(vec![(document, put)]));
    archive.catalog.commit(&mut claim, &batch(vec![message], name), NOW).await.unwrap();
    let run = DocumentFilter { run_id: Some(name.into()), ..all() };
    list(&archive.catalog, run).await.remove(0)
}

fn all() -> DocumentFilter {
    DocumentFilter { namespace: NS.into(), ..DocumentFilter::default() }
}

async fn list(catalog: &Catalog, filter: DocumentFilter) -> Vec<String> {
    let found = catalog.list_documents(&filter, None, 100).await.unwrap();
    found.into_iter().map(|document| document.document_id).collect()
}

pub async fn connecting_is_an_upsert(catalog: Catalog) {
    let mut wanted = spec("mb", "alice", "mail");
    let (created, change) = catalog.connect_mailbox(&wanted, None, NOW).await.unwrap();
    assert_eq!((change, created.version, created.state), (Change::Created, 1, MailboxState::Connected));
    assert_eq!(created.spec, wanted);
    let (same, change) = catalog.connect_mailbox(&wanted, Some(1), NOW + 1).await.unwrap();
    assert_eq!((change, &same), (Change::Unchanged, &created));
    wanted.labels.insert("plan".into(), "pro".into());
    let (updated, change) = catalog.connect_mailbox(&wanted, None, NOW + 2).await.unwrap();
    assert_eq!((change, updated.version, updated.update_time), (Change::Updated, 2, NOW + 2));
    let stale = catalog.connect_mailbox(&wanted, Some(1), NOW).await;
    assert!(matches!(stale, Err(Error::VersionMismatch)));
    wanted.owner = "mallory".into();
    assert!(matches!(catalog.connect_mailbox(&wanted, None, NOW).await, Err(Error::OwnerMismatch)));
    assert!(matches!(catalog.get_mailbox("other", "mb").await, Err(Error::NotFound(_))));
}

pub async fn a_change_of_source_begins_again_and_ends_the_attempt(catalog: Catalog) {
    file(&catalog, "mb", "alice", "m1", &["Acme|1|2026-01-01|1.00"]).await;
    let mut running = claim(&catalog, "mb", "run", 1).await.unwrap();
    assert_eq!(running.cursor.as_deref(), Some("m1"));
    // New labels disturb nobody.
    let mut wanted = spec("mb", "alice", "mail");
    wanted.labels.insert("plan".into(), "pro".into());
    catalog.connect_mailbox(&wanted, None, NOW).await.unwrap();
    catalog.commit(&mut running, &batch(vec![], "m2"), NOW).await.unwrap();
    // Another folder does; the same message in it is another message, its document the same one.
    let (_, change) = catalog.connect_mailbox(&spec("mb", "alice", "elsewhere"), None, NOW).await.unwrap();
    assert_eq!(change, Change::Updated);
    let late = catalog.commit(&mut running, &batch(vec![], "m3"), NOW).await;
    assert!(matches!(late, Err(Refused::Superseded)));
    let mut next = claim(&catalog, "mb", "run", 2).await.unwrap();
    assert_eq!(next.cursor, None);
    let again = batch(vec![message("m1", &["Acme|1|2026-01-01|1.00"])], "n1");
    let committed = catalog.commit(&mut next, &again, NOW).await.unwrap();
    assert_eq!((committed.messages, committed.documents_new, committed.duplicates), (1, 0, 1));
}

pub async fn mailboxes_are_listed_in_stable_pages(catalog: Catalog) {
    for n in 0..7 {
        connect(&catalog, &format!("mb-{n}"), if n % 2 == 0 { "alice" } else { "bob" }).await;
    }
    let filter = MailboxFilter { namespace: NS.into(), ..MailboxFilter::default() };
    let ids = |page: Vec<sync_core::archive::Mailbox>| -> Vec<String> {
        page.into_iter().map(|mailbox| mailbox.spec.mailbox_id).collect()
    };
    let first = ids(catalog.list_mailboxes(&filter, None, 3).await.unwrap());
    connect(&catalog, "mb-00", "alice").await;
    let rest = ids(catalog.list_mailboxes(&filter, first.last().map(String::as_str), 10).await.unwrap());
    let expected: Vec<String> = (0..7).map(|n| format!("mb-{n}")).collect();
    assert_eq!([first, rest].concat(), expected);
    let bob = MailboxFilter { owner: Some("bob".into()), ..filter };
    assert_eq!(ids(catalog.list_mailboxes(&bob, None, 10).await.unwrap()), ["mb-1", "mb-3", "mb-5"]);
}

pub async fn claims_are_ordered(catalog: Catalog) {
    assert!(matches!(claim(&catalog, "mb", "run", 1).await, Err(Refused::Archive(Error::NotFound(_)))));
    connect(&catalog, "mb", "alice").await;
    claim(&catalog, "mb", "run", 2).await.unwrap();
    assert!(matches!(claim(&catalog, "mb", "run", 1).await, Err(Refused::Superseded)), "a lower attempt");
    claim(&catalog, "mb", "run", 2).await.unwrap();
    claim(&catalog, "mb", "other-run", 1).await.unwrap();
    catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await.unwrap();
    assert!(matches!(claim(&catalog, "mb", "run", 3).await, Err(Refused::Disconnected)));
}

pub async fn a_superseded_attempt_changes_nothing(catalog: Catalog) {
    connect(&catalog, "mb", "alice").await;
    let mut old = claim(&catalog, "mb", "run", 1).await.unwrap();
    let mut new = claim(&catalog, "mb", "run", 2).await.unwrap();
    let work = batch(vec![message("m1", &["Acme|1|2026-01-01|1.00"])], "c1");
    for _ in 0..2 {
        assert!(matches!(catalog.commit(&mut old, &work, NOW).await, Err(Refused::Superseded)));
    }
    assert!(matches!(catalog.finish(&old, NOW).await, Err(Refused::Superseded)));
    assert!(matches!(catalog.needs_reauthorization(&old, "x", NOW).await, Err(Refused::Superseded)));
    let mailbox = catalog.get_mailbox(NS, "mb").await.unwrap();
    assert_eq!((mailbox.messages, mailbox.documents, mailbox.last_sync_time), (0, 0, None));
    assert!(list(&catalog, all()).await.is_empty());
    // A commit that was repeated by mistake names a cursor version that is gone.
    let mut twin = new.clone();
    catalog.commit(&mut new, &work, NOW).await.unwrap();
    assert!(matches!(catalog.commit(&mut twin, &work, NOW).await, Err(Refused::Superseded)));
    assert_eq!(list(&catalog, all()).await.len(), 1);
}

pub async fn a_repeated_batch_changes_nothing(catalog: Catalog) {
    connect(&catalog, "mb", "alice").await;
    let lines = ["Acme|1|2026-01-01|1.00", "Acme|2|2026-01-02|2.00"];
    for attempt in 1..=3 {
        let mut claim = claim(&catalog, "mb", "run", attempt).await.unwrap();
        let work = batch(vec![message("m1", &lines), message("m1", &lines)], "c1");
        let committed = catalog.commit(&mut claim, &work, NOW).await.unwrap();
        assert_eq!(committed.documents_new, if attempt == 1 { 2 } else { 0 });
        assert_eq!(committed.duplicates, 0);
    }
    let mailbox = catalog.get_mailbox(NS, "mb").await.unwrap();
    assert_eq!((mailbox.messages, mailbox.documents, mailbox.duplicates), (1, 2, 0));
}

pub async fn exact_duplicates_are_dropped_per_owner(catalog: Catalog) {
    let line = "Acme|1|2026-01-01|1.00";
    assert_eq!(file(&catalog, "mb-1", "alice", "m1", &[line]).await.documents_new, 1);
    let second = file(&catalog, "mb-2", "alice", "m2", &[line, line]).await;
    assert_eq!((second.documents_new, second.duplicates), (0, 2));
    assert_eq!(file(&catalog, "mb-3", "bob", "m3", &[line]).await.documents_new, 1, "owners share nothing");
    let filter =
        MessageFilter { namespace: NS.into(), mailbox_id: "mb-2".into(), ..MessageFilter::default() };
    let message = catalog.list_messages(&filter, None, 10).await.unwrap().remove(0);
    assert_eq!(message.state, MessageState::Filed);
    let alice = list(&catalog, DocumentFilter { owner: Some("alice".into()), ..all() }).await;
    assert_eq!(message.document_ids, alice, "the message refers to the one that is there");
    assert_eq!(catalog.get_mailbox(NS, "mb-2").await.unwrap().duplicates, 2);
}

pub async fn likely_duplicates_are_linked_both_ways(catalog: Catalog) {
    let lines = [
        "ACME GmbH|R-1|2026-01-01|10.00",
        "Acme GmbH|r 1|2026-01-05|99.00", // same supplier and number
        "Acme GmbH||2026-01-01|10.0",     // no number: same date and total as the first
        "Acme GmbH|R-2|2026-01-01|10.00", // another number: not the first's, but the third has none
        "Other|R-1|2026-01-01|10.00",
    ];
    file(&catalog, "mb", "alice", "m", &lines).await;
    let documents = catalog.list_documents(&all(), None, 100).await.unwrap();
    let find = |part: usize| documents.iter().find(|d| d.part == part.to_string()).unwrap();
    let links = |part: usize| {
        let mut parts: Vec<String> = Vec::new();
        for id in &find(part).likely_duplicate_ids {
            parts.push(documents.iter().find(|d| d.document_id == *id).unwrap().part.clone());
        }
        parts.sort();
        parts.join(",")
    };
    assert_eq!([links(0), links(1), links(2), links(3), links(4)], ["1,2", "0", "0,3", "2", ""]);
    catalog.delete_document(NS, &find(0).document_id, NOW).await.unwrap();
    let other = catalog.get_document(NS, &find(1).document_id).await.unwrap();
    assert!(other.likely_duplicate_ids.is_empty());
}

pub async fn failed_messages_are_retried_a_bounded_number_of_times(catalog: Catalog) {
    connect(&catalog, "mb", "alice").await;
    let item = Item { id: "m1".into(), locator: "at m1".into(), time: Some(NOW), size: None };
    for run in 1..=5 {
        let mut claim = claim(&catalog, "mb", &format!("run-{run}"), 1).await.unwrap();
        let due = catalog.unprocessed(&claim, vec![item.clone(), item.clone()]).await.unwrap();
        let retries = catalog.retries(&claim, None, 10).await.unwrap();
        assert_eq!(due.len(), usize::from(run <= 4), "run {run}");
        assert_eq!(retries.len(), usize::from((2..=4).contains(&run)), "run {run}");
        let failed = || processed("m1", Outcome::Failed { retry_below: 4 });
        catalog.commit(&mut claim, &batch(vec![failed(), failed()], "c"), NOW).await.unwrap();
        assert!(catalog.unprocessed(&claim, vec![item.clone()]).await.unwrap().is_empty(), "once per run");
    }
    let filter = MessageFilter {
        namespace: NS.into(),
        mailbox_id: "mb".into(),
        states: vec![MessageState::Failed],
        ..MessageFilter::default()
    };
    let message = catalog.list_messages(&filter, None, 10).await.unwrap().remove(0);
    assert_eq!((message.attempts, message.retry), (4, false));
}

pub async fn deleted_documents_stay_deleted(catalog: Catalog) {
    let line = "Acme|1|2026-01-01|1.00";
    file(&catalog, "mb", "alice", "m1", &[line]).await;
    let id = list(&catalog, all()).await.remove(0);
    catalog.delete_document(NS, &id, NOW).await.unwrap();
    assert!(matches!(catalog.get_document(NS, &id).await, Err(Error::NotFound(_))));
    assert!(matches!(catalog.delete_document(NS, &id, NOW).await, Err(Error::NotFound(_))));
    assert_eq!(file(&catalog, "mb", "alice", "m1", &[line]).await, Committed::default());
    assert!(list(&catalog, all()).await.is_empty());
    assert_eq!(catalog.get_mailbox(NS, "mb").await.unwrap().documents, 0);
}

pub async fn disconnecting_keeps_or_deletes(catalog: Catalog) {
    let line = "Acme|1|2026-01-01|1.00";
    file(&catalog, "mb", "alice", "m1", &[line]).await;
    let mut running = claim(&catalog, "mb", "run", 1).await.unwrap();
    let kept = catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await.unwrap();
    assert_eq!(kept.documents_deleted, 0);
    let kept = kept.mailbox;
    assert_eq!((kept.state, kept.documents), (MailboxState::Disconnected, 1));
    let late = catalog.commit(&mut running, &batch(vec![], "c"), NOW).await;
    assert!(matches!(late, Err(Refused::Superseded)));
    let gone = catalog.disconnect_mailbox(NS, "mb", Some(kept.version), true, NOW).await.unwrap();
    assert_eq!((gone.documents_deleted, gone.mailbox.documents, gone.mailbox.messages), (1, 0, 0));
    assert!(list(&catalog, all()).await.is_empty());
    // Connecting again files it again, under the same id.
    let again = file(&catalog, "mb", "alice", "m1", &[line]).await;
    assert_eq!((again.messages, again.documents_new), (1, 1));
}

pub async fn documents_are_found_by_every_filter(catalog: Catalog) {
    file(&catalog, "mb-1", "alice", "m1", &["Müller 100% AG|1|2026-01-01|1.00", "Acme|2|2026-02-01|2.00"])
        .await;
    file(&catalog, "mb-2", "bob", "m2", &["Acme_Corp|3||3.00"]).await;
    let count = async |filter: DocumentFilter| list(&catalog, filter).await.len();
    let supplier = |name: &str| DocumentFilter { supplier: Some(name.into()), ..all() };
    assert_eq!(count(all()).await, 3);
    assert_eq!(count(DocumentFilter { namespace: "other".into(), ..all() }).await, 0);
    assert_eq!(count(DocumentFilter { owner: Some("alice".into()), ..all() }).await, 2);
    assert_eq!(count(DocumentFilter { mailbox_id: Some("mb-2".into()), ..all() }).await, 1);
    assert_eq!(count(DocumentFilter { run_id: Some("run-m1".into()), ..all() }).await, 2);
    assert_eq!(count(DocumentFilter { kinds: vec![Kind::Receipt], ..all() }).await, 0);
    assert_eq!(count(DocumentFilter { states: vec![State::Filed], ..all() }).await, 3);
    assert_eq!(count(DocumentFilter { number: Some("2".into()), ..all() }).await, 1);
    assert_eq!(count(DocumentFilter { number: Some("2 ".into()), ..all() }).await, 0, "exactly");
    assert_eq!(count(DocumentFilter { number: Some("-".into()), ..all() }).await, 0);
    assert_eq!(count(supplier("MÜLLER 100%")).await, 1);
    assert_eq!(count(supplier("_")).await, 1, "no wildcard");
    assert_eq!(count(supplier("acme")).await, 2);
    let from = DocumentFilter { issued_from: Some("2026-01-15".into()), ..all() };
    assert_eq!(count(from).await, 1);
    assert_eq!(count(DocumentFilter { issued_to: Some("2026-01-15".into()), ..all() }).await, 1);
    assert_eq!(count(DocumentFilter { created_from: Some(NOW), ..all() }).await, 3);
    assert_eq!(count(DocumentFilter { created_to: Some(NOW), ..all() }).await, 0);
}

pub async fn pages_hold_still_under_insertion(catalog: Catalog) {
    let lines: Vec<String> = (0..10).map(|n| format!("Acme|{n}|2026-01-01|{n}.00")).collect();
    for (n, line) in lines.iter().enumerate() {
        file(&catalog, "mb", "alice", &format!("m{n}"), &[line]).await;
    }
    let before = list(&catalog, all()).await;
    let (mut documents, mut messages) = (Vec::new(), Vec::new());
    let (mut place, mut message_place): (Option<DocumentPlace>, Option<MessagePlace>) = (None, None);
    let filter = MessageFilter { namespace: NS.into(), mailbox_id: "mb".into(), ..MessageFilter::default() };
    for n in 0..20 {
        let page = catalog.list_documents(&all(), place.as_ref(), 3).await.unwrap();
        if let Some(last) = page.last() {
            place =
                Some(DocumentPlace { create_time: last.create_time, document_id: last.document_id.clone() });
        }
        documents.extend(page.into_iter().map(|document| document.document_id));
        let page = catalog.list_messages(&filter, message_place.as_ref(), 3).await.unwrap();
        if let Some(last) = page.last() {
            message_place = Some(MessagePlace {
                received_time: last.received_time,
                message_key: last.message_key.clone(),
            });
        }
        messages.extend(page.into_iter().map(|message| message.source_id));
        file(&catalog, "mb-new", "bob", &format!("n{n}"), &[&format!("New|{n}|2026-01-01|1.00")]).await;
    }
    documents.retain(|id| before.contains(id));
    assert_eq!(documents, before, "each once, in order");
    messages.sort();
    assert_eq!(messages, (0..10).map(|n| format!("m{n}")).collect::<Vec<_>>());
}

pub async fn reauthorization_stops_the_mailbox(catalog: Catalog) {
    connect(&catalog, "mb", "alice").await;
    let running = claim(&catalog, "mb", "run", 1).await.unwrap();
    catalog.needs_reauthorization(&running, "consent was withdrawn", NOW).await.unwrap();
    let mailbox = catalog.get_mailbox(NS, "mb").await.unwrap();
    assert_eq!((mailbox.state, mailbox.version), (MailboxState::Reauthorize, 2));
    assert_eq!(mailbox.state_reason, "consent was withdrawn");
    assert!(matches!(claim(&catalog, "mb", "run", 2).await, Err(Refused::Reauthorize)));
    connect(&catalog, "mb", "alice").await;
    claim(&catalog, "mb", "run", 2).await.unwrap();
}

pub async fn processing_again_updates_documents_in_place(catalog: Catalog) {
    let line = "Acme|1|2026-01-01|1.00";
    file(&catalog, "mb", "alice", "m1", &[line]).await;
    let before = catalog.list_documents(&all(), None, 10).await.unwrap().remove(0);
    let selection = Selection { states: vec![MessageState::Filed], ..Selection::default() };
    assert_eq!(catalog.reprocess_messages(NS, "mb", &selection).await.unwrap(), 1);
    let item = Item { id: "m1".into(), locator: String::new(), time: None, size: None };
    let mut again = claim(&catalog, "mb", "again", 1).await.unwrap();
    assert_eq!(catalog.unprocessed(&again, vec![item]).await.unwrap().len(), 1);
    let mut better = document(line, 0);
    better.fields.number.value = Some("one".into());
    let found = Outcome::Read(vec![(better.clone(), put(&better))]);
    let done = catalog.commit(&mut again, &batch(vec![processed("m1", found)], "c"), NOW + 5).await.unwrap();
    assert_eq!(done, Committed::default());
    let after = catalog.list_documents(&all(), None, 10).await.unwrap().remove(0);
    assert_eq!(after.fields.number.value.as_deref(), Some("one"));
    assert_eq!((after.document_id, after.create_time), (before.document_id.clone(), before.create_time));
    // Failing the next time loses nothing.
    catalog.reprocess_messages(NS, "mb", &Selection::default()).await.unwrap();
    let mut third = claim(&catalog, "mb", "third", 1).await.unwrap();
    let failed = processed("m1", Outcome::Failed { retry_below: 0 });
    catalog.commit(&mut third, &batch(vec![failed], "c"), NOW).await.unwrap();
    let filter = MessageFilter { namespace: NS.into(), mailbox_id: "mb".into(), ..MessageFilter::default() };
    let message = catalog.list_messages(&filter, None, 10).await.unwrap().remove(0);
    assert_eq!((message.state, message.document_ids), (MessageState::Filed, vec![before.document_id]));
}

pub async fn an_owner_is_erased_entirely(catalog: Catalog) {
    file(&catalog, "mb-1", "alice", "m1", &["Acme|1|2026-01-01|1.00"]).await;
    file(&catalog, "mb-2", "alice", "m2", &["Acme|2|2026-01-01|2.00"]).await;
    file(&catalog, "mb-3", "bob", "m3", &["Acme|3|2026-01-01|3.00"]).await;
    let mut running = claim(&catalog, "mb-1", "run", 1).await.unwrap();
    assert_eq!(catalog.erase_owner(NS, "alice", NOW).await.unwrap(), 2);
    assert_eq!(catalog.erase_owner(NS, "alice", NOW).await.unwrap(), 0);
    let late = catalog.commit(&mut running, &batch(vec![], "c"), NOW).await;
    assert!(matches!(late, Err(Refused::Superseded)));
    assert_eq!(list(&catalog, all()).await.len(), 1);
    let filter =
        MessageFilter { namespace: NS.into(), mailbox_id: "mb-1".into(), ..MessageFilter::default() };
    assert!(catalog.list_messages(&filter, None, 10).await.unwrap().is_empty());
}

/// Text of mails has any character and any length; no database may refuse a message for it, for ever.
pub async fn foreign_text_of_any_kind_is_stored(catalog: Catalog) {
    connect(&catalog, "mb", "alice").await;
    let mut claim = claim(&catalog, "mb", "run", 1).await.unwrap();
    let long = "ß\u{1f600}".repeat(40_000);
    let mut documents =
        [document(&format!("A\0cme{long}|1\0{long}|2026-01-01|1.00"), 0), document("B|2|2026-01-01|1.00", 1)];
    documents[1].part = "2/a\0b".into();
    documents[1].file_name = Some("a\0b.pdf".into());
    documents[1].media_type = "application/\0".into();
    let found = documents.into_iter().map(|document| {
        let put = put(&document);
        (document, put)
    });
    let mut message = processed("m\0", Outcome::Read(found.collect()));
    message.subject = "s\0".into();
    message.message_id = Some("i\0".into());
    let committed = catalog.commit(&mut claim, &batch(vec![message], "c"), NOW).await.unwrap();
    assert_eq!(committed.documents_new, 2);
    let documents = catalog.list_documents(&all(), None, 10).await.unwrap();
    assert!(documents.iter().any(|document| document.file_name.as_deref() == Some("a\u{fffd}b.pdf")));
    let numbered = DocumentFilter { number: Some("2".into()), ..all() };
    assert_eq!(list(&catalog, numbered).await.len(), 1);
}

/// Several workers bring the same documents to one owner, in different orders: each is filed once, the rest is
/// counted, and nobody fails.
pub async fn mailboxes_of_one_owner_file_the_same_documents_at_once(catalog: Catalog) {
    let lines: Vec<String> = (0..10).map(|n| format!("Acme|{n}|2026-01-01|1.00")).collect();
    let mut work = Vec::new();
    for mailbox in 0..6 {
        let mailbox_id = format!("mb-{mailbox}");
        connect(&catalog, &mailbox_id, "alice").await;
        let mut claim = claim(&catalog, &mailbox_id, &mailbox_id, 1).await.unwrap();
        let mut lines = lines.clone();
        lines.rotate_left(mailbox);
        if mailbox % 2 == 1 {
            lines.reverse();
        }
        let catalog = catalog.clone();
        work.push(async move {
            let (mut new, mut duplicates) = (0, 0);
            for pair in lines.chunks(2) {
                let pair: Vec<&str> = pair.iter().map(String::as_str).collect();
                let batch = batch(vec![message(pair[0], &pair)], pair[0]);
                let committed = catalog.commit(&mut claim, &batch, NOW).await.unwrap();
                new += committed.documents_new;
                duplicates += committed.duplicates;
            }
            (new, duplicates)
        });
    }
    let done = futures_util::future::join_all(work).await;
    assert_eq!(done.iter().map(|(new, _)| new).sum::<u64>(), 10);
    assert_eq!(done.iter().map(|(_, duplicates)| duplicates).sum::<u64>(), 50);
    assert_eq!(list(&catalog, all()).await.len(), 10);
}

pub async fn connecting_one_id_at_once_makes_one_mailbox(catalog: Catalog) {
    let owners = ["alice", "bob", "carol", "dave"];
    let connected = owners.map(|owner| {
        let catalog = catalog.clone();
        async move { catalog.connect_mailbox(&spec("mb", owner, "mail"), None, NOW).await }
    });
    let connected = futures_util::future::join_all(connected).await;
    let created = connected.iter().filter(|it| matches!(it, Ok((_, Change::Created)))).count();
    let refused = connected.iter().filter(|it| matches!(it, Err(Error::OwnerMismatch))).count();
    assert_eq!((created, refused), (1, 3));
}

/// Whatever the database thinks of upper and lower case: a page token must mean the same everywhere.
pub async fn lists_are_ordered_by_bytes(catalog: Catalog) {
    let ids = ["B", "_", "a", "b", "A", "-", "b.1", "B1"];
    for id in ids {
        connect(&catalog, id, "alice").await;
    }
    let filter = MailboxFilter { namespace: NS.into(), ..MailboxFilter::default() };
    let mut listed: Vec<String> = Vec::new();
    loop {
        let page = catalog.list_mailboxes(&filter, listed.last().map(String::as_str), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page.into_iter().map(|mailbox| mailbox.spec.mailbox_id));
    }
    let mut expected = ids.map(str::to_owned);
    expected.sort();
    assert_eq!(listed, expected);
}
