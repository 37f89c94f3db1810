//! Processing again, and forgetting an owner.

use sqlx::Row;

use super::query::QueryBuilder;
use super::record::name_of;
use super::{Catalog, Error, MessageState, Result};

/// Which messages of a mailbox.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub state: Option<MessageState>,
    /// Only these, if any are named.
    pub message_keys: Vec<String>,
}

impl Catalog {
    /// Marks messages to be read again by the next run: with newer rules, or after a failure. Documents that
    /// are found again keep their ids. Returns how many were marked.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn reprocess_messages(
        &self,
        namespace: &str,
        mailbox_id: &str,
        selection: &Selection,
    ) -> Result<u64> {
        let mut query =
            QueryBuilder::new("UPDATE messages SET retry = 1, attempts = 0, run_id = '' WHERE namespace = ");
        query.push_bind(namespace.to_owned());
        query.push(" AND mailbox_id = ").push_bind(mailbox_id.to_owned());
        if let Some(state) = &selection.state {
            query.push(" AND state = ").push_bind(name_of(state));
        }
        if !selection.message_keys.is_empty() {
            query.push_in("message_key", selection.message_keys.iter().cloned());
        }
        // The mailbox's row first: a sync takes its messages in an order of its own.
        let mut tx = match self.begin_of(namespace, mailbox_id).await {
            Ok((tx, _)) => tx,
            Err(Error::NotFound(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        let marked = query.build().execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(marked)
    }

    /// Removes all of an owner's mailboxes, messages and documents; running attempts are superseded. What
    /// remains are tombstones, which hold hashes only, until the sweeper has taken the blobs. One
    /// transaction per mailbox: erasing again after a crash goes on. Returns how many mailboxes went.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn erase_owner(&self, namespace: &str, owner: &str, now: i64) -> Result<u64> {
        let mut erased = 0;
        loop {
            let mut tx = self.begin_for(namespace, owner).await?;
            let row = sqlx::query(
                "SELECT mailbox_id FROM mailboxes WHERE namespace = $1 AND owner = $2 \
                 ORDER BY mailbox_id LIMIT 1",
            )
            .bind(namespace)
            .bind(owner)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(erased) };
            let mailbox_id: String = row.try_get(0)?;
            super::mailboxes::forget(&mut tx, namespace, &mailbox_id, now).await?;
            sqlx::query("DELETE FROM mailboxes WHERE namespace = $1 AND mailbox_id = $2")
                .bind(namespace)
                .bind(&mailbox_id)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            erased += 1;
        }
    }
}
