//! Several shapes of one document are one document.

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use super::text::{amount, fold};
use crate::document::{FoundDocument, Origin, State};

/// Drops the same bytes, and the less trusted shape of what is also there as XML.
#[must_use]
pub fn merge(documents: Vec<FoundDocument>) -> Vec<FoundDocument> {
    let mut out: Vec<FoundDocument> = Vec::new();
    let mut seen: Vec<[u8; 32]> = Vec::new();
    for document in documents {
        let hash: [u8; 32] = Sha256::digest(&document.content).into();
        if seen.contains(&hash) {
            continue;
        }
        seen.push(hash);
        match out.iter_mut().find(|known| same(known, &document)) {
            Some(known) => join(known, document),
            None => out.push(document),
        }
    }
    out
}

/// One in two shapes: XML beside PDF, a picture beside a text. Two of the same shape stay two.
fn same(a: &FoundDocument, b: &FoundDocument) -> bool {
    if a.media_type == b.media_type || a.part == "body" || b.part == "body" {
        return false;
    }
    let value = |d: &FoundDocument| d.fields.number.value.as_deref().map(fold::key);
    let stems = stem(a).is_some() && stem(a) == stem(b);
    match (value(a), value(b)) {
        (Some(x), Some(y)) if x == y => true,
        (Some(_), Some(_)) => {
            let equal = |x: &Option<String>, y: &Option<String>| x.is_some() && x == y;
            stems && equal(&a.fields.total.value, &b.fields.total.value)
        }
        _ => stems,
    }
}

fn stem(document: &FoundDocument) -> Option<String> {
    let name = document.file_name.as_deref()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    Some(fold::key(stem)).filter(|s| !s.is_empty())
}

/// The more trusted source keeps its place; the other is named.
fn join(known: &mut FoundDocument, other: FoundDocument) {
    let rank = |d: &FoundDocument| {
        let xml = d.fields.total.origin == Some(Origin::Xml) || d.fields.number.origin == Some(Origin::Xml);
        (d.state != State::Filed, !xml, d.media_type != "application/xml")
    };
    let (keep, drop) = if rank(&other) < rank(known) {
        (other, std::mem::replace(known, placeholder()))
    } else {
        (std::mem::replace(known, placeholder()), other)
    };
    *known = keep;
    let name = drop.file_name.unwrap_or(drop.part);
    known.flags.push(format!("also as {name}"));
    let differs = drop.fields.total.value.is_some() && drop.fields.total.value != known.fields.total.value;
    if differs {
        known.fields.total.other_value = drop.fields.total.value;
    }
}

fn placeholder() -> FoundDocument {
    super::file::of_body(crate::document::Kind::Invoice, 0.0, false, Vec::new())
}

/// Net and tax make up the total, within a cent of rounding.
pub fn check_totals(document: &mut FoundDocument) {
    let read = |value: &Option<String>| value.as_deref().and_then(amount::machine);
    let fields = &document.fields;
    let (Some(net), Some(tax), Some(total)) =
        (read(&fields.net.value), read(&fields.tax.value), read(&fields.total.value))
    else {
        return;
    };
    if (net + tax - total).abs() > Decimal::new(2, 2) {
        document.flags.push("totals disagree".into());
        let fields = &mut document.fields;
        for field in [&mut fields.net, &mut fields.tax, &mut fields.total] {
            field.confidence *= 0.6;
        }
    }
}
