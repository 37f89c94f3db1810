//! Processing again, and forgetting an owner.

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use sqlx::Row;

use super::query::QueryBuilder;
use super::record::{push_any, push_span};
use super::{Archive, Catalog, Error, MessageState, Result, blobs};

/// Which messages of a mailbox; a message matches when it meets all that is set.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Any of these; empty = all.
    pub states: Vec<MessageState>,
    /// Only these, if any are named.
    pub source_ids: Vec<String>,
    /// Unix milliseconds, from (inclusive) and to (exclusive).
    pub received_from: Option<i64>,
    pub received_to: Option<i64>,
    /// Only those read by older rules than these.
    pub extractor_below: Option<u32>,
}

/// What went with an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    pub mailboxes: u64,
    pub documents: u64,
    pub blobs: u64,
}

impl Catalog {
    /// Marks messages to be read again by the next run: with newer rules, or after a failure. Documents that
    /// are found again keep their ids. Messages of a source that the mailbox had before stay as they are, since
    /// nobody could fetch them. Returns how many were marked.
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
        query.push(" AND source_generation = (SELECT source_generation FROM mailboxes WHERE namespace = ");
        query.push_bind(namespace.to_owned());
        query.push(" AND mailbox_id = ").push_bind(mailbox_id.to_owned()).push(")");
        push_any(&mut query, "state", &selection.states);
        push_span(&mut query, "received_time", selection.received_from, selection.received_to);
        if let Some(below) = selection.extractor_below {
            query.push(" AND extractor_version < ").push_bind(i64::from(below));
        }
        if !selection.source_ids.is_empty() {
            query.push_in("source_id", selection.source_ids.iter().cloned());
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

    /// Removes all of an owner's mailboxes with credentials, messages and documents; running attempts are
    /// superseded. Returns how many mailboxes went. [`Archive::erase_owner`] takes the rest.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn erase_owner(&self, namespace: &str, owner: &str, now: i64) -> Result<u64> {
        Ok(self.erase_rows(namespace, owner, now).await?.mailboxes)
    }

    /// One transaction per mailbox: erasing again after a crash goes on.
    async fn erase_rows(&self, namespace: &str, owner: &str, now: i64) -> Result<Erased> {
        let mut erased = Erased::default();
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
            erased.documents += super::mailboxes::forget(&mut tx, namespace, &mailbox_id, now).await?.deleted;
            sqlx::query("DELETE FROM mailboxes WHERE namespace = $1 AND mailbox_id = $2")
                .bind(namespace)
                .bind(&mailbox_id)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            erased.mailboxes += 1;
        }
    }

    async fn erase_tombstones(&self, namespace: &str, home: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM tombstones WHERE namespace = $1 AND blob_key LIKE $2")
            .bind(namespace)
            .bind(format!("{home}/%"))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

impl Archive {
    /// Removes everything of an owner: rows, credentials, blobs, tombstones. It may be called again after a
    /// failure, and then goes on. An attempt that is under way commits nothing any more; a blob that it puts
    /// afterwards is swept like any that no row names.
    ///
    /// # Errors
    /// Those of the database and the blob store.
    pub async fn erase_owner(&self, namespace: &str, owner: &str, now: i64) -> Result<Erased> {
        let mut erased = self.catalog.erase_rows(namespace, owner, now).await?;
        let home = blobs::home(namespace, owner);
        let prefix = Key::from(home.as_str());
        let mut listing = self.blobs.store.list(Some(&prefix));
        while let Some(found) = listing.try_next().await? {
            match self.blobs.store.delete(&found.location).await {
                Ok(()) => erased.blobs += 1,
                // The sweeper was faster.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.catalog.erase_tombstones(namespace, &home).await?;
        self.catalog.scrub().await?;
        Ok(erased)
    }
}
