//! What only PostgreSQL can do to the catalog.

use std::time::Duration;

use futures_util::future::join_all;
use sync_core::archive::database::postgres::Settings;
use sync_core::archive::{Catalog, Error};
use sync_core::sync::{Class, Failure};

use super::conformance;
use super::support::postgres::Server;
use super::support::{NOW, NS, spec};

/// Workers that start at once: one archive id, one schema.
#[tokio::test]
async fn opening_together_migrates_once() {
    let url = Server::shared().database();
    let opened = join_all((0..8).map(|_| open(&url))).await;
    assert_eq!(opened[0].archive_id().len(), 32);
    assert!(opened.iter().all(|it| it.archive_id() == opened[0].archive_id()));
}

#[tokio::test]
async fn s5_a_schema_from_the_future_is_used_or_refused_as_it_says() {
    let server = Server::shared();
    let url = server.database();
    open(&url).await;
    server.ask(
        &url,
        "UPDATE schema_version SET version = version + 1; ALTER TABLE mailboxes ADD COLUMN later TEXT",
    );
    conformance::connecting_is_an_upsert(open(&url).await).await;
    server.ask(&url, "UPDATE schema_version SET version = 99, least_reader = 98");
    let refused = Catalog::open_postgres(&url, &Settings::default(), NOW).await;
    assert!(matches!(refused, Err(Error::Unusable(_))));
}

/// A lock that someone holds for too long is a failure that passes, and nothing is left half done.
#[tokio::test]
async fn a_lock_that_is_held_too_long_is_transient() {
    let url = Server::shared().database();
    let settings = Settings { lock: Duration::from_millis(50), ..Settings::default() };
    let catalog = Catalog::open_postgres(&url, &settings, NOW).await.unwrap();
    catalog.connect_mailbox(&spec("mb", "alice", "mail"), None, NOW).await.unwrap();
    let other = sqlx::PgPool::connect(&url).await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM mailboxes FOR UPDATE").execute(&mut *holding).await.unwrap();
    let refused = catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await.unwrap_err();
    assert_eq!(Failure::from(refused).class, Class::Transient);
    holding.rollback().await.unwrap();
    catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await.unwrap();
}

/// The server crashes and comes back: what was under way fails as something that passes, and the same value goes on.
#[tokio::test]
async fn a_restart_of_the_server_is_survived() {
    let server = Server::start();
    let url = server.database();
    let settings = Settings { acquire: Duration::from_secs(1), ..Settings::default() };
    let catalog = Catalog::open_postgres(&url, &settings, NOW).await.unwrap();
    catalog.connect_mailbox(&spec("mb", "alice", "mail"), None, NOW).await.unwrap();
    // Idle connections of both kinds are in the pool, and one is in a transaction.
    let other = sqlx::PgPool::connect(&url).await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM mailboxes FOR UPDATE").execute(&mut *holding).await.unwrap();
    let waiting = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await }
    });
    let until_it_waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while server.ask(&url, until_it_waits) != "1" {
        tokio::task::yield_now().await;
    }
    server.down();
    let failed = waiting.await.unwrap().unwrap_err();
    assert_eq!(Failure::from(failed).class, Class::Transient);
    let down = catalog.get_mailbox(NS, "mb").await.unwrap_err();
    assert_eq!(Failure::from(down).class, Class::Transient);
    server.up();
    assert_eq!(catalog.get_mailbox(NS, "mb").await.unwrap().version, 1, "nothing is half done");
    catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await.unwrap();
}

/// What the operator must mend is named.
#[tokio::test]
async fn a_wrong_password_or_database_is_told_without_secrets() {
    let url = Server::shared().database();
    let wrong = url.replace("/test", "/none").replace("unused", "s3cret");
    let error = Catalog::open_postgres(&wrong, &Settings::default(), NOW).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(said.contains("does not exist") && !said.contains("s3cret"), "{said}");
}

async fn open(url: &str) -> Catalog {
    Catalog::open_postgres(url, &Settings::default(), NOW).await.unwrap()
}
