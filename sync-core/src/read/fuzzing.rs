//! Ways into the parsers for `fuzz/`, past the guards that would hide what goes wrong. Each asserts what callers rely
//! on.

use super::file::{self, Context};
use super::mime::{File, Mail};
use super::text::amount::{self, Style};
use super::text::currency;
use super::text::date::{self, Order};
use super::text::fold;
use super::{archive, body, clean, guard, html, markup, merge, mime, plain, sniff, xml};
use crate::document::{FoundDocument, Limits};

/// A whole message, with all files in it.
pub fn mail(raw: &[u8]) {
    let limits = Limits::default();
    if guard::check(raw, &limits).is_err() {
        return;
    }
    let Ok(mails) = mime::read(raw, &limits) else { return };
    let mut budget = archive::Budget::new(&limits);
    let mut found = Vec::new();
    for mail in &mails {
        assert!(is_line(&mail.head.subject) && is_line(&mail.head.from), "{:?}", mail.head);
        let context = Context::of(mail);
        for part in &mail.files {
            assert!(is_line(&part.name) && !part.name.contains(['/', '\\']), "{:?}", part.name);
            file::read(part, &context, 0, &limits, &mut budget, &mut found, &mut Vec::new());
        }
        found.extend(body::read(mail, &context));
    }
    merge::merge(found).iter().for_each(check);
}

/// One attached PDF.
pub fn pdf(bytes: &[u8]) {
    attached("file.pdf", bytes);
}

/// One attached e-invoice, whatever its bytes look like.
pub fn xml(bytes: &[u8]) {
    let _ = sniff::nature(&File { bytes: bytes.to_vec(), ..File::default() });
    if let xml::Outcome::Invoice(found) = xml::read(bytes) {
        let text = serde_json::to_string(&found.fields).unwrap_or_default();
        assert!(text.len() < 64 << 10, "fields are short, whatever the file holds");
    }
    attached("file.xml", bytes);
}

/// The text of a mail that says nothing else.
pub fn html(text: &str) {
    let sheet = html::sheet(text);
    assert!(sheet.len() <= text.len(), "nothing is made up");
    let _ = markup::read(text);
    let mail = Mail { html: text.to_owned(), ..Mail::default() };
    body::read(&mail, &Context::of(&mail)).iter().for_each(check);
}

/// A text with values in it.
pub fn dates_and_amounts(text: &str) {
    for found in date::scan(text) {
        assert!(found.start < found.end && text.get(found.start..found.end).is_some(), "{found:?}");
        for order in [Order::DayFirst, Order::MonthFirst, Order::Unknown] {
            if let Some(day) = found.value(order) {
                assert_eq!(date::machine(&day.to_string()), Some(day), "a date can be read again");
            }
        }
    }
    for found in amount::scan(text) {
        assert!(found.start < found.end && text.get(found.start..found.end).is_some(), "{found:?}");
        for style in [Style::Comma, Style::Point, Style::Unknown] {
            if let Some(value) = found.value(style) {
                assert_eq!(amount::machine(&amount::show(value)), Some(value), "an amount can be read again");
            }
        }
    }
    for word in fold::words(text) {
        assert!(text.get(word.start..word.end).is_some(), "{word:?} is a piece of the text");
    }
    let _ = (date::machine(text), amount::machine(text), currency::code(text));
    let _ = (currency::mark_before(text), currency::mark_after(text));
    let mail = Mail { text: text.to_owned(), ..Mail::default() };
    let _ = plain::sheet(text);
    body::read(&mail, &Context::of(&mail)).iter().for_each(check);
}

fn attached(name: &str, bytes: &[u8]) {
    let limits = Limits::default();
    let part = File { path: "1".into(), name: name.into(), bytes: bytes.to_vec(), ..File::default() };
    let mail = Mail { text: "Your invoice".into(), ..Mail::default() };
    let mut found = Vec::new();
    let mut budget = archive::Budget::new(&limits);
    file::read(&part, &Context::of(&mail), 0, &limits, &mut budget, &mut found, &mut Vec::new());
    found.iter().for_each(check);
}

/// What the archive and the API rely on.
fn check(document: &FoundDocument) {
    assert!((0.0..=1.0).contains(&document.confidence), "{document:?}");
    let mut fields = document.fields.clone();
    clean::fields(&mut fields);
    for field in [&fields.net, &fields.tax, &fields.total, &fields.payable] {
        let value = field.value.as_deref();
        assert!(value.is_none_or(|value| amount::machine(value).is_some()), "an exact amount: {field:?}");
    }
    for field in [&fields.issue_date, &fields.due_date] {
        let value = field.value.as_deref();
        assert!(value.is_none_or(|value| date::machine(value).is_some()), "a day: {field:?}");
    }
    for field in [&fields.supplier, &fields.vat_id, &fields.buyer, &fields.number, &fields.currency] {
        assert!(field.value.as_deref().is_none_or(is_line), "one clean line: {field:?}");
    }
}

fn is_line(text: &str) -> bool {
    clean::line(text) == text
}
