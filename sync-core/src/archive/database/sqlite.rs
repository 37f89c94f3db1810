//! SQLite: one file, one writer.

use std::path::Path;
use std::str::FromStr;

use sqlx::AnyPool;
use sqlx::Connection as _;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};

use super::{ACQUIRE, pool_options};
use crate::archive::{Error, Result};

const READERS: u32 = 4;

/// FULL, since NORMAL would lose the last commits with the power, after they were acknowledged. What was erased must not
/// stay readable in the file.
const SETTINGS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;";

/// For writing and for reading.
pub fn pools(file: &Path) -> Result<(AnyPool, AnyPool)> {
    let unusable = |error: String| Error::Unusable(format!("database file: {error}"));
    let file = std::path::absolute(file).map_err(|error| unusable(error.to_string()))?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::Unusable(format!("database folder: {error}")))?;
    }
    let path = file.to_str().ok_or_else(|| unusable("its name is not UTF-8".into()))?;
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_str(&format!("sqlite://{}?mode=rwc", escaped(path)))?;
    let configured = |options: AnyPoolOptions| {
        options.after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(SETTINGS).execute(&mut *connection).await.map(drop) })
        })
    };
    // When the disk is full, SQLite rolls back by itself. The driver's own ROLLBACK then fails, and it takes the connection
    // for one within a transaction for ever.
    let usable = pool_options(1, ACQUIRE)
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }));
    let write = configured(usable).connect_lazy_with(options.clone());
    let read = configured(pool_options(READERS, ACQUIRE)).connect_lazy_with(options);
    Ok((write, read))
}

/// A path as part of an address.
fn escaped(path: &str) -> String {
    use std::fmt::Write;
    path.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_name_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b?c%41#ä.db");
        let (write, _) = pools(&file).unwrap();
        write.acquire().await.unwrap();
        assert!(file.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn writes_go_on_when_a_full_disk_has_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let (write, _) = pools(&folder.path().join("full.db")).unwrap();
        sqlx::raw_sql("CREATE TABLE filled (bytes BLOB); PRAGMA max_page_count = 8")
            .execute(&write)
            .await
            .unwrap();
        let fill = async |bytes: i64| -> sqlx::Result<()> {
            let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("INSERT INTO filled VALUES (zeroblob($1))").bind(bytes).execute(&mut *tx).await?;
            tx.commit().await
        };
        let full = fill(1 << 20).await.unwrap_err().to_string();
        assert!(full.contains("full"), "{full}");
        // A connection's bound ends with it.
        fill(1 << 20).await.unwrap();
    }
}
