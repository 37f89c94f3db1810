//! What users set: the options of `upsert` and `limit`. The defaults are those of the API, but for the timeout: an
//! attempt lasts as long as the script says.

use std::{collections::BTreeMap, sync::Arc};

use scheduler_svc::state_machine::{
    definition::{
        DEFAULT_PRIORITY, Definition, Input, Labels, Misfire, Overlap, Retry, ScheduleKey, Task, Terms,
    },
    gate::limit::Limit,
    timing::{Cron, CronSource, Fold, Gap, Timing},
};

use crate::{
    parse::Line,
    text::{DAY, parse_span, parse_time},
};

pub const NAMESPACE: &str = "default";

pub fn key(id: &str) -> ScheduleKey {
    ScheduleKey::new(NAMESPACE, id)
}

/// Without its id.
pub fn definition(line: &mut Line, now: i64) -> Result<Definition, String> {
    let overlap = line.choice(
        "overlap",
        &[
            ("skip", Overlap::Skip),
            ("buffer_one", Overlap::BufferOne),
            ("allow", Overlap::Allow),
            ("cancel_running", Overlap::CancelRunning),
        ],
    )?;
    let limits = line.option("limits").unwrap_or_default();
    Ok(Definition {
        key: key(""),
        terms: Terms {
            timing: timing(line, now)?,
            task: Task {
                kind: line.option("kind").unwrap_or_else(|| "sync".into()).into(),
                timeout: span(line, "timeout")?.unwrap_or(DAY) as u32,
                queue_timeout: span(line, "queue_timeout")?.unwrap_or(0) as u32,
            },
            spread: span(line, "spread")?.unwrap_or(0) as u32,
            overlap: overlap.unwrap_or_default(),
            misfire: misfire(line)?,
            retry: retry(line)?,
            priority: line.number("priority")?.unwrap_or(DEFAULT_PRIORITY),
            start: time(line, "start", now)?,
            end: time(line, "end", now)?,
            max_runs: line.number("max_runs")?.unwrap_or(0),
            pause_after_failures: line.number("pause_after_failures")?.unwrap_or(0),
            delete_when_ended: line.flag("delete_when_ended"),
        }
        .into(),
        input: Input::new(&[], line.option("payload").unwrap_or_default().as_bytes()),
        tenant: line.option("tenant").unwrap_or_default().into(),
        limits: limits.split(',').filter(|key| !key.is_empty()).map(Into::into).collect(),
        saved_by: Default::default(),
        labels: Labels::new(&labels(line)?),
    })
}

fn timing(line: &mut Line, now: i64) -> Result<Timing, String> {
    if let Some(interval) = span(line, "every")? {
        return Ok(Timing::Every { interval, anchor: time(line, "anchor", now)? });
    }
    if let Some(at) = time(line, "at", now)? {
        return Ok(Timing::At(at));
    }
    let cron = line.option("cron").ok_or("one of cron=, every= and at= is needed")?;
    let source = CronSource {
        expressions: cron.split(';').map(|one| one.trim().into()).collect(),
        time_zone: line.option("zone").unwrap_or_default(),
        gap: line
            .choice("gap", &[("next_valid", Gap::NextValid), ("shift", Gap::Shift), ("skip", Gap::Skip)])?
            .unwrap_or_default(),
        fold: line
            .choice("fold", &[("first", Fold::First), ("last", Fold::Last), ("both", Fold::Both)])?
            .unwrap_or_default(),
    };
    Cron::new(source).map(|cron| Timing::Cron(Arc::new(cron))).map_err(|error| format!("cron: {error:?}"))
}

fn misfire(line: &mut Line) -> Result<Misfire, String> {
    let all = Misfire::All {
        window: span(line, "window")?.unwrap_or(DAY) as u32,
        max_runs: line.number("newest")?.unwrap_or(100),
    };
    let modes = [("coalesce", Misfire::Coalesce), ("skip", Misfire::Skip), ("all", all)];
    Ok(line.choice("misfire", &modes)?.unwrap_or_default())
}

fn retry(line: &mut Line) -> Result<Retry, String> {
    let default = Retry::default();
    let span = |span: Option<i64>, default: u32| span.map_or(default, |span| span as u32);
    Ok(Retry {
        max_attempts: line.number("max_attempts")?.unwrap_or(default.max_attempts),
        min_backoff: span(self::span(line, "min_backoff")?, default.min_backoff),
        max_backoff: span(self::span(line, "max_backoff")?, default.max_backoff),
    })
}

/// `labels=user:7,plan:free`
pub fn labels(line: &mut Line) -> Result<BTreeMap<String, String>, String> {
    let text = line.option("labels").unwrap_or_default();
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let pair = pair.split_once(':').ok_or_else(|| format!("`{pair}`: a label is name:value"))?;
        Ok((pair.0.into(), pair.1.into()))
    });
    pairs.collect()
}

pub fn limit(line: &mut Line) -> Result<Limit, String> {
    let per_second: f64 = line.number("per_second")?.unwrap_or(0.0);
    Ok(Limit {
        max_running: line.number("running")?,
        rate: (per_second * 1e6).round() as u64,
        burst: line.number("burst")?.unwrap_or(1),
    })
}

pub fn span(line: &mut Line, name: &str) -> Result<Option<i64>, String> {
    line.option(name).map(|text| parse_span(&text)).transpose()
}

pub fn time(line: &mut Line, name: &str, now: i64) -> Result<Option<i64>, String> {
    line.option(name).map(|text| parse_time(&text, now)).transpose()
}
