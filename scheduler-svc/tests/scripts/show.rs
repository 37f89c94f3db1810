//! What comes out of the machine, in words. Ids and tokens stay out of it: a run is called by its schedule and time.

use docket::errors::reason_of;
use prost::Message as _;
use scheduler_svc::{
    grpc::refusal,
    state_machine::{
        definition::Definition,
        failure::Failure,
        output::{Answer, Body, Change, Event, Refusal, ScheduleChange},
        run::{Attempt, Finished, Outcome},
        schedule::{Decision, Pause, PauseReason, Status, Verdict},
        timing::Timing,
        view::{LiveRun, RunState, RunView, ScheduleView, Wait},
    },
};

use crate::{text, world::World};

/// Who scripts act as.
pub const ACTOR: &str = "ann";

/// A fact. None for those that a reply or a message tells as well.
pub fn event(world: &World, event: &Event) -> Option<String> {
    Some(match event {
        Event::Fired { id, due, .. } => {
            let is_late = *due > id.nominal && *due < world.now.wall;
            let due = if is_late { format!(" (due {})", world.time(*due)) } else { String::new() };
            format!("{} fired{due}", world.run_name(*id))
        }
        // Told by what is handed out, fired, or ended.
        Event::Created { .. } | Event::Started { .. } | Event::Retrying { .. } | Event::Discarded { .. } => {
            return None;
        }
        Event::AttemptEnded { failure: None, .. } => return None,
        Event::AttemptEnded { id, attempt, worker_id, failure: Some(why), .. } => {
            format!("{} attempt {attempt} on {worker_id} ended: {}", world.run_name(*id), failure(why))
        }
        Event::Finished { finished, .. } => end(world, finished),
        Event::Schedule { change, view, actor, .. } => {
            let own = **actor == *ACTOR;
            let id = &view.definition.key.id;
            match change {
                ScheduleChange::Ended => format!("{id} ENDED"),
                ScheduleChange::Quarantined => {
                    format!("{id} QUARANTINED: {}", view.quarantine.as_deref().unwrap_or(""))
                }
                _ if own => return None,
                ScheduleChange::Paused => format!("{id} {}", status(world, view)),
                other => format!("{id} {} by {actor}", format!("{other:?}").to_uppercase()),
            }
        }
        Event::GateClosed { key, until, reason, .. } => {
            format!("limit {key} closed until {}: {reason}", world.time(*until))
        }
        Event::GateReopened { key, .. } => format!("limit {key} reopens by slow start"),
        Event::WorkerJoined { worker_id, slots, .. } => {
            format!("{worker_id} joined, {}", count(u64::from(*slots), "slot"))
        }
        Event::WorkerLost { worker_id, runs: 0, .. } => format!("the former session of {worker_id} is over"),
        Event::WorkerLost { worker_id, runs, .. } => {
            format!("{worker_id} is lost, with {}", count(*runs as u64, "run"))
        }
        Event::WorkerTwice { worker_id } => format!("two processes call themselves {worker_id}"),
        other => format!("{other:?}"),
    })
}

pub fn failure(failure: &Failure) -> String {
    let mut text = format!("{:?}", failure.class).to_uppercase();
    if !failure.code.is_empty() && *failure.code != *text {
        text = format!("{text} {}", failure.code);
    }
    if failure.message.is_empty() { text } else { format!("{text}: {}", failure.message) }
}

fn end(world: &World, finished: &Finished) -> String {
    let run = world.run_name(finished.id);
    let result = result(&finished.result);
    let result = if result.is_empty() { result } else { format!(", result {result}") };
    match finished.outcome {
        Outcome::Succeeded => format!("{run} SUCCEEDED{result}"),
        Outcome::Failed => format!("{run} FAILED{result}{}", why_unattempted(finished)),
        Outcome::Cancelled => format!("{run} CANCELLED{}", why_unattempted(finished)),
    }
}

/// An attempt has told why; a run that had none tells itself.
fn why_unattempted(finished: &Finished) -> String {
    let told = finished.attempts.last().and_then(|last| last.failure.as_ref()) == finished.failure.as_ref();
    let why = finished.failure.as_ref().filter(|_| !told).map(|why| failure(why));
    why.map_or_else(String::new, |why| {
        // The outcome has said it.
        why.strip_prefix("CANCELLED: ").map_or_else(|| format!(", {why}"), |why| format!(": {why}"))
    })
}

/// `{messages: 5}`
fn result(bytes: &[u8]) -> String {
    let fields = prost_types::Struct::decode(bytes).unwrap_or_default().fields;
    let value = |value: &prost_types::Value| match &value.kind {
        Some(prost_types::value::Kind::NumberValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let fields: Vec<String> = fields.iter().map(|(name, of)| format!("{name}: {}", value(of))).collect();
    if fields.is_empty() { String::new() } else { format!("{{{}}}", fields.join(", ")) }
}

fn count(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// One line for each job.
pub fn message(world: &World, worker: &str, body: &Body) -> Vec<String> {
    match body {
        Body::Jobs(jobs) => {
            let line = |job: &scheduler_svc::state_machine::output::Job| {
                let mut line = format!("{worker} gets {} attempt {}", world.run_name(job.id), job.attempt);
                if !job.definition.input.payload().is_empty() {
                    line +=
                        &format!(" with payload {}", String::from_utf8_lossy(job.definition.input.payload()));
                }
                if let Some(checkpoint) = &job.checkpoint {
                    line += &format!(" from checkpoint {}", String::from_utf8_lossy(checkpoint));
                }
                line
            };
            jobs.iter().map(line).collect()
        }
        Body::Cancel { id, attempt, reason } => {
            vec![format!("{worker} is told to cancel {} attempt {attempt}: {reason}", world.run_name(*id))]
        }
    }
}

/// `09:00–11:00 OVERLAP, 3 times: mb-1@08:00 was live`
pub fn decision(world: &World, id: &str, decision: &Decision) -> String {
    let times = if decision.first == decision.last {
        world.time(decision.first)
    } else {
        text::range(decision.first, decision.last, world.now.wall)
    };
    let count = match decision.count {
        Some(1) => String::new(),
        Some(count) => format!(", {count} times"),
        None => ", more than 10000 times".into(),
    };
    let verdict = format!("{:?}", decision.verdict).to_uppercase();
    let other = decision.run.map(|(trigger, nominal)| format!("{id}@{}", world.occurrence(trigger, nominal)));
    let run = match (decision.verdict, other) {
        (Verdict::Overlap | Verdict::Capped, Some(run)) => format!(": {run} was live"),
        (Verdict::Coalesced, Some(run)) if count.is_empty() => format!(": {run} stands for it"),
        (Verdict::Coalesced, Some(run)) => format!(": {run} stands for them"),
        _ => String::new(),
    };
    format!("{times} {verdict}{count}{run}")
}

pub fn refused(refused: Refusal) -> String {
    let status = refusal(refused);
    let reason = reason_of(&status).map_or("", |reason| reason.name());
    format!("refused: {reason}, {}", status.message())
}

pub fn answer(world: &World, answer: &Answer) -> String {
    match answer {
        Answer::Upserted { schedule, change, .. } => {
            let change = match change {
                Change::Created => "created",
                Change::Updated => "updated",
                Change::Unchanged => "unchanged",
            };
            format!("{} {change}: {}", schedule.definition.key.id, status(world, schedule))
        }
        Answer::Deleted(n) => format!("deleted {}", count(*n, "schedule")),
        Answer::Paused { schedule, changed } | Answer::Resumed { schedule, changed } => {
            let unchanged = if *changed { "" } else { " (nothing changed)" };
            format!("{}: {}{unchanged}", schedule.definition.key.id, status(world, schedule))
        }
        Answer::Triggered { run, created } => {
            let (name, state) = run_view(world, run);
            format!("{} {name}: {state}", if *created { "triggered" } else { "already live," })
        }
        Answer::Backfilled { accepted, existing } => {
            format!("backfill: {} to run, {existing} exist already", count(*accepted, "time"))
        }
        Answer::Progress { done, skipped: 0, .. } => format!("done for {done}"),
        Answer::Progress { done, skipped, .. } => format!("done for {done}, skipped {skipped}"),
        Answer::Run(run) => {
            let (name, state) = run_view(world, run);
            format!("{name}: {state}")
        }
        Answer::Limit(view) => format!("limit {}", limit(world, view)),
        Answer::LimitDeleted => "limit deleted".into(),
        other => format!("{other:?}"),
    }
}

fn run_view(world: &World, run: &RunView) -> (String, String) {
    match run {
        RunView::Live(live) => (world.run_name(live.id), live_state(world, live)),
        RunView::Final { id, .. } => (world.run_name(*id), "final".into()),
    }
}

pub fn live_state(world: &World, live: &LiveRun) -> String {
    let worker = live.worker_id.as_deref().unwrap_or("");
    match &live.state {
        RunState::Running => format!("RUNNING on {worker}, attempt {}", live.attempt),
        RunState::Cancelling => format!("CANCELLING on {worker}, attempt {}", live.attempt),
        RunState::Queued(None) => "QUEUED".into(),
        RunState::Queued(Some(wait)) => format!("QUEUED, {}", self::wait(world, wait)),
    }
}

fn wait(world: &World, wait: &Wait) -> String {
    match wait {
        Wait::NoWorker => "no worker takes its kind".into(),
        Wait::NoSlot => "no slot is free".into(),
        Wait::Backoff { until } => format!("backoff until {}", world.time(*until)),
        Wait::Paused => "held by the pause".into(),
        Wait::Overlap => "behind the live run".into(),
        Wait::Limit { key, until: None, .. } => format!("limit {key}"),
        Wait::Limit { key, until: Some(until), .. } => {
            format!("limit {key} until {} at least", world.time(*until))
        }
    }
}

/// `ACTIVE, next 09:00 (10:00 CET)`
pub fn status(world: &World, view: &ScheduleView) -> String {
    match view.status {
        Status::Active => format!("ACTIVE, next {}", next(world, &view.definition, view.next)),
        Status::Paused => view.pause.as_ref().map_or("PAUSED".into(), |pause| paused(world, pause)),
        Status::Ended => "ENDED".into(),
        Status::Quarantined => format!("QUARANTINED: {}", view.quarantine.as_deref().unwrap_or("")),
        Status::Deleted => "DELETED".into(),
    }
}

pub fn next(world: &World, definition: &Definition, next: Option<i64>) -> String {
    let Some(next) = next else { return "never".into() };
    let mut text = world.time(next);
    if let Timing::Cron(cron) = &definition.timing
        && let Some(local) = text::local(next, &cron.source().time_zone)
    {
        text += &format!(" ({local})");
    }
    let spread = definition.spread_offset();
    if spread > 0 {
        text += &format!(", due {}", world.time(next + spread));
    }
    text
}

fn paused(world: &World, pause: &Pause) -> String {
    let why = match pause.reason {
        PauseReason::Requested => format!("by {}", pause.actor),
        PauseReason::Reauthorize => "REAUTHORIZE".into(),
        PauseReason::Failures => "FAILURES".into(),
    };
    let until = pause.until.map_or_else(String::new, |until| format!(" until {}", world.time(until)));
    let note = if pause.note.is_empty() { String::new() } else { format!(": {}", pause.note) };
    format!("PAUSED {why}{until}{note}")
}

pub fn limit(world: &World, view: &scheduler_svc::state_machine::view::LimitView) -> String {
    let mut parts = Vec::new();
    match view.limit {
        None => parts.push("no limit of its own".into()),
        Some(limit) => {
            parts.extend(limit.max_running.map(|max| format!("at most {max} running")));
            let rate = limit.rate as f64 / 1e6;
            parts
                .extend((limit.rate > 0).then(|| format!("{rate} starts per second, burst {}", limit.burst)));
        }
    }
    if parts.is_empty() {
        parts.push("unlimited".into());
    }
    if view.running > 0 {
        parts.push(format!("{} running now", view.running));
    }
    if let Some(until) = view.closed_until {
        parts.push(format!("closed until {}: {}", world.time(until), view.reason));
    }
    format!("{}: {}", view.key, parts.join(", "))
}

/// One run of the history, with its attempts where they tell more than the run does.
pub fn history(world: &World, finished: &Finished) -> Vec<String> {
    let mut lines = vec![format!("{} at {}", end(world, finished), world.time(finished.finish))];
    let attempt = |attempt: &Attempt| {
        let how = attempt.failure.as_deref().map_or("succeeded".into(), failure);
        let (start, end) = (world.time(attempt.start), world.time(attempt.end));
        format!("  attempt {} on {}, {start} to {end}: {how}", attempt.attempt, attempt.worker_id)
    };
    lines.extend(finished.attempts.iter().map(attempt));
    lines
}
