//! Which fields differ, by the names that clients know.

use super::{definition::Definition, snapshot::Snapshot, timing::Timing};

/// Names of the pairs that differ.
macro_rules! differing {
    ($($name:literal: $one:expr, $other:expr;)+) => {
        [$(($one != $other).then_some($name)),+].into_iter().flatten()
    };
}

/// Fields of `Schedule` that users set.
pub fn definition(before: &Definition, after: &Definition) -> Vec<&'static str> {
    let mut fields = timing(&before.timing, &after.timing);
    fields.extend(differing! {
        "task.kind": before.task.kind, after.task.kind;
        "task.args": before.input.args(), after.input.args();
        "task.payload": before.input.payload(), after.input.payload();
        "task.timeout": before.task.timeout, after.task.timeout;
        "task.queue_timeout": before.task.queue_timeout, after.task.queue_timeout;
        "spread": before.spread, after.spread;
        "overlap": before.overlap, after.overlap;
        "misfire": before.misfire, after.misfire;
        "retry": before.retry, after.retry;
        "tenant": before.tenant, after.tenant;
        "limits": before.limits, after.limits;
        "priority": before.priority, after.priority;
        "start_time": before.start, after.start;
        "end_time": before.end, after.end;
        "max_runs": before.max_runs, after.max_runs;
        "pause_after_failures": before.pause_after_failures, after.pause_after_failures;
        "delete_when_ended": before.delete_when_ended, after.delete_when_ended;
        "labels": before.labels, after.labels;
    });
    fields
}

fn timing(before: &Timing, after: &Timing) -> Vec<&'static str> {
    match (before, after) {
        (Timing::Cron(before), Timing::Cron(after)) => {
            let (before, after) = (before.source(), after.source());
            differing! {
                "cron.expressions": before.expressions, after.expressions;
                "cron.time_zone": before.time_zone, after.time_zone;
                "cron.gap": before.gap, after.gap;
                "cron.fold": before.fold, after.fold;
            }
            .collect()
        }
        (
            Timing::Every { interval: before, anchor: before_anchor },
            Timing::Every { interval: after, anchor: after_anchor },
        ) => differing! {
            "every.interval": before, after;
            "every.anchor": before_anchor, after_anchor;
        }
        .collect(),
        (Timing::At(before), Timing::At(after)) => differing! { "at": before, after; }.collect(),
        (_, Timing::Cron(_)) => vec!["cron"],
        (_, Timing::Every { .. }) => vec!["every"],
        (_, Timing::At(_)) => vec!["at"],
    }
}

/// Fields of `Schedule` and `ScheduleRecord`.
pub fn snapshot(before: &Snapshot, after: &Snapshot) -> Vec<&'static str> {
    let mut fields = definition(&before.definition, &after.definition);
    fields.extend(differing! {
        "generation": before.generation, after.generation;
        "state": before.status, after.status;
        "pause": before.pause, after.pause;
        "update_time": before.updated, after.updated;
        "decided_through": before.decided_through, after.decided_through;
        "run_count": before.runs, after.runs;
        "revision": before.revision, after.revision;
        "anchor": before.anchor, after.anchor;
        "last_manual_time": before.last_manual, after.last_manual;
        "failures": before.failures, after.failures;
        "catch_up_through": before.catch_up, after.catch_up;
        "backfill": before.backfill, after.backfill;
        "waiting_time": before.waiting, after.waiting;
        "quarantine_reason": before.quarantine, after.quarantine;
    });
    fields
}
