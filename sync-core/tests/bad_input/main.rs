//! The list of bad inputs, by number: 30 to 43 are mails, 44 to 53 files in them. What has a test of its own elsewhere is
//! named where its number would stand.

mod documents;
mod made;
mod mails;
mod pdf;

use std::time::{Duration, Instant};

use sync_core::document::{FoundDocument, Limits, ReadMessage};
use sync_core::read::read_message;

const INVOICE: &str = "Nordwind Ltd\nInvoice 2026-17\nDate: 4 March 2026\nNet 100.00 EUR\nVAT 20% 20.00 EUR\n\
                       Total 120.00 EUR\n";

/// Reads as a child does, with its stack, and insists on an answer in reasonable time, also in an unoptimised build.
fn read(raw: impl Into<Vec<u8>>) -> Result<ReadMessage, String> {
    let raw = raw.into();
    let start = Instant::now();
    let child = std::thread::Builder::new().stack_size(16 << 20);
    let outcome = child.spawn(move || read_message(&raw, &Limits::default())).unwrap().join();
    assert!(start.elapsed() < Duration::from_secs(10), "too slow: {:?}", start.elapsed());
    outcome.expect("no panic gets out")
}

fn documents(raw: impl Into<Vec<u8>>) -> Vec<FoundDocument> {
    read(raw).expect("readable").documents
}

/// A mail with these parts: headers and body each.
fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut raw = b"From: Nordwind Ltd <billing@nordwind.example>\nSubject: Invoice 2026-17\n\
                    Date: Wed, 4 Mar 2026 10:00:00 +0000\n\
                    Content-Type: multipart/mixed; boundary=xyz\n\n"
        .to_vec();
    for (headers, body) in parts {
        raw.extend_from_slice(format!("--xyz\n{headers}\n\n").as_bytes());
        raw.extend_from_slice(body);
        raw.push(b'\n');
    }
    raw.extend_from_slice(b"--xyz--\n");
    raw
}

/// A file in a mail that says nothing else.
fn attached(name: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "From: Nordwind Ltd <billing@nordwind.example>\nSubject: Invoice 2026-17\n\
         Date: Wed, 4 Mar 2026 10:00:00 +0000\nContent-Type: application/octet-stream\n\
         Content-Disposition: attachment; filename=\"{name}\"\nContent-Transfer-Encoding: binary\n\n"
    );
    [head.as_bytes(), bytes].concat()
}

fn total(document: &FoundDocument) -> Option<&str> {
    document.fields.total.value.as_deref()
}
