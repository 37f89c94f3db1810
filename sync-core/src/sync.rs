//! One run: everything new in a mailbox is read and filed.
//!
//! ```text
//! claim ─► changes ─► (fetch ─► read in a child ─► put blobs)* ─► commit ─► … ─► finish
//!          page by page    several at a time, any order           in the source's order
//! ```
//!
//! Guarantees, whatever crashes where:
//! - A document's bytes are durable before the transaction that names them; documents, processed messages
//!   and the cursor change together; the cursor never passes a message that is not recorded.
//! - Any step may be repeated by a later attempt without filing anything twice.
//! - An attempt that lost its claim changes nothing more and ends as `superseded`.
//! - One bad message is recorded with its reason and blocks nothing. If its reader died, later runs try it
//!   again, three times at the most.
//! - Memory is bounded by [`Settings::bytes_in_flight`] and the reader's own budget, whatever the mails' sizes.
//!
//! Absent: retry and timing of runs (the scheduler's), tokens and credentials (the source factory's).

mod envelope;
mod message;
mod outcome;
mod pending;
mod plan;
mod probe;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{Stream, StreamExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::message::{Done, carry_out};
use self::pending::Pending;
use self::plan::Planner;
use crate::archive::claim::{Claim, Holder, Refused};
use crate::archive::commit::Committed;
use crate::archive::record::SourceConfig;
use crate::archive::{Archive, Mailbox};
use crate::reader::Reader;
use crate::source::folder;
use crate::source::root::Root;
use crate::source::{Fault, MESSAGE_BYTES_MAX, Source};
use crate::text::clean;

pub use outcome::{Class, Failure, Outcome, Progress};
pub use probe::{Point, Probe};

/// Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Opens a mailbox's source for one run, which names its claim, or for a test of the connection.
pub trait Sources: Send + Sync {
    fn open<'a>(
        &'a self,
        mailbox: &'a Mailbox,
        claim: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, Fault>>;
}

/// Folders below the configured root. The root is checked again at each opening.
pub struct FolderSources {
    pub root: Root,
    pub clock: Clock,
}

impl Sources for FolderSources {
    fn open<'a>(
        &'a self,
        mailbox: &'a Mailbox,
        _claim: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, Fault>> {
        let SourceConfig::Folder(config) = &mailbox.spec.source else {
            let fault = Fault::permanent("source-not-served", "this worker reads folders only");
            return futures_util::future::ready(Err(fault)).boxed();
        };
        let spec = &mailbox.spec;
        let opened = folder::open(&self.root, config, &spec.folders, spec.since, self.clock.clone());
        let opened = opened.map(|source| Box::new(source) as Box<dyn Source>).map_err(Fault::from);
        futures_util::future::ready(opened).boxed()
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Messages fetched and read at a time, per run. More than the reader's children is of little use.
    pub concurrency: usize,
    /// Raw bytes of messages in memory, over all runs of this value. At least one message fits.
    pub bytes_in_flight: u64,
    /// A transaction commits once this many messages wait …
    pub batch_messages: usize,
    /// … or the first has waited this long.
    pub batch_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 8,
            bytes_in_flight: 128 << 20,
            batch_messages: 50,
            batch_wait: Duration::from_secs(2),
        }
    }
}

/// Which mailbox, for which attempt of which run.
#[derive(Clone, Debug)]
pub struct Job {
    pub namespace: String,
    pub mailbox_id: String,
    pub run_id: String,
    pub attempt: u32,
}

/// Runs syncs; one value serves all runs of a worker, which share its byte budget.
pub struct Syncer {
    archive: Archive,
    reader: Arc<dyn Reader>,
    sources: Arc<dyn Sources>,
    settings: Settings,
    clock: Clock,
    budget: Arc<Semaphore>,
    probe: Option<Arc<dyn Probe>>,
    meter: Option<Meter>,
}

/// Is told of each commit: the source, what changed or why nothing did, and how long it took.
pub type Meter = Arc<dyn Fn(&SourceConfig, &Result<Committed, Refused>, Duration) + Send + Sync>;

/// What the steps of one run share.
struct Context {
    archive: Archive,
    reader: Arc<dyn Reader>,
    source: Box<dyn Source>,
    claim: Claim,
    budget: Arc<Semaphore>,
    clock: Clock,
    probe: Option<Arc<dyn Probe>>,
}

impl Context {
    async fn reached(&self, point: Point) {
        if let Some(probe) = &self.probe {
            probe.reached(point).await;
        }
    }
}

/// The budget counts KiB, since a semaphore counts in `u32`.
fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

impl Syncer {
    pub fn new(
        archive: Archive,
        reader: Arc<dyn Reader>,
        sources: Arc<dyn Sources>,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        let budget = permits(settings.bytes_in_flight.max(MESSAGE_BYTES_MAX)) as usize;
        let budget = Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS)));
        Self { archive, reader, sources, settings, clock, budget, probe: None, meter: None }
    }

    /// Calls `probe` at each step of a run: for tests that stop a run there.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// For metrics.
    #[must_use]
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// One attempt. Dropping the future is a crash: safe, and what was not committed is done again.
    ///
    /// # Errors
    /// See [`Failure`]; it carries what was committed before.
    pub async fn run(
        &self,
        job: &Job,
        progress: impl Fn(Progress) + Send + Sync,
        cancel: CancellationToken,
    ) -> Result<Outcome, Failure> {
        let span = tracing::info_span!(
            "mailbox",
            namespace = %clean(&job.namespace, 128),
            mailbox_id = %clean(&job.mailbox_id, 128),
            run_id = %clean(&job.run_id, 128),
            attempt = job.attempt,
        );
        let result = self.attempt(job, &progress, cancel).instrument(span.clone()).await;
        span.in_scope(|| match &result {
            Ok(Outcome { documents_new, duplicates, messages_read, messages_failed }) => {
                tracing::info!(documents_new, duplicates, messages_read, messages_failed, "mailbox synced")
            }
            Err(failure) => tracing::info!(
                code = failure.name(),
                why = %clean(&failure.message, 300),
                documents_new = failure.outcome.documents_new,
                duplicates = failure.outcome.duplicates,
                messages_read = failure.outcome.messages_read,
                messages_failed = failure.outcome.messages_failed,
                "sync ended early"
            ),
        });
        result
    }

    async fn attempt(
        &self,
        job: &Job,
        progress: &(impl Fn(Progress) + Send + Sync),
        cancel: CancellationToken,
    ) -> Result<Outcome, Failure> {
        let holder = Holder { run_id: job.run_id.clone(), attempt: job.attempt };
        let claim = self.archive.catalog.claim(&job.namespace, &job.mailbox_id, &holder).await?;
        let mut filing = Filing {
            syncer: self,
            pending: Pending::new(&claim, &self.settings),
            claim,
            outcome: Outcome::default(),
        };
        let result = filing.run(progress, cancel).await;
        let outcome = filing.outcome;
        match result {
            Ok(()) => Ok(outcome),
            Err(failure) => Err(filing.note(failure).await.with(outcome)),
        }
    }
}

/// An attempt that holds the claim.
struct Filing<'a> {
    syncer: &'a Syncer,
    claim: Claim,
    pending: Pending,
    outcome: Outcome,
}

/// What the loop waits for.
enum Event {
    Done(Option<Result<Done, Failure>>),
    BatchIsDue,
    Cancelled,
}

impl Filing<'_> {
    async fn run(
        &mut self,
        progress: &(impl Fn(Progress) + Send + Sync),
        cancel: CancellationToken,
    ) -> Result<(), Failure> {
        let context = self.context().await?;
        context.reached(Point::Claimed).await;
        let mut done = pin!(steps(context.clone(), self.syncer.settings.concurrency));
        let mut seen = Progress::default();
        let ended = loop {
            match self.wait(&mut done, &cancel).await {
                Event::Done(Some(Ok(step))) => {
                    self.take(step, &mut seen);
                    progress(seen.clone());
                    if self.pending.is_full() {
                        self.commit(&context).await?;
                    }
                }
                Event::BatchIsDue => self.commit(&context).await?,
                Event::Done(Some(Err(failure))) => break Err(failure),
                Event::Cancelled => break Err(Failure::cancelled()),
                Event::Done(None) => break Ok(()),
            }
        };
        // Whatever ended the run, what was read before is filed.
        self.commit(&context).await?;
        ended?;
        context.source.close().await;
        context.reached(Point::BeforeFinish).await;
        self.syncer.archive.catalog.finish(&self.claim, (self.syncer.clock)()).await?;
        Ok(())
    }

    async fn context(&self) -> Result<Arc<Context>, Failure> {
        let source = self.syncer.sources.open(&self.claim.mailbox, Some(&self.claim)).await?;
        Ok(Arc::new(Context {
            archive: self.syncer.archive.clone(),
            reader: self.syncer.reader.clone(),
            source,
            claim: self.claim.clone(),
            budget: self.syncer.budget.clone(),
            clock: self.syncer.clock.clone(),
            probe: self.syncer.probe.clone(),
        }))
    }

    /// All branches may be dropped at any time: the stream keeps its state, the others have none.
    async fn wait(
        &self,
        done: &mut (impl Stream<Item = Result<Done, Failure>> + Unpin),
        cancel: &CancellationToken,
    ) -> Event {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Event::Cancelled,
            step = done.next() => Event::Done(step),
            () = self.pending.due() => Event::BatchIsDue,
        }
    }

    fn take(&mut self, step: Done, seen: &mut Progress) {
        match step {
            Done::Message(message) => {
                seen.note.clone_from(&message.subject);
                self.pending.push(*message);
            }
            Done::NotNow => {}
            Done::PageEnd { next, named, remaining } => {
                seen.total = remaining.map(|remaining| seen.done + remaining);
                seen.done += named;
                self.pending.page_end(next);
            }
        }
    }

    async fn commit(&mut self, context: &Context) -> Result<(), Failure> {
        let Some(batch) = self.pending.take() else { return Ok(()) };
        context.reached(Point::BeforeCommit).await;
        let now = (self.syncer.clock)();
        let begin = Instant::now();
        let commit = self.syncer.archive.catalog.commit(&mut self.claim, &batch, now);
        let committed = commit.instrument(tracing::debug_span!("commit")).await;
        if let Some(meter) = &self.syncer.meter {
            meter(&self.claim.mailbox.spec.source, &committed, begin.elapsed());
        }
        let committed = committed?;
        context.reached(Point::AfterCommit).await;
        self.outcome.add(&committed);
        Ok(())
    }

    /// Tells the archive what the user must know.
    async fn note(&self, failure: Failure) -> Failure {
        if failure.class != Class::Reauthorize {
            return failure;
        }
        let now = (self.syncer.clock)();
        let reason = clean(&failure.message, 300);
        match self.syncer.archive.catalog.needs_reauthorization(&self.claim, &reason, now).await {
            Ok(()) => failure,
            Err(refused) => refused.into(),
        }
    }
}

fn steps(context: Arc<Context>, concurrency: usize) -> impl Stream<Item = Result<Done, Failure>> {
    let planner = Planner::new(context.clone());
    futures_util::stream::unfold(planner, Planner::next)
        .map(move |step| carry_out(context.clone(), step).boxed())
        .buffered(concurrency.max(1))
}
