//! Counts what the shard tells, after the commit that holds it.

use metrics::{Counter, Histogram};

use super::{Committed, Look, Registry, ShardMetrics, declared};
use crate::{
    shard::Observer,
    state_machine::{
        failure::Class,
        id::Trigger,
        look::Present,
        output::{Event, ScheduleChange},
        run::{Finished, Outcome},
    },
};

const TRIGGERS: [Trigger; 3] = [Trigger::Scheduled, Trigger::Manual, Trigger::Backfill];
const OUTCOMES: [Outcome; 3] = [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled];
const CHANGES: [ScheduleChange; 7] = [
    ScheduleChange::Created,
    ScheduleChange::Updated,
    ScheduleChange::Paused,
    ScheduleChange::Resumed,
    ScheduleChange::Ended,
    ScheduleChange::Deleted,
    ScheduleChange::Quarantined,
];

/// Handles of what is counted for all kinds together. Arrays are indexed by the enum's place in its list.
pub struct Counts {
    lateness: Histogram,
    lost: [Counter; 2],
    changes: [Counter; CHANGES.len()],
    gate_closings: Counter,
    gate_reopenings: Counter,
    sessions_opened: Counter,
    sessions_ended: Counter,
    commit_duration: Histogram,
    commit_writes: Histogram,
    commits: [Counter; 2],
}

/// Handles of one kind.
pub struct KindCounts {
    fires: [Counter; TRIGGERS.len()],
    dispatch: Histogram,
    runs: [Counter; OUTCOMES.len()],
    run_duration: Histogram,
    discarded: Counter,
    succeeded: Counter,
    failed: [Counter; Class::ALL.len()],
    attempt_duration: Histogram,
    retries: [Counter; Class::ALL.len()],
}

impl Counts {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |metric, labels: &[&str]| registry.counter(metric, labels);
        Self {
            lateness: registry.histogram(&declared::LATENESS_OF_FIRES, &[]),
            lost: ["worker", "delivery"].map(|cause| counter(&declared::LEASES_LOST, &[cause])),
            changes: CHANGES.map(|change| counter(&declared::SCHEDULE_CHANGES, &[&word(change)])),
            gate_closings: counter(&declared::GATE_CLOSINGS, &[]),
            gate_reopenings: counter(&declared::GATE_REOPENINGS, &[]),
            sessions_opened: counter(&declared::SESSIONS_OPENED, &[]),
            sessions_ended: counter(&declared::SESSIONS_ENDED, &[]),
            commit_duration: registry.histogram(&declared::COMMIT_DURATION, &[]),
            commit_writes: registry.histogram(&declared::COMMIT_WRITES, &[]),
            commits: ["done", "unknown"].map(|outcome| counter(&declared::COMMITS, &[outcome])),
        }
    }
}

impl KindCounts {
    pub(super) fn new(registry: &Registry, kind: &str) -> Self {
        let with = |metric, value: &str| registry.counter(metric, &[kind, value]);
        Self {
            fires: TRIGGERS.map(|trigger| with(&declared::FIRES, &word(trigger))),
            dispatch: registry.histogram(&declared::DISPATCH, &[kind]),
            runs: OUTCOMES.map(|outcome| with(&declared::RUNS, &word(outcome))),
            run_duration: registry.histogram(&declared::RUN_DURATION, &[kind]),
            discarded: registry.counter(&declared::RUNS_DISCARDED, &[kind]),
            succeeded: with(&declared::ATTEMPTS, "success"),
            failed: Class::ALL.map(|class| with(&declared::ATTEMPTS, &word(class))),
            attempt_duration: registry.histogram(&declared::ATTEMPT_DURATION, &[kind]),
            retries: Class::ALL.map(|class| with(&declared::RETRIES, &word(class))),
        }
    }

    pub(super) fn count_discarded(&self) {
        self.discarded.increment(1);
    }

    fn finished(&self, finished: &Finished) {
        count(&self.runs, OUTCOMES.iter().position(|outcome| *outcome == finished.outcome));
        if let Some(start) = finished.start {
            self.run_duration.record(seconds(start, finished.finish));
        }
    }
}

impl Observer for ShardMetrics {
    fn observe(&self, event: &Event) {
        let (metrics, counts) = (&*self.metrics, &self.metrics.counts);
        match event {
            Event::Fired { id, definition, due, at } => {
                let kind = metrics.kind(&definition.task.kind);
                count(&kind.counts.fires, TRIGGERS.iter().position(|trigger| *trigger == id.trigger));
                if id.trigger == Trigger::Scheduled {
                    counts.lateness.record(seconds(*due, *at));
                }
            }
            Event::Started { run, at } if run.attempt == 1 && run.id.trigger != Trigger::Backfill => {
                metrics.kind(&run.definition.task.kind).counts.dispatch.record(seconds(run.due, *at));
            }
            Event::AttemptEnded { definition, start, at, failure, .. } => {
                let kind = metrics.kind(&definition.task.kind);
                kind.counts.attempt_duration.record(seconds(*start, *at));
                let Some(failure) = failure else { return kind.counts.succeeded.increment(1) };
                count(&kind.counts.failed, place(failure.class));
                if failure.class == Class::Lost {
                    counts.lost[usize::from(&*failure.code == "NOT_DELIVERED")].increment(1);
                }
            }
            Event::Retrying { run, .. } => {
                let class = run.failure.as_ref().and_then(|failure| place(failure.class));
                count(&metrics.kind(&run.definition.task.kind).counts.retries, class);
            }
            Event::Finished { definition, finished } => {
                metrics.kind(&definition.task.kind).counts.finished(finished);
            }
            Event::Discarded { definition, .. } => {
                metrics.kind(&definition.task.kind).counts.count_discarded();
            }
            Event::Schedule { change, .. } => {
                count(&counts.changes, CHANGES.iter().position(|other| other == change));
            }
            Event::GateClosed { .. } => counts.gate_closings.increment(1),
            Event::GateReopened { .. } => counts.gate_reopenings.increment(1),
            Event::WorkerJoined { .. } => counts.sessions_opened.increment(1),
            Event::WorkerLost { .. } => counts.sessions_ended.increment(1),
            Event::Created { .. }
            | Event::Started { .. }
            | Event::TimesMoved { .. }
            | Event::WorkerTwice { .. } => {}
        }
    }

    fn committed(&self, commit: &Committed) {
        let counts = &self.metrics.counts;
        counts.commits[usize::from(!commit.done)].increment(1);
        self.metrics.gauges.note_commit(commit.done);
        if commit.done {
            counts.commit_duration.record(commit.took.as_secs_f64());
            counts.commit_writes.record(commit.writes as f64);
        }
    }

    fn looked(&self, look: &Look, present: &Present) {
        self.metrics.watched.note(look, present.due);
        self.metrics.show(look.now.wall, present);
    }
}

fn count(counters: &[Counter], place: Option<usize>) {
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.increment(1);
    }
}

fn place(class: Class) -> Option<usize> {
    Class::ALL.iter().position(|other| *other == class)
}

/// Between two times in milliseconds; the wall clock may have been set back.
fn seconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from).max(0) as f64 / 1000.0
}

/// The label of a value, from its name in the code.
fn word(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}
