//! Connected mailboxes.
//!
//! Connecting is an upsert by id. What it does to a running sync and to the cursor depends on what changed:
//!
//! | change | cursor | running attempt |
//! |---|---|---|
//! | address, labels | kept | goes on |
//! | new credential, state back to CONNECTED | kept | goes on |
//! | how the same account is reached (port, TLS, OAuth client) | kept | goes on |
//! | folders, since | begins again; known messages are skipped by id | superseded |
//! | source or account | begins again under a new source generation: ids of the old source mean nothing | superseded |
//!
//! The owner never changes: documents belong to it. A credential is for the source that it came with: when the source
//! changes and none comes, the old one is forgotten, so that it is never shown to another server.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::database::{for_update, retrying};
use super::query::QueryBuilder;
use super::record::{name_of, named};
use super::{Catalog, Error, Mailbox, MailboxSpec, MailboxState, Result, Settings, credentials, duplicates};
use crate::credential::vault::{Place, Sealed};

const COLUMNS: &str = "namespace, mailbox_id, owner, address, source, since, folders, labels, state, \
    state_reason, version, last_sync_time, messages, documents, duplicates, create_time, update_time";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Created,
    Updated,
    Unchanged,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnected {
    pub mailbox: Mailbox,
    pub documents_deleted: u64,
    /// Those that another mailbox had received, too: they are that one's now.
    pub documents_moved: u64,
}

/// What became of the documents of a mailbox that is forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forgotten {
    pub deleted: u64,
    pub moved: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailboxFilter {
    pub namespace: String,
    pub owner: Option<String>,
    pub state: Option<MailboxState>,
}

impl Catalog {
    /// Creates or replaces a mailbox and sets it to CONNECTED.
    ///
    /// # Errors
    /// [`Error::OwnerMismatch`]; [`Error::VersionMismatch`] if `expected` is not the current version.
    pub async fn connect_mailbox(
        &self,
        spec: &MailboxSpec,
        expected: Option<i64>,
        now: i64,
    ) -> Result<(Mailbox, Change)> {
        self.connect_mailbox_with(spec, None, expected, now).await
    }

    /// As [`Self::connect_mailbox`], with a new credential.
    ///
    /// # Errors
    /// As there.
    pub async fn connect_mailbox_with(
        &self,
        spec: &MailboxSpec,
        credential: Option<&Sealed>,
        expected: Option<i64>,
        now: i64,
    ) -> Result<(Mailbox, Change)> {
        retrying(|| self.connect_once(spec, credential, expected, now)).await
    }

    async fn connect_once(
        &self,
        spec: &MailboxSpec,
        credential: Option<&Sealed>,
        expected: Option<i64>,
        now: i64,
    ) -> Result<(Mailbox, Change)> {
        let place = Place { namespace: &spec.namespace, mailbox_id: &spec.mailbox_id };
        let mut tx = self.begin_for(&spec.namespace, &spec.owner).await?;
        let change = match find(&mut tx, &spec.namespace, &spec.mailbox_id).await? {
            None if expected.is_some() => return Err(Error::VersionMismatch),
            None => {
                insert(&mut tx, spec, now).await?;
                Change::Created
            }
            Some(old) if old.spec.owner != spec.owner => return Err(Error::OwnerMismatch),
            Some(old) if expected.is_some_and(|expected| expected != old.version) => {
                return Err(Error::VersionMismatch);
            }
            Some(old)
                if old.spec == *spec && old.state == MailboxState::Connected && credential.is_none() =>
            {
                Change::Unchanged
            }
            Some(old) => {
                if old.spec.source != spec.source {
                    credentials::forget(&mut tx, place).await?;
                }
                update(&mut tx, &old, spec, now).await?;
                Change::Updated
            }
        };
        if let Some(sealed) = credential {
            credentials::put(&mut tx, place, sealed, now).await?;
        }
        let mailbox = find(&mut tx, &spec.namespace, &spec.mailbox_id).await?;
        tx.commit().await?;
        Ok((mailbox.ok_or(Error::NotFound("mailbox"))?, change))
    }

    /// Changes settings and leaves source, credential and state alone. A mailbox that is as asked stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::VersionMismatch`] if `expected` is not the current version.
    pub async fn update_mailbox(
        &self,
        namespace: &str,
        mailbox_id: &str,
        settings: &Settings,
        expected: Option<i64>,
        now: i64,
    ) -> Result<(Mailbox, Change)> {
        let (mut tx, old) = self.begin_of(namespace, mailbox_id).await?;
        if expected.is_some_and(|expected| expected != old.version) {
            return Err(Error::VersionMismatch);
        }
        let settings = settings.clone();
        let spec = MailboxSpec {
            address: settings.address,
            since: settings.since,
            folders: settings.folders,
            labels: settings.labels,
            ..old.spec.clone()
        };
        if spec == old.spec {
            return Ok((old, Change::Unchanged));
        }
        update_as(&mut tx, &old, &spec, (old.state, &old.state_reason), now).await?;
        let mailbox = find(&mut tx, namespace, mailbox_id).await?.ok_or(Error::NotFound("mailbox"))?;
        tx.commit().await?;
        Ok((mailbox, Change::Updated))
    }

    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_mailbox(&self, namespace: &str, mailbox_id: &str) -> Result<Mailbox> {
        let mut query = select();
        query.push(" WHERE namespace = ").push_bind(namespace.to_owned());
        query.push(" AND mailbox_id = ").push_bind(mailbox_id.to_owned());
        let row = query.build().fetch_optional(self.reader()).await?;
        read(&row.ok_or(Error::NotFound("mailbox"))?)
    }

    /// By id, after `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_mailboxes(
        &self,
        filter: &MailboxFilter,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Mailbox>> {
        let mut query = select();
        query.push(" WHERE namespace = ").push_bind(filter.namespace.clone());
        if let Some(owner) = &filter.owner {
            query.push(" AND owner = ").push_bind(owner.clone());
        }
        if let Some(state) = &filter.state {
            query.push(" AND state = ").push_bind(name_of(state));
        }
        if let Some(after) = after {
            query.push(" AND mailbox_id > ").push_bind(after.to_owned());
        }
        query.push(" ORDER BY mailbox_id LIMIT ").push_bind(i64::from(limit));
        query.build().fetch_all(self.reader()).await?.iter().map(read).collect()
    }

    /// Those of a namespace, disconnected ones included.
    ///
    /// # Errors
    /// Database errors.
    pub async fn count_mailboxes(&self, namespace: &str) -> Result<u64> {
        let mut query = QueryBuilder::new("SELECT COUNT(*) FROM mailboxes WHERE namespace = ");
        query.push_bind(namespace.to_owned());
        let row = query.build().fetch_one(self.reader()).await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }

    /// Ends syncing and forgets the credential; a running attempt is superseded. With `delete_documents`, documents
    /// leave tombstones and messages are forgotten, so that connecting again files everything anew; documents that
    /// another mailbox of the owner has received, too, stay and become that one's.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::VersionMismatch`].
    pub async fn disconnect_mailbox(
        &self,
        namespace: &str,
        mailbox_id: &str,
        expected: Option<i64>,
        delete_documents: bool,
        now: i64,
    ) -> Result<Disconnected> {
        let (mut tx, old) = self.begin_of(namespace, mailbox_id).await?;
        if expected.is_some_and(|expected| expected != old.version) {
            return Err(Error::VersionMismatch);
        }
        sqlx::query(
            "UPDATE mailboxes SET state = $3, state_reason = '', version = version + 1, claim = claim + 1, \
             update_time = $4 WHERE namespace = $1 AND mailbox_id = $2",
        )
        .bind(namespace)
        .bind(mailbox_id)
        .bind(name_of(&MailboxState::Disconnected))
        .bind(now)
        .execute(&mut *tx)
        .await?;
        credentials::forget(&mut tx, Place { namespace, mailbox_id }).await?;
        let forgotten = if delete_documents {
            forget(&mut tx, namespace, mailbox_id, now).await?
        } else {
            Forgotten::default()
        };
        let mailbox = find(&mut tx, namespace, mailbox_id).await?.ok_or(Error::NotFound("mailbox"))?;
        tx.commit().await?;
        Ok(Disconnected { mailbox, documents_deleted: forgotten.deleted, documents_moved: forgotten.moved })
    }
}

/// Removes all that a mailbox filed, but for what others have received, too.
pub(super) async fn forget(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    mailbox_id: &str,
    now: i64,
) -> Result<Forgotten> {
    let moved = duplicates::move_received_elsewhere(tx, namespace, mailbox_id).await?;
    let deleted = super::documents::delete_of_mailbox(tx, namespace, mailbox_id, now).await?;
    for statement in [
        "DELETE FROM dropped_duplicates WHERE namespace = $1 AND message_key IN \
         (SELECT message_key FROM messages WHERE namespace = $1 AND mailbox_id = $2)",
        "DELETE FROM messages WHERE namespace = $1 AND mailbox_id = $2",
        "UPDATE mailboxes SET source_cursor = NULL, cursor_version = cursor_version + 1, messages = 0, \
         documents = 0, duplicates = 0 WHERE namespace = $1 AND mailbox_id = $2",
    ] {
        sqlx::query(statement).bind(namespace).bind(mailbox_id).execute(&mut **tx).await?;
    }
    Ok(Forgotten { deleted, moved })
}

async fn insert(tx: &mut Transaction<'_, Any>, spec: &MailboxSpec, now: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO mailboxes (namespace, mailbox_id, owner, address, source, since, folders, labels, \
         state, state_reason, version, source_generation, claim, cursor_version, messages, documents, \
         duplicates, create_time, update_time) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', 1, 1, 0, 0, 0, 0, 0, $10, $10)",
    )
    .bind(&spec.namespace)
    .bind(&spec.mailbox_id)
    .bind(&spec.owner)
    .bind(&spec.address)
    .bind(serde_json::to_string(&spec.source)?)
    .bind(spec.since)
    .bind(serde_json::to_string(&spec.folders)?)
    .bind(serde_json::to_string(&spec.labels)?)
    .bind(name_of(&MailboxState::Connected))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn update(tx: &mut Transaction<'_, Any>, old: &Mailbox, spec: &MailboxSpec, now: i64) -> Result<()> {
    update_as(tx, old, spec, (MailboxState::Connected, ""), now).await
}

async fn update_as(
    tx: &mut Transaction<'_, Any>,
    old: &Mailbox,
    spec: &MailboxSpec,
    (state, reason): (MailboxState, &str),
    now: i64,
) -> Result<()> {
    let other_source = !old.spec.source.is_same_account(&spec.source);
    let begins_again = other_source || old.spec.folders != spec.folders || old.spec.since != spec.since;
    sqlx::query(
        "UPDATE mailboxes SET address = $3, source = $4, since = $5, folders = $6, labels = $7, state = $8, \
         state_reason = $12, version = version + 1, source_generation = source_generation + $9, \
         claim = claim + $10, cursor_version = cursor_version + $10, \
         source_cursor = CASE WHEN $10 = 1 THEN NULL ELSE source_cursor END, update_time = $11 \
         WHERE namespace = $1 AND mailbox_id = $2",
    )
    .bind(&spec.namespace)
    .bind(&spec.mailbox_id)
    .bind(&spec.address)
    .bind(serde_json::to_string(&spec.source)?)
    .bind(spec.since)
    .bind(serde_json::to_string(&spec.folders)?)
    .bind(serde_json::to_string(&spec.labels)?)
    .bind(name_of(&state))
    .bind(i64::from(other_source))
    .bind(i64::from(begins_again))
    .bind(now)
    .bind(reason)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn select() -> QueryBuilder {
    QueryBuilder::new(format!("SELECT {COLUMNS} FROM mailboxes"))
}

/// Locks the row.
pub(super) async fn find(
    tx: &mut Transaction<'_, Any>,
    namespace: &str,
    mailbox_id: &str,
) -> Result<Option<Mailbox>> {
    let mut query = select();
    query.push(" WHERE namespace = ").push_bind(namespace.to_owned());
    query.push(" AND mailbox_id = ").push_bind(mailbox_id.to_owned()).push(for_update(tx));
    let row = query.build().fetch_optional(&mut **tx).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<Mailbox> {
    let spec = MailboxSpec {
        namespace: row.try_get("namespace")?,
        mailbox_id: row.try_get("mailbox_id")?,
        owner: row.try_get("owner")?,
        address: row.try_get("address")?,
        source: serde_json::from_str(row.try_get("source")?)?,
        since: row.try_get("since")?,
        folders: serde_json::from_str(row.try_get("folders")?)?,
        labels: serde_json::from_str(row.try_get("labels")?)?,
    };
    Ok(Mailbox {
        spec,
        state: named(row.try_get("state")?)?,
        state_reason: row.try_get("state_reason")?,
        version: row.try_get("version")?,
        last_sync_time: row.try_get("last_sync_time")?,
        messages: row.try_get("messages")?,
        documents: row.try_get("documents")?,
        duplicates: row.try_get("duplicates")?,
        create_time: row.try_get("create_time")?,
        update_time: row.try_get("update_time")?,
    })
}
