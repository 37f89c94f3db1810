//! What the app asks for: definitions and calls, drawn from one stream of chance.
//!
//! Each client owns one schedule id and asks one thing at a time, so that a sequential model says what each answer
//! must be, whatever happens on the way.

use std::{collections::BTreeMap, fmt, sync::Arc};

use scheduler_svc::state_machine::{
    command::{
        Backfill, Bulk, BulkChange, CancelRun, Command, Delete, DeleteLimit, GetRun, ListLimits,
        ListSchedules, Page, Pause, Request, Resume, RetryRuns, SetLimit, TriggerNow, Upsert,
    },
    definition::{Definition, Input, Labels, Misfire, Overlap, Retry, ScheduleKey, Task, Terms},
    gate::limit::Limit,
    id::{RunId, Uid},
    schedule::Span,
    timing::{Cron, CronSource, Fold, Gap, Timing},
};

use crate::chance::Chance;

pub const NAMESPACE: &str = "default";
/// The label of schedules that one app changes with one call, and how many of them one page of a call changes.
pub const OWNED: &str = "owned";
const PAGE: usize = 2;
/// Of no schedule.
pub const NO_ETAG: &str = "00000000-1";
/// Unguarded, guarded.
pub const KINDS: [&str; 2] = ["sync", "document-sync"];

/// One thing that the app wants.
#[derive(Clone, Debug)]
pub enum Op {
    Upsert {
        definition: Box<Definition>,
        trial: bool,
        etag: Option<String>,
    },
    Delete {
        cancel_running: bool,
    },
    Pause {
        note: String,
        until: Option<i64>,
    },
    Resume {
        catch_up: bool,
    },
    Trigger,
    Get,
    List,
    GetRun(RunId),
    /// The request id of the call before, with another body.
    Reuse,
    SetLimit {
        key: String,
        limit: Limit,
    },
    DeleteLimit {
        key: String,
    },
    ListLimits,
    CancelRun(RunId),
    RetryRuns(Vec<RunId>),
    /// From, and to before.
    Backfill(Span),
    /// A page of a change of all schedules with the owner's label.
    Mass {
        change: Mass,
        after: Option<Box<str>>,
        done: u64,
    },
    ListOwned,
}

/// A change of many schedules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mass {
    Pause { note: String },
    Resume,
    Delete,
}

impl Op {
    /// Whether it carries a request id, which makes its tries one.
    pub fn is_mutation(&self) -> bool {
        match self {
            Self::Get | Self::List | Self::GetRun(_) | Self::ListLimits | Self::ListOwned => false,
            Self::Upsert { trial, .. } => !trial,
            _ => true,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Upsert { definition, trial, etag } = self else { return write!(f, "{self:?}") };
        let timing = match &definition.timing {
            Timing::Cron(cron) => format!("{:?}", cron.source().expressions),
            other => format!("{other:?}"),
        };
        let Terms { spread, max_runs, start, end, overlap, misfire, .. } = &*definition.terms;
        write!(
            f,
            "Upsert {timing} {overlap:?} {misfire:?} spread {spread} max_runs {max_runs} start {start:?} end {end:?} queue_timeout {} \
             attempts {} pause_after {} {:?} trial {trial} etag {etag:?}",
            definition.task.queue_timeout,
            definition.retry.max_attempts,
            definition.pause_after_failures,
            definition.labels.iter().map(|(_, value)| value).collect::<Vec<_>>(),
        )
    }
}

/// A call as it is sent: a retry has the same request id and a new uid, as the edge makes them.
#[derive(Clone, Debug)]
pub struct Ask {
    pub op: Op,
    pub key: ScheduleKey,
    pub request: Option<String>,
    pub uid: Uid,
}

impl Ask {
    pub fn command(&self) -> Command {
        let key = self.key.clone();
        let actor: Arc<str> = "app".into();
        let request = self.request.as_ref().map(|id| Request { id: id.as_str().into(), body: self.digest() });
        match &self.op {
            Op::Upsert { definition, trial, etag } => Command::Upsert(Box::new(Upsert {
                definition: (**definition).clone(),
                uid: self.uid,
                etag: etag.clone(),
                create_only: false,
                request,
                validate_only: *trial,
                actor,
            })),
            Op::Delete { cancel_running } => {
                Command::Delete(Delete { key, cancel_running: *cancel_running, etag: None, request, actor })
            }
            Op::Pause { note, until } => {
                Command::Pause(Pause { key, note: note.as_str().into(), until: *until, request, actor })
            }
            Op::Resume { catch_up } => Command::Resume(Resume { key, catch_up: *catch_up, request, actor }),
            Op::Trigger | Op::Reuse => Command::Trigger(TriggerNow { key, request, actor }),
            Op::Get => Command::GetSchedule(key),
            Op::List => Command::ListSchedules(ListSchedules {
                namespace: NAMESPACE.into(),
                after: None,
                prefix: (&*self.key.id).into(),
                labels: BTreeMap::new(),
                states: Vec::new(),
                pause_reasons: Vec::new(),
                limit: 10,
            }),
            Op::SetLimit { key, limit } => Command::SetLimit(Box::new(SetLimit {
                namespace: NAMESPACE.into(),
                key: key.as_str().into(),
                limit: *limit,
                request,
            })),
            Op::DeleteLimit { key } => Command::DeleteLimit(DeleteLimit {
                namespace: NAMESPACE.into(),
                key: key.as_str().into(),
                request,
            }),
            Op::ListLimits => Command::ListLimits(ListLimits {
                namespace: NAMESPACE.into(),
                prefix: "".into(),
                after: None,
                limit: 100,
            }),
            Op::CancelRun(id) => Command::CancelRun(CancelRun {
                namespace: NAMESPACE.into(),
                id: *id,
                note: "n".into(),
                request,
                actor,
            }),
            Op::RetryRuns(ids) => Command::RetryRuns(Box::new(RetryRuns {
                namespace: NAMESPACE.into(),
                ids: ids.clone(),
                page: Page { last: true, ..Page::default() },
                request,
                actor,
            })),
            Op::Backfill(span) => {
                let (known, as_of) = (Vec::new(), Default::default());
                Command::Backfill(Box::new(Backfill { key, span: *span, known, as_of, request, actor }))
            }
            Op::Mass { change, after, done } => {
                let change = match change {
                    Mass::Pause { note } => BulkChange::Pause { note: note.as_str().into(), until: None },
                    Mass::Resume => BulkChange::Resume { catch_up: false },
                    Mass::Delete => BulkChange::Delete { cancel_running: true },
                };
                let filter = owned(after.clone(), PAGE);
                Command::Bulk(Box::new(Bulk { filter, change, done: *done, request, actor }))
            }
            Op::ListOwned => Command::ListSchedules(owned(None, 100)),
            Op::GetRun(id) => Command::GetRun(GetRun { namespace: NAMESPACE.into(), id: *id, wait: false }),
        }
    }

    pub fn is_trial(&self) -> bool {
        matches!(self.op, Op::Upsert { trial: true, .. })
    }

    /// Of everything but the uid, which the edge makes anew for each try.
    fn digest(&self) -> [u8; 16] {
        let text = match &self.op {
            // A call is one, however many pages it has.
            Op::Mass { change, .. } => format!("{change:?}"),
            op => format!("{:?} {op:?}", self.key),
        };
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&Chance::new(1, &text).draw().to_be_bytes());
        digest[8..].copy_from_slice(&Chance::new(2, &text).draw().to_be_bytes());
        digest
    }
}

fn owned(after: Option<Box<str>>, limit: usize) -> ListSchedules {
    ListSchedules {
        namespace: NAMESPACE.into(),
        after,
        prefix: "".into(),
        labels: BTreeMap::from([(OWNED.to_owned(), "yes".to_owned())]),
        states: Vec::new(),
        pause_reasons: Vec::new(),
        limit,
    }
}

/// `now` is what the app takes for the time.
pub fn definition(chance: &mut Chance, id: &str, now: i64) -> Definition {
    let finite = chance.happens(200);
    let end = chance.happens(100).then(|| now + chance.between(60, 600) as i64 * 1_000);
    // One after the other, in the order that seeds have had.
    let timing = timing(chance, now);
    let kind = (*chance.pick(&KINDS)).into();
    let payload = vec![7; chance.roll(20) as usize];
    let task = Task {
        kind,
        timeout: *chance.pick(&[5_000, 10_000, 20_000, 40_000]),
        queue_timeout: *chance.pick(&[0, 0, 0, 15_000]),
    };
    let spread = *chance.pick(&[0, 0, 0, 8_000, 45_000]);
    let overlap = chance.weigh(&[
        (4, Overlap::Skip),
        (2, Overlap::BufferOne),
        (2, Overlap::Allow),
        (2, Overlap::CancelRunning),
    ]);
    let misfire = chance.weigh(&[
        (4, Misfire::Coalesce),
        (2, Misfire::Skip),
        (1, Misfire::All { window: 30_000, max_runs: 100 }),
        (1, Misfire::All { window: 3_600_000, max_runs: 3 }),
    ]);
    let retry = Retry {
        max_attempts: *chance.pick(&[1, 2, 3, 5]),
        min_backoff: *chance.pick(&[1_000, 4_000]),
        max_backoff: *chance.pick(&[5_000, 20_000]),
    };
    let tenant = (*chance.pick(&["", "a", "b"])).into();
    let limits = limits(chance, id);
    let terms = Terms {
        timing,
        task,
        spread,
        overlap,
        misfire,
        retry,
        priority: *chance.pick(&[1, 5, 5, 9]),
        start: chance.happens(50).then(|| now + chance.between(1, 60) as i64 * 1_000),
        end,
        max_runs: if finite { chance.between(1, 5) } else { 0 },
        pause_after_failures: *chance.pick(&[0, 0, 0, 2]),
        delete_when_ended: chance.happens(300),
    };
    Definition {
        key: ScheduleKey::new(NAMESPACE, id),
        terms: terms.into(),
        input: Input::new(&[], &payload),
        tenant,
        limits,
        labels: Labels::new(&labels(chance)),
        saved_by: Default::default(),
    }
}

fn timing(chance: &mut Chance, now: i64) -> Timing {
    let every = |interval, anchor| Timing::Every { interval, anchor };
    match chance.roll(12) {
        0 => Timing::At(now + chance.between(0, 120) as i64 * 1_000 - 30_000),
        1..=3 => {
            let expressions: &[&[&str]] = &[
                &["*/20 * * * * *"],
                &["* * * * *"],
                &["*/5 * * * *", "7 * * * *"],
                &["0,15,40 */2 * * * *"],
                &["30 * * * * *", "*/45 * * * * *"],
                &["10 3 * * *"],
            ];
            let expressions = chance.pick(expressions).iter().map(|text| (*text).to_owned()).collect();
            let source =
                CronSource { expressions, time_zone: "UTC".into(), gap: Gap::NextValid, fold: Fold::First };
            Timing::Cron(Arc::new(Cron::new(source).expect("a valid expression")))
        }
        4 => every(7_500, Some(now - now.rem_euclid(86_400_000))),
        5 => every(30_000, Some(now + 40_000)),
        6 => every(1_000, None),
        _ => every(*chance.pick(&[5_000, 10_000, 20_000, 60_000]), None),
    }
}

/// What the simulated job reads: how it behaves.
fn labels(chance: &mut Chance) -> BTreeMap<String, String> {
    let temper = chance.weigh(&[(70, ""), (10, "flaky"), (8, "slow"), (8, "stubborn"), (4, "poison")]);
    BTreeMap::from([("temper".to_owned(), temper.to_owned())])
}

/// Keys of limits: shared ones, and one of the schedule's own.
fn limits(chance: &mut Chance, id: &str) -> Box<[Box<str>]> {
    let own = format!("mailbox:{id}");
    let keys: &[&str] = match chance.roll(10) {
        0 => &["provider:a"],
        1 => &["provider:b", "provider:a"],
        2 => &[&own],
        3 => &[&own, "provider:a"],
        _ => &[],
    };
    keys.iter().map(|key| (*key).into()).collect()
}
