//! Records of definitions.

use std::sync::Arc;

use bytes::Bytes;
use docket::{stored::v1 as stored, trace::TraceParent};
use prost::Message as _;

use super::{Unreadable, bytes};
use crate::state_machine::{
    definition::{Caller, Definition, Input, Labels, Misfire, Overlap, Retry, ScheduleKey, Task, Terms},
    timing::{Compiled, Cron, CronSource, Fold, Gap, Timing},
};

pub fn definition(definition: &Definition) -> Bytes {
    use stored::definition::Timing as Stored;
    let timing = match &definition.timing {
        Timing::Cron(cron) => {
            let CronSource { expressions, time_zone, gap, fold } = cron.source().clone();
            Stored::Cron(stored::Cron { expressions, time_zone, gap: gap as u32, fold: fold as u32 })
        }
        Timing::Every { interval, anchor } => {
            Stored::Every(stored::Every { interval: *interval, anchor: *anchor })
        }
        Timing::At(at) => Stored::At(*at),
    };
    let Task { kind, timeout, queue_timeout } = &definition.task;
    let (misfire, misfire_window, misfire_max_runs) = match definition.misfire {
        Misfire::Coalesce => (1, 0, 0),
        Misfire::Skip => (2, 0, 0),
        Misfire::All { window, max_runs } => (3, window, max_runs),
    };
    bytes(&stored::Definition {
        namespace: definition.key.namespace.to_string(),
        schedule_id: definition.key.id.to_string(),
        timing: Some(timing),
        kind: kind.to_string(),
        args: Bytes::copy_from_slice(definition.input.args()),
        payload: Bytes::copy_from_slice(definition.input.payload()),
        timeout: *timeout,
        queue_timeout: *queue_timeout,
        spread: definition.spread,
        overlap: definition.overlap as u32,
        misfire,
        misfire_window,
        misfire_max_runs,
        max_attempts: definition.retry.max_attempts,
        min_backoff: definition.retry.min_backoff,
        max_backoff: definition.retry.max_backoff,
        tenant: definition.tenant.to_string(),
        limits: definition.limits.iter().map(|limit| limit.to_string()).collect(),
        priority: definition.priority.into(),
        start: definition.start,
        end: definition.end,
        max_runs: definition.max_runs,
        pause_after_failures: definition.pause_after_failures,
        delete_when_ended: definition.delete_when_ended,
        labels: definition.labels.to_map(),
        traceparent: definition.saved_by.ids().map(traceparent).unwrap_or_default(),
    })
}

/// `compile` tells what a cron text means.
pub fn read_definition(
    value: Bytes,
    compile: impl FnOnce(CronSource) -> Compiled,
) -> Result<Definition, Unreadable> {
    use stored::definition::Timing as Stored;
    let stored = stored::Definition::decode(value)?;
    let timing = match stored.timing.ok_or("a definition without timing")? {
        Stored::Cron(cron) => Timing::Cron(read_cron(cron, compile)?),
        Stored::Every(every) if every.interval > 0 => {
            Timing::Every { interval: every.interval, anchor: every.anchor }
        }
        Stored::Every(_) => return Err("an interval below 1 ms".into()),
        Stored::At(at) => Timing::At(at),
    };
    let terms = Terms {
        timing,
        task: Task { kind: stored.kind.into(), timeout: stored.timeout, queue_timeout: stored.queue_timeout },
        spread: stored.spread,
        overlap: Overlap::from_number(stored.overlap).ok_or("an unknown overlap policy")?,
        misfire: match stored.misfire {
            1 => Misfire::Coalesce,
            2 => Misfire::Skip,
            3 => Misfire::All { window: stored.misfire_window, max_runs: stored.misfire_max_runs },
            _ => return Err("an unknown misfire mode".into()),
        },
        retry: Retry {
            max_attempts: stored.max_attempts,
            min_backoff: stored.min_backoff,
            max_backoff: stored.max_backoff,
        },
        priority: u8::try_from(stored.priority).map_err(|_| "a priority above 255")?,
        start: stored.start,
        end: stored.end,
        max_runs: stored.max_runs,
        pause_after_failures: stored.pause_after_failures,
        delete_when_ended: stored.delete_when_ended,
    };
    Ok(Definition {
        key: ScheduleKey { namespace: stored.namespace.into(), id: stored.schedule_id.into() },
        terms: terms.into(),
        input: Input::new(&stored.args, &stored.payload),
        tenant: stored.tenant.into(),
        limits: stored.limits.into_iter().map(Into::into).collect(),
        labels: Labels::new(&stored.labels),
        saved_by: read_caller(&stored.traceparent),
    })
}

fn traceparent((trace_id, span_id): (u128, u64)) -> String {
    TraceParent { trace_id, span_id, sampled: true }.to_string()
}

/// Without it a trace lacks a link, and nothing else.
fn read_caller(traceparent: &str) -> Caller {
    let parent = TraceParent::parse(traceparent);
    parent.map_or_else(Caller::default, |parent| Caller::new(parent.trace_id, parent.span_id))
}

fn read_cron(
    cron: stored::Cron,
    compile: impl FnOnce(CronSource) -> Compiled,
) -> Result<Arc<Cron>, Unreadable> {
    let gap = [Gap::NextValid, Gap::Shift, Gap::Skip].into_iter().find(|gap| *gap as u32 == cron.gap);
    let fold = [Fold::First, Fold::Last, Fold::Both].into_iter().find(|fold| *fold as u32 == cron.fold);
    let source = CronSource {
        expressions: cron.expressions,
        time_zone: cron.time_zone,
        gap: gap.ok_or("an unknown gap policy")?,
        fold: fold.ok_or("an unknown fold policy")?,
    };
    compile(source).map_err(|error| Unreadable(format!("{error:?}")))
}
