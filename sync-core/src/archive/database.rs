//! The catalog's connections and its schema.
//!
//! SQLite now. All SQL is in this folder, in the subset that PostgreSQL shares (`$1` parameters,
//! `ON CONFLICT`, `RETURNING`), so that it can follow with its own connections, lock and migrations; what is
//! SQLite's alone is in this file. The suite in `tests/catalog` is written over [`Catalog`].
//!
//! One connection writes, others read: SQLite has one writer at a time anyway, and waiting for a pool's
//! connection is fair where SQLite's own waiting is not.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite, Transaction};

use super::{Error, Result};

/// Each step with the oldest version of this program that can work on its result. Steps expand first and
/// contract in a later release, so that the version before still works.
const MIGRATIONS: [Migration; 2] = [
    Migration { sql: include_str!("../../migrations/0001_archive.sql"), least_reader: 1 },
    Migration { sql: include_str!("../../migrations/0002_credentials.sql"), least_reader: 1 },
];

struct Migration {
    sql: &'static str,
    least_reader: i64,
}

const READERS: u32 = 4;
const BUSY: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Catalog {
    write: SqlitePool,
    read: SqlitePool,
    archive_id: String,
}

impl Catalog {
    /// Opens the catalog in `file`, creating it and bringing its schema up to date.
    ///
    /// # Errors
    /// [`Error::Unusable`] if a newer version left a schema that this one must not touch.
    pub async fn open_sqlite(file: &Path, now: i64) -> Result<Self> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::Unusable(format!("database folder: {error}")))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL would lose the last commits with the power, after they were acknowledged.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            // What was erased must not stay readable in the file.
            .pragma("secure_delete", "ON");
        let write = pool(1).connect_with(options.clone()).await?;
        let archive_id = migrate(&write, now).await?;
        let read = pool(READERS).connect_lazy_with(options);
        Ok(Self { write, read, archive_id })
    }

    /// Random, made with the archive; two archives never share one.
    pub fn archive_id(&self) -> &str {
        &self.archive_id
    }

    pub(super) fn reader(&self) -> &SqlitePool {
        &self.read
    }

    /// Begins by taking the write lock: a transaction that read first and wrote later could not be retried
    /// by SQLite when someone else wrote in between. Dropping it rolls back.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Moves what was written to its place and empties the journal, so that it keeps nothing that was erased.
    /// A reader that is under way may put that off until the next time.
    pub(super) async fn scrub(&self) -> Result<()> {
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.write).await?;
        Ok(())
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(30))
}

/// Runs what is missing, in one transaction under the write lock: two processes that start together migrate
/// once, and a crash in the middle leaves nothing. Returns the archive id.
async fn migrate(pool: &SqlitePool, now: i64) -> Result<String> {
    let mut connection = pool.acquire().await?;
    let mut tx = connection.begin_with("BEGIN EXCLUSIVE").await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL, least_reader BIGINT NOT NULL)",
    )
    .execute(&mut *tx)
    .await?;
    let known = MIGRATIONS.len() as i64;
    let (version, least_reader) = schema_version(&mut tx).await?;
    if least_reader > known {
        return Err(Error::Unusable(format!(
            "its schema {version} needs a newer version of this program (this one knows {known})"
        )));
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
        sqlx::raw_sql(AssertSqlSafe(step.sql)).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM schema_version").execute(&mut *tx).await?;
        sqlx::query("INSERT INTO schema_version (version, least_reader) VALUES ($1, $2)")
            .bind(index as i64 + 1)
            .bind(step.least_reader)
            .execute(&mut *tx)
            .await?;
    }
    let archive_id = archive_id(&mut tx, now).await?;
    tx.commit().await?;
    Ok(archive_id)
}

async fn schema_version(connection: &mut SqliteConnection) -> Result<(i64, i64)> {
    let row = sqlx::query("SELECT version, least_reader FROM schema_version")
        .fetch_optional(&mut *connection)
        .await?;
    Ok(match row {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (0, 0),
    })
}

async fn archive_id(connection: &mut SqliteConnection, now: i64) -> Result<String> {
    let row = sqlx::query("SELECT archive_id FROM archive").fetch_optional(&mut *connection).await?;
    if let Some(row) = row {
        return Ok(row.try_get(0)?);
    }
    let id = format!("{:032x}", rand::random::<u128>());
    sqlx::query("INSERT INTO archive (archive_id, create_time) VALUES ($1, $2)")
        .bind(&id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    Ok(id)
}
