//! Runs with bad mail, bad sources, retries, cancellation and little memory.

mod support;

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use sync_core::archive::claim::Claim;
use sync_core::archive::{Mailbox, MailboxState, MessageState};
use sync_core::reader::{Error, Reader, Reading};
use sync_core::source::root::Root;
use sync_core::source::{Fault, Fetched, Item, Page, Source};
use sync_core::sync::{Class, FolderSources, Outcome, Progress, Settings, Sources, Syncer};
use tokio_util::sync::CancellationToken;

use support::world::{World, invoice, job, numbers, run, write_eml};
use support::{NOW, ToyReader, clock, mail};

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
        fn open<'a>(
            &'a self,
            _: &'a Mailbox,
            _: Option<&'a Claim>,
        ) -> BoxFuture<'a, Result<Box<dyn Source>, Fault>> {
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

/// How a large folder behaves: `cargo test --release --test sync -- --ignored --nocapture large`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn a_large_folder_is_synced_in_bounded_memory() {
    let world = World::new(".").await;
    let count = std::env::var("MAILS").map_or(100_000, |text| text.parse().unwrap());
    for n in 0..count {
        let body = if n % 10 == 0 { invoice(n) } else { mail("newsletter", "nothing") };
        write_eml(&world.root(), &format!("{n}.eml"), &body);
    }
    let sources = Arc::new(FolderSources { root: Root::new(world.root()), clock: clock() });
    let reader = Arc::new(ToyReader);
    let syncer = Syncer::new(world.archive.clone(), reader, sources, Settings::default(), clock());
    for run_id in ["first", "idle"] {
        let begin = std::time::Instant::now();
        let outcome = run(&syncer, &job(run_id, 1)).await.unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        let mut report = std::io::stderr().lock();
        std::io::Write::write_fmt(
            &mut report,
            format_args!("{run_id}: {outcome:?} in {:?}, {memory}\n", begin.elapsed()),
        )
        .unwrap();
    }
}
