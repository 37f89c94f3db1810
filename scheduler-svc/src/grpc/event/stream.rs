//! The stream of events to one watcher.
//!
//! It is pulled: the next message is made when the client's window has room for it. So a client that does not read
//! holds one message and its place, and nothing of the scheduler waits for it.

use std::{sync::Arc, time::Instant};

use docket::{
    errors::{self, Reason},
    schedule::v1 as pb,
};
use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{EVENTS_MAX, Filter, Found, LOOKED_AT, look};
use crate::event_log::{Cursor, EventLog, Expired, Watcher};

/// What ends a stream.
#[derive(Clone)]
pub struct Ends {
    pub stopping: CancellationToken,
    /// The leadership under which the log was written.
    pub over: CancellationToken,
    pub deadline: Option<Instant>,
    /// Of the connection.
    pub until: Option<Instant>,
}

type Message = Result<pb::WatchEventsResponse, Status>;

/// From `asked`, or from now. The first message says where that is.
pub fn events(
    log: Arc<EventLog>,
    watcher: Watcher,
    filter: Filter,
    asked: Option<Cursor>,
    ends: Ends,
) -> impl Stream<Item = Message> {
    let kept = asked.filter(|cursor| log.after(*cursor).is_ok());
    let cursor = kept.unwrap_or_else(|| log.now());
    let reset = asked.is_some() && kept.is_none();
    let first = Some(pb::WatchEventsResponse { events: Vec::new(), reset, cursor: cursor.to_string() });
    let watch = Watch { log, watcher, filter, cursor, first, passed_over: 0 };
    stream::unfold(Some(watch), move |watch| next(watch, ends.clone()))
}

/// None after the end.
async fn next(watch: Option<Watch>, ends: Ends) -> Option<(Message, Option<Watch>)> {
    let mut watch = watch?;
    // A message that is given up half-way has not moved the cursor past a match.
    tokio::select! {
        biased;
        () = ends.stopping.cancelled() => {
            let why = "the scheduler is stopping; watch again from the last cursor";
            Some((Err(errors::status(Reason::NotServing, why)), None))
        }
        () = ends.over.cancelled() => {
            let why = "another scheduler leads now; watch again from the last cursor";
            Some((Err(errors::status(Reason::NotServing, why)), None))
        }
        () = passed(ends.until) => {
            let why = "the connection has reached its age; watch again from the last cursor";
            Some((Err(errors::status(Reason::NotServing, why)), None))
        }
        () = passed(ends.deadline) => {
            let why = "the deadline passed; watch again from the last cursor";
            Some((Err(errors::status(Reason::DeadlineExceeded, why)), None))
        }
        message = watch.message() => Some((Ok(message), Some(watch))),
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

struct Watch {
    log: Arc<EventLog>,
    watcher: Watcher,
    filter: Filter,
    cursor: Cursor,
    first: Option<pb::WatchEventsResponse>,
    /// Events that did not match, since the client was last told where it stands.
    passed_over: usize,
}

impl Watch {
    async fn message(&mut self) -> pb::WatchEventsResponse {
        if let Some(first) = self.first.take() {
            return first;
        }
        loop {
            self.watcher.listen();
            let Found { events, cursor, looked_at, more } =
                match look(&self.log, &self.filter, self.cursor, EVENTS_MAX) {
                    Ok(found) => found,
                    Err(Expired) => return self.reset(),
                };
            self.cursor = cursor;
            self.passed_over += looked_at - events.len();
            // However little matches, the client's cursor does not grow old.
            if !events.is_empty() || self.passed_over >= LOOKED_AT {
                self.passed_over = 0;
                return pb::WatchEventsResponse { events, reset: false, cursor: cursor.to_string() };
            }
            if more {
                tokio::task::yield_now().await;
            } else {
                self.watcher.rung().await;
            }
        }
    }

    fn reset(&mut self) -> pb::WatchEventsResponse {
        self.cursor = self.log.now();
        self.passed_over = 0;
        pb::WatchEventsResponse { events: Vec::new(), reset: true, cursor: self.cursor.to_string() }
    }
}
