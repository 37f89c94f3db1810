//! One event as the log keeps it: what the machine has said, not copied. It becomes a message when somebody reads it.

use std::sync::Arc;

use crate::state_machine::{
    definition::{Definition, Terms},
    failure::Failure,
    id::RunId,
    output::{Event, ScheduleChange},
    run::{Attempt, Finished},
    timing::Timing,
    view::{LiveRun, ScheduleView},
};

#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    /// None = the service itself.
    pub actor: Option<Arc<str>>,
    pub at: i64,
    pub subject: Subject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Schedule(ScheduleChange),
    RunCreated,
    RunStarted,
    RunRetrying,
    RunFinished,
}

/// What has changed, as it is after the change.
#[derive(Debug)]
pub enum Subject {
    Schedule(Box<ScheduleView>),
    Live(Box<LiveRun>),
    Final(Arc<Definition>, Box<Finished>),
}

impl Entry {
    /// None when the event is none of an app's business.
    pub fn of(event: Event) -> Option<Self> {
        Some(match event {
            Event::Created { run, actor, at } => {
                Self { kind: Kind::RunCreated, actor, at, subject: Subject::Live(run) }
            }
            Event::Started { run, at } => Self::of_run(Kind::RunStarted, at, Subject::Live(run)),
            Event::Retrying { run, at } => Self::of_run(Kind::RunRetrying, at, Subject::Live(run)),
            Event::Finished { definition, finished } | Event::Discarded { definition, finished } => {
                Self::of_run(Kind::RunFinished, finished.finish, Subject::Final(definition, finished))
            }
            Event::Schedule { change, view, actor, at } => Self {
                kind: Kind::Schedule(change),
                actor: Some(actor),
                at,
                subject: Subject::Schedule(view),
            },
            Event::Fired { .. }
            | Event::AttemptEnded { .. }
            | Event::TimesMoved { .. }
            | Event::GateClosed { .. }
            | Event::GateReopened { .. }
            | Event::WorkerJoined { .. }
            | Event::WorkerLost { .. }
            | Event::WorkerTwice { .. } => return None,
        })
    }

    fn of_run(kind: Kind, at: i64, subject: Subject) -> Self {
        Self { kind, actor: None, at, subject }
    }

    pub fn definition(&self) -> &Definition {
        match &self.subject {
            Subject::Schedule(view) => &view.definition,
            Subject::Live(run) => &run.definition,
            Subject::Final(definition, _) => definition,
        }
    }

    pub fn namespace(&self) -> &str {
        &self.definition().key.namespace
    }

    /// None for events of schedules.
    pub fn run_id(&self) -> Option<RunId> {
        match &self.subject {
            Subject::Schedule(_) => None,
            Subject::Live(run) => Some(run.id),
            Subject::Final(_, finished) => Some(finished.id),
        }
    }

    /// Bytes that the entry may keep in memory. A definition counts with each event that names it, as if no other did:
    /// it may be the last one.
    pub fn weight(&self) -> usize {
        let own = match &self.subject {
            Subject::Schedule(view) => {
                let texts = view.pause.as_ref().map_or(0, |pause| pause.note.len())
                    + view.quarantine.as_ref().map_or(0, |why| why.len());
                size_of::<ScheduleView>() + texts + view.active.len() * size_of::<RunId>()
            }
            Subject::Live(run) => {
                let failure = run.failure.as_ref().map_or(0, failure_bytes);
                let note = run.progress.as_ref().map_or(0, |progress| progress.note.len());
                size_of::<LiveRun>() + failure + note + attempts_bytes(&run.attempts)
            }
            Subject::Final(_, finished) => {
                let failure = finished.failure.as_deref().map_or(0, failure_bytes);
                size_of::<Finished>() + failure + finished.result.len() + attempts_bytes(&finished.attempts)
            }
        };
        size_of::<Self>() + own + definition_bytes(self.definition())
    }
}

fn failure_bytes(failure: &Failure) -> usize {
    size_of::<Failure>() + failure.code.len() + failure.message.len() + failure.limit.len()
}

fn attempts_bytes(attempts: &[Attempt]) -> usize {
    let one = |attempt: &Attempt| size_of::<Attempt>() + attempt.failure.as_deref().map_or(0, failure_bytes);
    attempts.iter().map(one).sum()
}

fn definition_bytes(definition: &Definition) -> usize {
    /// A compiled expression, and two texts, roughly.
    const EXPRESSION: usize = 512;
    const LABEL: usize = 64;
    let timing = match &definition.timing {
        Timing::Cron(cron) => {
            cron.source().expressions.iter().map(|expression| EXPRESSION + expression.len()).sum()
        }
        Timing::Every { .. } | Timing::At(_) => 0,
    };
    let labels: usize = definition.labels.iter().map(|(key, value)| LABEL + key.len() + value.len()).sum();
    let limits: usize = definition.limits.iter().map(|limit| size_of::<Box<str>>() + limit.len()).sum();
    let names = definition.key.id.len() + definition.tenant.len();
    size_of::<Definition>() + size_of::<Terms>() + timing + labels + limits + definition.input.size() + names
}
