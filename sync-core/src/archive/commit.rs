//! The one transaction that files: documents, what became of their messages, and the cursor.
//!
//! Any part of a batch may have been committed before, by this or by an earlier attempt; then it is left as
//! it is. So a batch may be repeated at will, and counts stay exact.

use sqlx::{Any, Row, Transaction};

use super::blobs::Put;
use super::claim::{Claim, Refused, check};
use super::database::retrying;
use super::record::{name_of, storable};
use super::{Catalog, MessageState, Result};
use crate::document::{EXTRACTOR_VERSION, FoundDocument};

/// A message's identity in the catalog.
pub fn message_key(namespace: &str, mailbox_id: &str, source_generation: i64, source_id: &str) -> String {
    hash(&[namespace, mailbox_id, &source_generation.to_string(), source_id])
}

/// The same document of the same message always has the same id.
pub fn document_id(message_key: &str, part: &str) -> String {
    hash(&[message_key, part])
}

fn hash(parts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    crate::text::hex(&hash.finalize()[..16])
}

/// One processed message.
#[derive(Clone, Debug)]
pub struct Processed {
    pub source_id: String,
    pub locator: String,
    /// Unix milliseconds.
    pub received_time: i64,
    pub message_id: Option<String>,
    pub from: String,
    pub subject: String,
    pub reason: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// What was found; nothing is an outcome, too. The bytes are durable already.
    Read(Vec<(FoundDocument, Put)>),
    /// `retry_below`: a later run tries again as long as fewer attempts than this were made.
    Failed { retry_below: i64 },
}

#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub messages: Vec<Processed>,
    /// Set once all that comes before it in the source is in this batch or committed.
    pub cursor: Option<String>,
}

/// What a batch changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub messages: u64,
    pub failed: u64,
    pub documents_new: u64,
    pub duplicates: u64,
}

impl Catalog {
    /// Commits `batch` under `claim`, which moves on to the new cursor version.
    ///
    /// # Errors
    /// [`Refused::Superseded`] if the claim is lost; nothing has changed then.
    pub async fn commit(
        &self,
        claim: &mut Claim,
        batch: &Batch,
        now: i64,
    ) -> std::result::Result<Committed, Refused> {
        let total = retrying(|| self.commit_once(claim, batch, now)).await?;
        claim.cursor_version += 1;
        if batch.cursor.is_some() {
            claim.cursor.clone_from(&batch.cursor);
        }
        Ok(total)
    }

    async fn commit_once(
        &self,
        claim: &Claim,
        batch: &Batch,
        now: i64,
    ) -> std::result::Result<Committed, Refused> {
        let spec = &claim.mailbox.spec;
        let mut tx = self.begin_for(&spec.namespace, &spec.owner).await?;
        check(&mut tx, claim).await?;
        let mut total = Committed::default();
        for message in &batch.messages {
            let one = file_message(&mut tx, claim, message, now).await?;
            total.messages += one.messages;
            total.failed += one.failed;
            total.documents_new += one.documents_new;
            total.duplicates += one.duplicates;
        }
        advance(&mut tx, claim, batch.cursor.as_deref(), &total).await?;
        tx.commit().await?;
        Ok(total)
    }
}

async fn advance(
    tx: &mut Transaction<'_, Any>,
    claim: &Claim,
    cursor: Option<&str>,
    total: &Committed,
) -> Result<()> {
    sqlx::query(
        "UPDATE mailboxes SET source_cursor = COALESCE($3, source_cursor), \
         cursor_version = cursor_version + 1, messages = messages + $4, documents = documents + $5, \
         duplicates = duplicates + $6 WHERE namespace = $1 AND mailbox_id = $2",
    )
    .bind(&claim.mailbox.spec.namespace)
    .bind(&claim.mailbox.spec.mailbox_id)
    .bind(cursor)
    .bind(total.messages as i64)
    .bind(total.documents_new as i64)
    .bind(total.duplicates as i64)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn file_message(
    tx: &mut Transaction<'_, Any>,
    claim: &Claim,
    message: &Processed,
    now: i64,
) -> Result<Committed> {
    let spec = &claim.mailbox.spec;
    let key = message_key(&spec.namespace, &spec.mailbox_id, claim.source_generation, &message.source_id);
    let earlier = sqlx::query(
        "SELECT attempts, retry, run_id, document_ids FROM messages WHERE namespace = $1 AND message_key = $2",
    )
    .bind(&spec.namespace)
    .bind(&key)
    .fetch_optional(&mut **tx)
    .await?;
    let attempts: i64 = match &earlier {
        Some(row) if row.try_get::<i64, _>("retry")? == 0 => return Ok(Committed::default()),
        // Named twice, or tried by an earlier attempt of this run: once per run is enough.
        Some(row) if row.try_get::<&str, _>("run_id")? == claim.holder.run_id => {
            return Ok(Committed::default());
        }
        Some(row) => row.try_get::<i64, _>("attempts")? + 1,
        None => 1,
    };
    let mut counts = Committed { messages: u64::from(earlier.is_none()), ..Committed::default() };
    let mut ids = Vec::new();
    let (state, retry) = match &message.outcome {
        Outcome::Failed { retry_below } => {
            counts.failed = 1;
            // A message that is read again and fails keeps what was filed before.
            if let Some(row) = &earlier {
                ids = serde_json::from_str(row.try_get("document_ids")?)?;
            }
            let state = if ids.is_empty() { MessageState::Failed } else { MessageState::Filed };
            (state, attempts < *retry_below)
        }
        Outcome::Read(found) => {
            for (document, put) in found {
                let filed = super::filing::file(tx, claim, &key, document, put, now).await?;
                counts.documents_new += u64::from(filed.is_new);
                counts.duplicates += u64::from(filed.is_duplicate);
                ids.extend(filed.document_id);
            }
            (if ids.is_empty() { MessageState::NoDocument } else { MessageState::Filed }, false)
        }
    };
    ids.dedup();
    write_message(tx, claim, &key, message, (state, attempts, retry), &ids, now).await?;
    Ok(counts)
}

async fn write_message(
    tx: &mut Transaction<'_, Any>,
    claim: &Claim,
    key: &str,
    message: &Processed,
    (state, attempts, retry): (MessageState, i64, bool),
    document_ids: &[String],
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO messages (namespace, message_key, mailbox_id, source_generation, source_id, locator, \
         received_time, message_id, sender, subject, state, reason, document_ids, attempts, retry, run_id, \
         process_time, extractor_version) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
         ON CONFLICT (namespace, message_key) DO UPDATE SET locator = excluded.locator, \
         message_id = excluded.message_id, sender = excluded.sender, subject = excluded.subject, \
         state = excluded.state, reason = excluded.reason, document_ids = excluded.document_ids, \
         attempts = excluded.attempts, retry = excluded.retry, run_id = excluded.run_id, \
         process_time = excluded.process_time, extractor_version = excluded.extractor_version",
    )
    .bind(&claim.mailbox.spec.namespace)
    .bind(key)
    .bind(&claim.mailbox.spec.mailbox_id)
    .bind(claim.source_generation)
    .bind(storable(&message.source_id))
    .bind(storable(&message.locator))
    .bind(message.received_time)
    .bind(message.message_id.as_deref().map(storable))
    .bind(storable(&message.from))
    .bind(storable(&message.subject))
    .bind(name_of(&state))
    .bind(storable(&message.reason))
    .bind(serde_json::to_string(document_ids)?)
    .bind(attempts)
    .bind(i64::from(retry))
    .bind(&claim.holder.run_id)
    .bind(now)
    .bind(i64::from(EXTRACTOR_VERSION))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
