//! Documents: filing, reading, deleting.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, Transaction};

use super::blobs::Put;
use super::claim::Claim;
use super::commit::document_id;
use super::likely::{self, Keys};
use super::record::{MessageRef, name_of, named};
use super::{Catalog, Document, DocumentFilter, DocumentPlace, Error, Result};
use crate::document::{EXTRACTOR_VERSION, FoundDocument};

const SELECT: &str = "SELECT d.namespace, d.document_id, d.owner, d.mailbox_id, d.run_id, d.kind, d.state, \
    d.confidence, d.fields, d.part, d.file_name, d.media_type, d.size, d.sha256, d.blob_key, d.flags, \
    d.extractor_version, d.create_time, m.source_id, m.received_time, m.sender, m.subject \
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
        let mut query = QueryBuilder::new(SELECT);
        push_filter(&mut query, filter);
        if let Some(after) = after {
            query.push(" AND (d.create_time, d.document_id) < (").push_bind(after.create_time);
            query.push(", ").push_bind(after.document_id.clone()).push(")");
        }
        query.push(" ORDER BY d.create_time DESC, d.document_id DESC LIMIT ").push_bind(i64::from(limit));
        let rows = query.build().fetch_all(self.reader()).await?;
        let mut found = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        self.add_likely(&filter.namespace, &mut found).await?;
        Ok(found)
    }

    /// Deletes a document for good: reading its message again does not bring it back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_document(&self, namespace: &str, document_id: &str, now: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "DELETE FROM documents WHERE namespace = $1 AND document_id = $2 \
             RETURNING document_id, blob_key, mailbox_id",
        )
        .bind(namespace)
        .bind(document_id)
        .fetch_optional(&mut *tx)
        .await?;
        let row = row.ok_or(Error::NotFound("document"))?;
        bury(&mut tx, namespace, &row, true, now).await?;
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
        query.push_bind(namespace.to_owned()).push(" AND document_id IN (");
        let mut ids = query.separated(", ");
        documents.iter().for_each(|document| {
            ids.push_bind(document.document_id.clone());
        });
        query.push(") ORDER BY other_id");
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

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &DocumentFilter) {
    query.push(" WHERE d.namespace = ").push_bind(filter.namespace.clone());
    let texts = [
        (" AND d.owner = ", filter.owner.clone()),
        (" AND d.mailbox_id = ", filter.mailbox_id.clone()),
        (" AND d.run_id = ", filter.run_id.clone()),
        (" AND d.kind = ", filter.kind.as_ref().map(name_of)),
        (" AND d.state = ", filter.state.as_ref().map(name_of)),
        (" AND d.issue_date >= ", filter.issued_from.clone()),
        // Documents without a date are in no range of dates.
        (" AND d.issue_date <> '' AND d.issue_date <= ", filter.issued_to.clone()),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            query.push(condition).push_bind(value);
        }
    }
    if let Some(from) = filter.created_from {
        query.push(" AND d.create_time >= ").push_bind(from);
    }
    if let Some(to) = filter.created_to {
        query.push(" AND d.create_time < ").push_bind(to);
    }
    if let Some(supplier) = &filter.supplier {
        let literal = supplier.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        query.push(" AND d.supplier LIKE ").push_bind(format!("%{literal}%")).push(" ESCAPE '\\'");
    }
}

fn read(row: &SqliteRow) -> Result<Document> {
    let source_id: Option<String> = row.try_get("source_id")?;
    let message = match source_id {
        None => None,
        Some(source_id) => Some(MessageRef {
            source_id,
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

/// What became of one found document.
pub(super) struct Filed {
    /// The document that the message refers to now.
    pub document_id: Option<String>,
    pub is_new: bool,
    pub is_duplicate: bool,
}

pub(super) async fn file(
    tx: &mut Transaction<'_, Sqlite>,
    claim: &Claim,
    message_key: &str,
    document: &FoundDocument,
    put: &Put,
    now: i64,
) -> Result<Filed> {
    let spec = &claim.mailbox.spec;
    let id = document_id(message_key, &document.part);
    if let Some(same) = same_content(tx, &spec.namespace, &spec.owner, &put.sha256).await? {
        let is_duplicate = same != id;
        return Ok(Filed { document_id: Some(same), is_new: false, is_duplicate });
    }
    if exists(tx, &spec.namespace, &id).await? {
        return Ok(Filed { document_id: Some(id), is_new: false, is_duplicate: false });
    }
    if is_deleted_for_good(tx, &spec.namespace, &id).await? {
        return Ok(Filed { document_id: None, is_new: false, is_duplicate: false });
    }
    let keys = Keys::of(&document.fields);
    insert(tx, claim, (&id, message_key), document, put, &keys, now).await?;
    likely::link(tx, &spec.namespace, &spec.owner, &id, document.kind, &keys).await?;
    Ok(Filed { document_id: Some(id), is_new: true, is_duplicate: false })
}

async fn same_content(
    tx: &mut Transaction<'_, Sqlite>,
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

async fn exists(tx: &mut Transaction<'_, Sqlite>, namespace: &str, id: &str) -> Result<bool> {
    let row = sqlx::query("SELECT 1 FROM documents WHERE namespace = $1 AND document_id = $2")
        .bind(namespace)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

async fn is_deleted_for_good(tx: &mut Transaction<'_, Sqlite>, namespace: &str, id: &str) -> Result<bool> {
    let row = sqlx::query("SELECT final FROM tombstones WHERE namespace = $1 AND document_id = $2")
        .bind(namespace)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    let is_final: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(is_final == Some(1))
}

async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
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
    .bind(&document.part)
    .bind(&document.file_name)
    .bind(&document.media_type)
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

/// Removes all documents of a mailbox; reading their messages again files them again.
pub(super) async fn delete_of_mailbox(
    tx: &mut Transaction<'_, Sqlite>,
    namespace: &str,
    mailbox_id: &str,
    now: i64,
) -> Result<()> {
    let rows = sqlx::query(
        "DELETE FROM documents WHERE namespace = $1 AND mailbox_id = $2 RETURNING document_id, blob_key",
    )
    .bind(namespace)
    .bind(mailbox_id)
    .fetch_all(&mut **tx)
    .await?;
    for row in &rows {
        bury(tx, namespace, row, false, now).await?;
    }
    Ok(())
}

async fn bury(
    tx: &mut Transaction<'_, Sqlite>,
    namespace: &str,
    row: &SqliteRow,
    is_final: bool,
    now: i64,
) -> Result<()> {
    let id: String = row.try_get("document_id")?;
    sqlx::query("DELETE FROM likely_duplicates WHERE namespace = $1 AND (document_id = $2 OR other_id = $2)")
        .bind(namespace)
        .bind(&id)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO tombstones (namespace, document_id, blob_key, final, delete_time) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (namespace, document_id) DO UPDATE SET \
         blob_key = excluded.blob_key, final = excluded.final, delete_time = excluded.delete_time",
    )
    .bind(namespace)
    .bind(id)
    .bind(row.try_get::<String, _>("blob_key")?)
    .bind(i64::from(is_final))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
