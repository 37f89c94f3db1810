//! PostgreSQL: several workers share it.
//!
//! - Every wait has a bound: for a connection, for a lock, for a statement, and for a transaction whose worker was
//!   frozen. What runs into one is a failure that passes.
//! - Connections that a restarted server closed are noticed before they are used, and replaced.
//! - Text is compared by its bytes, as SQLite does, whatever the database's own collation is.

use std::str::FromStr;
use std::{io, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::any::AnyConnectOptions;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Transaction};
use tokio::time::{Instant, sleep, timeout};

use super::{is_postgres, pool_options};
use crate::archive::{Error, Result};

#[derive(Clone, Debug)]
pub struct Settings {
    /// At most so many connections of this process.
    pub connections: u32,
    /// How long a call waits for one of them.
    pub acquire: Duration,
    /// How long one statement may take.
    pub statement: Duration,
    /// How long one statement waits for a lock.
    pub lock: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 10,
            acquire: Duration::from_secs(30),
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(10),
        }
    }
}

/// A frozen worker must not hold a mailbox's row for ever.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(60);
/// Migrations may wait for the statements of workers that run.
const SCHEMA_WAIT: Duration = Duration::from_secs(60);
/// For a server to answer at the start, and between two tries.
const TRY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);
/// Any number that nothing else in the database uses: "docket" in ASCII.
const SCHEMA_LOCK: i64 = 0x646f_636b_6574;

/// What the part after `?` may say. The driver would log others, with their values.
const PARAMETERS: [&str; 15] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "ssl-mode",
    "ssl-root-cert",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
];

/// Whether `url` can be used, without connecting.
///
/// # Errors
/// [`Error::Unusable`]; the text holds nothing of the address, which may hold a password.
pub fn check(url: &str) -> Result<()> {
    let unusable =
        |why: &str| Error::Unusable(format!("{why}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE"));
    let parsed = reqwest::Url::parse(url).map_err(|error| unusable(&error.to_string()))?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(unusable("it names no PostgreSQL server"));
    }
    for (key, value) in parsed.query_pairs() {
        match &*key {
            "sslmode" | "ssl-mode" if sqlx::postgres::PgSslMode::from_str(&value).is_err() => {
                return Err(unusable(
                    "sslmode is none of disable, allow, prefer, require, verify-ca, verify-full",
                ));
            }
            known if PARAMETERS.contains(&known) => {}
            "application_name" | "options" | "password" => {}
            other => {
                let other = crate::text::clean(other, 40);
                return Err(unusable(&format!("it has a parameter that is not known, `{other}`")));
            }
        }
    }
    Ok(())
}

/// An address as it may be shown: without passwords. What is no address is not shown at all, unless it names a file.
pub fn redacted(url: &str) -> String {
    const HIDDEN: &str = "[redacted]";
    if ["sqlite:", "file:"].iter().any(|scheme| url.starts_with(scheme)) {
        return url.to_owned();
    }
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return HIDDEN.to_owned() };
    let user = match (parsed.username(), parsed.password()) {
        ("", None) => String::new(),
        (user, None) => format!("{user}@"),
        (user, Some(_)) => format!("{user}:{HIDDEN}@"),
    };
    let known = |key: &str| key != "password" && PARAMETERS.contains(&key);
    let pairs: Vec<String> = parsed
        .query_pairs()
        .map(|(key, value)| if known(&key) { format!("{key}={value}") } else { format!("{key}={HIDDEN}") })
        .collect();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    parsed.set_fragment(None);
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{user}{host}{port}{}{query}", parsed.scheme(), parsed.path())
}

pub fn pool(url: &str, settings: &Settings) -> Result<AnyPool> {
    check(url)?;
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_str(url)
        .map_err(|_| Error::Unusable("the address of the database is not understood".into()))?;
    let session = session(settings);
    let pool = pool_options(settings.connections, settings.acquire).after_connect(move |connection, _| {
        let session = session.clone();
        Box::pin(
            async move { sqlx::raw_sql(AssertSqlSafe(session)).execute(&mut *connection).await.map(drop) },
        )
    });
    Ok(pool.connect_lazy_with(options))
}

/// Waits for the server, as long as a call may wait for a connection. The pool would do that without a word, and then say
/// nothing of the cause.
///
/// # Errors
/// The one of the last try. What waiting does not mend, as a wrong password, comes back at once.
pub async fn reach(url: &str, settings: &Settings) -> Result<()> {
    let options = AnyConnectOptions::from_str(url)
        .map_err(|_| Error::Unusable("the address of the database is not understood".into()))?;
    let end = Instant::now() + settings.acquire;
    let mut told = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let connected = timeout(left.min(TRY), AnyConnection::connect_with(&options)).await;
        let error = match connected {
            Ok(Ok(connection)) => return Ok(connection.close().await?),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer").into(),
        };
        let why = innermost(&error);
        if !may_pass(&error) || end.saturating_duration_since(Instant::now()) <= PAUSE {
            return Err(Error::Unusable(format!("PostgreSQL is not reached: {why}")));
        }
        if why != told {
            tracing::warn!(database = redacted(url), why, "PostgreSQL is not reached; trying again");
            told = why;
        }
        sleep(PAUSE).await;
    }
}

/// Of a try to connect.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // The server starts, stops, or has no connection left (53300, 57P03 and its like).
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("53"))
        }
        _ => false,
    }
}

fn innermost(error: &sqlx::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn session(settings: &Settings) -> String {
    format!(
        "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SET default_transaction_isolation = 'read committed'; SET client_min_messages = warning",
        settings.statement.as_millis(),
        settings.lock.as_millis(),
        IDLE_IN_TRANSACTION.as_millis(),
    )
}

/// A migration in PostgreSQL's words.
pub fn dialect(sql: &str) -> String {
    sql.replace(" TEXT", " TEXT COLLATE \"C\"")
}

/// Held until the transaction ends.
pub async fn lock_schema(connection: &mut AnyConnection) -> Result<()> {
    let limits =
        format!("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {}", SCHEMA_WAIT.as_millis());
    sqlx::raw_sql(AssertSqlSafe(limits)).execute(&mut *connection).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *connection).await?;
    Ok(())
}

/// Held until the transaction ends. Two owners may share a lock by chance; then they take turns.
pub async fn lock_owner(tx: &mut Transaction<'_, Any>, namespace: &str, owner: &str) -> Result<()> {
    if !is_postgres(tx) {
        return Ok(());
    }
    let hash = Sha256::digest(format!("docket\0{namespace}\0{owner}"));
    let mut key = [0; 8];
    key.copy_from_slice(&hash[..8]);
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(i64::from_be_bytes(key)).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_never_repeated() {
        for good in [
            "postgres://docket:s3cret@db.example:5432/docket",
            "postgresql://%2Frun%2Fpostgresql/docket?user=docket&sslmode=verify-full&sslrootcert=/ca.pem",
        ] {
            check(good).unwrap();
        }
        for bad in [
            "postgres://docket:s3cret@db.example:port/docket",
            "postgres://u:s3cret@h/db?passwd=s3cret",
            "postgres://u:s3cret@h/db?sslmode=perhaps",
            "mysql://u:s3cret@h/db",
            "s3cret",
        ] {
            let said = check(bad).unwrap_err().to_string();
            assert!(!said.contains("s3cret"), "{said}");
            assert!(!redacted(bad).contains("s3cret"), "{}", redacted(bad));
        }
        assert_eq!(
            redacted("postgres://docket:s3cret@db.example:5432/docket?sslmode=require&password=s3cret"),
            "postgres://docket:[redacted]@db.example:5432/docket?sslmode=require&password=[redacted]"
        );
        assert_eq!(redacted("s3://bucket/prefix"), "s3://bucket/prefix");
    }

    #[tokio::test]
    async fn a_server_that_is_not_reached_is_said_with_its_cause() {
        sqlx::any::install_default_drivers();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = Settings { acquire: PAUSE, ..Settings::default() };
        let url = format!("postgres://docket:s3cret@{free}/docket");
        let said = reach(&url, &settings).await.unwrap_err().to_string();
        assert!(said.contains("Connection refused") && !said.contains("s3cret"), "{said}");
    }

    #[test]
    fn text_is_compared_by_bytes() {
        assert_eq!(dialect("a TEXT NOT NULL,\nb BIGINT"), "a TEXT COLLATE \"C\" NOT NULL,\nb BIGINT");
    }
}
