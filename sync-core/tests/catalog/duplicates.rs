//! Exact duplicates over several mailboxes of one owner, on whatever database.

use sync_core::archive::commit::{Committed, Outcome};
use sync_core::archive::erase::Selection;
use sync_core::archive::{Catalog, Document, MessageFilter};

use super::super::support::{NOW, NS, document};
use super::{all, batch, claim, connect, file, list, message, processed, put};

const LINE: &str = "Acme|1|2026-01-01|1.00";
const OTHER: &str = "Acme|2|2026-01-02|2.00";

async fn only(catalog: &Catalog) -> Document {
    let mut found = catalog.list_documents(&all(), None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// Documents and duplicates that a mailbox counts.
async fn counts(catalog: &Catalog, mailbox_id: &str) -> (i64, i64) {
    let mailbox = catalog.get_mailbox(NS, mailbox_id).await.unwrap();
    (mailbox.documents, mailbox.duplicates)
}

/// Deletes with documents; says how many went and how many moved.
async fn forget(catalog: &Catalog, mailbox_id: &str) -> (u64, u64) {
    let done = catalog.disconnect_mailbox(NS, mailbox_id, None, true, NOW).await.unwrap();
    (done.documents_deleted, done.documents_moved)
}

pub async fn what_another_mailbox_received_stays(catalog: Catalog) {
    file(&catalog, "mb-1", "alice", "m1", &[LINE, OTHER]).await;
    let first = list(&catalog, all()).await;
    for (mailbox_id, received) in [("mb-2", NOW + 1), ("mb-3", NOW + 2)] {
        connect(&catalog, mailbox_id, "alice").await;
        let mut claim = claim(&catalog, mailbox_id, "run", 1).await.unwrap();
        let mut twin = message(mailbox_id, &["Other|9|2026-01-01|1.00", LINE]);
        twin.received_time = received;
        if let Outcome::Read(found) = &mut twin.outcome {
            found.remove(0);
            found[0].0.file_name = Some(format!("{mailbox_id}.pdf"));
        }
        catalog.commit(&mut claim, &batch(vec![twin], "c"), NOW).await.unwrap();
    }
    // Disconnected, with its documents.
    catalog.disconnect_mailbox(NS, "mb-2", None, false, NOW).await.unwrap();

    assert_eq!(forget(&catalog, "mb-1").await, (1, 1));
    let moved = only(&catalog).await;
    assert!(first.contains(&moved.document_id), "it keeps its id");
    assert_eq!((moved.mailbox_id.as_str(), moved.part.as_str()), ("mb-2", "1"));
    assert_eq!(moved.file_name.as_deref(), Some("mb-2.pdf"));
    assert_eq!(moved.message.unwrap().source_id, "mb-2");
    assert_eq!((counts(&catalog, "mb-1").await, counts(&catalog, "mb-2").await), ((0, 0), (1, 0)));

    assert_eq!(forget(&catalog, "mb-2").await, (0, 1));
    let moved = only(&catalog).await;
    assert_eq!((moved.mailbox_id.as_str(), moved.message.unwrap().source_id.as_str()), ("mb-3", "mb-3"));
    assert_eq!(forget(&catalog, "mb-3").await, (1, 0));
    assert!(list(&catalog, all()).await.is_empty());
}

pub async fn a_document_that_moved_is_read_again_in_place(catalog: Catalog) {
    file(&catalog, "mb-1", "alice", "m1", &[LINE]).await;
    file(&catalog, "mb-2", "alice", "m2", &[LINE]).await;
    forget(&catalog, "mb-1").await;
    let moved = only(&catalog).await.document_id;

    let mut next = claim(&catalog, "mb-2", "next", 1).await.unwrap();
    assert_eq!(catalog.retries(&next, None, 10).await.unwrap().len(), 1, "its own mail may say more");
    let mut better = document(LINE, 0);
    better.fields.buyer.value = Some("alice".into());
    let found = Outcome::Read(vec![(better.clone(), put(&better))]);
    let done = catalog.commit(&mut next, &batch(vec![processed("m2", found)], "c"), NOW).await.unwrap();
    assert_eq!(done, Committed::default());
    let again = only(&catalog).await;
    assert_eq!(again.document_id, moved);
    assert_eq!(again.fields.buyer.value.as_deref(), Some("alice"));

    // The first mailbox comes back: now it is the one that brings a duplicate.
    let back = file(&catalog, "mb-1", "alice", "m1", &[LINE]).await;
    assert_eq!((back.documents_new, back.duplicates), (0, 1));
    assert_eq!(only(&catalog).await.mailbox_id, "mb-2");
    // Newer rules find something else in the same part of its mail: that takes no other document's place.
    catalog.reprocess_messages(NS, "mb-1", &Selection::default()).await.unwrap();
    for run in ["other", "once-more"] {
        let mut claim = claim(&catalog, "mb-1", run, 1).await.unwrap();
        let done = catalog.commit(&mut claim, &batch(vec![message("m1", &[OTHER])], run), NOW).await;
        assert_eq!(done.unwrap().documents_new, u64::from(run == "other"));
        catalog.reprocess_messages(NS, "mb-1", &Selection::default()).await.unwrap();
    }
    assert_eq!(list(&catalog, all()).await.len(), 2);
    assert_eq!(catalog.get_document(NS, &moved).await.unwrap().mailbox_id, "mb-2");
    let filter =
        MessageFilter { namespace: NS.into(), mailbox_id: "mb-2".into(), ..MessageFilter::default() };
    let message = catalog.list_messages(&filter, None, 10).await.unwrap().remove(0);
    assert_eq!(message.document_ids, [moved]);
}

pub async fn deleted_for_good_is_deleted_wherever_it_came_from(catalog: Catalog) {
    file(&catalog, "mb-1", "alice", "m1", &[LINE]).await;
    file(&catalog, "mb-2", "alice", "m2", &[LINE]).await;
    file(&catalog, "mb-3", "alice", "m3", &[LINE]).await;
    forget(&catalog, "mb-1").await;
    catalog.delete_document(NS, &only(&catalog).await.document_id, NOW).await.unwrap();
    for (mailbox_id, id) in [("mb-1", "m1"), ("mb-2", "m2"), ("mb-3", "m3")] {
        catalog.reprocess_messages(NS, mailbox_id, &Selection::default()).await.unwrap();
        connect(&catalog, mailbox_id, "alice").await;
        let mut claim = claim(&catalog, mailbox_id, "again", 1).await.unwrap();
        catalog.commit(&mut claim, &batch(vec![message(id, &[LINE])], "c"), NOW).await.unwrap();
        assert!(list(&catalog, all()).await.is_empty(), "{id} brought it back");
    }
}

/// What an older release noted says nothing of the place in the message.
pub async fn a_note_without_a_part_moves_the_document_too(catalog: &Catalog, forget_parts: impl AsyncFn()) {
    file(catalog, "mb-1", "alice", "m1", &[LINE]).await;
    file(catalog, "mb-2", "alice", "m2", &[OTHER, LINE]).await;
    forget_parts().await;
    assert_eq!(forget(catalog, "mb-1").await, (0, 1));
    let run = "next";
    let mut next = claim(catalog, "mb-2", run, 1).await.unwrap();
    let done =
        catalog.commit(&mut next, &batch(vec![message("m2", &[OTHER, LINE])], run), NOW).await.unwrap();
    assert_eq!(done, Committed::default());
    let mut parts: Vec<(String, String)> = Vec::new();
    for document in catalog.list_documents(&all(), None, 10).await.unwrap() {
        parts.push((document.mailbox_id, document.part));
    }
    parts.sort();
    assert_eq!(parts, [("mb-2".into(), "0".into()), ("mb-2".into(), "1".into())]);
}
