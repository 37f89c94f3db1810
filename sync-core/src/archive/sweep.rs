//! Takes blobs that no row has named for a day.
//!
//! An attempt that dies between put and commit leaves blobs behind, and deleting a document leaves its own.
//! A blob is safe to take when it is older than [`GRACE_MS`], no document names it and no tombstone younger
//! than that does: a key is put once and committed within its attempt, which lasts a day at the most.

use std::collections::HashSet;

use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use sqlx::Row;

use super::query::QueryBuilder;
use super::{Archive, Catalog, Result, blobs};

pub const GRACE_MS: i64 = 24 * 3600 * 1000;
const CHUNK: usize = 500;

impl Archive {
    /// Returns how many blobs were taken.
    ///
    /// # Errors
    /// Those of the store and the database; what was not taken is taken by the next sweep.
    pub async fn sweep(&self, now: i64) -> Result<u64> {
        let prefix = Key::from(blobs::DOCUMENTS);
        let mut listing = self.blobs.store.list(Some(&prefix));
        let (mut old, mut taken) = (Vec::new(), 0);
        while let Some(found) = listing.try_next().await? {
            if found.last_modified.timestamp_millis() <= now - GRACE_MS {
                old.push(found.location.to_string());
            }
            if old.len() == CHUNK {
                taken += self.take(std::mem::take(&mut old), now).await?;
            }
        }
        Ok(taken + self.take(old, now).await?)
    }

    async fn take(&self, keys: Vec<String>, now: i64) -> Result<u64> {
        let named = self.catalog.named_blobs(&keys, now - GRACE_MS).await?;
        let mut taken = 0;
        for key in keys.iter().filter(|key| !named.contains(*key)) {
            match self.blobs.store.delete(&Key::from(key.as_str())).await {
                Ok(()) => taken += 1,
                // Another sweeper was faster.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }
}

impl Catalog {
    async fn named_blobs(&self, keys: &[String], deleted_after: i64) -> Result<HashSet<String>> {
        let mut named = HashSet::new();
        if keys.is_empty() {
            return Ok(named);
        }
        for (table, since) in
            [("documents WHERE create_time >", i64::MIN), ("tombstones WHERE delete_time >", deleted_after)]
        {
            let mut query = QueryBuilder::new(format!("SELECT blob_key FROM {table} "));
            query.push_bind(since).push_in("blob_key", keys.iter().cloned());
            for row in query.build().fetch_all(self.reader()).await? {
                named.insert(row.try_get(0)?);
            }
        }
        Ok(named)
    }
}
