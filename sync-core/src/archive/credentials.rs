//! Sealed credentials, one per mailbox at the most. Nothing here can open them.
//!
//! A refresh token is traded for an access token by one process at a time: some providers answer with a new refresh
//! token and forget the old one. The trade is a call over the network, so it holds no lock of the database but a mark
//! in the row. Who trades saves the new token whatever became of its claim meanwhile, since it holds the only one that
//! still works; who wants to begin has to hold the claim. A user who connects anew takes the mark away.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::claim::{Claim, Refused, check_held};
use super::{Catalog, Error, Result};
use crate::credential::keyring::Version;
use crate::credential::vault::{Place, Sealed};

/// What became of the wish to trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    Begun(Sealed),
    /// Somebody else trades.
    Busy,
    /// There is no credential.
    Missing,
}

/// A mailbox's credential in a page of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub namespace: String,
    pub mailbox_id: String,
    pub sealed: Sealed,
}

impl Stored {
    pub fn place(&self) -> Place<'_> {
        Place { namespace: &self.namespace, mailbox_id: &self.mailbox_id }
    }
}

impl Catalog {
    /// # Errors
    /// Those of the database.
    pub async fn credential(&self, place: Place<'_>) -> Result<Option<Sealed>> {
        let row = sqlx::query(
            "SELECT key_version, wrapped_key, content FROM credentials WHERE namespace = $1 AND mailbox_id = $2",
        )
        .bind(place.namespace)
        .bind(place.mailbox_id)
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Marks the credential as being traded by `ticket` until `until`, Unix milliseconds. A run names its claim.
    ///
    /// # Errors
    /// [`Refused`], if the claim is lost.
    pub async fn begin_exchange(
        &self,
        place: Place<'_>,
        claim: Option<&Claim>,
        ticket: &str,
        (now, until): (i64, i64),
    ) -> std::result::Result<Exchange, Refused> {
        let mut tx = self.begin().await?;
        if let Some(claim) = claim {
            check_held(&mut tx, claim).await?;
        }
        // One statement, so that of two who ask at once one gets it.
        let row = sqlx::query(
            "UPDATE credentials SET exchange = $3, exchange_until = $4 WHERE namespace = $1 AND mailbox_id = $2 \
             AND (exchange IS NULL OR exchange = $3 OR exchange_until <= $5) \
             RETURNING key_version, wrapped_key, content",
        )
        .bind(place.namespace)
        .bind(place.mailbox_id)
        .bind(ticket)
        .bind(until)
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            drop(tx);
            let is_there = self.credential(place).await?.is_some();
            return Ok(if is_there { Exchange::Busy } else { Exchange::Missing });
        };
        let sealed = read(&row)?;
        tx.commit().await?;
        Ok(Exchange::Begun(sealed))
    }

    /// Ends what `ticket` began, with a new credential if there is one. False if the mark is gone: the mailbox was
    /// connected anew or disconnected meanwhile, and nothing has changed.
    ///
    /// # Errors
    /// Those of the database; it may be called again then.
    pub async fn end_exchange(
        &self,
        place: Place<'_>,
        ticket: &str,
        rotated: Option<&Sealed>,
        now: i64,
    ) -> Result<bool> {
        let mut tx = self.begin().await?;
        let ended = sqlx::query(
            "UPDATE credentials SET exchange = NULL, exchange_until = NULL \
             WHERE namespace = $1 AND mailbox_id = $2 AND exchange = $3",
        )
        .bind(place.namespace)
        .bind(place.mailbox_id)
        .bind(ticket)
        .execute(&mut *tx)
        .await?;
        let is_mine = ended.rows_affected() == 1;
        if let Some(sealed) = rotated.filter(|_| is_mine) {
            put(&mut tx, place, sealed, now).await?;
        }
        tx.commit().await?;
        Ok(is_mine)
    }

    /// Credentials whose data key is wrapped by another version than `active`, by namespace and mailbox, after `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn wrapped_otherwise(
        &self,
        active: Version,
        after: Option<Place<'_>>,
        limit: u32,
    ) -> Result<Vec<Stored>> {
        let after = after.unwrap_or(Place { namespace: "", mailbox_id: "" });
        let rows = sqlx::query(
            "SELECT namespace, mailbox_id, key_version, wrapped_key, content FROM credentials \
             WHERE key_version <> $1 AND (namespace, mailbox_id) > ($2, $3) \
             ORDER BY namespace, mailbox_id LIMIT $4",
        )
        .bind(i64::from(active))
        .bind(after.namespace)
        .bind(after.mailbox_id)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let stored = |row: &AnyRow| -> Result<Stored> {
            let (namespace, mailbox_id) = (row.try_get("namespace")?, row.try_get("mailbox_id")?);
            Ok(Stored { namespace, mailbox_id, sealed: read(row)? })
        };
        rows.iter().map(stored).collect()
    }

    /// Replaces how a data key is wrapped, unless it has changed since it was read as `before`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn rewrap(&self, place: Place<'_>, before: &Sealed, after: &Sealed) -> Result<bool> {
        let mut tx = self.begin().await?;
        let changed = sqlx::query(
            "UPDATE credentials SET key_version = $4, wrapped_key = $5 \
             WHERE namespace = $1 AND mailbox_id = $2 AND wrapped_key = $3",
        )
        .bind(place.namespace)
        .bind(place.mailbox_id)
        .bind(crate::text::hex(&before.wrapped_key))
        .bind(i64::from(after.key_version))
        .bind(crate::text::hex(&after.wrapped_key))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(changed.rows_affected() == 1)
    }

    /// How many credentials each version of the key file wraps.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn key_versions(&self) -> Result<Vec<(Version, u64)>> {
        let rows = sqlx::query(
            "SELECT key_version, COUNT(*) FROM credentials GROUP BY key_version ORDER BY key_version",
        )
        .fetch_all(self.reader())
        .await?;
        let count = |row: &AnyRow| -> Result<(Version, u64)> {
            Ok((version(row.try_get(0)?)?, u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0)))
        };
        rows.iter().map(count).collect()
    }
}

/// Replaces the mailbox's credential; a trade that is under way saves nothing any more.
pub(super) async fn put(
    tx: &mut Transaction<'_, Any>,
    place: Place<'_>,
    sealed: &Sealed,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO credentials (namespace, mailbox_id, key_version, wrapped_key, content, update_time) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (namespace, mailbox_id) DO UPDATE SET \
         key_version = excluded.key_version, wrapped_key = excluded.wrapped_key, content = excluded.content, \
         update_time = excluded.update_time, exchange = NULL, exchange_until = NULL",
    )
    .bind(place.namespace)
    .bind(place.mailbox_id)
    .bind(i64::from(sealed.key_version))
    .bind(crate::text::hex(&sealed.wrapped_key))
    .bind(crate::text::hex(&sealed.content))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn forget(tx: &mut Transaction<'_, Any>, place: Place<'_>) -> Result<()> {
    sqlx::query("DELETE FROM credentials WHERE namespace = $1 AND mailbox_id = $2")
        .bind(place.namespace)
        .bind(place.mailbox_id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Sealed> {
    Ok(Sealed {
        key_version: version(row.try_get("key_version")?)?,
        wrapped_key: bytes(row.try_get("wrapped_key")?)?,
        content: bytes(row.try_get("content")?)?,
    })
}

fn version(number: i64) -> Result<Version> {
    Version::try_from(number).map_err(|_| damaged())
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    crate::text::unhex(hex).ok_or_else(damaged)
}

fn damaged() -> Error {
    Error::Damaged("a credential is not hex".into())
}
