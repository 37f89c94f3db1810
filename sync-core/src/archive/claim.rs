//! Who may write for a mailbox (protocols.md, D1).
//!
//! SQL owns the order: each attempt raises the mailbox's `claim` by one, and every later write names the
//! claim it was made under. Whoever holds an older claim writes nothing any more, however long it was
//! asleep. Besides, the cursor version must be the one that the claim last saw, and the mailbox connected.
//! So a repeated or late commit changes nothing.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::record::name_of;
use super::{Catalog, Mailbox, MailboxState};

/// Which attempt of which run asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub run_id: String,
    pub attempt: u32,
}

/// The right to write for a mailbox, until someone else claims it.
#[derive(Clone, Debug)]
pub struct Claim {
    pub mailbox: Mailbox,
    pub cursor: Option<String>,
    pub(super) holder: Holder,
    pub(super) source_generation: i64,
    pub(super) claim: i64,
    pub(super) cursor_version: i64,
}

impl Claim {
    pub fn run_id(&self) -> &str {
        &self.holder.run_id
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("a newer attempt has taken the mailbox over")]
    Superseded,
    #[error("the mailbox is disconnected")]
    Disconnected,
    #[error("the mailbox waits for the user to reconnect it")]
    Reauthorize,
    #[error("{0}")]
    Archive(#[from] super::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Archive(error.into())
    }
}

impl Catalog {
    /// Takes the mailbox over for an attempt. A lower attempt of the run that holds it is refused; the same
    /// attempt may claim again (its worker may have restarted).
    ///
    /// # Errors
    /// See [`Refused`]; `NotFound` if there is no such mailbox.
    pub async fn claim(&self, namespace: &str, mailbox_id: &str, holder: &Holder) -> Result<Claim, Refused> {
        let mut tx = self.begin().await?;
        let mailbox = super::mailboxes::find(&mut tx, namespace, mailbox_id).await?;
        let mailbox = mailbox.ok_or(super::Error::NotFound("mailbox"))?;
        match mailbox.state {
            MailboxState::Connected => {}
            MailboxState::Disconnected => return Err(Refused::Disconnected),
            MailboxState::Reauthorize => return Err(Refused::Reauthorize),
        }
        let row = sqlx::query(
            "UPDATE mailboxes SET claim = claim + 1, holder_run = $3, holder_attempt = $4 \
             WHERE namespace = $1 AND mailbox_id = $2 \
               AND (holder_run IS NULL OR holder_run <> $3 OR holder_attempt <= $4) \
             RETURNING claim, cursor_version, source_cursor, source_generation",
        )
        .bind(namespace)
        .bind(mailbox_id)
        .bind(&holder.run_id)
        .bind(i64::from(holder.attempt))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Err(Refused::Superseded) };
        let claim = Claim {
            mailbox,
            holder: holder.clone(),
            claim: row.try_get(0)?,
            cursor_version: row.try_get(1)?,
            cursor: row.try_get(2)?,
            source_generation: row.try_get(3)?,
        };
        tx.commit().await?;
        Ok(claim)
    }

    /// Ends a run that went through: notes the time of the sync.
    ///
    /// # Errors
    /// [`Refused`], if the claim is lost.
    pub async fn finish(&self, claim: &Claim, now: i64) -> Result<(), Refused> {
        let mut tx = self.begin().await?;
        check(&mut tx, claim).await?;
        sqlx::query("UPDATE mailboxes SET last_sync_time = $3 WHERE namespace = $1 AND mailbox_id = $2")
            .bind(&claim.mailbox.spec.namespace)
            .bind(&claim.mailbox.spec.mailbox_id)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Records that the user must reconnect the mailbox.
    ///
    /// # Errors
    /// [`Refused`], if the claim is lost.
    pub async fn needs_reauthorization(&self, claim: &Claim, reason: &str, now: i64) -> Result<(), Refused> {
        let mut tx = self.begin().await?;
        check(&mut tx, claim).await?;
        sqlx::query(
            "UPDATE mailboxes SET state = $3, state_reason = $4, version = version + 1, update_time = $5 \
             WHERE namespace = $1 AND mailbox_id = $2",
        )
        .bind(&claim.mailbox.spec.namespace)
        .bind(&claim.mailbox.spec.mailbox_id)
        .bind(name_of(&MailboxState::Reauthorize))
        .bind(reason)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Whether `claim` still holds the mailbox, wherever its cursor is by now.
pub(super) async fn check_held(tx: &mut Transaction<'_, Sqlite>, claim: &Claim) -> Result<(), Refused> {
    let row = sqlx::query(
        "SELECT state FROM mailboxes WHERE namespace = $1 AND mailbox_id = $2 AND claim = $3 \
         AND source_generation = $4",
    )
    .bind(&claim.mailbox.spec.namespace)
    .bind(&claim.mailbox.spec.mailbox_id)
    .bind(claim.claim)
    .bind(claim.source_generation)
    .fetch_optional(&mut **tx)
    .await?;
    connected(row.as_ref())
}

fn connected(row: Option<&SqliteRow>) -> Result<(), Refused> {
    let state: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
    match state {
        Some(state) if state == name_of(&MailboxState::Connected) => Ok(()),
        _ => Err(Refused::Superseded),
    }
}

/// Whether `claim` may still write, within the transaction that is going to.
pub(super) async fn check(tx: &mut Transaction<'_, Sqlite>, claim: &Claim) -> Result<(), Refused> {
    let row = sqlx::query(
        "SELECT state FROM mailboxes WHERE namespace = $1 AND mailbox_id = $2 AND claim = $3 \
         AND cursor_version = $4 AND source_generation = $5",
    )
    .bind(&claim.mailbox.spec.namespace)
    .bind(&claim.mailbox.spec.mailbox_id)
    .bind(claim.claim)
    .bind(claim.cursor_version)
    .bind(claim.source_generation)
    .fetch_optional(&mut **tx)
    .await?;
    connected(row.as_ref())
}
