//! The catalog's suite, on SQLite. Another database runs the same functions over its own `Catalog`.

#[path = "catalog/conformance.rs"]
mod conformance;
mod support;

use sync_core::archive::{Archive, Blobs, Catalog, Error};

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let folder = tempfile::tempdir().unwrap();
            conformance::$name(support::catalog(folder.path()).await).await;
        }
    )*};
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
    a_dropped_duplicate_returns_when_its_twin_goes,
    a_credential_belongs_to_one_source,
    settings_change_without_source_and_state,
    an_owner_is_erased_entirely,
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

#[tokio::test]
async fn a_schema_from_the_future_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive.db");
    Catalog::open_sqlite(&file, 1).await.unwrap().close().await;
    let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE schema_version SET version = 99, least_reader = 98").execute(&pool).await.unwrap();
    pool.close().await;
    assert!(matches!(Catalog::open_sqlite(&file, 1).await, Err(Error::Unusable(_))));
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

/// Only what nobody has named for a day goes.
#[tokio::test]
async fn the_sweeper_takes_orphans_only() {
    let folder = tempfile::tempdir().unwrap();
    let archive = support::archive(folder.path()).await;
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
