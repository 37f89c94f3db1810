//! The schema, and how it comes up to date.
//!
//! Steps expand first and contract in a later release: each names the oldest version of this program that can work on
//! its result, so that versions N and N+1 work side by side, and a version that cannot says so and stops.

use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection, Row};

use super::{is_postgres, postgres, single};
use crate::archive::{Error, Result};

const MIGRATIONS: [Migration; 3] = [
    Migration { sql: include_str!("../../../migrations/0001_archive.sql"), least_reader: 1 },
    Migration { sql: include_str!("../../../migrations/0002_credentials.sql"), least_reader: 1 },
    Migration { sql: include_str!("../../../migrations/0003_received_twice.sql"), least_reader: 1 },
];

struct Migration {
    sql: &'static str,
    least_reader: i64,
}

/// Runs what is missing, in one transaction under a lock: processes that start together migrate once, and a crash in
/// the middle leaves nothing. Returns the archive id.
pub async fn migrate(pool: &AnyPool, now: i64) -> Result<String> {
    let mut connection = pool.acquire().await?;
    let in_postgres = is_postgres(&connection);
    let mut tx = connection.begin_with(if in_postgres { "BEGIN" } else { "BEGIN EXCLUSIVE" }).await?;
    if in_postgres {
        postgres::lock_schema(&mut tx).await?;
    }
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL, least_reader BIGINT NOT NULL)",
    )
    .execute(&mut *tx)
    .await?;
    let version = usable_version(&mut tx).await?;
    for (index, step) in MIGRATIONS.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
        let sql = if in_postgres { postgres::dialect(step.sql) } else { step.sql.to_owned() };
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
        sqlx::raw_sql("DELETE FROM schema_version").execute(&mut *tx).await?;
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

/// 0 for an empty database. A later version is fine as long as it says that this program can read it.
async fn usable_version(connection: &mut AnyConnection) -> Result<i64> {
    let row = sqlx::query("SELECT version, least_reader FROM schema_version")
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(0) };
    let (version, least_reader): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let known = MIGRATIONS.len() as i64;
    if least_reader > known {
        return Err(Error::Unusable(format!(
            "its schema {version} needs a newer version of this program (this one knows {known})"
        )));
    }
    Ok(version)
}

async fn archive_id(connection: &mut AnyConnection, now: i64) -> Result<String> {
    if let Some(id) = single(connection, "SELECT archive_id FROM archive").await? {
        return Ok(id);
    }
    let id = format!("{:032x}", rand::random::<u128>());
    sqlx::query("INSERT INTO archive (archive_id, create_time) VALUES ($1, $2)")
        .bind(&id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    Ok(id)
}
