//! `ListEvents` and `WatchEvents`: the event log as clients read it, each from a cursor of its own.
//!
//! A filter may match little, so an answer looks at a bounded number of events; its cursor moves on past those that did
//! not match. Nothing here asks the machine or the store.

pub mod filter;
mod stream;

use std::{pin::Pin, time::Instant};

use docket::{
    errors::{self, Reason, Violation},
    identity::Identity,
    schedule::v1 as pb,
};
use futures_util::Stream;
use prost::Message as _;
use tonic::Status;

use self::filter::Filter;
use super::{Services, call_error, convert, field};
use stream::Ends;

use crate::{
    event_log::{Cursor, Entry, EventLog, Expired, Kind, Subject},
    shard::CallError,
    state_machine::output::ScheduleChange,
};

/// Of one answer or message.
const EVENTS_MAX: usize = 1_000;
/// An answer or message ends with the event that reaches it; one event is far below 1 MiB.
const MESSAGE_BYTES: usize = 256 << 10;
/// Events that one answer, or one turn of a stream, looks at.
const LOOKED_AT: usize = 10_000;

pub type EventStream = Pin<Box<dyn Stream<Item = Result<pb::WatchEventsResponse, Status>> + Send>>;

pub fn list(
    services: &Services,
    identity: &Identity,
    body: &pb::ListEventsRequest,
    deadline: Option<Instant>,
) -> Result<pb::ListEventsResponse, Status> {
    let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
    let filter = Filter::new(namespace, body.filter.as_ref())?;
    let size = field::page_size(body.page_size)?;
    let asked = cursor(&body.cursor)?;
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(call_error(CallError::TooLate));
    }
    let log = services.shard.events();
    let found = match asked {
        Some(cursor) => look(log, &filter, cursor, size),
        // The oldest may be overwritten between the two steps; then the next one is the oldest.
        None => look(log, &filter, log.oldest(), size).or_else(|_| look(log, &filter, log.now(), size)),
    };
    let Found { events, cursor, more, .. } = found.map_err(|Expired| expired())?;
    Ok(pb::ListEventsResponse { events, next_cursor: cursor.to_string(), more })
}

pub fn watch(
    services: &Services,
    identity: &Identity,
    body: &pb::WatchEventsRequest,
    deadline: Option<Instant>,
    until: Option<Instant>,
) -> Result<EventStream, Status> {
    let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
    let filter = Filter::new(namespace, body.filter.as_ref())?;
    let asked = cursor(&body.cursor)?;
    let ends = Ends { stopping: services.stopping.clone(), over: services.shard.over(), deadline, until };
    let log = services.shard.events().clone();
    let watcher = log.watch().map_err(|_| {
        errors::quota(
            Reason::TooManyWatchers,
            "events.watchers",
            "as many streams of WatchEvents are open as configured (events.watchers): close some, share one, or poll \
             with ListEvents",
        )
    })?;
    Ok(Box::pin(stream::events(log, watcher, filter, asked, ends)))
}

/// None when the client leaves it to us where to begin.
fn cursor(text: &str) -> Result<Option<Cursor>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    let remedy = "is no cursor of ListEvents or WatchEvents: send one back as it came, or leave it empty";
    Cursor::parse(text).map(Some).ok_or_else(|| Violation::new("cursor", remedy))
}

fn expired() -> Status {
    errors::status(
        Reason::CursorExpired,
        "events after the cursor are not kept any more, or it is of a former start of the scheduler: take a cursor \
         from the first message of WatchEvents, read state anew, and go on from there",
    )
}

/// What one look at the log came to.
struct Found {
    events: Vec<pb::Event>,
    /// After the last event that was looked at.
    cursor: Cursor,
    looked_at: usize,
    /// Whether it ended at a bound rather than at the newest event.
    more: bool,
}

/// The next events that match, at most `size`.
fn look(log: &EventLog, filter: &Filter, from: Cursor, size: usize) -> Result<Found, Expired> {
    let mut found = Found { events: Vec::new(), cursor: from, looked_at: 0, more: true };
    let mut bytes = 0;
    loop {
        let slice = match log.after(found.cursor) {
            Ok(slice) => slice,
            // What was found is good; the next look begins with the bad news.
            Err(Expired) if found.looked_at > 0 => return Ok(found),
            Err(Expired) => return Err(Expired),
        };
        let before = found.looked_at;
        for (seq, entry) in slice.iter() {
            if found.events.len() == size || bytes >= MESSAGE_BYTES || found.looked_at == LOOKED_AT {
                return Ok(found);
            }
            found.looked_at += 1;
            found.cursor = found.cursor.at(seq);
            if filter.matches(entry) {
                let event = event(found.cursor, entry);
                bytes += event.encoded_len();
                found.events.push(event);
            }
        }
        if found.looked_at == before {
            found.more = false;
            return Ok(found);
        }
    }
}

fn event(cursor: Cursor, entry: &Entry) -> pb::Event {
    let (schedule, run) = match &entry.subject {
        Subject::Schedule(view) => (Some(convert::schedule(view)), None),
        Subject::Live(run) => (None, Some(convert::live_run(run))),
        Subject::Final(definition, finished) => (None, Some(convert::ended_run(definition, finished))),
    };
    pb::Event {
        cursor: cursor.to_string(),
        time: Some(convert::timestamp(entry.at)),
        namespace: entry.namespace().into(),
        r#type: event_type(entry.kind).into(),
        schedule,
        run,
        actor: entry.actor.as_deref().unwrap_or("docket").into(),
    }
}

fn event_type(kind: Kind) -> pb::EventType {
    match kind {
        Kind::Schedule(ScheduleChange::Created) => pb::EventType::ScheduleCreated,
        Kind::Schedule(ScheduleChange::Updated) => pb::EventType::ScheduleUpdated,
        Kind::Schedule(ScheduleChange::Paused) => pb::EventType::SchedulePaused,
        Kind::Schedule(ScheduleChange::Resumed) => pb::EventType::ScheduleResumed,
        Kind::Schedule(ScheduleChange::Ended) => pb::EventType::ScheduleEnded,
        Kind::Schedule(ScheduleChange::Deleted) => pb::EventType::ScheduleDeleted,
        Kind::Schedule(ScheduleChange::Quarantined) => pb::EventType::ScheduleQuarantined,
        Kind::RunCreated => pb::EventType::RunCreated,
        Kind::RunStarted => pb::EventType::RunStarted,
        Kind::RunRetrying => pb::EventType::RunRetrying,
        Kind::RunFinished => pb::EventType::RunFinished,
    }
}
