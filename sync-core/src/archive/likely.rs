//! Documents that are probably the same one: kept, linked both ways, shown.
//!
//! Same supplier and number; where one of them has no number, same supplier, date and total. Two numbers
//! that differ are two documents. A credit note is never a duplicate of the invoice it credits, nor an order
//! of the invoice that follows.

use rust_decimal::Decimal;
use sqlx::{Any, Row, Transaction};

use super::Result;
use super::record::storable;
use crate::document::{Field, Fields, Kind};
use crate::text::fold;

/// At most this many are linked: a supplier that numbers everything "1" must not make rows squared.
const LINKS_MAX: i64 = 20;
/// Characters of a key.
const KEY_MAX: usize = 120;

/// What is compared, ready for the catalog's columns.
pub(super) struct Keys {
    pub supplier_name: String,
    pub supplier: String,
    pub number: String,
    pub issue_date: String,
    pub currency: String,
    pub total: String,
}

impl Keys {
    pub fn of(fields: &Fields) -> Self {
        let text = |field: &Field| bounded(&storable(field.value.as_deref().unwrap_or_default()));
        let total = text(&fields.total);
        Self {
            supplier_name: text(&fields.supplier).to_lowercase(),
            supplier: fold(&text(&fields.supplier)),
            number: number_key(fields.number.value.as_deref().unwrap_or_default()),
            issue_date: text(&fields.issue_date),
            currency: text(&fields.currency),
            total: total.parse::<Decimal>().map_or(total, |amount| amount.normalize().to_string()),
        }
    }
}

/// How a document's number is compared.
pub(super) fn number_key(number: &str) -> String {
    fold(&bounded(number))
}

/// An index holds no longer ones, and nobody compares them.
fn bounded(text: &str) -> String {
    text.chars().take(KEY_MAX).collect()
}

/// Links `document_id`, which was just inserted, with its likely duplicates.
pub(super) async fn link(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    owner: &str,
    document_id: &str,
    kind: Kind,
    keys: &Keys,
) -> Result<()> {
    let comparable = !keys.number.is_empty() || (!keys.issue_date.is_empty() && !keys.total.is_empty());
    if keys.supplier.is_empty() || !comparable {
        return Ok(());
    }
    let (one, other) = same_class(kind);
    let rows = sqlx::query(
        "SELECT document_id FROM documents WHERE namespace = $1 AND owner = $2 AND supplier_key = $3 \
           AND document_id <> $4 AND kind IN ($5, $6) \
           AND ((number_key <> '' AND number_key = $7) \
             OR ((number_key = '' OR $7 = '') AND issue_date <> '' AND issue_date = $8 \
                 AND total <> '' AND total = $9 AND currency = $10)) \
         ORDER BY create_time DESC LIMIT $11",
    )
    .bind(namespace)
    .bind(owner)
    .bind(&keys.supplier)
    .bind(document_id)
    .bind(one)
    .bind(other)
    .bind(&keys.number)
    .bind(&keys.issue_date)
    .bind(&keys.total)
    .bind(&keys.currency)
    .bind(LINKS_MAX)
    .fetch_all(&mut **tx)
    .await?;
    for row in rows {
        let other: String = row.try_get(0)?;
        sqlx::query(
            "INSERT INTO likely_duplicates (namespace, document_id, other_id) VALUES ($1, $2, $3), \
             ($1, $3, $2) ON CONFLICT DO NOTHING",
        )
        .bind(namespace)
        .bind(document_id)
        .bind(other)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn unlink(tx: &mut Transaction<'_, Any>, namespace: &str, document_id: &str) -> Result<()> {
    sqlx::query("DELETE FROM likely_duplicates WHERE namespace = $1 AND (document_id = $2 OR other_id = $2)")
        .bind(namespace)
        .bind(document_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The kinds that can be the same document: a shop's receipt often repeats its invoice.
fn same_class(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Invoice | Kind::Receipt => ("invoice", "receipt"),
        Kind::CreditNote => ("credit_note", "credit_note"),
        Kind::OrderConfirmation => ("order_confirmation", "order_confirmation"),
    }
}
