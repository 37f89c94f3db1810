use docket::{
    errors::Reason,
    library::v1::{self as pb, DocumentFilter as Filter},
};
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};
use sync_core::text::hex;

use super::world::{NOW, World, content, mailbox, refused, synced};

const FIRST: &str = "invoice|Müller AG|RE-1|2026-05-03|9.00";

async fn filled() -> World {
    let world = World::new().await;
    world.mail("mb-1/a.eml", &[&format!("DOC {FIRST}"), "DOC receipt|Acme|RE 1|2026-06-01|1.00"]);
    world.mail("mb-2/b.eml", &["DOC scan|Acme Corp|||"]);
    for (id, owner) in [("mb-1", "alice"), ("mb-2", "bob")] {
        world.connect(mailbox(id, owner)).await.unwrap();
        synced(world.sync(id, &format!("run-{id}")).await);
    }
    world
}

fn at(millis: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: millis / 1000, nanos: 0 })
}

#[tokio::test]
async fn documents_are_found_by_each_filter() {
    let world = filled().await;
    let text = String::from;
    let create_time = world.list(Filter { number: text("RE-1"), ..Default::default() }).await.unwrap();
    let created = create_time[0].create_time.unwrap().seconds * 1000;
    assert!(created >= NOW);
    let kinds = vec![pb::DocumentKind::Receipt.into(), pb::DocumentKind::CreditNote.into()];
    let cases = [
        (3, Filter::default()),
        (2, Filter { owner: text("alice"), ..Default::default() }),
        (1, Filter { mailbox_id: text("mb-2"), ..Default::default() }),
        (2, Filter { run_id: text("run-mb-1"), ..Default::default() }),
        (1, Filter { kinds, ..Default::default() }),
        (1, Filter { states: vec![pb::DocumentState::NeedsOcr.into()], ..Default::default() }),
        (3, Filter { states: vec![1, 2], ..Default::default() }),
        (1, Filter { supplier: text("MÜLLER"), ..Default::default() }),
        (2, Filter { supplier: text("acme"), ..Default::default() }),
        (1, Filter { number: text("RE-1"), ..Default::default() }),
        (0, Filter { number: text("re-1"), ..Default::default() }),
        (1, Filter { issue_date_from: text("2026-05-04"), ..Default::default() }),
        (1, Filter { issue_date_to: text("2026-05-03"), ..Default::default() }),
        (3, Filter { create_time_from: at(NOW), ..Default::default() }),
        (0, Filter { create_time_to: at(created), mailbox_id: text("mb-1"), ..Default::default() }),
        (0, Filter { owner: text("alice"), mailbox_id: text("mb-2"), ..Default::default() }),
    ];
    for (count, filter) in cases {
        assert_eq!(world.list(filter.clone()).await.unwrap().len(), count, "{filter:?}");
    }
}

#[tokio::test]
async fn each_wrong_filter_is_named() {
    let world = World::new().await;
    let text = String::from;
    let cases = [
        ("filter.owner", Filter { owner: text("a b"), ..Default::default() }),
        ("filter.mailbox_id", Filter { mailbox_id: text("a/b"), ..Default::default() }),
        ("filter.run_id", Filter { run_id: "x".repeat(129), ..Default::default() }),
        ("filter.kinds[0]", Filter { kinds: vec![0], ..Default::default() }),
        ("filter.kinds", Filter { kinds: vec![1; 17], ..Default::default() }),
        ("filter.states[1]", Filter { states: vec![1, -7], ..Default::default() }),
        ("filter.supplier", Filter { supplier: "x".repeat(201), ..Default::default() }),
        ("filter.number", Filter { number: text("1\n"), ..Default::default() }),
        ("filter.issue_date_from", Filter { issue_date_from: text("3 May 2026"), ..Default::default() }),
        ("filter.issue_date_to", Filter { issue_date_to: text("2026-02-30"), ..Default::default() }),
        (
            "filter.issue_date_to",
            Filter {
                issue_date_from: text("2026-02-02"),
                issue_date_to: text("2026-02-01"),
                ..Default::default()
            },
        ),
        ("filter.create_time_from", Filter { create_time_from: at(-9_000), ..Default::default() }),
        (
            "filter.create_time_to",
            Filter { create_time_from: at(NOW), create_time_to: at(NOW), ..Default::default() },
        ),
    ];
    for (field, filter) in cases {
        refused(world.list(filter).await, Reason::InvalidField, field);
    }
    let mut client = world.documents.clone();
    let request = |page_token: &str, namespace: &str, page_size| pb::ListDocumentsRequest {
        namespace: namespace.into(),
        page_token: page_token.into(),
        page_size,
        ..Default::default()
    };
    refused(client.list_documents(request("", "a b", 0)).await, Reason::InvalidField, "namespace");
    refused(client.list_documents(request("", "", -1)).await, Reason::InvalidField, "page_size");
    refused(client.list_documents(request("00ff", "", 0)).await, Reason::InvalidPageToken, "page_token");
    let request = pb::GetDocumentRequest { document_id: "../x".into(), ..Default::default() };
    refused(client.get_document(request).await, Reason::InvalidField, "document_id");
}

#[tokio::test]
async fn pages_hold_still_under_insertion() {
    let world = World::new().await;
    for n in 0..5 {
        world.mail(&format!("mb/{n}.eml"), &[&format!("DOC invoice|Acme|{n}|2026-05-03|{n}.00")]);
    }
    world.connect(mailbox("mb", "alice")).await.unwrap();
    synced(world.sync("mb", "run-1").await);
    let all = world.numbers(Filter::default()).await;
    let page = async |page_token: String, filter: Filter| {
        let request =
            pb::ListDocumentsRequest { page_size: 2, page_token, filter: Some(filter), ..Default::default() };
        let answer = world.documents.clone().list_documents(request).await?.into_inner();
        let numbers = answer.documents.into_iter().map(|it| it.number.unwrap().value.unwrap());
        Ok::<_, tonic::Status>((numbers.collect::<Vec<_>>(), answer.next_page_token))
    };
    let (mut seen, mut token) = page(String::new(), Filter::default()).await.unwrap();
    world.mail("mb/new.eml", &["DOC invoice|Acme|new|2026-05-03|7.00"]);
    assert_eq!(synced(world.sync("mb", "run-2").await), [1, 0, 1, 0]);
    let other = Filter { owner: "alice".into(), ..Default::default() };
    refused(page(token.clone(), other).await, Reason::InvalidPageToken, "page_token");
    while !token.is_empty() {
        let (numbers, next) = page(token, Filter::default()).await.unwrap();
        seen.extend(numbers);
        token = next;
    }
    assert_eq!(seen, all);
    assert_eq!(world.numbers(Filter::default()).await[0], "new", "newest first");
}

#[tokio::test]
async fn a_download_is_what_was_filed() {
    let world = filled().await;
    let filter = Filter { number: "RE-1".into(), ..Default::default() };
    let listed = world.list(filter).await.unwrap().remove(0);
    let mut client = world.documents.clone();
    let request = pb::GetDocumentRequest { document_id: listed.document_id.clone(), ..Default::default() };
    let shown = client.get_document(request).await.unwrap().into_inner().document.unwrap();
    assert_eq!(shown, listed);
    assert_eq!((shown.run_id.as_str(), shown.kind()), ("run-mb-1", pb::DocumentKind::Invoice));
    assert_eq!(shown.flags, ["totals  disagree"], "foreign text is clean");
    let message = shown.message.unwrap();
    assert_eq!((message.subject.as_str(), message.message_id.as_str()), ("a", "a@x"));
    assert_eq!((message.part.as_str(), message.file_name.as_str()), ("0", "../0.pdf"));

    let request =
        pb::DownloadDocumentRequest { document_id: listed.document_id.clone(), ..Default::default() };
    let mut stream = client.download_document(request).await.unwrap().into_inner();
    let head = stream.message().await.unwrap().unwrap();
    assert_eq!((head.media_type.as_str(), head.file_name.as_str()), ("application/pdf", "0.pdf"));
    let mut bytes = head.chunk.to_vec();
    while let Some(message) = stream.message().await.unwrap() {
        assert!(message.chunk.len() <= 64 << 10 && message.file_name.is_empty());
        bytes.extend_from_slice(&message.chunk);
    }
    assert_eq!(bytes.len() as i64, head.size);
    assert_eq!(head.size, listed.size);
    assert_eq!(hex(&Sha256::digest(&bytes)), listed.sha256);
    assert!(bytes == content(FIRST));
}

/// Every blob is spoiled in turn: cut short, changed, gone.
#[tokio::test]
async fn damaged_bytes_never_end_cleanly() {
    let world = filled().await;
    let document_id = world.list(Filter::default()).await.unwrap()[0].document_id.clone();
    let document = world.archive.catalog.get_document("default", &document_id).await.unwrap();
    let blob = world.blobs().join(&document.blob_key);
    let intact = std::fs::read(&blob).unwrap();
    let download = async || {
        let request = pb::DownloadDocumentRequest { document_id: document_id.clone(), ..Default::default() };
        let mut stream = world.documents.clone().download_document(request).await?.into_inner();
        let mut size = 0;
        while let Some(message) = stream.message().await? {
            size += message.chunk.len();
        }
        Ok::<_, tonic::Status>(size)
    };
    assert_eq!(download().await.unwrap(), intact.len());
    std::fs::write(&blob, &intact[1..]).unwrap();
    refused(download().await, Reason::Internal, "damaged");
    std::fs::write(&blob, vec![0; intact.len()]).unwrap();
    refused(download().await, Reason::Internal, "damaged");
    std::fs::remove_file(&blob).unwrap();
    refused(download().await, Reason::Internal, "missing");
}

#[tokio::test]
async fn what_lies_in_another_namespace_is_not_found() {
    let world = filled().await;
    let document_id = world.list(Filter::default()).await.unwrap()[0].document_id.clone();
    let mut client = world.documents.clone();
    for (namespace, id) in [("other", document_id.as_str()), ("", "unknown")] {
        let (namespace, document_id) = (namespace.to_owned(), id.to_owned());
        let get = pb::GetDocumentRequest { namespace: namespace.clone(), document_id: document_id.clone() };
        refused(client.get_document(get).await, Reason::DocumentNotFound, "");
        let download = pb::DownloadDocumentRequest { namespace, document_id };
        refused(client.download_document(download).await, Reason::DocumentNotFound, "");
    }
    let request = pb::ListDocumentsRequest { namespace: "other".into(), ..Default::default() };
    assert!(client.list_documents(request).await.unwrap().into_inner().documents.is_empty());
}
