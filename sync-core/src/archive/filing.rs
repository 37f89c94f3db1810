//! One found document in: filed, found to be there, or left deleted.

use sqlx::{Any, Row, Transaction};

use super::Result;
use super::blobs::Put;
use super::claim::Claim;
use super::commit::document_id;
use super::likely::{self, Keys};
use super::record::{name_of, storable};
use crate::document::{EXTRACTOR_VERSION, FoundDocument};

/// What became of one found document.
pub(super) struct Filed {
    /// The document that the message refers to now.
    pub document_id: Option<String>,
    pub is_new: bool,
    pub is_duplicate: bool,
}

pub(super) async fn file(
    tx: &mut Transaction<'_, Any>,
    claim: &Claim,
    message_key: &str,
    document: &FoundDocument,
    put: &Put,
    now: i64,
) -> Result<Filed> {
    let spec = &claim.mailbox.spec;
    let id = document_id(message_key, &document.part);
    let same = same_content(tx, &spec.namespace, &spec.owner, &put.sha256).await?;
    if let Some(same) = same.filter(|same| *same != id) {
        note_duplicate(tx, &spec.namespace, &same, message_key).await?;
        return Ok(Filed { document_id: Some(same), is_new: false, is_duplicate: true });
    }
    let keys = Keys::of(&document.fields);
    let is_new = !refresh(tx, claim, &id, document, put, &keys).await?;
    if is_new {
        if is_deleted_for_good(tx, &spec.namespace, &id).await? {
            return Ok(Filed { document_id: None, is_new: false, is_duplicate: false });
        }
        insert(tx, claim, (&id, message_key), document, put, &keys, now).await?;
    }
    likely::link(tx, &spec.namespace, &spec.owner, &id, document.kind, &keys).await?;
    Ok(Filed { document_id: Some(id), is_new, is_duplicate: false })
}

async fn same_content(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    owner: &str,
    sha256: &str,
) -> Result<Option<String>> {
    let row =
        sqlx::query("SELECT document_id FROM documents WHERE namespace = $1 AND owner = $2 AND sha256 = $3")
            .bind(namespace)
            .bind(owner)
            .bind(sha256)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn note_duplicate(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    document_id: &str,
    message_key: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO dropped_duplicates (namespace, document_id, message_key) VALUES ($1, $2, $3) \
         ON CONFLICT DO NOTHING",
    )
    .bind(namespace)
    .bind(document_id)
    .bind(message_key)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Before a document goes: messages that brought its bytes as well are read again by their next run.
pub(super) async fn release_duplicates(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    document_id: &str,
) -> Result<()> {
    for statement in [
        "UPDATE messages SET retry = 1, attempts = 0, run_id = '' WHERE namespace = $1 AND message_key IN \
         (SELECT message_key FROM dropped_duplicates WHERE namespace = $1 AND document_id = $2)",
        "DELETE FROM dropped_duplicates WHERE namespace = $1 AND document_id = $2",
    ] {
        sqlx::query(statement).bind(namespace).bind(document_id).execute(&mut **tx).await?;
    }
    Ok(())
}

async fn is_deleted_for_good(tx: &mut Transaction<'_, Any>, namespace: &str, id: &str) -> Result<bool> {
    let row = sqlx::query("SELECT final FROM tombstones WHERE namespace = $1 AND document_id = $2")
        .bind(namespace)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    let is_final: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(is_final == Some(1))
}

/// A document that is there already was found again because its message is processed again: with other
/// rules, so what they found replaces what was known. Its id, run and time of filing stay.
async fn refresh(
    tx: &mut Transaction<'_, Any>,
    claim: &Claim,
    id: &str,
    document: &FoundDocument,
    put: &Put,
    keys: &Keys,
) -> Result<bool> {
    let namespace = &claim.mailbox.spec.namespace;
    let updated = sqlx::query(
        "UPDATE documents SET kind = $3, state = $4, confidence = $5, fields = $6, supplier = $7, \
         supplier_key = $8, number_key = $9, issue_date = $10, currency = $11, total = $12, flags = $13, \
         extractor_version = $14, size = $15, sha256 = $16, blob_key = $17, file_name = $18, \
         media_type = $19 WHERE namespace = $1 AND document_id = $2",
    )
    .bind(namespace)
    .bind(id)
    .bind(name_of(&document.kind))
    .bind(name_of(&document.state))
    .bind(f64::from(document.confidence))
    .bind(serde_json::to_string(&document.fields)?)
    .bind(&keys.supplier_name)
    .bind(&keys.supplier)
    .bind(&keys.number)
    .bind(&keys.issue_date)
    .bind(&keys.currency)
    .bind(&keys.total)
    .bind(serde_json::to_string(&document.flags)?)
    .bind(i64::from(EXTRACTOR_VERSION))
    .bind(i64::try_from(put.size).unwrap_or(i64::MAX))
    .bind(&put.sha256)
    .bind(&put.key)
    .bind(document.file_name.as_deref().map(storable))
    .bind(storable(&document.media_type))
    .execute(&mut **tx)
    .await?;
    if updated.rows_affected() == 0 {
        return Ok(false);
    }
    likely::unlink(tx, namespace, id).await?;
    Ok(true)
}

async fn insert(
    tx: &mut Transaction<'_, Any>,
    claim: &Claim,
    (id, message_key): (&str, &str),
    document: &FoundDocument,
    put: &Put,
    keys: &Keys,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO documents (namespace, document_id, owner, mailbox_id, run_id, message_key, kind, state, \
         confidence, fields, supplier, supplier_key, number_key, issue_date, currency, total, part, \
         file_name, media_type, size, sha256, blob_key, flags, extractor_version, create_time) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
         $21, $22, $23, $24, $25)",
    )
    .bind(&claim.mailbox.spec.namespace)
    .bind(id)
    .bind(&claim.mailbox.spec.owner)
    .bind(&claim.mailbox.spec.mailbox_id)
    .bind(&claim.holder.run_id)
    .bind(message_key)
    .bind(name_of(&document.kind))
    .bind(name_of(&document.state))
    .bind(f64::from(document.confidence))
    .bind(serde_json::to_string(&document.fields)?)
    .bind(&keys.supplier_name)
    .bind(&keys.supplier)
    .bind(&keys.number)
    .bind(&keys.issue_date)
    .bind(&keys.currency)
    .bind(&keys.total)
    .bind(storable(&document.part))
    .bind(document.file_name.as_deref().map(storable))
    .bind(storable(&document.media_type))
    .bind(i64::try_from(put.size).unwrap_or(i64::MAX))
    .bind(&put.sha256)
    .bind(&put.key)
    .bind(serde_json::to_string(&document.flags)?)
    .bind(i64::from(EXTRACTOR_VERSION))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
