//! Counts what syncs bring, and what sources, token endpoints and readers answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use metrics::{Counter, Histogram};
use sync_core::{
    archive::{
        Mailbox,
        claim::{Claim, Refused},
        commit::Committed,
        record::SourceConfig,
    },
    credential::{Access, Secret},
    reader::{self, Death, Reader, Reading},
    source::{
        Class, Fault, Fetched, Item, Page, Source,
        gmail::quota::Waits,
        oauth::{Client, Tokens},
    },
    sync::{Meter, Sources},
};

use super::{Metrics, Registry, declared};

const PROVIDERS: [&str; 3] = ["folder", "imap", "gmail"];
const CALLS: [&str; 4] = ["open", "changes", "fetch", "look"];
const OUTCOMES: [&str; 5] = ["ok", "transient", "throttled", "reauthorize", "permanent"];
const DEATHS: [&str; 7] = ["memory", "time", "stack", "signal", "exit", "panic", "garbage"];

/// Places in [`CALLS`].
const OPEN: usize = 0;
const CHANGES: usize = 1;
const FETCH: usize = 2;
const LOOK: usize = 3;

/// Arrays are indexed by the place in the lists above.
pub struct Mail {
    providers: [Arc<Provider>; PROVIDERS.len()],
    commit_duration: Histogram,
    /// Done, refused, failed.
    commits: [Counter; 3],
    tokens: [Counter; OUTCOMES.len()],
    quota_wait: Histogram,
    /// Read, refused, died, unavailable.
    readings: [Counter; 4],
    reading_duration: Histogram,
    deaths: [Counter; DEATHS.len()],
}

struct Provider {
    calls: [[Counter; OUTCOMES.len()]; CALLS.len()],
    durations: [Histogram; CALLS.len()],
    read: Counter,
    failed: Counter,
    new: Counter,
    duplicates: Counter,
}

impl Mail {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            providers: PROVIDERS.map(|provider| Arc::new(Provider::new(registry, provider))),
            commit_duration: registry.histogram(&declared::COMMIT_DURATION, &[]),
            commits: ["done", "refused", "failed"]
                .map(|outcome| registry.counter(&declared::COMMITS, &[outcome])),
            tokens: OUTCOMES.map(|outcome| registry.counter(&declared::TOKENS, &[outcome])),
            quota_wait: registry.histogram(&declared::QUOTA_WAIT, &[]),
            readings: ["read", "refused", "died", "unavailable"]
                .map(|outcome| registry.counter(&declared::READINGS, &[outcome])),
            reading_duration: registry.histogram(&declared::READING_DURATION, &[]),
            deaths: DEATHS.map(|cause| registry.counter(&declared::READER_DEATHS, &[cause])),
        }
    }

    fn provider(&self, source: &SourceConfig) -> &Arc<Provider> {
        let place = match source {
            SourceConfig::Folder(_) => 0,
            SourceConfig::Imap(_) => 1,
            SourceConfig::Gmail(_) => 2,
        };
        &self.providers[place]
    }

    fn committed(&self, source: &SourceConfig, committed: &Result<Committed, Refused>, took: Duration) {
        let place = match committed {
            Ok(_) => 0,
            Err(Refused::Archive(_)) => 2,
            Err(_) => 1,
        };
        self.commits[place].increment(1);
        let Ok(committed) = committed else { return };
        let provider = self.provider(source);
        provider.read.increment(committed.messages.saturating_sub(committed.failed));
        provider.failed.increment(committed.failed);
        provider.new.increment(committed.documents_new);
        provider.duplicates.increment(committed.duplicates);
        self.commit_duration.record(took.as_secs_f64());
    }

    fn read(&self, result: &Result<Reading, reader::Error>) {
        let place = match result {
            Ok(_) => 0,
            Err(reader::Error::Refused(_)) => 1,
            Err(reader::Error::Died(death)) => {
                self.deaths[cause(*death)].increment(1);
                2
            }
            Err(reader::Error::Unavailable(_)) => 3,
        };
        self.readings[place].increment(1);
    }
}

impl Provider {
    fn new(registry: &Registry, provider: &str) -> Self {
        let messages = |outcome: &str| registry.counter(&declared::MESSAGES, &[provider, outcome]);
        let documents = |outcome: &str| registry.counter(&declared::DOCUMENTS, &[provider, outcome]);
        Self {
            calls: CALLS.map(|call| {
                OUTCOMES.map(|outcome| registry.counter(&declared::SOURCE_CALLS, &[provider, call, outcome]))
            }),
            durations: CALLS.map(|call| registry.histogram(&declared::SOURCE_DURATION, &[provider, call])),
            read: messages("read"),
            failed: messages("failed"),
            new: documents("new"),
            duplicates: documents("duplicate"),
        }
    }

    /// Counts a call once it has its answer; one that is dropped before has none.
    async fn count<T>(
        &self,
        call: usize,
        answer: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let begin = Instant::now();
        let answer = answer.await;
        self.durations[call].record(begin.elapsed().as_secs_f64());
        self.calls[call][outcome(&answer)].increment(1);
        answer
    }
}

fn outcome<T>(answer: &Result<T, Fault>) -> usize {
    match answer.as_ref().map_err(|fault| &fault.class) {
        Ok(_) => 0,
        Err(Class::Transient) => 1,
        Err(Class::Throttled { .. }) => 2,
        Err(Class::Reauthorize) => 3,
        Err(Class::Permanent) => 4,
    }
}

fn cause(death: Death) -> usize {
    match death {
        Death::Memory => 0,
        Death::Time => 1,
        Death::Stack => 2,
        Death::Signal(_) => 3,
        Death::Exit(_) => 4,
        Death::Panic => 5,
        Death::Garbage => 6,
    }
}

impl Metrics {
    /// For the syncer.
    pub fn meter(&self) -> Meter {
        let mail = self.mail.clone();
        Arc::new(move |source, committed, took| mail.committed(source, committed, took))
    }

    /// For Gmail.
    pub fn quota_waits(&self) -> Waits {
        let mail = self.mail.clone();
        Arc::new(move |wait| mail.quota_wait.record(wait.as_secs_f64()))
    }
}

/// Stands before the sources.
pub struct CountedSources<S> {
    sources: S,
    mail: Arc<Mail>,
}

impl<S> CountedSources<S> {
    pub fn new(sources: S, metrics: &Metrics) -> Self {
        Self { sources, mail: metrics.mail.clone() }
    }
}

impl<S: Sources> Sources for CountedSources<S> {
    fn open<'a>(
        &'a self,
        mailbox: &'a Mailbox,
        claim: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, Fault>> {
        let provider = self.mail.provider(&mailbox.spec.source).clone();
        Box::pin(async move {
            let source = provider.count(OPEN, self.sources.open(mailbox, claim)).await?;
            Ok(Box::new(CountedSource { source, provider }) as Box<dyn Source>)
        })
    }
}

struct CountedSource {
    source: Box<dyn Source>,
    provider: Arc<Provider>,
}

impl Source for CountedSource {
    fn changes<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, Fault>> {
        Box::pin(self.provider.count(CHANGES, self.source.changes(cursor)))
    }

    fn fetch<'a>(&'a self, item: &'a Item) -> BoxFuture<'a, Result<Fetched, Fault>> {
        Box::pin(self.provider.count(FETCH, self.source.fetch(item)))
    }

    fn look(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(self.provider.count(LOOK, self.source.look()))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.source.close()
    }
}

/// Stands before whoever gets access tokens.
pub struct CountedTokens<T> {
    tokens: T,
    mail: Arc<Mail>,
}

impl<T> CountedTokens<T> {
    pub fn new(tokens: T, metrics: &Metrics) -> Self {
        Self { tokens, mail: metrics.mail.clone() }
    }
}

impl<T: Tokens> Tokens for CountedTokens<T> {
    fn access_token<'a>(
        &'a self,
        access: &'a Access,
        client: &'a Client,
    ) -> BoxFuture<'a, Result<Secret, Fault>> {
        Box::pin(async move {
            let answer = self.tokens.access_token(access, client).await;
            self.mail.tokens[outcome(&answer)].increment(1);
            answer
        })
    }
}

/// Stands before the reader.
pub struct CountedReader<R> {
    reader: R,
    mail: Arc<Mail>,
}

impl<R> CountedReader<R> {
    pub fn new(reader: R, metrics: &Metrics) -> Self {
        Self { reader, mail: metrics.mail.clone() }
    }
}

impl<R: Reader> Reader for CountedReader<R> {
    fn read(&self, raw: Bytes) -> BoxFuture<'_, Result<Reading, reader::Error>> {
        Box::pin(async move {
            let begin = Instant::now();
            let result = self.reader.read(raw).await;
            self.mail.reading_duration.record(begin.elapsed().as_secs_f64());
            self.mail.read(&result);
            result
        })
    }
}
