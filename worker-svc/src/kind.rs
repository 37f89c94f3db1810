//! Job kinds: what a worker can run. A small registry, by name.

pub mod document_sync;
pub mod noop;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use docket::schedule::v1 as pb;
use futures_util::future::BoxFuture;
use prost_types::Struct;
use tokio_util::sync::CancellationToken;

/// One kind of job. Implementations must stop soon after `context.cancelled`.
pub trait Kind: Send + Sync + 'static {
    /// As in `task.kind`.
    fn name(&self) -> &'static str;

    /// Whether its effects are fenced elsewhere, so that it may go on when its lease may have ended (rule W5).
    fn is_guarded(&self) -> bool {
        false
    }

    fn run(&self, job: pb::DueJob, context: Context) -> BoxFuture<'static, Outcome>;
}

/// What an attempt has besides its job.
#[derive(Clone)]
pub struct Context {
    /// Cancelled when the attempt is to stop, for whatever reason.
    pub cancelled: CancellationToken,
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// For people, sent with the next heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: i64,
    /// 0 = unknown.
    pub total: i64,
    pub note: String,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Success { result: Struct },
    Failure { failure: pb::Failure, partial: Option<Struct>, checkpoint: Option<Bytes> },
}

impl Outcome {
    pub fn failure(class: pb::FailureClass, code: &str, message: impl Into<String>) -> Self {
        let failure = pb::Failure {
            class: class.into(),
            code: code.into(),
            message: message.into(),
            retry_after: None,
            limit: String::new(),
        };
        Self::Failure { failure, partial: None, checkpoint: None }
    }
}

/// The kinds that this worker takes.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn Kind>>);

impl Registry {
    pub fn add(&mut self, kind: impl Kind) {
        self.0.insert(kind.name(), Arc::new(kind));
    }

    pub fn get(&self, name: &str) -> Option<Arc<dyn Kind>> {
        self.0.get(name).cloned()
    }

    pub fn kinds(&self) -> impl Iterator<Item = &Arc<dyn Kind>> {
        self.0.values()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
