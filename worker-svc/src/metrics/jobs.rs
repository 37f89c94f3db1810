//! Counts the attempts of a kind.

use std::{sync::Arc, time::Instant};

use docket::schedule::v1::{self as pb, FailureClass};
use futures_util::future::BoxFuture;
use metrics::{Counter, Gauge, Histogram};

use super::{Metrics, declared};
use crate::kind::{Context, Kind, Outcome};

const CLASSES: [(FailureClass, &str); 10] = [
    (FailureClass::Unspecified, "unspecified"),
    (FailureClass::Transient, "transient"),
    (FailureClass::Throttled, "throttled"),
    (FailureClass::Reauthorize, "reauthorize"),
    (FailureClass::Permanent, "permanent"),
    (FailureClass::Lost, "lost"),
    (FailureClass::Timeout, "timeout"),
    (FailureClass::Cancelled, "cancelled"),
    (FailureClass::Interrupted, "interrupted"),
    (FailureClass::Superseded, "superseded"),
];

/// Stands before a kind.
pub struct CountedKind<K> {
    kind: K,
    counts: Arc<Counts>,
}

struct Counts {
    running: Gauge,
    succeeded: Counter,
    failed: [Counter; CLASSES.len()],
    abandoned: Counter,
    duration: Histogram,
}

impl<K: Kind> CountedKind<K> {
    pub fn new(kind: K, metrics: &Metrics) -> Self {
        let (registry, name) = (&metrics.registry, kind.name());
        let attempts = |class: &str| registry.counter(&declared::ATTEMPTS, &[name, class]);
        let counts = Counts {
            running: registry.gauge(&declared::RUNNING, &[name]),
            succeeded: attempts("success"),
            failed: CLASSES.map(|(_, class)| attempts(class)),
            abandoned: attempts("abandoned"),
            duration: registry.histogram(&declared::ATTEMPT_DURATION, &[name]),
        };
        Self { kind, counts: Arc::new(counts) }
    }
}

impl<K: Kind> Kind for CountedKind<K> {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn is_guarded(&self) -> bool {
        self.kind.is_guarded()
    }

    fn run(&self, job: pb::DueJob, context: Context) -> BoxFuture<'static, Outcome> {
        let mut attempt = Attempt::begin(self.counts.clone());
        let run = self.kind.run(job, context);
        Box::pin(async move {
            let outcome = run.await;
            attempt.end(&outcome);
            outcome
        })
    }
}

/// An attempt that runs. Dropped without an outcome it was abandoned.
struct Attempt {
    counts: Arc<Counts>,
    begin: Instant,
    ended_as: Option<Counter>,
}

impl Attempt {
    fn begin(counts: Arc<Counts>) -> Self {
        counts.running.increment(1.0);
        Self { counts, begin: Instant::now(), ended_as: None }
    }

    fn end(&mut self, outcome: &Outcome) {
        self.ended_as = Some(match outcome {
            Outcome::Success { .. } => self.counts.succeeded.clone(),
            Outcome::Failure { failure, .. } => {
                let place = CLASSES.iter().position(|(class, _)| *class == failure.class());
                self.counts.failed[place.unwrap_or_default()].clone()
            }
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.counts.running.decrement(1.0);
        self.counts.duration.record(self.begin.elapsed().as_secs_f64());
        self.ended_as.as_ref().unwrap_or(&self.counts.abandoned).increment(1);
    }
}
