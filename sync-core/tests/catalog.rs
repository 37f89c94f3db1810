//! The catalog's suite, on SQLite and on a real PostgreSQL; and what is peculiar to each.

#[path = "catalog/conformance.rs"]
mod conformance;
#[path = "catalog/postgres.rs"]
mod postgres;
mod support;

use sync_core::archive::{Archive, Blobs, Catalog, Error};
use sync_core::sync::{Class, Failure};

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                super::conformance::$name(super::support::catalog(folder.path()).await).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::conformance::$name(super::support::catalog_in_postgres().await).await;
            })*
        }
    };
}

conformance!(
    connecting_is_an_upsert,
    a_change_of_source_begins_again_and_ends_the_attempt,
    mailboxes_are_listed_in_stable_pages,
    claims_are_ordered,
    a_superseded_attempt_changes_nothing,
    a_repeated_batch_changes_nothing,
    exact_duplicates_are_dropped_per_owner,
    likely_duplicates_are_linked_both_ways,
    failed_messages_are_retried_a_bounded_number_of_times,
    deleted_documents_stay_deleted,
    disconnecting_keeps_or_deletes,
    documents_are_found_by_every_filter,
    pages_hold_still_under_insertion,
    reauthorization_stops_the_mailbox,
    processing_again_updates_documents_in_place,
    what_another_mailbox_received_stays,
    a_document_that_moved_is_read_again_in_place,
    deleted_for_good_is_deleted_wherever_it_came_from,
    a_credential_belongs_to_one_source,
    settings_change_without_source_and_state,
    an_owner_is_erased_entirely,
    foreign_text_of_any_kind_is_stored,
    mailboxes_of_one_owner_file_the_same_documents_at_once,
    connecting_one_id_at_once_makes_one_mailbox,
    lists_are_ordered_by_bytes,
);

/// Two processes that start at once: one archive id, one schema.
#[tokio::test]
async fn opening_together_migrates_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive.db");
    let opened = futures_util::future::join_all((0..8).map(|_| Catalog::open_sqlite(&file, 1))).await;
    let ids: Vec<String> = opened.into_iter().map(|it| it.unwrap().archive_id().to_owned()).collect();
    assert_eq!(ids[0].len(), 32);
    assert!(ids.iter().all(|id| *id == ids[0]));
}

/// The next release's schema says which versions can work on it; this one does if it is named.
#[tokio::test]
async fn s5_a_schema_from_the_future_is_used_or_refused_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive.db");
    let catalog = Catalog::open_sqlite(&file, 1).await.unwrap();
    let archive_id = catalog.archive_id().to_owned();
    catalog.close().await;
    let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE schema_version SET version = version + 1").execute(&pool).await.unwrap();
    let catalog = Catalog::open_sqlite(&file, 1).await.unwrap();
    assert_eq!(catalog.archive_id(), archive_id);
    conformance::connecting_is_an_upsert(catalog).await;
    sqlx::query("UPDATE schema_version SET version = 99, least_reader = 98").execute(&pool).await.unwrap();
    pool.close().await;
    assert!(matches!(Catalog::open_sqlite(&file, 1).await, Err(Error::Unusable(_))));
}

#[tokio::test]
async fn s5_what_an_older_release_noted_moves_documents_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive.db");
    let catalog = Catalog::open_sqlite(&file, 1).await.unwrap();
    let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    conformance::a_note_without_a_part_moves_the_document_too(&catalog, async || {
        let parts = sqlx::query("UPDATE dropped_duplicates SET part = NULL, file_name = NULL");
        assert_eq!(parts.execute(&pool).await.unwrap().rows_affected(), 1);
    })
    .await;
}

#[tokio::test]
async fn another_archives_blob_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = || Blobs::in_folder(&folder.path().join("blobs")).unwrap();
    let one = support::catalog(folder.path()).await;
    let other = support::catalog(&folder.path().join("other")).await;
    Archive::join(one.clone(), blobs()).await.unwrap();
    Archive::join(one, blobs()).await.unwrap();
    assert!(matches!(Archive::join(other, blobs()).await, Err(Error::Unusable(_))));
}

#[tokio::test]
async fn d2_the_sweeper_takes_orphans_only_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    orphans_only(support::archive(folder.path()).await).await;
}

#[tokio::test]
async fn d2_the_sweeper_takes_orphans_only_from_memory() {
    let memory = std::sync::Arc::new(object_store::memory::InMemory::new());
    let catalog = support::catalog_in_postgres().await;
    orphans_only(Archive::join(catalog, Blobs::new(memory)).await.unwrap()).await;
}

/// Another program that speaks S3, over the network. Two archives share its bucket under prefixes of their own.
#[tokio::test]
#[ignore = "needs a server that speaks S3: `make test-s3` installs one and runs this"]
async fn d2_the_sweeper_takes_orphans_only_from_s3() {
    let server = support::s3::Server::start();
    let folder = tempfile::tempdir().unwrap();
    for (prefix, catalog) in [
        ("one", support::catalog(folder.path()).await),
        ("other/deeper", support::catalog_in_postgres().await),
    ] {
        orphans_only(Archive::join(catalog, server.blobs(prefix)).await.unwrap()).await;
    }
    let other = support::catalog(&folder.path().join("other")).await;
    assert!(matches!(Archive::join(other, server.blobs("one")).await, Err(Error::Unusable(_))));
    server.stop();
    let gone = server.blobs("one").put(support::NS, "alice", "x".into()).await.unwrap_err();
    assert_eq!(Failure::from(gone).class, Class::Transient);
}

/// Only what nobody has named for a day goes.
async fn orphans_only(archive: Archive) {
    let kept = conformance::file_with_blob(&archive, "kept").await;
    let deleted = conformance::file_with_blob(&archive, "deleted").await;
    archive.blobs.put(support::NS, "alice", "orphan".into()).await.unwrap();
    // Blobs carry the machine's time.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let day = sync_core::archive::sweep::GRACE_MS;
    assert_eq!(archive.sweep(now).await.unwrap(), 0, "all are young");
    archive.catalog.delete_document(support::NS, &deleted, now + day).await.unwrap();
    assert_eq!(archive.sweep(now + day + 60_000).await.unwrap(), 1, "the orphan; the deletion is young");
    assert_eq!(archive.sweep(now + 2 * day + 60_000).await.unwrap(), 1, "the deleted document's");
    let (document, bytes) = archive.open_document(support::NS, &kept).await.unwrap();
    let bytes: Vec<_> = futures_util::TryStreamExt::try_collect(bytes).await.unwrap();
    assert_eq!(bytes.concat(), b"kept|1|2026-01-01|1.00");
    assert_eq!(document.size, 22);
}
