//! Runs that are killed at every step or overtaken: every document is there exactly once, and the cursor
//! never passes a message that is not recorded.

mod support;

use std::fs;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::future::{BoxFuture, FutureExt, poll_fn};
use sync_core::sync::{Class, Outcome, Point, Probe};
use tokio::sync::Notify;

use support::Database;
use support::world::{World, invoice, job, numbers, run, write_eml};

/// Holds the run for ever at the `nth` time it reaches `point`.
struct Stop {
    point: Point,
    nth: usize,
    times: AtomicUsize,
    reached: Notify,
}

impl Stop {
    fn at(point: Point, nth: usize) -> Arc<Self> {
        Arc::new(Self { point, nth, times: AtomicUsize::new(0), reached: Notify::new() })
    }
}

impl Probe for Stop {
    fn reached(&self, point: Point) -> BoxFuture<'_, ()> {
        async move {
            if point == self.point && self.times.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_run_killed_at_any_step_loses_and_doubles_nothing() {
    for point in Point::ALL {
        for nth in [1, 2, 3] {
            killed_at(Database::Sqlite, "eml", ".", point, nth).await;
            killed_at(Database::Sqlite, "mbox", "in.mbox", point, nth).await;
            killed_at(Database::Postgres, "eml", ".", point, nth).await;
        }
    }
}

async fn killed_at(database: Database, format: &str, path: &str, point: Point, nth: usize) {
    let world = World::on(database, path).await;
    let count = 10;
    match format {
        "mbox" => {
            let all: String = (0..count).map(|n| format!("From - \n{}\n", invoice(n))).collect();
            fs::write(world.root().join("in.mbox"), all).unwrap();
        }
        _ => (0..count).for_each(|n| write_eml(&world.root(), &format!("{n}.eml"), &invoice(n))),
    }
    let stop = Stop::at(point, nth);
    let syncer = world.syncer().with_probe(stop.clone());
    let first = job("run", 1);
    let killed = tokio::select! {
        () = stop.reached.notified() => true,
        done = run(&syncer, &first) => { done.unwrap(); false }
    };
    let label = format!("{database:?} {format} {point:?} {nth} {killed}");
    assert!(killed || nth > 1, "{label}: the point was reached");
    let recorded = world.messages().await.len();
    assert_eq!(world.documents().await.len(), recorded, "{label}: a message and its documents are one");
    run(&world.syncer(), &job("run", 2)).await.unwrap();
    assert_eq!(world.documents().await, numbers(count), "{label}");
    assert_eq!(world.messages().await.len(), count, "{label}");
    let mailbox = world.mailbox().await;
    assert_eq!((mailbox.documents, mailbox.duplicates), (count as i64, 0), "{label}");
    let idle = run(&world.syncer(), &job("next", 1)).await.unwrap();
    assert_eq!(idle, Outcome::default(), "{label}: nothing is left");
}

/// Not only at the named steps: dropped after any number of polls, in the middle of a transaction, too.
#[tokio::test]
async fn a_run_killed_between_any_two_polls_loses_and_doubles_nothing() {
    for database in Database::BOTH {
        killed_between_polls(World::on(database, ".").await).await;
    }
}

async fn killed_between_polls(world: World) {
    let mut finished = false;
    for polls in 1.. {
        write_eml(&world.root(), &format!("{polls}.eml"), &invoice(polls - 1));
        let syncer = world.syncer();
        let target = job("run", polls as u32);
        let mut attempt = pin!(run(&syncer, &target));
        let mut left = polls;
        let ended = poll_fn(|context| {
            left -= 1;
            match attempt.poll_unpin(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(done) = ended.await {
            done.unwrap();
            finished = true;
        }
        if finished && polls > 40 {
            run(&world.syncer(), &job("last", 1)).await.unwrap();
            assert_eq!(world.documents().await, numbers(polls));
            return;
        }
    }
}

#[tokio::test]
async fn an_overtaken_attempt_ends_as_superseded_and_files_nothing_more() {
    let points = [Point::Fetched, Point::BlobPut, Point::BeforeCommit];
    for (database, point) in Database::BOTH.into_iter().flat_map(|on| points.map(|point| (on, point))) {
        let world = World::on(database, ".").await;
        (0..10).for_each(|n| write_eml(&world.root(), &format!("{n}.eml"), &invoice(n)));
        let pause = Arc::new(Pause { point, reached: Notify::new(), go: Notify::new() });
        let slow = world.syncer().with_probe(pause.clone());
        let fast = world.syncer();
        let (first, second) = (job("run", 1), job("run", 2));
        let (late, done) = tokio::join!(run(&slow, &first), async {
            pause.reached.notified().await;
            let done = run(&fast, &second).await;
            pause.go.notify_waiters();
            pause.go.notify_one();
            done
        });
        assert_eq!(done.unwrap().documents_new, 10);
        let late = late.unwrap_err();
        assert_eq!((late.class, late.outcome), (Class::Superseded, Outcome::default()), "{point:?}");
        assert_eq!(world.documents().await, numbers(10));
        assert_eq!(run(&fast, &first).await.unwrap_err().code, "superseded", "a lower attempt is refused");
    }
}

/// Holds the run once at a point, until told to go on.
struct Pause {
    point: Point,
    reached: Notify,
    go: Notify,
}

impl Probe for Pause {
    fn reached(&self, point: Point) -> BoxFuture<'_, ()> {
        async move {
            if point == self.point {
                self.reached.notify_one();
                self.go.notified().await;
                self.go.notify_one();
            }
        }
        .boxed()
    }
}

#[tokio::test]
async fn two_attempts_at_once_file_each_document_once() {
    for database in Database::BOTH {
        at_once(World::on(database, ".").await).await;
    }
}

async fn at_once(world: World) {
    (0..40).for_each(|n| write_eml(&world.root(), &format!("{n}.eml"), &invoice(n)));
    let (one, two) = (world.syncer(), world.syncer());
    let (first, second) = (job("run", 1), job("run", 2));
    let _ = tokio::join!(run(&one, &first), run(&two, &second));
    run(&world.syncer(), &job("run", 3)).await.unwrap();
    assert_eq!(world.documents().await, numbers(40));
    assert_eq!(world.mailbox().await.documents, 40);
}
