//! Real and made-up messages with known answers: what was once read right stays right.

use serde_json::Value;
use sync_core::document::{Field, FoundDocument, Kind, Limits};
use sync_core::read::read_message;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// The answers are the documents' own: a change that loses one of them has to say so here.
#[test]
fn fixtures_are_read_as_expected() {
    let expected =
        std::fs::read_to_string(format!("{FIXTURES}/expected.jsonl")).expect("the list of answers");
    let mut wrong = Vec::new();
    for line in expected.lines() {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        check(&case, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(case: &Value, wrong: &mut Vec<String>) {
    let file = case["file"].as_str().unwrap_or_default();
    let bytes = std::fs::read(format!("{FIXTURES}/{file}")).expect("a fixture");
    let raw = if file.starts_with("mails/") { bytes } else { attached(file, &bytes) };
    let message = read_message(&raw, &Limits::default()).expect("a readable message");
    if case["ambiguous"] == true {
        return;
    }
    let wanted = case["documents"].as_array().cloned().unwrap_or_default();
    if wanted.len() != message.documents.len() {
        wrong.push(format!(
            "{file}: {} documents instead of {} ({})",
            message.documents.len(),
            wanted.len(),
            message.reason
        ));
        return;
    }
    let known: Vec<&str> = case["known"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (wanted, found) in wanted.iter().zip(&message.documents) {
        let kinds = wanted["kind"].as_array().cloned().unwrap_or_default();
        if !kinds.iter().any(|k| k == kind_name(found.kind)) {
            wrong.push(format!("{file}: {:?} instead of {kinds:?}", found.kind));
        }
        for (name, value) in wanted["fields"].as_object().into_iter().flatten() {
            let read = field(found, name).value.as_deref().unwrap_or_default();
            let right = same(name, value.as_str().unwrap_or_default(), read);
            if right == known.contains(&name.as_str()) {
                wrong.push(format!("{file}: {name} is {read:?}, expected {value} (known: {known:?})"));
            }
        }
    }
}

fn same(name: &str, wanted: &str, read: &str) -> bool {
    if name == "supplier" {
        let plain = |t: &str| t.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        return plain(wanted) == plain(read);
    }
    wanted == read
}

fn field<'a>(document: &'a FoundDocument, name: &str) -> &'a Field {
    let f = &document.fields;
    match name {
        "supplier" => &f.supplier,
        "number" => &f.number,
        "issue_date" => &f.issue_date,
        "due_date" => &f.due_date,
        "currency" => &f.currency,
        "net" => &f.net,
        "tax" => &f.tax,
        "total" => &f.total,
        _ => &f.payable,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Invoice => "invoice",
        Kind::Receipt => "receipt",
        Kind::CreditNote => "credit_note",
        Kind::OrderConfirmation => "order_confirmation",
    }
}

/// A file as the only attachment of a mail that says nothing.
fn attached(name: &str, bytes: &[u8]) -> Vec<u8> {
    let ending = name.rsplit('.').next().unwrap_or_default();
    let mut raw = format!(
        "From: a@b.test\r\nSubject: file\r\nContent-Type: application/octet-stream\r\n\
         Content-Disposition: attachment; filename=\"file.{ending}\"\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    )
    .into_bytes();
    raw.extend_from_slice(bytes);
    raw
}
