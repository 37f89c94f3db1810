//! What the app asks for: definitions and calls, drawn from one stream of chance.
//!
//! Each client owns one schedule id and asks one thing at a time, so that a sequential model says what each answer
//! must be, whatever happens on the way.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use scheduler_svc::state_machine::{
    command::{Command, Delete, GetRun, ListSchedules, Pause, Request, Resume, TriggerNow, Upsert},
    definition::{Definition, Misfire, Overlap, Retry, ScheduleKey, Task},
    id::{RunId, Uid},
    timing::{Cron, CronSource, Fold, Gap, Timing},
};

use crate::chance::Chance;

pub const NAMESPACE: &str = "default";
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
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Upsert { definition, trial, etag } = self else { return write!(f, "{self:?}") };
        let timing = match &definition.timing {
            Timing::Cron(cron) => format!("{:?}", cron.source().expressions),
            other => format!("{other:?}"),
        };
        let Definition { spread, max_runs, start, end, .. } = definition.as_ref();
        write!(
            f,
            "Upsert {timing} spread {spread} max_runs {max_runs} start {start:?} end {end:?} queue_timeout {} \
             attempts {} pause_after {} {:?} trial {trial} etag {etag:?}",
            definition.task.queue_timeout,
            definition.retry.max_attempts,
            definition.pause_after_failures,
            definition.labels.values(),
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
                limit: 10,
            }),
            Op::GetRun(id) => Command::GetRun(GetRun { namespace: NAMESPACE.into(), id: *id, wait: false }),
        }
    }

    /// Of everything but the uid, which the edge makes anew for each try.
    fn digest(&self) -> [u8; 16] {
        let text = format!("{:?} {:?}", self.key, self.op);
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&Chance::new(1, &text).draw().to_be_bytes());
        digest[8..].copy_from_slice(&Chance::new(2, &text).draw().to_be_bytes());
        digest
    }

    pub fn is_retryable(&self) -> bool {
        self.request.is_some() || matches!(self.op, Op::Get | Op::List | Op::GetRun(_)) || self.is_trial()
    }

    pub fn is_trial(&self) -> bool {
        matches!(self.op, Op::Upsert { trial: true, .. })
    }
}

/// `now` is what the app takes for the time.
pub fn definition(chance: &mut Chance, id: &str, now: i64) -> Definition {
    let finite = chance.happens(200);
    let end = chance.happens(100).then(|| now + chance.between(60, 600) as i64 * 1_000);
    Definition {
        key: ScheduleKey::new(NAMESPACE, id),
        timing: timing(chance, now),
        task: Task {
            kind: (*chance.pick(&KINDS)).into(),
            args: Bytes::new(),
            payload: Bytes::from(vec![7; chance.roll(20) as usize]),
            timeout: *chance.pick(&[5_000, 10_000, 20_000, 40_000]),
            queue_timeout: *chance.pick(&[0, 0, 0, 15_000]),
        },
        spread: *chance.pick(&[0, 0, 0, 8_000, 45_000]),
        overlap: Overlap::Skip,
        misfire: Misfire::Coalesce,
        retry: Retry {
            max_attempts: *chance.pick(&[1, 2, 3, 5]),
            min_backoff: *chance.pick(&[1_000, 4_000]),
            max_backoff: *chance.pick(&[5_000, 20_000]),
        },
        tenant: (*chance.pick(&["", "a", "b"])).into(),
        limits: Box::new([]),
        priority: *chance.pick(&[1, 5, 5, 9]),
        start: chance.happens(50).then(|| now + chance.between(1, 60) as i64 * 1_000),
        end,
        max_runs: if finite { chance.between(1, 5) } else { 0 },
        pause_after_failures: *chance.pick(&[0, 0, 0, 2]),
        delete_when_ended: chance.happens(300),
        labels: labels(chance),
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
