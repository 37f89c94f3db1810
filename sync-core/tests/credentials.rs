//! Credentials in the catalog: sealed, traded by one at a time, wrapped anew, forgotten.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use sync_core::archive::claim::{Claim, Holder};
use sync_core::archive::record::{GmailConfig, SourceConfig};
use sync_core::archive::{Catalog, MailboxSpec};
use sync_core::credential::access::Traded;
use sync_core::credential::vault::{Place, Sealed};
use sync_core::credential::{Access, Credential, Credentials, Secret, Vault, key_file};
use sync_core::source::{Class, Fault};
use tempfile::TempDir;
use tokio::sync::oneshot;

use support::{Database, NOW, NS, spec};

const HOME: Place<'static> = Place { namespace: NS, mailbox_id: "mb" };

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::on(super::Database::Sqlite).await).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::on(super::Database::Postgres).await).await;
            })*
        }
    };
}

on_both!(
    a_credential_lives_as_long_as_its_source,
    d1_a_rotated_token_is_saved_before_its_result_is_used,
    d1_a_trade_that_is_under_way_is_saved_whatever_happens,
    one_at_a_time_trades,
    connecting_anew_beats_a_trade_under_way,
    a_mark_ends_by_itself,
    keys_rotate_while_credentials_are_used,
    a_lost_key_loses_its_credentials_only,
);

struct World {
    dir: TempDir,
    catalog: Catalog,
    credentials: Credentials,
    time: Arc<AtomicI64>,
}

fn gmail(mailbox_id: &str) -> MailboxSpec {
    let source = SourceConfig::Gmail(GmailConfig { oauth_client: "google".into() });
    MailboxSpec { source, ..spec(mailbox_id, "alice", "") }
}

fn token(text: &str) -> Credential {
    Credential::OAuth { client: "google".into(), refresh_token: Secret::new(text) }
}

fn vault(path: &Path) -> Option<Arc<Vault>> {
    Some(Arc::new(Vault::open(path).unwrap()))
}

impl World {
    /// Mailbox `mb` with the refresh token `t0`.
    async fn on(database: Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = database.catalog(dir.path()).await;
        key_file::create(&dir.path().join("keys")).unwrap();
        let time = Arc::new(AtomicI64::new(NOW));
        let shared = time.clone();
        let clock = Arc::new(move || shared.load(Ordering::SeqCst));
        let credentials = Credentials::new(catalog.clone(), vault(&dir.path().join("keys")), clock);
        let world = Self { dir, catalog, credentials, time };
        world.connect("mb", "t0").await;
        world
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    async fn connect(&self, mailbox_id: &str, text: &str) {
        let sealed = self.credentials.seal(Place { mailbox_id, ..HOME }, &token(text)).unwrap();
        self.catalog.connect_mailbox_with(&gmail(mailbox_id), Some(&sealed), None, NOW).await.unwrap();
    }

    async fn claim(&self, run: &str, attempt: u32) -> Claim {
        self.catalog.claim(NS, "mb", &Holder { run_id: run.into(), attempt }).await.unwrap()
    }

    fn access(&self, claim: &Claim) -> Access {
        self.credentials.access(&claim.mailbox, Some(claim))
    }

    async fn stored(&self) -> Option<Sealed> {
        self.catalog.credential(HOME).await.unwrap()
    }
}

async fn rotate(access: &Access, to: &'static str) -> Result<Credential, Fault> {
    access.trade(move |before| async move { Ok(Traded { result: before, rotated: Some(token(to)) }) }).await
}

async fn a_credential_lives_as_long_as_its_source(world: World) {
    let claim = world.claim("run", 1).await;
    assert_eq!(world.access(&claim).read().await.unwrap(), token("t0"));
    // Connecting again without one keeps it; another source forgets it, so that no other server is shown it.
    world.catalog.connect_mailbox(&gmail("mb"), None, NOW).await.unwrap();
    assert!(world.stored().await.is_some());
    let other = SourceConfig::Gmail(GmailConfig { oauth_client: "other".into() });
    world.catalog.connect_mailbox(&MailboxSpec { source: other, ..gmail("mb") }, None, NOW).await.unwrap();
    assert_eq!(world.stored().await, None);
    assert_eq!(world.access(&claim).read().await.unwrap_err().class, Class::Reauthorize);
    world.connect("mb", "t1").await;
    world.catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await.unwrap();
    assert_eq!(world.stored().await, None);
    world.connect("mb", "t2").await;
    world.catalog.erase_owner(NS, "alice", NOW).await.unwrap();
    assert_eq!(world.stored().await, None);
}

async fn d1_a_rotated_token_is_saved_before_its_result_is_used(world: World) {
    let claim = world.claim("run", 1).await;
    let access = world.access(&claim);
    assert_eq!(rotate(&access, "t1").await.unwrap(), token("t0"));
    assert_eq!(access.read().await.unwrap(), token("t1"));
    let failed = access.trade(|_| async { Err::<Traded<()>, _>(Fault::reauthorize("revoked", "sign in")) });
    assert_eq!(failed.await.unwrap_err().code, "revoked");
    assert_eq!(rotate(&access, "t2").await.unwrap(), token("t1"), "a trade that failed holds nobody up");
}

/// Who trades is not interrupted: not by giving up on it, not by losing the claim.
async fn d1_a_trade_that_is_under_way_is_saved_whatever_happens(world: World) {
    let first = world.claim("run", 1).await;
    let (begun, has_begun) = oneshot::channel();
    let (answer, answered) = oneshot::channel::<()>();
    let access = world.access(&first);
    let trading = tokio::spawn(async move {
        let slow = |_| async move {
            begun.send(()).unwrap();
            answered.await.unwrap();
            Ok(Traded { result: (), rotated: Some(token("t1")) })
        };
        access.trade(slow).await
    });
    has_begun.await.unwrap();
    let second = world.claim("run", 2).await;
    trading.abort();
    let waiting = rotate_in_task(world.access(&second), "t2");
    answer.send(()).unwrap();
    assert_eq!(
        waiting.await.unwrap().unwrap(),
        token("t1"),
        "the second waits, and finds the first one's token"
    );
    assert_eq!(world.access(&second).read().await.unwrap(), token("t2"));
    let late = rotate(&world.access(&first), "t3").await.unwrap_err();
    assert_eq!(late.code, "claim-lost", "who lost the claim begins nothing");
}

fn rotate_in_task(access: Access, to: &'static str) -> tokio::task::JoinHandle<Result<Credential, Fault>> {
    tokio::spawn(async move { rotate(&access, to).await })
}

async fn one_at_a_time_trades(world: World) {
    let claim = world.claim("run", 1).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let trades = (0..4).map(|_| {
        let (access, running, most) = (world.access(&claim), running.clone(), most.clone());
        async move {
            access
                .trade(move |_| async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(Traded { result: (), rotated: None })
                })
                .await
        }
    });
    assert!(futures_util::future::join_all(trades).await.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

async fn connecting_anew_beats_a_trade_under_way(world: World) {
    let claim = world.claim("run", 1).await;
    let access = world.access(&claim);
    let (begun, has_begun) = oneshot::channel();
    let (answer, answered) = oneshot::channel::<()>();
    let trading = tokio::spawn(async move {
        access
            .trade(|_| async move {
                begun.send(()).unwrap();
                answered.await.unwrap();
                Ok(Traded { result: (), rotated: Some(token("stale")) })
            })
            .await
    });
    has_begun.await.unwrap();
    world.connect("mb", "fresh").await;
    answer.send(()).unwrap();
    assert_eq!(trading.await.unwrap().unwrap_err().code, "credential-replaced");
    assert_eq!(world.access(&claim).read().await.unwrap(), token("fresh"));
}

/// A process that dies while it trades holds the others up for a minute, not for ever.
async fn a_mark_ends_by_itself(world: World) {
    let claim = world.claim("run", 1).await;
    let begun = world.catalog.begin_exchange(HOME, None, "dead", (NOW, NOW + 60_000)).await.unwrap();
    assert!(matches!(begun, sync_core::archive::credentials::Exchange::Begun(_)));
    world.time.store(NOW + 60_000, Ordering::SeqCst);
    assert_eq!(rotate(&world.access(&claim), "t1").await.unwrap(), token("t0"));
    assert!(!world.catalog.end_exchange(HOME, "dead", None, NOW).await.unwrap());
}

async fn keys_rotate_while_credentials_are_used(world: World) {
    for n in 0..450 {
        world.connect(&format!("mb-{n:03}"), &format!("token {n}")).await;
    }
    key_file::add(&world.keys(), true).unwrap();
    let mut pages = Vec::new();
    let claim = world.claim("run", 1).await;
    assert_eq!(world.access(&claim).read().await.unwrap(), token("t0"), "readable before");
    world.connect("mb-007", "new").await;
    let (done, active) = world.credentials.rotate(|done| pages.push(done.rewrapped)).await.unwrap();
    assert_eq!(
        (done.rewrapped, active, pages),
        (450, 2, vec![200, 400, 450]),
        "mb-007 has the new key already"
    );
    assert_eq!(world.catalog.key_versions().await.unwrap(), [(2, 451)]);
    key_file::remove(&world.keys(), 1).unwrap();
    assert_eq!(world.access(&claim).read().await.unwrap(), token("t0"), "readable after");
    assert_eq!(world.credentials.rotate(|_| ()).await.unwrap().0.rewrapped, 0, "again changes nothing");
}

/// What no key opens is left, named and counted; the rest goes on.
async fn a_lost_key_loses_its_credentials_only(world: World) {
    std::fs::remove_file(world.keys()).unwrap();
    key_file::create(&world.keys()).unwrap();
    world.connect("other", "t1").await;
    let claim = world.claim("run", 1).await;
    let fault = world.access(&claim).read().await.unwrap_err();
    assert_eq!((fault.class, fault.code), (Class::Permanent, "credential-unreadable"));
    key_file::add(&world.keys(), true).unwrap();
    let (done, _) = world.credentials.rotate(|_| ()).await.unwrap();
    assert_eq!((done.rewrapped, done.unreadable), (1, 1));
    let off = Credentials::new(world.catalog.clone(), None, Arc::new(|| NOW));
    assert_eq!(off.access(&claim.mailbox, None).read().await.unwrap_err().code, "credentials-off");
}
