//! Exports, and deletion of single documents.

use std::collections::BTreeSet;

use docket::{errors::Reason, library::v1 as pb};
use serde_json::Value;
use tonic::Status;

use super::world::{World, mailbox, refused, synced};

async fn export(
    world: &World,
    format: pb::ExportFormat,
    filter: pb::DocumentFilter,
) -> Result<String, Status> {
    let request =
        pb::ExportDocumentsRequest { filter: Some(filter), format: format.into(), ..Default::default() };
    let mut stream = world.documents.clone().export_documents(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = stream.message().await? {
        assert!((1..=64 << 10).contains(&message.chunk.len()));
        bytes.extend_from_slice(&message.chunk);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

async fn filled(count: usize) -> World {
    let world = World::new().await;
    for n in 0..count {
        world.mail(
            &format!("mb/{n:04}.eml"),
            &[&format!("DOC invoice|Müller \"&\" Co|R-{n:04}|2026-05-03|9.00")],
        );
    }
    world.mail("other/x.eml", &["DOC receipt|=HYPERLINK(\"evil\")|-1+2|2026-05-03|-9.00"]);
    for (id, owner) in [("mb", "alice"), ("other", "bob")] {
        world.connect(mailbox(id, owner)).await.unwrap();
        synced(world.sync(id, &format!("run-{id}")).await);
    }
    world
}

#[tokio::test]
async fn json_lines_hold_every_document_once() {
    let world = filled(250).await;
    let text = export(&world, pb::ExportFormat::JsonLines, Default::default()).await.unwrap();
    let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), 251);
    let numbers: BTreeSet<_> = documents.iter().map(|it| it["number"]["value"].as_str().unwrap()).collect();
    assert_eq!(numbers.len(), 251);
    let one = documents.iter().find(|it| it["number"]["value"] == "R-0007").unwrap();
    assert_eq!(one["supplier"]["value"], "Müller \"&\" Co");
    assert_eq!(
        (&one["kind"], &one["owner"], &one["message"]["subject"]),
        (&"invoice".into(), &"alice".into(), &"0007".into())
    );
    assert_eq!(one["total"]["value"], "9.00", "amounts are text");
    let bob = pb::DocumentFilter { owner: "bob".into(), ..Default::default() };
    assert_eq!(export(&world, pb::ExportFormat::JsonLines, bob).await.unwrap().lines().count(), 1);
    let none = pb::DocumentFilter { owner: "nobody".into(), ..Default::default() };
    assert_eq!(export(&world, pb::ExportFormat::JsonLines, none).await.unwrap(), "");
}

#[tokio::test]
async fn csv_is_safe_in_a_spreadsheet() {
    let world = filled(3).await;
    let text = export(&world, pb::ExportFormat::Csv, Default::default()).await.unwrap();
    let lines: Vec<_> = text.strip_prefix('\u{feff}').unwrap().split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("\"document_id\",\"owner\""));
    let evil = lines.iter().find(|line| line.contains("\"bob\"")).unwrap();
    assert!(evil.contains("\"'=HYPERLINK(\"\"evil\"\")\"") && evil.contains("\"'-1+2\""), "{evil}");
    assert!(evil.contains("\"-9.00\""), "a number stays one: {evil}");
    assert!(text.contains("\"Müller \"\"&\"\" Co\""));
}

#[tokio::test]
async fn wrong_exports_are_named() {
    let world = filled(1).await;
    let none = export(&world, pb::ExportFormat::Unspecified, Default::default()).await;
    refused(none, Reason::InvalidField, "format");
    let filter = pb::DocumentFilter { owner: "a b".into(), ..Default::default() };
    refused(export(&world, pb::ExportFormat::Csv, filter).await, Reason::InvalidField, "filter.owner");
}

#[tokio::test]
async fn a_deleted_document_stays_deleted() {
    let world = filled(2).await;
    let first = world.list(pb::DocumentFilter { owner: "alice".into(), ..Default::default() }).await.unwrap();
    let request = |id: &str| pb::DeleteDocumentRequest { document_id: id.into(), ..Default::default() };
    let mut client = world.documents.clone();
    client.delete_document(request(&first[0].document_id)).await.unwrap();
    let again = client.delete_document(request(&first[0].document_id)).await;
    refused(again, Reason::DocumentNotFound, "");
    let all = pb::ReprocessMessagesRequest { mailbox_id: "mb".into(), ..Default::default() };
    world.mailboxes.clone().reprocess_messages(all).await.unwrap();
    assert_eq!(synced(world.sync("mb", "run-2").await)[0], 0);
    assert_eq!(world.list(Default::default()).await.unwrap().len(), 2);
    refused(client.delete_document(request("")).await, Reason::InvalidField, "document_id");
    refused(client.delete_document(request("no")).await, Reason::DocumentNotFound, "");
}
