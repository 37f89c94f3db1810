//! A message's bytes in, documents out. Pure: no IO, no clock.
//!
//! `guard` → `mime` → per file: what it is (`sniff`), whether it is a document (`detect`), its fields
//! (`xml`, `markup`, `fields`) → `merge`: what is one document in two shapes becomes one.
//!
//! Guaranteed: bounded work on what the bounds name, no panic gets out of one part into another, an empty
//! field says why. Deliberately absent: OCR, office documents, links to follow, decryption.

mod archive;
mod body;
mod clean;
mod detect;
mod fields;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod html;
mod labels;
mod markup;
mod merge;
mod mime;
mod pdf;
mod plain;
mod sheet;
mod sniff;
mod text;
mod view;
mod words;
mod xml;

use crate::document::{Limits, ReadMessage};

/// Reads one message. Never panics on purpose and never does IO, but it runs parsers over hostile bytes:
/// production calls it in a child process (`reader`).
///
/// # Errors
/// The reason, fit for a person, why nothing of the message can be read.
pub fn read_message(raw: &[u8], limits: &Limits) -> Result<ReadMessage, String> {
    guard::check(raw, limits)?;
    let mails = guarded(|| mime::read(raw, limits))??;
    let head = mails.first().map(|m| m.head.clone()).unwrap_or_default();
    let mut budget = archive::Budget::new(limits);
    let mut documents = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for mail in &mails {
        let context = file::Context::of(mail);
        let mut found = Vec::new();
        for part in &mail.files {
            file::read(part, &context, 0, limits, &mut budget, &mut found, &mut reasons);
        }
        if found.is_empty() {
            match guarded(|| body::read(mail, &context)).and_then(|r| r) {
                Ok(document) => found.push(document),
                Err(reason) => reasons.push(format!("text: {reason}")),
            }
        }
        documents.extend(found);
    }
    let mut documents = merge::merge(documents);
    documents.iter_mut().for_each(|document| clean::fields(&mut document.fields));
    let reason = if documents.is_empty() {
        summary(&reasons, "nothing that could be a document")
    } else {
        troubles(&reasons)
    };
    Ok(ReadMessage { head, documents, reason })
}

fn summary(reasons: &[String], none: &str) -> String {
    let mut text = reasons.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        none.clone_into(&mut text);
    }
    clean::line(&text)
}

/// Beside documents only what could not be read is worth telling.
fn troubles(reasons: &[String]) -> String {
    let broken: Vec<String> = reasons
        .iter()
        .filter(|r| {
            r.contains("cannot") || r.contains("bounds") || r.contains("gave up") || r.contains("damaged")
        })
        .cloned()
        .collect();
    summary(&broken, "")
}

/// One bad part must not lose the others.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|_| "the parser gave up".to_owned())
}
