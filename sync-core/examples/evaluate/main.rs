//! Measures the reader against a labelled corpus.
//!
//! `cargo run -p sync-core --example evaluate -- CORPUS [--show] [--half 0|1] [--only FOLDER] [--text FILE]`
//!
//! The corpus has the folders `e-invoices`, `pdf-invoices`, `receipts` (with `expected.jsonl`), `emails` and
//! `negatives` (with `labels.jsonl`). Loose files are read as the only attachment of a mail that says nothing.
//! Per field: how many of the filled values are right (precision) and how many of the stated ones were found
//! (recall). `--half` takes every second file, so that rules can be made on one half and checked on the other.

#![allow(clippy::print_stdout, reason = "a program that reports to a terminal")]

mod compare;
mod wrap;

use std::path::{Path, PathBuf};

use serde_json::Value;
use sync_core::document::{FoundDocument, Limits, ReadMessage};
use sync_core::read::read_message;

use compare::{Tally, compare};

struct Options {
    corpus: PathBuf,
    show: bool,
    half: Option<usize>,
    only: Option<String>,
}

fn main() {
    let mut options = Options { corpus: PathBuf::from("."), show: false, half: None, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--show" => options.show = true,
            "--half" => options.half = arguments.next().and_then(|h| h.parse().ok()),
            "--only" => options.only = arguments.next(),
            _ => options.corpus = PathBuf::from(argument),
        }
    }
    for folder in ["e-invoices", "pdf-invoices", "receipts"] {
        if wanted(&options, folder) {
            loose(&options, folder, "expected.jsonl");
        }
    }
    if wanted(&options, "negatives") {
        loose(&options, "negatives", "labels.jsonl");
    }
    if wanted(&options, "emails") {
        mails(&options);
    }
}

fn wanted(options: &Options, folder: &str) -> bool {
    options.only.as_ref().is_none_or(|o| o == folder) && options.corpus.join(folder).is_dir()
}

fn labels(options: &Options, folder: &str, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(options.corpus.join(folder).join(file)).unwrap_or_default();
    let all = text.lines().filter_map(|l| serde_json::from_str(l).ok());
    all.enumerate().filter(|(n, _)| options.half.is_none_or(|h| n % 2 == h)).map(|(_, v)| v).collect()
}

fn read(raw: &[u8]) -> ReadMessage {
    match read_message(raw, &Limits::default()) {
        Ok(message) => message,
        Err(reason) => ReadMessage { reason: format!("refused: {reason}"), ..ReadMessage::default() },
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Files that are documents or not, one by one.
fn loose(options: &Options, folder: &str, file: &str) {
    let mut tally = Tally::default();
    for label in labels(options, folder, file) {
        let name =
            if label.get("text_file").is_some() { text(&label, "text_file") } else { text(&label, "file") };
        let path = options.corpus.join(folder).join(name);
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let message = read(&wrap::mail(&file_name(&path), &bytes));
        let is_document = label.get("is_document").is_none_or(|d| d.as_bool() != Some(false));
        if label.get("ambiguous").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        tally.detection(is_document, !message.documents.is_empty());
        if is_document == message.documents.is_empty() && options.show {
            println!(
                "  {name}: document {is_document}, found {} ({})",
                message.documents.len(),
                message.reason
            );
        }
        if let Some(document) = message.documents.first().filter(|_| is_document) {
            report(options, name, &compare(&label, document, &mut tally));
        } else if is_document {
            tally.missed(&label);
        }
    }
    tally.print(folder);
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn report(options: &Options, name: &str, mistakes: &[String]) {
    if options.show {
        for mistake in mistakes {
            println!("  {name}: {mistake}");
        }
    }
}

fn mails(options: &Options) {
    let mut tally = Tally::default();
    let (mut exact, mut all) = (0, 0);
    for label in labels(options, "emails", "labels.jsonl") {
        if label.get("ambiguous").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        let name = text(&label, "file");
        let Ok(raw) = std::fs::read(options.corpus.join("emails").join(name)) else { continue };
        let message = read(&raw);
        let expected: Vec<Value> =
            label.get("documents").and_then(Value::as_array).cloned().unwrap_or_default();
        tally.detection(!expected.is_empty(), !message.documents.is_empty());
        all += 1;
        exact += usize::from(expected.len() == message.documents.len());
        if expected.len() != message.documents.len() && options.show {
            let found: Vec<String> = message
                .documents
                .iter()
                .map(|d| format!("{:?} in {} {:?}", d.kind, d.part, d.file_name))
                .collect();
            println!("  {name}: expected {} documents, found {found:?} ({})", expected.len(), message.reason);
        }
        let mut left: Vec<&FoundDocument> = message.documents.iter().collect();
        for (n, wanted) in expected.iter().enumerate() {
            let at = left
                .iter()
                .position(|d| compare::is_part(wanted, d))
                .or_else(|| (!left.is_empty()).then_some(0));
            match at {
                Some(at) => {
                    report(options, &format!("{name}#{n}"), &compare(wanted, left.remove(at), &mut tally))
                }
                None => tally.missed(wanted),
            }
        }
    }
    tally.print("emails");
    println!("  mails with exactly the right number of documents: {exact} of {all}");
}
