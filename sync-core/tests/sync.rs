//! Runs that are killed at every step, overtaken, cancelled and fed with bad mail: every document is there
//! exactly once, and the cursor never passes a message that is not recorded.

mod support;

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, poll_fn};
use sync_core::archive::{
    Archive, DocumentFilter, Mailbox, MailboxState, Message, MessageFilter, MessageState,
};
use sync_core::reader::{Error, Reader, Reading};
use sync_core::source::root::Root;
use sync_core::source::{Fault, Fetched, Item, Page, Source};
use sync_core::sync::{
    Class, Failure, FolderSources, Job, Outcome, Point, Probe, Progress, Settings, Sources, Syncer,
};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use support::{NOW, NS, ToyReader, clock, mail, spec};

struct World {
    dir: TempDir,
    archive: Archive,
}

impl World {
    /// A mailbox `mb` of alice over the folder or file `path`.
    async fn new(path: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mail")).unwrap();
        let archive = support::archive(dir.path()).await;
        archive.catalog.connect_mailbox(&spec("mb", "alice", path), None, NOW).await.unwrap();
        Self { dir, archive }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("mail")
    }

    fn syncer(&self) -> Syncer {
        let sources = FolderSources { root: Root::new(self.root()), clock: clock() };
        self.syncer_of(Arc::new(ToyReader), Arc::new(sources))
    }

    fn syncer_of(&self, reader: Arc<dyn Reader>, sources: Arc<dyn Sources>) -> Syncer {
        let settings = Settings { batch_messages: 4, ..Settings::default() };
        Syncer::new(self.archive.clone(), reader, sources, settings, clock())
    }

    async fn documents(&self) -> Vec<String> {
        let filter = DocumentFilter { namespace: NS.into(), ..DocumentFilter::default() };
        let found = self.archive.catalog.list_documents(&filter, None, 1000).await.unwrap();
        for document in &found {
            let (_, bytes) = self.archive.open_document(NS, &document.document_id).await.unwrap();
            let bytes: Vec<Bytes> = futures_util::TryStreamExt::try_collect(bytes).await.unwrap();
            assert_eq!(bytes.concat().len() as u64, document.size, "a filed document has its bytes");
        }
        let mut numbers: Vec<_> = found.into_iter().map(|it| it.fields.number.value.unwrap()).collect();
        numbers.sort();
        numbers
    }

    async fn messages(&self) -> Vec<Message> {
        let filter = MessageFilter { namespace: NS.into(), mailbox_id: "mb".into(), state: None };
        self.archive.catalog.list_messages(&filter, None, 1000).await.unwrap()
    }

    async fn mailbox(&self) -> Mailbox {
        self.archive.catalog.get_mailbox(NS, "mb").await.unwrap()
    }
}

fn job(run: &str, attempt: u32) -> Job {
    Job { namespace: NS.into(), mailbox_id: "mb".into(), run_id: run.into(), attempt }
}

async fn run(syncer: &Syncer, job: &Job) -> Result<Outcome, Failure> {
    syncer.run(job, |_| {}, CancellationToken::new()).await
}

fn invoice(n: usize) -> String {
    mail(&format!("m{n:03}"), &format!("INVOICE Acme|{n:03}|2026-01-01|{n}.00"))
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:03}")).collect()
}

fn write_eml(root: &Path, name: &str, content: &str) {
    fs::write(root.join(name), content).unwrap();
}

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
    for (format, path) in [("eml", "."), ("mbox", "in.mbox")] {
        for point in Point::ALL {
            for nth in [1, 2, 3] {
                killed_at(format, path, point, nth).await;
            }
        }
    }
}

async fn killed_at(format: &str, path: &str, point: Point, nth: usize) {
    let world = World::new(path).await;
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
    let label = format!("{format} {point:?} {nth} {killed}");
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
    let world = World::new(".").await;
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
    for point in [Point::Fetched, Point::BlobPut, Point::BeforeCommit] {
        let world = World::new(".").await;
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
    let world = World::new(".").await;
    (0..40).for_each(|n| write_eml(&world.root(), &format!("{n}.eml"), &invoice(n)));
    let (one, two) = (world.syncer(), world.syncer());
    let (first, second) = (job("run", 1), job("run", 2));
    let _ = tokio::join!(run(&one, &first), run(&two, &second));
    run(&world.syncer(), &job("run", 3)).await.unwrap();
    assert_eq!(world.documents().await, numbers(40));
    assert_eq!(world.mailbox().await.documents, 40);
}

#[tokio::test]
async fn bad_messages_are_recorded_and_block_nothing() {
    let world = World::new(".").await;
    for n in 0..20 {
        write_eml(&world.root(), &format!("{n}.eml"), &invoice(n));
    }
    write_eml(&world.root(), "bomb.eml", &mail("bomb\u{202e}", "BOMB"));
    write_eml(&world.root(), "bad.eml", &mail("bad", "BAD"));
    write_eml(&world.root(), "none.eml", &mail("none", "hello"));
    let big = fs::File::create(world.root().join("big.eml")).unwrap();
    big.set_len(51 << 20).unwrap();
    let first = run(&world.syncer(), &job("run-1", 1)).await.unwrap();
    assert_eq!(first, Outcome { documents_new: 20, duplicates: 0, messages_read: 24, messages_failed: 3 });
    let messages = world.messages().await;
    let find = |id: &str| messages.iter().find(|it| it.source_id.contains(id)).unwrap();
    assert_eq!((find("none").state, find("bad").state), (MessageState::NoDocument, MessageState::Failed));
    assert_eq!(find("bad").reason, "not a mail");
    assert_eq!(
        (find("bomb").reason.as_str(), find("bomb").subject.as_str()),
        ("reader ran out of memory", "bomb")
    );
    assert!(find("big").reason.contains("too large: 51 MiB"));
    assert!(find("bomb").retry && !find("bad").retry && !find("big").retry);
    for (run_id, failed) in [("run-2", 1), ("run-3", 1), ("run-4", 1), ("run-5", 0)] {
        let again = run(&world.syncer(), &job(run_id, 1)).await.unwrap();
        assert_eq!(again, Outcome { messages_failed: failed, ..Outcome::default() }, "{run_id}");
    }
}

/// An mbox names a message once, so its retry goes by the place that was kept; and a later success counts.
#[tokio::test]
async fn a_message_that_killed_its_reader_may_succeed_later() {
    struct Mended(AtomicUsize);
    impl Reader for Mended {
        fn read(&self, raw: Bytes) -> BoxFuture<'_, Result<Reading, Error>> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                return futures_util::future::ready(Err(Error::Died(sync_core::reader::Death::Time))).boxed();
            }
            ToyReader.read(raw)
        }
    }
    let world = World::new("in.mbox").await;
    fs::write(world.root().join("in.mbox"), format!("From - \n{}\n", invoice(0))).unwrap();
    let sources = Arc::new(FolderSources { root: Root::new(world.root()), clock: clock() });
    let syncer = world.syncer_of(Arc::new(Mended(AtomicUsize::new(0))), sources);
    assert_eq!(run(&syncer, &job("run-1", 1)).await.unwrap().messages_failed, 1);
    assert_eq!(run(&syncer, &job("run-1", 2)).await.unwrap(), Outcome::default(), "later runs, not attempts");
    assert_eq!(run(&syncer, &job("run-2", 1)).await.unwrap().documents_new, 1);
    assert_eq!(world.messages().await[0].state, MessageState::Filed);
}

#[tokio::test]
async fn cancelling_keeps_what_was_read() {
    let world = World::new(".").await;
    (0..30).for_each(|n| write_eml(&world.root(), &format!("{n:02}.eml"), &invoice(n)));
    let cancel = CancellationToken::new();
    let seen = AtomicU64::new(0);
    let progress = |_: Progress| {
        if seen.fetch_add(1, Ordering::SeqCst) == 9 {
            cancel.cancel();
        }
    };
    let failure = world.syncer().run(&job("run", 1), progress, cancel.clone()).await.unwrap_err();
    assert_eq!((failure.class, failure.outcome.documents_new), (Class::Cancelled, 10));
    assert_eq!(world.documents().await.len(), 10);
    run(&world.syncer(), &job("run", 2)).await.unwrap();
    assert_eq!(world.documents().await, numbers(30));
}

#[tokio::test]
async fn progress_counts_to_the_total_and_carries_clean_text() {
    let world = World::new(".").await;
    (0..5).for_each(|n| write_eml(&world.root(), &format!("{n}.eml"), &invoice(n)));
    write_eml(&world.root(), "x.eml", &mail("a\u{1b}[31mb", "hello"));
    let seen = Mutex::new(Vec::new());
    let progress = |now: Progress| seen.lock().unwrap().push(now);
    world.syncer().run(&job("run", 1), progress, CancellationToken::new()).await.unwrap();
    let seen = seen.into_inner().unwrap();
    let last = seen.last().unwrap();
    assert_eq!((last.done, last.total), (6, Some(6)));
    assert!(seen.iter().all(|it| !it.note.contains('\u{1b}')));
    assert_eq!(world.mailbox().await.last_sync_time, Some(NOW));
}

#[tokio::test]
async fn the_root_is_checked_again_by_each_run() {
    let world = World::new("inbox").await;
    let missing = run(&world.syncer(), &job("run", 1)).await.unwrap_err();
    assert_eq!((missing.class, missing.code), (Class::Transient, "folder-missing"));
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), world.root().join("inbox")).unwrap();
    let refused = run(&world.syncer(), &job("run", 2)).await.unwrap_err();
    assert_eq!((refused.class, refused.code), (Class::Permanent, "folder-outside-root"));
}

/// A source that fails in the middle: what it named before is filed, and its class decides what follows.
#[tokio::test]
async fn a_sources_failure_keeps_its_class_and_the_work_before_it() {
    struct Breaks(Fault);
    impl Source for Breaks {
        fn changes<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, Fault>> {
            let item = |n: usize| Item { id: format!("{n}"), locator: String::new(), time: None, size: None };
            let page = match cursor {
                None => Ok(Page {
                    items: (0..6).map(item).collect(),
                    next: "1".into(),
                    more: true,
                    remaining: None,
                }),
                Some(_) => Err(self.0.clone()),
            };
            futures_util::future::ready(page).boxed()
        }
        fn fetch<'a>(&'a self, item: &'a Item) -> BoxFuture<'a, Result<Fetched, Fault>> {
            let raw = invoice(item.id.parse().unwrap());
            futures_util::future::ready(Ok(Fetched::Message(raw.into()))).boxed()
        }
    }
    struct Opens(Fault);
    impl Sources for Opens {
        fn open<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Result<Box<dyn Source>, Fault>> {
            futures_util::future::ready(Ok(Box::new(Breaks(self.0.clone())) as Box<dyn Source>)).boxed()
        }
    }
    let consent = Fault::reauthorize("consent-revoked", "sign in again");
    for (fault, state) in [
        (Fault::throttled("rate-limit", "slow down", None), MailboxState::Connected),
        (consent, MailboxState::Reauthorize),
    ] {
        let world = World::new(".").await;
        let syncer = world.syncer_of(Arc::new(ToyReader), Arc::new(Opens(fault.clone())));
        let failure = run(&syncer, &job("run", 1)).await.unwrap_err();
        assert_eq!((failure.code, failure.outcome.documents_new), (fault.code, 6));
        assert_eq!(world.documents().await, numbers(6));
        assert_eq!(world.mailbox().await.state, state);
    }
}

/// Whatever the concurrency, raw mails in memory stay within the budget.
#[tokio::test]
async fn the_byte_budget_bounds_messages_in_flight() {
    struct Counts {
        now: AtomicU64,
        most: AtomicU64,
    }
    impl Reader for Counts {
        fn read(&self, raw: Bytes) -> BoxFuture<'_, Result<Reading, Error>> {
            let size = raw.len() as u64;
            let now = self.now.fetch_add(size, Ordering::SeqCst) + size;
            self.most.fetch_max(now, Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                self.now.fetch_sub(size, Ordering::SeqCst);
                ToyReader.read(raw).await
            }
            .boxed()
        }
    }
    let world = World::new(".").await;
    for n in 0..6 {
        write_eml(&world.root(), &format!("{n}.eml"), &(invoice(n) + &"x".repeat(20 << 20)));
    }
    let reader = Arc::new(Counts { now: AtomicU64::new(0), most: AtomicU64::new(0) });
    let sources = Arc::new(FolderSources { root: Root::new(world.root()), clock: clock() });
    let settings = Settings { bytes_in_flight: 50 << 20, ..Settings::default() };
    let syncer = Syncer::new(world.archive.clone(), reader.clone(), sources, settings, clock());
    run(&syncer, &job("run", 1)).await.unwrap();
    let most = reader.most.load(Ordering::SeqCst);
    assert!(most <= 50 << 20, "{most}");
    assert_eq!(world.documents().await, numbers(6));
}
