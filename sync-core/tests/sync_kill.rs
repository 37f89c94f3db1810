//! Processes that are killed -9 in the middle of a run, one after the other, over one archive in PostgreSQL.
//!
//! Each starts where the one before was killed. `DOCKET_KILLS` says how many; as many as there are places by default.

mod support;

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::future::{BoxFuture, FutureExt as _, poll_fn};
use serde::{Deserialize, Serialize};
use sync_core::archive::database::postgres::Settings as DatabaseSettings;
use sync_core::archive::{Archive, Catalog};
use sync_core::source::root::Root;
use sync_core::sync::{FolderSources, Outcome, Point, Probe, Settings, Syncer};

use support::postgres::Server;
use support::world::{World, invoice, job, numbers, run, write_eml};
use support::{NOW, ToyReader, archive_of, clock};

/// What the process that will be killed is told.
const ORDER: &str = "DOCKET_KILL_ORDER";
/// Messages that come before each kill: more than a batch.
const NEW: usize = 6;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    url: String,
    folder: String,
    run: String,
    attempt: u32,
    place: Place,
}

/// Where a process ends itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Place {
    /// The nth time that it reaches the point, by its number in [`Point::ALL`].
    At { point: usize, nth: usize },
    /// After so many polls: also in the middle of a transaction.
    Polls(usize),
}

fn places() -> Vec<Place> {
    let times = |point| match point {
        Point::Claimed | Point::Listed | Point::BeforeFinish => 1,
        Point::BeforeCommit | Point::AfterCommit => 2,
        Point::Fetched | Point::Read | Point::BlobPut => NEW,
    };
    let at = |(point, name)| (1..=times(name)).map(move |nth| Place::At { point, nth });
    let named = Point::ALL.into_iter().enumerate().flat_map(at);
    named.chain((1..=25).map(|polls| Place::Polls(2 * polls))).collect()
}

#[tokio::test]
async fn d2_processes_killed_at_any_step_lose_and_double_nothing() {
    let places = places();
    let kills = env::var("DOCKET_KILLS").map_or(places.len(), |text| text.parse().expect("a number"));
    let url = Server::shared().database();
    let catalog = Catalog::open_postgres(&url, &DatabaseSettings::default(), NOW).await.unwrap();
    let world = World::of(catalog, tempfile::tempdir().unwrap(), ".").await;
    let (mut mails, mut killed, mut attempt) = (0, 0, 0);
    for place in places.iter().cycle() {
        for n in mails..mails + NEW {
            write_eml(&world.root(), &format!("{n}.eml"), &invoice(n));
        }
        mails += NEW;
        attempt += 1;
        let order = Order {
            url: url.clone(),
            folder: world.folder().display().to_string(),
            run: format!("run-{killed}"),
            attempt,
            place: *place,
        };
        let status = doomed(&order);
        let label = format!("kill {killed}, {place:?}");
        match (status.signal(), place) {
            (Some(libc::SIGKILL), _) => killed += 1,
            // It was through before that many polls.
            (None, Place::Polls(_)) => assert!(status.success(), "{label}: {status}"),
            _ => panic!("{label}: {status}"),
        }
        until_its_statements_ended(&url);
        holds(&world, mails, &label).await;
        if killed == kills {
            break;
        }
    }
    run(&world.syncer(), &job("last", 1)).await.unwrap();
    assert_eq!(world.documents().await, numbers(mails), "after {kills} kills");
    assert_eq!(world.messages().await.len(), mails);
    let mailbox = world.mailbox().await;
    assert_eq!((mailbox.documents, mailbox.duplicates), (mails as i64, 0));
    assert_eq!(run(&world.syncer(), &job("idle", 1)).await.unwrap(), Outcome::default(), "nothing is left");
}

/// What must hold at every moment: a message and its documents are one, and each is there once, with its bytes.
async fn holds(world: &World, mails: usize, label: &str) {
    let mut documents = world.documents().await;
    assert_eq!(documents.len(), world.messages().await.len(), "{label}");
    documents.dedup();
    assert_eq!(documents.len() as i64, world.mailbox().await.documents, "{label}: filed once");
    let expected = numbers(mails);
    assert!(documents.iter().all(|number| expected.contains(number)), "{label}: {documents:?}");
}

fn doomed(order: &Order) -> ExitStatus {
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", "a_process_that_ends_itself", "--ignored", "--quiet"]);
    process.env(ORDER, serde_json::to_string(order).unwrap());
    process.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap()
}

/// The server may still work on what a dead process asked for last.
fn until_its_statements_ended(url: &str) {
    let busy = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    while Server::shared().ask(url, busy) != "0" {
        std::thread::yield_now();
    }
}

/// The other side; alone it does nothing.
#[tokio::test]
#[ignore = "the test above starts it"]
async fn a_process_that_ends_itself() {
    let Ok(order) = env::var(ORDER) else { return };
    let order: Order = serde_json::from_str(&order).unwrap();
    let catalog = Catalog::open_postgres(&order.url, &DatabaseSettings::default(), NOW).await.unwrap();
    let folder = Path::new(&order.folder);
    let syncer = syncer(archive_of(catalog, folder).await, folder);
    match order.place {
        Place::At { point, nth } => {
            let end = End { point: Point::ALL[point], nth, times: AtomicUsize::new(0) };
            let syncer = syncer.with_probe(Arc::new(end));
            run(&syncer, &job(&order.run, order.attempt)).await.unwrap();
        }
        Place::Polls(polls) => {
            let target = job(&order.run, order.attempt);
            let mut attempt = std::pin::pin!(run(&syncer, &target));
            let mut left = polls;
            let done = poll_fn(|context| match attempt.poll_unpin(context) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => {
                    left -= 1;
                    if left == 0 {
                        end();
                    }
                    Poll::Pending
                }
            });
            done.await.unwrap();
        }
    }
}

fn syncer(archive: Archive, folder: &Path) -> Syncer {
    let sources = FolderSources { root: Root::new(folder.join("mail")), clock: clock() };
    let settings = Settings { batch_messages: 4, ..Settings::default() };
    Syncer::new(archive, Arc::new(ToyReader), Arc::new(sources), settings, clock())
}

struct End {
    point: Point,
    nth: usize,
    times: AtomicUsize,
}

impl Probe for End {
    fn reached(&self, point: Point) -> BoxFuture<'_, ()> {
        if point == self.point && self.times.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
            end();
        }
        std::future::ready(()).boxed()
    }
}

fn end() {
    // SAFETY: a signal to oneself; nothing of this process is needed afterwards.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("it cannot be caught");
}
