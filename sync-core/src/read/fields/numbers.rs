//! The document's number.

use super::{Hints, empty, found, identifiers};
use crate::document::{Field, Kind};
use crate::read::text::fold;
use crate::read::view::{How, View};
use crate::read::words::Role;

struct Candidate {
    value: String,
    score: i32,
    place: String,
}

#[must_use]
pub fn read(view: &View, kind: Kind, hints: &Hints) -> Field {
    let mut candidates = labelled(view, kind);
    candidates.extend(in_titles(view, kind));
    if hints.is_body {
        candidates.extend(in_subject(kind, hints));
    }
    let known: Vec<String> = candidates.iter().map(|c| c.value.clone()).collect();
    for candidate in &mut candidates {
        // said twice, or said in the subject: more certain
        let times = known.iter().filter(|k| **k == candidate.value).count();
        candidate.score += i32::from(times > 1) * 8;
        let in_subject = candidate.value.len() > 3 && hints.subject.contains(&candidate.value);
        candidate.score += i32::from(in_subject) * 25;
    }
    // the first of the best: numbers stand at the top
    let mut best: Option<&Candidate> = None;
    for candidate in &candidates {
        if best.is_none_or(|b| candidate.score > b.score) {
            best = Some(candidate);
        }
    }
    match best {
        #[expect(clippy::cast_precision_loss, reason = "scores are small")]
        Some(best) if best.score >= 40 => found(&best.value, best.score as f32 / 125.0, &best.place),
        _ => empty("no number with a label was found"),
    }
}

/// How well a kind of number fits a kind of document.
fn weight(role: Role, kind: Kind) -> i32 {
    match (role, kind) {
        (Role::InvoiceNumber, Kind::Invoice)
        | (Role::ReceiptNumber, Kind::Receipt)
        | (Role::CreditNumber, Kind::CreditNote)
        | (Role::OrderNumber, Kind::OrderConfirmation) => 100,
        (Role::CreditNumber, _) => 70,
        (Role::InvoiceNumber, Kind::Receipt) => 85,
        (Role::InvoiceNumber, Kind::CreditNote) => 60,
        (Role::InvoiceNumber, Kind::OrderConfirmation) => 55,
        (Role::ReceiptNumber, Kind::Invoice) => 58,
        (Role::ReceiptNumber, _) => 50,
        (Role::PlainNumber, _) => 62,
        (Role::OrderNumber, Kind::Receipt) => 52,
        _ => 0,
    }
}

fn labelled(view: &View, kind: Kind) -> Vec<Candidate> {
    let roles =
        [Role::InvoiceNumber, Role::ReceiptNumber, Role::CreditNumber, Role::OrderNumber, Role::PlainNumber];
    let mut out = Vec::new();
    for (line, cell, label) in view.labels(&roles) {
        let base = roles.iter().filter(|r| label.is(**r)).map(|r| weight(*r, kind)).max().unwrap_or(0);
        let is_reference = label.any(&[Role::OtherNumber]) && label.words == 1;
        if base == 0 || is_reference && base < 100 || is_reference_to_other(view, line, cell, label.start) {
            continue;
        }
        // a plain `No.` says something only where it begins its cell
        let plain = label.is(Role::PlainNumber);
        if plain && label.first_word > 0 {
            continue;
        }
        for spot in view.spots(line, cell, label) {
            let text = view.spot_text(&spot);
            let own_label = view.cell(spot.line, spot.cell).and_then(|m| m.labels.first());
            let begins_label = spot.how != How::Inline
                && own_label.is_some_and(|l| l.start == 0 && !l.is(Role::PlainNumber));
            if begins_label {
                continue;
            }
            let Some(value) = identifiers::leading(text) else { continue };
            let penalty = match spot.how {
                How::Inline => 0,
                How::Right => 2,
                How::Below => 12 + i32::from(plain) * 15,
            };
            let party = i32::from(plain && in_party(view, line)) * 30;
            let prose = i32::from(text.split_whitespace().count() > 8) * 10;
            let short = i32::from(value.chars().count() < 2) * 10;
            let score = base - penalty - prose - short - party;
            out.push(Candidate { value, score, place: view.line_text(line) });
            break;
        }
    }
    out
}

/// The seller's or the buyer's own number: just under their heading.
fn in_party(view: &View, line: usize) -> bool {
    (line.saturating_sub(4)..line).any(|above| {
        view.lines.get(above).is_some_and(|row| {
            row.cells.iter().any(|c| {
                c.labels.first().is_some_and(|l| {
                    l.start == 0 && l.any(&[Role::Seller, Role::Buyer]) && c.words.len() <= l.words + 2
                })
            })
        })
    })
}

/// `Ref: invoice 12`, `for order 7`: the number of something else.
fn is_reference_to_other(view: &View, line: usize, cell: usize, at: usize) -> bool {
    let before = view.cell(line, cell).and_then(|m| m.cell.text.get(..at)).unwrap_or_default();
    let key = fold::key(before);
    [
        "bezug",
        "ref",
        "reference",
        "for",
        "zu",
        "original",
        "bezogen auf",
        "gemass",
        "concerne",
        "relative a",
        "rif",
        "riferimento",
        "betreft",
        "dotyczy",
        "k",
        "ke",
        "til",
        "till",
        "avser",
        "previous",
        "gegenuber",
        "to",
        "corrects",
        "de la",
        "korrigiert",
        "rettet",
        "origine",
    ]
    .iter()
    .any(|w| key == *w || key.ends_with(&format!(" {w}")))
}

/// `INVOICE 31`, `Factuur 88120`, `Rechnung RE2026-00871 vom …`: a title followed by its number.
fn in_titles(view: &View, kind: Kind) -> Vec<Candidate> {
    let roles = match kind {
        Kind::Invoice => [Role::Invoice, Role::Invoice],
        Kind::Receipt => [Role::Receipt, Role::Invoice],
        Kind::CreditNote => [Role::CreditNote, Role::CreditNote],
        Kind::OrderConfirmation => [Role::Order, Role::OrderNumber],
    };
    let mut out = Vec::new();
    for (line, cell, label) in view.labels(&roles) {
        let Some(marked) = view.cell(line, cell) else { continue };
        let text = marked.cell.text.get(label.end..).unwrap_or_default();
        if let Some(value) = in_column(view, line, cell, label) {
            out.push(Candidate { value, score: 76, place: view.line_text(line) });
            continue;
        }
        if label.first_word > 2
            || text.split_whitespace().count() > 10
            || is_reference_to_other(view, line, cell, label.start)
        {
            continue;
        }
        // `Rechnung des Versicherers Nr. 5`: the number comes some words later
        let later = || {
            let mark = marked.labels.iter().find(|l| {
                l.start >= label.end && l.is(Role::PlainNumber) && l.first_word <= label.first_word + 5
            })?;
            identifiers::leading(marked.cell.text.get(mark.end..)?)
        };
        let Some(value) = identifiers::leading(text).or_else(later) else { continue };
        let looks_counted = value.chars().all(|c| c.is_ascii_digit()) && value.len() < 2;
        let tall = view.lines.get(line).is_some_and(|l| l.size > view.usual_size * 1.2);
        let score =
            66 + i32::from(tall) * 20 - i32::from(looks_counted) * 12 - i32::from(label.first_word > 0) * 4;
        out.push(Candidate { value, score, place: view.line_text(line) });
    }
    out
}

/// A header of columns `Customer | Order | Invoice`: the title is the name of a column.
fn in_column(view: &View, line: usize, cell: usize, label: &crate::read::labels::Label) -> Option<String> {
    let row = view.lines.get(line)?;
    let own = row.cells.get(cell)?;
    let headers = row.cells.iter().filter(|c| c.labels.first().is_some_and(|l| l.start == 0)).count();
    if headers < 3 || own.words.len() > label.words {
        return None;
    }
    let spot = view.spots(line, cell, label).into_iter().find(|s| s.how == How::Below)?;
    let below = view.cell(spot.line, spot.cell)?;
    identifiers::leading(view.spot_text(&spot)).filter(|v| below.words.len() <= 3 && v.len() > 2)
}

fn in_subject(kind: Kind, hints: &Hints) -> Vec<Candidate> {
    let sheet = crate::read::plain::sheet(&hints.subject);
    let view = View::new(&sheet);
    let mut out = labelled(&view, kind);
    out.extend(in_titles(&view, kind));
    out.iter_mut().for_each(|c| c.score -= 22);
    out
}
