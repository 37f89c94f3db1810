//! `document-sync`: files everything new in a mailbox. Argument: `mailbox_id` (required).
//!
//! An attempt may go on when its lease may have ended, since the archive refuses whoever lost the mailbox. What it
//! committed counts however it ends: failures carry the same counts as a result does.

use std::{collections::BTreeMap, sync::Arc};

use docket::schedule::v1 as pb;
use futures_util::future::BoxFuture;
use prost_types::{Duration, Struct, Value, value::Kind as ValueKind};
use sync_core::{
    sync::{self, Class, Job, Syncer},
    text::clean,
};

use super::{Context, Kind, Outcome, Progress};

const ID_MAX: usize = 128;
const NOTE_MAX: usize = 200;
const MESSAGE_MAX: usize = 300;

pub struct DocumentSync {
    syncer: Arc<Syncer>,
}

impl DocumentSync {
    pub fn new(syncer: Arc<Syncer>) -> Self {
        Self { syncer }
    }
}

impl Kind for DocumentSync {
    fn name(&self) -> &'static str {
        "document-sync"
    }

    fn is_guarded(&self) -> bool {
        true
    }

    fn run(&self, job: pb::DueJob, context: Context) -> BoxFuture<'static, Outcome> {
        let syncer = self.syncer.clone();
        Box::pin(async move {
            let args = job.task.as_ref().and_then(|task| task.args.as_ref());
            let mailbox_id = match mailbox_id(args) {
                Ok(mailbox_id) => mailbox_id,
                Err(why) => return Outcome::failure(pb::FailureClass::Permanent, "INVALID_ARGS", why),
            };
            let sync_job = Job {
                namespace: namespace(&job.namespace),
                mailbox_id,
                run_id: job.run_id.clone(),
                attempt: u32::try_from(job.attempt).unwrap_or(0),
            };
            let report = context.progress;
            let progress = move |now: sync::Progress| report(shown(&now));
            match syncer.run(&sync_job, progress, context.cancelled).await {
                Ok(outcome) => Outcome::Success { result: counts(&outcome) },
                Err(failure) => Outcome::Failure {
                    partial: Some(counts(&failure.outcome)),
                    failure: failed(failure, &job.limits),
                    checkpoint: None,
                },
            }
        })
    }
}

fn namespace(said: &str) -> String {
    if said.is_empty() { docket::DEFAULT_NAMESPACE.to_owned() } else { said.to_owned() }
}

fn mailbox_id(args: Option<&Struct>) -> Result<String, &'static str> {
    const WANTED: &str =
        "args.mailbox_id must be the id of a connected mailbox: 1 to 128 characters of A-Z a-z 0-9 . _ : @ -";
    let value = args.and_then(|args| args.fields.get("mailbox_id"));
    let Some(Value { kind: Some(ValueKind::StringValue(id)) }) = value else { return Err(WANTED) };
    let is_id = (1..=ID_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte));
    if is_id { Ok(id.clone()) } else { Err(WANTED) }
}

fn shown(progress: &sync::Progress) -> Progress {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Progress {
        done: number(progress.done),
        total: progress.total.map_or(0, number),
        note: clean(&progress.note, NOTE_MAX),
    }
}

fn counts(outcome: &sync::Outcome) -> Struct {
    let number = |count: u64| Value { kind: Some(ValueKind::NumberValue(count as f64)) };
    let counts = [
        ("documents_new", outcome.documents_new),
        ("duplicates", outcome.duplicates),
        ("messages_read", outcome.messages_read),
        ("messages_failed", outcome.messages_failed),
    ];
    let fields = counts.into_iter().map(|(name, count)| (name.to_owned(), number(count)));
    Struct { fields: fields.collect::<BTreeMap<_, _>>() }
}

/// `limits`: the run's own keys, of which only one may be closed.
fn failed(failure: sync::Failure, limits: &[String]) -> pb::Failure {
    let code = failure.name();
    let (class, retry_after, limit) = match failure.class {
        Class::Transient => (pb::FailureClass::Transient, None, None),
        Class::Throttled { retry_after, key } => (pb::FailureClass::Throttled, retry_after, key),
        Class::Reauthorize => (pb::FailureClass::Reauthorize, None, None),
        Class::Permanent => (pb::FailureClass::Permanent, None, None),
        Class::Superseded => (pb::FailureClass::Superseded, None, None),
        Class::Cancelled => (pb::FailureClass::Cancelled, None, None),
    };
    pb::Failure {
        class: class.into(),
        code,
        message: clean(&failure.message, MESSAGE_MAX),
        retry_after: retry_after.and_then(|after| Duration::try_from(after).ok()),
        limit: limit.filter(|key| limits.contains(key)).unwrap_or_default(),
    }
}
