//! The fields of a document from its text.
//!
//! Every value comes from a place that can be shown. What cannot be decided stays empty, with the reason.

mod currencies;
mod dates;
mod identifiers;
mod money;
mod numbers;
mod parties;
mod vat;

use chrono::NaiveDate;

use super::view::View;
use crate::document::{Field, Fields, Kind, Origin};

/// What is known from outside the document.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// When the mail was sent.
    pub sent: Option<NaiveDate>,
    /// The name that the sender gives itself.
    pub sender: String,
    pub sender_address: String,
    /// The sender passes on what others wrote.
    pub forwarded: bool,
    pub subject: String,
    /// The document is the mail itself: its sender is the best witness.
    pub is_body: bool,
}

/// Reads all fields; the flags are short notes for people.
#[must_use]
pub fn read(view: &View, kind: Kind, origin: Origin, hints: &Hints) -> (Fields, Vec<String>) {
    let mut flags = Vec::new();
    let money = money::read(view, kind, &mut flags);
    let country = currencies::country(view);
    let currency = currencies::read(view, &money, country);
    let order = dates::order(view, country, hints);
    let (issue_date, due_date) = dates::read(view, kind, order, hints);
    let number = numbers::read(view, kind, hints);
    let (supplier, buyer) = parties::read(view, kind, hints);
    let vat_id = vat::read(view, &supplier);
    let mut fields = Fields {
        supplier: supplier.field,
        vat_id,
        buyer,
        number,
        issue_date,
        due_date,
        currency,
        net: money.net,
        tax: money.tax,
        total: money.total,
        payable: money.payable,
    };
    for field in all(&mut fields) {
        if field.value.is_some() {
            field.origin = Some(origin);
        }
    }
    (fields, flags)
}

/// Every field, in the order of the type.
pub fn all(fields: &mut Fields) -> [&mut Field; 11] {
    let Fields { supplier, vat_id, buyer, number, issue_date, due_date, currency, net, tax, total, payable } =
        fields;
    [supplier, vat_id, buyer, number, issue_date, due_date, currency, net, tax, total, payable]
}

/// A field with a value.
#[must_use]
pub fn found(value: impl Into<String>, confidence: f32, place: impl AsRef<str>) -> Field {
    Field {
        value: Some(value.into()),
        confidence: confidence.clamp(0.0, 1.0),
        place: place.as_ref().chars().take(160).collect(),
        ..Field::default()
    }
}

/// A field without one.
#[must_use]
pub fn empty(reason: impl Into<String>) -> Field {
    Field { reason: reason.into(), ..Field::default() }
}

/// What the amounts show, for the question whether this is a document at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    pub total: bool,
    pub net: bool,
    pub tax: bool,
    pub adds_up: bool,
    /// Cash and change, or a card and its amount.
    pub paid: bool,
    pub single_amount: bool,
}

#[must_use]
pub fn facts(view: &View) -> Facts {
    money::facts(view)
}
