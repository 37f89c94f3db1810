//! One found document in: filed, found to be there, or left deleted.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::blobs::Put;
use super::claim::Claim;
use super::commit::document_id;
use super::likely::{self, Keys};
use super::record::{name_of, storable};
use super::{Result, duplicates};
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
    let namespace = &spec.namespace;
    let part = storable(&document.part);
    let same = same_content(tx, namespace, &spec.owner, &put.sha256).await?;
    let own = match same {
        Some(same) if same.is_of(message_key, &part) => Some(same.document_id),
        Some(same) => {
            duplicates::note(tx, namespace, &same.document_id, message_key, document).await?;
            return Ok(Filed { document_id: Some(same.document_id), is_new: false, is_duplicate: true });
        }
        None => filed_before(tx, namespace, message_key, &part).await?,
    };
    let keys = Keys::of(&document.fields);
    let is_new = own.is_none();
    let id = match own {
        Some(id) => {
            refresh(tx, namespace, &id, document, put, &keys).await?;
            id
        }
        None => {
            let id = free_id(tx, namespace, message_key, &part).await?;
            if is_deleted_for_good(tx, namespace, &id).await? {
                return Ok(Filed { document_id: None, is_new: false, is_duplicate: false });
            }
            insert(tx, claim, (&id, message_key), document, put, &keys, now).await?;
            id
        }
    };
    likely::link(tx, namespace, &spec.owner, &id, document.kind, &keys).await?;
    Ok(Filed { document_id: Some(id), is_new, is_duplicate: false })
}

/// A document that is there.
struct Same {
    document_id: String,
    message_key: String,
    /// Empty: not known since it moved here from another message.
    part: String,
}

impl Same {
    fn is_of(&self, message_key: &str, part: &str) -> bool {
        self.message_key == message_key && (self.part == part || self.part.is_empty())
    }
}

async fn same_content(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    owner: &str,
    sha256: &str,
) -> Result<Option<Same>> {
    let row = sqlx::query(
        "SELECT document_id, message_key, part FROM documents \
         WHERE namespace = $1 AND owner = $2 AND sha256 = $3",
    )
    .bind(namespace)
    .bind(owner)
    .bind(sha256)
    .fetch_optional(&mut **tx)
    .await?;
    let read = |row: AnyRow| -> Result<Same> {
        Ok(Same { document_id: row.try_get(0)?, message_key: row.try_get(1)?, part: row.try_get(2)? })
    };
    row.map(read).transpose()
}

/// What an earlier reading of the message found in this part.
async fn filed_before(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    message_key: &str,
    part: &str,
) -> Result<Option<String>> {
    let row = sqlx::query(
        "SELECT document_id FROM documents WHERE namespace = $1 AND message_key = $2 AND part = $3 \
         ORDER BY document_id LIMIT 1",
    )
    .bind(namespace)
    .bind(message_key)
    .bind(part)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The id of a part's document. A document that was found here first and has moved to another message keeps its own;
/// then the next one is taken.
async fn free_id(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    message_key: &str,
    part: &str,
) -> Result<String> {
    let mut name = part.to_owned();
    loop {
        let id = document_id(message_key, &name);
        let taken = sqlx::query("SELECT 1 FROM documents WHERE namespace = $1 AND document_id = $2")
            .bind(namespace)
            .bind(&id)
            .fetch_optional(&mut **tx)
            .await?;
        if taken.is_none() {
            return Ok(id);
        }
        // No part has this character.
        name.push('\0');
    }
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
    namespace: &str,
    id: &str,
    document: &FoundDocument,
    put: &Put,
    keys: &Keys,
) -> Result<()> {
    sqlx::query(
        "UPDATE documents SET kind = $3, state = $4, confidence = $5, fields = $6, supplier = $7, \
         supplier_key = $8, number_key = $9, issue_date = $10, currency = $11, total = $12, flags = $13, \
         extractor_version = $14, size = $15, sha256 = $16, blob_key = $17, file_name = $18, \
         media_type = $19, part = $20 WHERE namespace = $1 AND document_id = $2",
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
    .bind(storable(&document.part))
    .execute(&mut **tx)
    .await?;
    likely::unlink(tx, namespace, id).await
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
