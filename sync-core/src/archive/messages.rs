//! What became of each message, and what the sync asks about them.

use std::collections::HashSet;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::claim::Claim;
use super::commit::message_key;
use super::query::QueryBuilder;
use super::record::{named, push_any, push_span};
use super::{Catalog, Message, MessageFilter, MessagePlace, Result};
use crate::source::Item;

/// Ids per question, well under the database's limit of parameters.
const CHUNK: usize = 500;

impl Catalog {
    /// Newest received first, after `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_messages(
        &self,
        filter: &MessageFilter,
        after: Option<&MessagePlace>,
        limit: u32,
    ) -> Result<Vec<Message>> {
        let mut query = QueryBuilder::new(
            "SELECT mailbox_id, message_key, source_id, received_time, message_id, sender, subject, state, \
             reason, document_ids, attempts, retry, run_id FROM messages WHERE namespace = ",
        );
        query.push_bind(filter.namespace.clone());
        query.push(" AND mailbox_id = ").push_bind(filter.mailbox_id.clone());
        push_any(&mut query, "state", &filter.states);
        push_span(&mut query, "received_time", filter.received_from, filter.received_to);
        if let Some(after) = after {
            query.push(" AND (received_time, message_key) < (").push_bind(after.received_time);
            query.push(", ").push_bind(after.message_key.clone()).push(")");
        }
        query.push(" ORDER BY received_time DESC, message_key DESC LIMIT ").push_bind(i64::from(limit));
        query.build().fetch_all(self.reader()).await?.iter().map(read).collect()
    }

    /// Of `items`, those that this run has to process: unknown ones, and those to retry that this run has
    /// not tried yet. In their order, each once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unprocessed(&self, claim: &Claim, items: Vec<Item>) -> Result<Vec<Item>> {
        let spec = &claim.mailbox.spec;
        let key =
            |item: &Item| message_key(&spec.namespace, &spec.mailbox_id, claim.source_generation, &item.id);
        let mut known: HashSet<String> = HashSet::new();
        for chunk in items.chunks(CHUNK) {
            let mut query = QueryBuilder::new("SELECT message_key FROM messages WHERE namespace = ");
            query.push_bind(spec.namespace.clone());
            query.push(" AND (retry = 0 OR run_id = ").push_bind(claim.holder.run_id.clone());
            query.push(")").push_in("message_key", chunk.iter().map(key));
            for row in query.build().fetch_all(self.reader()).await? {
                known.insert(row.try_get(0)?);
            }
        }
        Ok(items.into_iter().filter(|item| known.insert(key(item))).collect())
    }

    /// Messages to try again that this run has not tried yet, by key, after `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn retries(
        &self,
        claim: &Claim,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Item)>> {
        let rows = sqlx::query(
            "SELECT message_key, source_id, locator, received_time FROM messages WHERE namespace = $1 \
             AND mailbox_id = $2 AND source_generation = $3 AND retry = 1 AND run_id <> $4 \
             AND message_key > $5 ORDER BY message_key LIMIT $6",
        )
        .bind(&claim.mailbox.spec.namespace)
        .bind(&claim.mailbox.spec.mailbox_id)
        .bind(claim.source_generation)
        .bind(&claim.holder.run_id)
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let item = |row: &AnyRow| -> Result<(String, Item)> {
            let item = Item {
                id: row.try_get("source_id")?,
                locator: row.try_get("locator")?,
                time: Some(row.try_get("received_time")?),
                size: None,
            };
            Ok((row.try_get("message_key")?, item))
        };
        rows.iter().map(item).collect()
    }
}

fn read(row: &AnyRow) -> Result<Message> {
    Ok(Message {
        mailbox_id: row.try_get("mailbox_id")?,
        message_key: row.try_get("message_key")?,
        source_id: row.try_get("source_id")?,
        received_time: row.try_get("received_time")?,
        message_id: row.try_get("message_id")?,
        from: row.try_get("sender")?,
        subject: row.try_get("subject")?,
        state: named(row.try_get("state")?)?,
        reason: row.try_get("reason")?,
        document_ids: serde_json::from_str(row.try_get("document_ids")?)?,
        attempts: row.try_get("attempts")?,
        retry: row.try_get::<i64, _>("retry")? != 0,
        run_id: row.try_get("run_id")?,
    })
}
