//! One sentence for a person: what becomes of a schedule's times.

use chrono::DateTime;

use crate::state_machine::{
    schedule::{Decision, PauseReason, Status, Verdict},
    timing::Timing,
    view::{LiveRun, RunState, ScheduleView, Wait},
};

/// Whether a decision is about this nominal time.
pub fn covers(view: &ScheduleView, decision: &Decision, nominal: i64) -> bool {
    let named = decision.verdict == Verdict::Replaced || view.definition.times(view.anchor).names(nominal);
    named && (decision.first..=decision.last).contains(&nominal)
}

/// A live run, and what it waits for.
pub fn about_run(run: &LiveRun) -> String {
    let id = run.id;
    let RunState::Queued(Some(wait)) = &run.state else { return format!("Run {id} is live.") };
    match wait {
        Wait::NoWorker => {
            format!(
                "Run {id} waits for a worker: none is connected that takes kind {}.",
                run.definition.task.kind
            )
        }
        Wait::NoSlot => format!("Run {id} waits for a free slot of a worker."),
        Wait::Backoff { until } => {
            let code = run.failure.as_ref().map_or("", |failure| &failure.code);
            format!("Run {id} failed ({code}); its next attempt is at {}.", instant(*until))
        }
        Wait::Paused => format!("Run {id} is held by the pause."),
        Wait::Overlap => format!("Run {id} waits for the end of another run of the schedule."),
        Wait::Limit { key, shut: true, .. } => {
            format!("Run {id} waits for limit {key}, closed: max_running is 0.")
        }
        Wait::Limit { key, until: Some(until), .. } => {
            format!("Run {id} waits for limit {key}, until {} at least.", instant(*until))
        }
        Wait::Limit { key, until: None, .. } => {
            format!("Run {id} waits for limit {key}, until a permit is free.")
        }
    }
}

/// About the schedule, or about one nominal time.
pub fn summary(view: &ScheduleView, nominal: Option<i64>, decided: bool, now: i64) -> String {
    let summary = match nominal {
        Some(nominal) => about_time(view, nominal, decided, now),
        None => about_schedule(view),
    };
    if view.status != Status::Active || view.decided_through <= now {
        return summary;
    }
    let through = instant(view.decided_through);
    format!("{summary} All times are decided through {through}; the clock was ahead.")
}

fn about_time(view: &ScheduleView, nominal: i64, decided: bool, now: i64) -> String {
    let at = instant(nominal);
    if decided {
        return format!("{at} has been decided; see the decision.");
    }
    if !view.definition.times(view.anchor).names(nominal) {
        let next = view.definition.times(view.anchor).next(nominal).map(instant);
        let next = next.map_or_else(
            || "there is none after it".into(),
            |next| format!("the next one after it is {next}"),
        );
        return format!("The schedule does not name {at} ({}); {next}.", zone(view));
    }
    if nominal <= view.decided_through {
        return if nominal <= view.created {
            format!("{at} lies before the schedule was created at {}.", instant(view.created))
        } else {
            format!("{at} was decided, but the decision has left the history (the last 16 entries are kept).")
        };
    }
    let due = nominal.saturating_add(view.definition.spread_offset());
    if view.status == Status::Paused && due <= now {
        return format!("{at} fell into the pause and has not run. {}", about_schedule(view));
    }
    format!("{at} is still to come. {}", about_schedule(view))
}

fn about_schedule(view: &ScheduleView) -> String {
    match view.status {
        Status::Active => {
            let Some(next) = view.next else { return "No time is left.".into() };
            let due = next.saturating_add(view.definition.spread_offset());
            let spread = if due == next {
                String::new()
            } else {
                format!(" (named for {}, spread by {} s)", instant(next), (due - next) / 1000)
            };
            format!("Next due at {}{spread} ({}).", instant(due), zone(view))
        }
        Status::Paused => {
            let Some(pause) = &view.pause else { return "Paused.".into() };
            let why = match pause.reason {
                PauseReason::Requested => format!("by {}", pause.actor),
                PauseReason::Reauthorize => "because the mailbox must be connected again by its user".into(),
                PauseReason::Failures => "after a row of failures".into(),
            };
            let note = if pause.note.is_empty() { String::new() } else { format!(": {}", pause.note) };
            let until = pause
                .until
                .map_or_else(|| "until ResumeSchedule".into(), |at| format!("until {}", instant(at)));
            format!("Paused at {} {why}{note}; it stays so {until}.", instant(pause.time))
        }
        Status::Ended | Status::Deleted => {
            "It has ended: no time is left. Save it with another timing to go on.".into()
        }
        Status::Quarantined => {
            "It was set aside because it could not be processed. Save it again to release it.".into()
        }
    }
}

fn zone(view: &ScheduleView) -> String {
    match &view.definition.timing {
        Timing::Cron(cron) if cron.source().time_zone.is_empty() => "UTC".into(),
        Timing::Cron(cron) => cron.source().time_zone.clone(),
        Timing::Every { interval, .. } => {
            format!("every {} s since {}", interval / 1000, instant(view.anchor))
        }
        Timing::At(_) => "once".into(),
    }
}

pub fn instant(millis: i64) -> String {
    DateTime::from_timestamp_millis(millis)
        .unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
        .replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state_machine::{
        id::Uid,
        schedule::Schedule,
        tests::bench::{definition, every},
    };

    #[test]
    fn a_clock_that_was_ahead_is_named() {
        const NOW: i64 = 1_795_392_000_000;
        let mut schedule = Schedule::new(Uid(1), Arc::new(definition("a", every(60_000))), NOW);
        let told = |schedule: &Schedule| summary(&ScheduleView::of(schedule, Vec::new()), None, false, NOW);
        assert!(!told(&schedule).contains("ahead"));
        schedule.decided_through = NOW + 7_200_000;
        let said = told(&schedule);
        assert!(said.ends_with("decided through 2026-11-23T02:00:00Z; the clock was ahead."), "{said}");
    }
}
