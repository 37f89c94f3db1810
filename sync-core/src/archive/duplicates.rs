//! Exact duplicates: the bytes are filed once per owner, and whoever else received them is noted.
//!
//! So a document outlives the mailbox that brought it first: when that one's documents are deleted, what another
//! mailbox has received, too, becomes that one's and keeps its id.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::Result;
use super::commit::document_id;
use super::record::storable;
use crate::document::FoundDocument;

/// Of a message whose document is there already.
pub(super) async fn note(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    filed_id: &str,
    message_key: &str,
    dropped: &FoundDocument,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO dropped_duplicates (namespace, document_id, message_key, part, file_name) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (namespace, document_id, message_key) DO UPDATE SET \
         part = excluded.part, file_name = excluded.file_name WHERE dropped_duplicates.part IS NULL",
    )
    .bind(namespace)
    .bind(filed_id)
    .bind(message_key)
    .bind(storable(&dropped.part))
    .bind(dropped.file_name.as_deref().map(storable))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Gives the documents of a mailbox that another one has received, too, to that one: to the message that came first.
/// It is read again by its next run, since some fields are of the mail and not of the bytes. Says how many moved.
pub(super) async fn move_received_elsewhere(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    mailbox_id: &str,
) -> Result<u64> {
    let rows = sqlx::query(
        "SELECT d.document_id, d.file_name AS old_file_name, r.message_key, r.part, r.file_name, m.mailbox_id \
         FROM documents d \
         JOIN dropped_duplicates r ON r.namespace = d.namespace AND r.document_id = d.document_id \
         JOIN messages m ON m.namespace = r.namespace AND m.message_key = r.message_key \
         WHERE d.namespace = $1 AND d.mailbox_id = $2 AND m.mailbox_id <> $2 \
         ORDER BY d.document_id, m.received_time, m.message_key",
    )
    .bind(namespace)
    .bind(mailbox_id)
    .fetch_all(&mut **tx)
    .await?;
    let mut moved: BTreeMap<String, i64> = BTreeMap::new();
    let mut last = String::new();
    for row in &rows {
        let id: String = row.try_get("document_id")?;
        if id != last {
            move_to(tx, namespace, &id, row).await?;
            *moved.entry(row.try_get("mailbox_id")?).or_default() += 1;
            last = id;
        }
    }
    for (receiver, count) in &moved {
        sqlx::query(
            "UPDATE mailboxes SET documents = documents + $3, \
             duplicates = CASE WHEN duplicates > $3 THEN duplicates - $3 ELSE 0 END \
             WHERE namespace = $1 AND mailbox_id = $2",
        )
        .bind(namespace)
        .bind(receiver)
        .bind(count)
        .execute(&mut **tx)
        .await?;
    }
    Ok(moved.values().sum::<i64>().unsigned_abs())
}

async fn move_to(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    document_id: &str,
    receipt: &AnyRow,
) -> Result<()> {
    let message_key: String = receipt.try_get("message_key")?;
    let known: Option<String> = receipt.try_get("part")?;
    // Not known, it is empty until the message has been read again.
    let name_column = if known.is_some() { "file_name" } else { "old_file_name" };
    sqlx::query(
        "UPDATE documents SET mailbox_id = $3, message_key = $4, part = $5, file_name = $6 \
         WHERE namespace = $1 AND document_id = $2",
    )
    .bind(namespace)
    .bind(document_id)
    .bind(receipt.try_get::<String, _>("mailbox_id")?)
    .bind(&message_key)
    .bind(known.unwrap_or_default())
    .bind(receipt.try_get::<Option<String>, _>(name_column)?)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE messages SET retry = 1, attempts = 0, run_id = '' WHERE namespace = $1 AND message_key = $2",
    )
    .bind(namespace)
    .bind(&message_key)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM dropped_duplicates WHERE namespace = $1 AND document_id = $2 AND message_key = $3",
    )
    .bind(namespace)
    .bind(document_id)
    .bind(&message_key)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ids that a deleted document would have if one of its other messages were read again.
pub(super) async fn ids_elsewhere(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    filed_id: &str,
) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT message_key, part FROM dropped_duplicates WHERE namespace = $1 AND document_id = $2 \
         AND part IS NOT NULL",
    )
    .bind(namespace)
    .bind(filed_id)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(|row| Ok(document_id(row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Of a document that goes.
pub(super) async fn forget(tx: &mut Transaction<'_, Any>, namespace: &str, document_id: &str) -> Result<()> {
    sqlx::query("DELETE FROM dropped_duplicates WHERE namespace = $1 AND document_id = $2")
        .bind(namespace)
        .bind(document_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
