//! The mail's own text as a document: receipts of shops and services, invoices written as a letter.

use super::detect::{self, Around};
use super::fields::{self, Hints};
use super::file::{self, Context};
use super::mime::Mail;
use super::view::View;
use super::{html, markup, plain};
use crate::document::{Field, Fields, FoundDocument, Origin};

/// # Errors
/// Why the text is no document.
pub fn read(mail: &Mail, context: &Context) -> Result<FoundDocument, String> {
    if mail.media_type == "multipart/report" {
        return Err("a delivery report".into());
    }
    let is_html = !mail.html.trim().is_empty();
    if !is_html && mail.text.trim().is_empty() {
        return Err("the text is empty".into());
    }
    let sheet = if is_html { html::sheet(&mail.html) } else { plain::sheet(&unquoted(&mail.text)) };
    let view = View::new(&sheet);
    let origin = if is_html { Origin::Html } else { Origin::Text };
    let hints = Hints { is_body: true, ..context.hints.clone() };
    let content = if is_html { mail.html.clone() } else { mail.text.clone() }.into_bytes();
    let marked = if is_html { markup::read(&mail.html) } else { markup::Markup::default() };
    if let Some(item) = marked.items.into_iter().next() {
        let mut document = file::of_body(item.kind, 0.98, is_html, content);
        let (printed, flags) = fields::read(&view, item.kind, origin, &hints);
        document.fields = combine(item.fields, printed);
        document.flags = flags;
        return Ok(document);
    }
    if let Some(other) = marked
        .others
        .iter()
        .find(|t| t.contains("Delivery") || t.contains("Reservation") || t.contains("Order"))
    {
        return Err(format!("its mark-up is a {other}"));
    }
    let around =
        Around { subject: mail.head.subject.clone(), file_name: String::new(), letter: sheet.text() };
    let verdict = detect::body(&view, &around)?;
    let mut document = file::of_body(verdict.kind, verdict.confidence, is_html, content);
    let (read, flags) = fields::read(&view, verdict.kind, origin, &hints);
    document.fields = read;
    document.flags = flags;
    Ok(document)
}

/// A reply quotes what was said before: that is not its own text.
fn unquoted(text: &str) -> String {
    let own: Vec<&str> = text.lines().filter(|l| !l.starts_with('>')).collect();
    own.join("\n")
}

/// Mark-up first, the printed text where it says nothing; a disagreement is kept to be seen.
fn combine(mut marked: Fields, mut printed: Fields) -> Fields {
    for (field, shown) in fields::all(&mut marked).into_iter().zip(fields::all(&mut printed)) {
        match (&field.value, &shown.value) {
            (None, _) => *field = std::mem::take(shown),
            (Some(own), Some(other)) if own != other => field.other_value = Some(other.clone()),
            _ => {}
        }
    }
    let _: &Field = &marked.total;
    marked
}
