//! The catalog's connections.
//!
//! Two databases, one set of queries: SQLite in a file of this machine, PostgreSQL for several workers. All SQL is in
//! this folder, in the subset that both share (`$1` parameters, `ON CONFLICT`, `RETURNING`); what is peculiar to one
//! is in [`sqlite`] and [`postgres`], and the suite in `tests/catalog` runs on both.
//!
//! Writers never meet half-way:
//! - On SQLite one connection writes, others read: SQLite has one writer at a time anyway, and waiting for a pool's
//!   connection is fair where SQLite's own waiting is not.
//! - On PostgreSQL whoever files or removes documents first takes the lock of their owner ([`Catalog::begin_for`]),
//!   then the row of the mailbox. Nothing that belongs to one owner is ever shared with another, so within that lock
//!   the statements see what they would see alone, and as all take the two locks in that order, none deadlocks.
//!   Who needs the mailbox's row only ([`Catalog::claim`]) takes nothing after it.

pub mod postgres;
mod schema;
mod sqlite;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Row, Transaction};

use super::{Error, Mailbox, Result};

const ACQUIRE: Duration = Duration::from_secs(30);
/// Times that a transaction begins again because another one was in its way.
const CONFLICTS_MAX: u32 = 5;

#[derive(Clone, Debug)]
pub struct Catalog {
    write: AnyPool,
    read: AnyPool,
    /// The word that begins a transaction which writes.
    begin: &'static str,
    archive_id: String,
}

impl Catalog {
    /// Opens the catalog in `file`, creating it and bringing its schema up to date.
    ///
    /// # Errors
    /// [`Error::Unusable`] if a newer version left a schema that this one must not touch.
    pub async fn open_sqlite(file: &Path, now: i64) -> Result<Self> {
        let (write, read) = sqlite::pools(file)?;
        Self::open(write, read, "BEGIN IMMEDIATE", now).await
    }

    /// Opens the catalog in a database of PostgreSQL, which must exist, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Unusable`] as for SQLite, and if `url` is none.
    pub async fn open_postgres(url: &str, settings: &postgres::Settings, now: i64) -> Result<Self> {
        let pool = postgres::pool(url, settings)?;
        postgres::reach(url, settings).await?;
        Self::open(pool.clone(), pool, "BEGIN", now).await
    }

    async fn open(write: AnyPool, read: AnyPool, begin: &'static str, now: i64) -> Result<Self> {
        let archive_id = schema::migrate(&write, now).await?;
        Ok(Self { write, read, begin, archive_id })
    }

    /// Random, made with the archive; two archives never share one.
    pub fn archive_id(&self) -> &str {
        &self.archive_id
    }

    pub(super) fn reader(&self) -> &AnyPool {
        &self.read
    }

    /// Begins a transaction that writes. On SQLite that takes the write lock: a transaction that read first and wrote
    /// later could not be retried by SQLite when someone else wrote in between. Dropping it rolls back.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>> {
        Ok(self.write.begin_with(self.begin).await?)
    }

    /// As [`Self::begin`], alone among the transactions that change documents of `owner`.
    pub(super) async fn begin_for(&self, namespace: &str, owner: &str) -> Result<Transaction<'static, Any>> {
        let mut tx = self.begin().await?;
        postgres::lock_owner(&mut tx, namespace, owner).await?;
        Ok(tx)
    }

    /// As [`Self::begin_for`] the owner of a mailbox; its row is locked as well.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(super) async fn begin_of(
        &self,
        namespace: &str,
        mailbox_id: &str,
    ) -> Result<(Transaction<'static, Any>, Mailbox)> {
        let mut owner = self.get_mailbox(namespace, mailbox_id).await?.spec.owner;
        loop {
            let mut tx = self.begin_for(namespace, &owner).await?;
            let found = super::mailboxes::find(&mut tx, namespace, mailbox_id).await?;
            let mailbox = found.ok_or(Error::NotFound("mailbox"))?;
            if mailbox.spec.owner == owner {
                return Ok((tx, mailbox));
            }
            // Erased and connected anew by someone else in between.
            owner = mailbox.spec.owner;
        }
    }

    /// Moves what was written to its place and empties the journal, so that it keeps nothing that was erased.
    /// A reader that is under way may put that off until the next time. PostgreSQL does the like by itself, when it
    /// vacuums and recycles its log.
    pub(super) async fn scrub(&self) -> Result<()> {
        let mut connection = self.write.acquire().await?;
        if !is_postgres(&connection) {
            sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await?;
        }
        Ok(())
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn pool_options(connections: u32, acquire: Duration) -> AnyPoolOptions {
    AnyPoolOptions::new().max_connections(connections).acquire_timeout(acquire)
}

fn is_postgres(connection: &AnyConnection) -> bool {
    connection.backend_name() == "PostgreSQL"
}

/// Ends a `SELECT` whose row must not change before the transaction ends. SQLite has no such words and no need.
pub(super) fn for_update(tx: &Transaction<'_, Any>) -> &'static str {
    if is_postgres(tx) { " FOR UPDATE" } else { "" }
}

/// Whether a transaction failed only because another one was in its way.
pub(super) trait Conflicting {
    fn is_conflict(&self) -> bool;
}

impl Conflicting for Error {
    fn is_conflict(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        // Serialisation failure, deadlock, and somebody who inserted the same key meanwhile.
        error.code().is_some_and(|code| ["40001", "40P01", "23505"].contains(&code.as_ref()))
    }
}

/// Does a whole transaction again as long as it conflicts, within bounds.
pub(super) async fn retrying<T, E, F>(mut work: impl FnMut() -> F) -> std::result::Result<T, E>
where
    E: Conflicting + std::fmt::Display,
    F: Future<Output = std::result::Result<T, E>>,
{
    for _ in 1..CONFLICTS_MAX {
        match work().await {
            Err(error) if error.is_conflict() => tracing::debug!(%error, "transaction begins again"),
            other => return other,
        }
    }
    work().await
}

/// One row of one number or text, of a query without parameters.
async fn single<T>(connection: &mut AnyConnection, sql: &'static str) -> Result<Option<T>>
where
    T: for<'r> sqlx::Decode<'r, Any> + sqlx::Type<Any>,
{
    let row = sqlx::query(sql).fetch_optional(&mut *connection).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
