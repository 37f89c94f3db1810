//! `[archive]`: where the catalog and the documents' bytes are.

use std::{env, fmt, path::PathBuf, time::Duration};

use anyhow::Context as _;
use docket::settings::ConfigError;
use serde::{Deserialize, Serialize, Serializer};
use sync_core::archive::{
    self, Blobs, Catalog,
    blobs::Place,
    database::postgres::{self, Settings},
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    pub database_url: Address,
    pub blobs_url: Address,
    pub connections: u32,
    pub acquire_timeout_ms: u64,
    pub statement_timeout_ms: u64,
    pub lock_timeout_ms: u64,
}

/// May hold a password, so it is shown without it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&postgres::redacted(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Address {
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    pub fn is_folder(&self) -> bool {
        self.0.starts_with("file:")
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

enum Database {
    Sqlite(PathBuf),
    Postgres,
}

impl Archive {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.database()?;
        self.blobs()?;
        let milliseconds = [
            ("acquire_timeout_ms", self.acquire_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
            ("lock_timeout_ms", self.lock_timeout_ms),
        ];
        if !(1..=1_000).contains(&self.connections) {
            return Err(ConfigError(format!(
                "archive.connections is {}; it must be 1 to 1000",
                self.connections
            )));
        }
        let wrong = milliseconds.into_iter().find(|(_, value)| !(1..=3_600_000).contains(value));
        wrong.map_or(Ok(()), |(key, value)| {
            Err(ConfigError(format!("archive.{key} is {value}; it must be 1 to 3600000")))
        })
    }

    fn database(&self) -> Result<Database, ConfigError> {
        let url = &self.database_url.0;
        if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Database::Sqlite(path.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let checked = postgres::check(url);
            return checked
                .map(|()| Database::Postgres)
                .map_err(|error| ConfigError(format!("archive.database_url: {error}")));
        }
        Err(ConfigError(format!(
            "archive.database_url is `{}`; write sqlite:FILE or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            self.database_url
        )))
    }

    fn blobs(&self) -> Result<Place, ConfigError> {
        let place = Place::parse(&self.blobs_url.0);
        // What is no address at all, as a path is none, may be shown unless a secret can be in it.
        let given = &self.blobs_url.0;
        let shown = if given.contains(['@', '?', '=']) { self.blobs_url.to_string() } else { given.clone() };
        place.map_err(|error| ConfigError(format!("archive.blobs_url is `{shown}`: {error}")))
    }

    fn settings(&self) -> Settings {
        Settings {
            connections: self.connections,
            acquire: Duration::from_millis(self.acquire_timeout_ms),
            statement: Duration::from_millis(self.statement_timeout_ms),
            lock: Duration::from_millis(self.lock_timeout_ms),
        }
    }

    /// Opens what is configured, bringing the schema up to date. `now` in Unix milliseconds.
    ///
    /// # Errors
    /// Names the setting; never a password.
    pub async fn open(&self, now: i64) -> anyhow::Result<archive::Archive> {
        let catalog = match self.database()? {
            Database::Sqlite(file) => Catalog::open_sqlite(&file, now).await,
            Database::Postgres => Catalog::open_postgres(&self.database_url.0, &self.settings(), now).await,
        };
        let catalog = catalog.with_context(|| format!("archive.database_url {}", self.database_url))?;
        // What is not text is of nobody that is asked here.
        let environment = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let blobs = Blobs::at(&self.blobs()?, environment).context("archive.blobs_url")?;
        Ok(archive::Archive::join(catalog, blobs).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(database_url: &str, blobs_url: &str) -> Archive {
        Archive {
            database_url: Address(database_url.into()),
            blobs_url: Address(blobs_url.into()),
            connections: 10,
            acquire_timeout_ms: 1,
            statement_timeout_ms: 1,
            lock_timeout_ms: 1,
        }
    }

    #[test]
    fn addresses_are_checked_and_shown_without_secrets() {
        for database in
            ["sqlite:./data/archive.db", "postgres://docket:s3cret@db:5432/docket?sslmode=require"]
        {
            archive(database, "file:./data/blobs").check().unwrap();
        }
        for blobs in ["file:///var/blobs", "s3://bucket/docket", "gs://bucket", "az://container"] {
            archive("sqlite:x", blobs).check().unwrap();
        }
        let wrong = [
            ("sqlite:", "file:x"),
            ("mysql://u:s3cret@h/db", "file:x"),
            ("postgres://u:s3cret@h:x/db", "file:x"),
            ("postgres://u:s3cret@h/db?pass=s3cret", "file:x"),
            ("sqlite:x", "file:"),
            ("sqlite:x", "ftp://u:s3cret@h"),
        ];
        for (database, blobs) in wrong {
            let wrong = archive(database, blobs);
            let said = wrong.check().unwrap_err().to_string();
            assert!(said.starts_with("archive.") && !said.contains("s3cret"), "{said}");
            assert!(!format!("{wrong:?}").contains("s3cret"), "{wrong:?}");
        }
    }
}
