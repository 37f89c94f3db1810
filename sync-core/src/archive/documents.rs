//! Documents: reading and deleting. How they get here is `filing`.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::likely::{self, number_key};
use super::query::QueryBuilder;
use super::record::{MessageRef, named, push_any, push_span};
use super::{Catalog, Document, DocumentFilter, DocumentPlace, Error, Result, duplicates};
use crate::text::clean;

const SELECT: &str = "SELECT d.namespace, d.document_id, d.owner, d.mailbox_id, d.run_id, d.kind, d.state, \
    d.confidence, d.fields, d.part, d.file_name, d.media_type, d.size, d.sha256, d.blob_key, d.flags, \
    d.extractor_version, d.create_time, m.source_id, m.message_id, m.received_time, m.sender, m.subject \
    FROM documents d LEFT JOIN messages m ON m.namespace = d.namespace AND m.message_key = d.message_key";

impl Catalog {
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_document(&self, namespace: &str, document_id: &str) -> Result<Document> {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE d.namespace = ").push_bind(namespace.to_owned());
        query.push(" AND d.document_id = ").push_bind(document_id.to_owned());
        let row = query.build().fetch_optional(self.reader()).await?.ok_or(Error::NotFound("document"))?;
        let mut found = [read(&row)?];
        self.add_likely(namespace, &mut found).await?;
        let [document] = found;
        Ok(document)
    }

    /// Newest filed first, after `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_documents(
        &self,
        filter: &DocumentFilter,
        after: Option<&DocumentPlace>,
        limit: u32,
    ) -> Result<Vec<Document>> {
        let wanted = limit as usize;
        let mut found: Vec<Document> = Vec::new();
        let mut after = after.cloned();
        while found.len() < wanted {
            let rows = self.matching(filter, after.as_ref(), limit).await?;
            let is_last = rows.len() < wanted;
            after = rows.last().map(DocumentPlace::of);
            found.extend(rows.into_iter().filter(|document| has_number(document, filter.number.as_deref())));
            if is_last {
                break;
            }
        }
        found.truncate(wanted);
        self.add_likely(&filter.namespace, &mut found).await?;
        Ok(found)
    }

    /// As [`Self::list_documents`], with numbers that differ in case, spaces or signs as well.
    async fn matching(
        &self,
        filter: &DocumentFilter,
        after: Option<&DocumentPlace>,
        limit: u32,
    ) -> Result<Vec<Document>> {
        let mut query = QueryBuilder::new(SELECT);
        push_filter(&mut query, filter);
        if let Some(after) = after {
            query.push(" AND (d.create_time, d.document_id) < (").push_bind(after.create_time);
            query.push(", ").push_bind(after.document_id.clone()).push(")");
        }
        query.push(" ORDER BY d.create_time DESC, d.document_id DESC LIMIT ").push_bind(i64::from(limit));
        query.build().fetch_all(self.reader()).await?.iter().map(read).collect()
    }

    /// Deletes a document for good: reading its message again does not bring it back, nor does another message that
    /// had brought it before.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_document(&self, namespace: &str, document_id: &str, now: i64) -> Result<()> {
        let owner = self.get_document(namespace, document_id).await?.owner;
        let mut tx = self.begin_for(namespace, &owner).await?;
        let row = sqlx::query(
            "DELETE FROM documents WHERE namespace = $1 AND document_id = $2 \
             RETURNING document_id, blob_key, mailbox_id, message_key, part",
        )
        .bind(namespace)
        .bind(document_id)
        .fetch_optional(&mut *tx)
        .await?;
        let row = row.ok_or(Error::NotFound("document"))?;
        let blob_key: String = row.try_get("blob_key")?;
        let mut ids = duplicates::ids_elsewhere(&mut tx, namespace, document_id).await?;
        // One that has moved here has the id of the message that brought it first.
        ids.push(super::commit::document_id(row.try_get("message_key")?, row.try_get("part")?));
        for id in ids {
            leave_tombstone(&mut tx, namespace, &id, &blob_key, true, now).await?;
        }
        bury(&mut tx, namespace, document_id, &blob_key, true, now).await?;
        sqlx::query(
            "UPDATE mailboxes SET documents = documents - 1 WHERE namespace = $1 AND mailbox_id = $2",
        )
        .bind(namespace)
        .bind(row.try_get::<String, _>("mailbox_id")?)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn add_likely(&self, namespace: &str, documents: &mut [Document]) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        let mut query =
            QueryBuilder::new("SELECT document_id, other_id FROM likely_duplicates WHERE namespace = ");
        query.push_bind(namespace.to_owned());
        query.push_in("document_id", documents.iter().map(|document| document.document_id.clone()));
        query.push(" ORDER BY other_id");
        let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in query.build().fetch_all(self.reader()).await? {
            links.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
        }
        for document in documents {
            document.likely_duplicate_ids = links.remove(&document.document_id).unwrap_or_default();
        }
        Ok(())
    }
}

/// As it is shown: without what a reader may have left around it.
fn has_number(document: &Document, number: Option<&str>) -> bool {
    let shown = || document.fields.number.value.as_deref().map(|value| clean(value, usize::MAX));
    number.is_none_or(|number| shown().as_deref() == Some(number))
}

fn push_filter(query: &mut QueryBuilder, filter: &DocumentFilter) {
    query.push(" WHERE d.namespace = ").push_bind(filter.namespace.clone());
    let texts = [
        (" AND d.owner = ", filter.owner.clone()),
        (" AND d.mailbox_id = ", filter.mailbox_id.clone()),
        (" AND d.run_id = ", filter.run_id.clone()),
        // Spelling is compared once the rows are here.
        (" AND d.number_key <> '' AND d.number_key = ", filter.number.as_deref().map(number_key)),
        (" AND d.issue_date >= ", filter.issued_from.clone()),
        // Documents without a date are in no range of dates.
        (" AND d.issue_date <> '' AND d.issue_date <= ", filter.issued_to.clone()),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            query.push(condition).push_bind(value);
        }
    }
    push_any(query, "d.kind", &filter.kinds);
    push_any(query, "d.state", &filter.states);
    push_span(query, "d.create_time", filter.created_from, filter.created_to);
    if let Some(supplier) = &filter.supplier {
        let literal = supplier.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        query.push(" AND d.supplier LIKE ").push_bind(format!("%{literal}%")).push(" ESCAPE '\\'");
    }
}

fn read(row: &AnyRow) -> Result<Document> {
    let source_id: Option<String> = row.try_get("source_id")?;
    let message = match source_id {
        None => None,
        Some(source_id) => Some(MessageRef {
            source_id,
            message_id: row.try_get("message_id")?,
            received_time: row.try_get("received_time")?,
            from: row.try_get("sender")?,
            subject: row.try_get("subject")?,
        }),
    };
    Ok(Document {
        namespace: row.try_get("namespace")?,
        document_id: row.try_get("document_id")?,
        owner: row.try_get("owner")?,
        mailbox_id: row.try_get("mailbox_id")?,
        run_id: row.try_get("run_id")?,
        kind: named(row.try_get("kind")?)?,
        state: named(row.try_get("state")?)?,
        confidence: row.try_get::<f64, _>("confidence")? as f32,
        fields: serde_json::from_str(row.try_get("fields")?)?,
        message,
        part: row.try_get("part")?,
        file_name: row.try_get("file_name")?,
        media_type: row.try_get("media_type")?,
        size: row.try_get::<i64, _>("size")?.unsigned_abs(),
        sha256: row.try_get("sha256")?,
        blob_key: row.try_get("blob_key")?,
        flags: serde_json::from_str(row.try_get("flags")?)?,
        likely_duplicate_ids: Vec::new(),
        extractor_version: u32::try_from(row.try_get::<i64, _>("extractor_version")?).unwrap_or(0),
        create_time: row.try_get("create_time")?,
    })
}

/// Removes all documents of a mailbox, and says how many; reading their messages again files them again.
pub(super) async fn delete_of_mailbox(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    mailbox_id: &str,
    now: i64,
) -> Result<u64> {
    let rows = sqlx::query(
        "DELETE FROM documents WHERE namespace = $1 AND mailbox_id = $2 RETURNING document_id, blob_key",
    )
    .bind(namespace)
    .bind(mailbox_id)
    .fetch_all(&mut **tx)
    .await?;
    for row in &rows {
        bury(tx, namespace, row.try_get("document_id")?, row.try_get("blob_key")?, false, now).await?;
    }
    Ok(rows.len() as u64)
}

async fn bury(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    id: &str,
    blob_key: &str,
    is_final: bool,
    now: i64,
) -> Result<()> {
    likely::unlink(tx, namespace, id).await?;
    duplicates::forget(tx, namespace, id).await?;
    leave_tombstone(tx, namespace, id, blob_key, is_final, now).await
}

async fn leave_tombstone(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    id: &str,
    blob_key: &str,
    is_final: bool,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO tombstones (namespace, document_id, blob_key, final, delete_time) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (namespace, document_id) DO UPDATE SET \
         blob_key = excluded.blob_key, final = excluded.final, delete_time = excluded.delete_time",
    )
    .bind(namespace)
    .bind(id)
    .bind(blob_key)
    .bind(i64::from(is_final))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
