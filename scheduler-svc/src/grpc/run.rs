//! `RunService`.

use std::{sync::Arc, time::Duration};

use docket::{
    identity,
    schedule::v1::{self as pb, run_service_server::RunService},
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    Services, call_error, convert, deadline, event, field, history, mismatch, page, refusal, request_id,
    streams_until, validate,
};
use crate::shard::CallError;
use crate::state_machine::{
    command::{self, Among, Command},
    id::RunId,
    output::{Answer, Refusal},
    view::RunView,
};

const WAIT_MAX: i64 = 30_000;
const NOTE_BYTES: usize = 1 << 10;
/// Schedules that a page of runs asks the machine for at once. Their history is read, so they are few.
const SCHEDULES_PER_TURN: usize = 500;
/// How often a page that is not full asks for more; each time the machine looks at some thousand schedules.
const TURNS: usize = 10;

pub struct Api(pub Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

impl Api {
    async fn get(&self, get: command::GetRun, until: Option<std::time::Instant>) -> Result<RunView, Status> {
        let answer = self.0.shard.call(Command::GetRun(get), until).await.map_err(call_error)?;
        let Answer::Run(view) = answer else { return Err(mismatch()) };
        Ok(*view)
    }

    /// Adds what matches of the next schedules. Returns the schedule after which it goes on, if it does.
    async fn turn(
        &self,
        list: &command::ListRuns,
        filter: &pb::RunFilter,
        page: &mut Page,
        until: Option<std::time::Instant>,
    ) -> Result<Option<Box<str>>, Status> {
        let shard = &self.0.shard;
        let answer = shard.call(Command::ListRuns(list.clone()), until).await.map_err(call_error)?;
        let Answer::Runs { schedules, next } = answer else { return Err(mismatch()) };
        let mut before = list.after.as_deref().map(str::to_owned);
        for (view, live) in schedules {
            if page.is_full() {
                page.end = before;
                break;
            }
            let mut runs = Vec::new();
            for run in live {
                runs.push(history::run(shard, run).await?);
            }
            runs.sort_by_key(|run| std::cmp::Reverse(run.nominal_time.map(|t| (t.seconds, t.nanos))));
            let finished = history::finished(shard, &view).await?;
            runs.extend(finished.iter().map(|finished| convert::finished_run(&view, finished)));
            runs.retain(|run| matches(filter, run));
            if !page.add(runs, before.as_deref()) {
                break;
            }
            before = Some(view.definition.key.id.to_string());
        }
        Ok(next)
    }
}

#[tonic::async_trait]
impl RunService for Api {
    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Reply<pb::GetRunResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        field::id("run_id", &body.run_id)?;
        let id = RunId::parse(&body.run_id).ok_or_else(|| refusal(Refusal::RunNotFound))?;
        let wait = field::millis("wait", body.wait.as_ref(), 0, WAIT_MAX, 0)?;
        let get = command::GetRun { namespace: namespace.into(), id, wait: wait > 0 };
        let view = if wait > 0 {
            let waited = Duration::from_millis(wait.unsigned_abs());
            match tokio::time::timeout(waited, self.get(get.clone(), deadline(&request))).await {
                Ok(view) => view?,
                // The time is up: answer with the run as it is.
                Err(_) => self.get(command::GetRun { wait: false, ..get }, None).await?,
            }
        } else {
            self.get(get, deadline(&request)).await?
        };
        Ok(Response::new(pb::GetRunResponse { run: Some(history::run(&self.0.shard, view).await?) }))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Reply<pb::ListRunsResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        let filter = body.filter.clone().unwrap_or_default();
        let schedule = field::optional_id("filter.schedule_id", &filter.schedule_id)?;
        let binding = page::binding(&[b"ListRuns", namespace.as_bytes(), &filter.encode_to_vec()]);
        let page_size = field::page_size(body.page_size)?;
        let position = page::position(binding, &body.page_token)?;
        let (after, skip) = resume(position.as_deref());
        let mut list = command::ListRuns {
            namespace: namespace.into(),
            schedule: Some(schedule.into()).filter(|_| !schedule.is_empty()),
            after: after.map(Into::into),
            labels: validate::labels("filter.labels", &filter.labels)?,
            among: among(&filter.states),
            limit: SCHEDULES_PER_TURN,
        };
        let mut page = Page { runs: Vec::new(), size: page_size, skip, end: None };
        let until = deadline(&request);
        let mut next = None;
        for _ in 0..TURNS {
            next = self.turn(&list, &filter, &mut page, until).await?;
            if page.end.is_some() || next.is_none() {
                break;
            }
            list.after.clone_from(&next);
        }
        let next = page.end.or(next.map(|last| last.to_string()));
        let next_page_token = next.map(|next| page::token(binding, &next)).unwrap_or_default();
        Ok(Response::new(pb::ListRunsResponse { runs: page.runs, next_page_token }))
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Reply<pb::CancelRunResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        identity.about(&body.run_id);
        field::id("run_id", &body.run_id)?;
        let without_id = pb::CancelRunRequest { request_id: String::new(), ..body.clone() };
        let cancel = command::CancelRun {
            namespace: namespace.into(),
            id: RunId::parse(&body.run_id).ok_or_else(|| refusal(Refusal::RunNotFound))?,
            note: field::note("note", &body.note, NOTE_BYTES)?,
            request: request_id("CancelRun", &body.request_id, &without_id)?,
            actor: identity.name().into(),
        };
        let get = command::GetRun { namespace: cancel.namespace.clone(), id: cancel.id, wait: false };
        let until = deadline(&request);
        match self.0.shard.call(Command::CancelRun(cancel), until).await {
            Ok(Answer::Run(view)) => {
                let run = Some(history::run(&self.0.shard, *view).await?);
                Ok(Response::new(pb::CancelRunResponse { run }))
            }
            Ok(_) => Err(mismatch()),
            Err(CallError::Refused(Refusal::RunNotLive)) => {
                // Whether it is final or was never there is for history to say.
                history::run(&self.0.shard, self.get(get, until).await?).await?;
                Err(refusal(Refusal::RunNotLive))
            }
            Err(error) => Err(call_error(error)),
        }
    }

    async fn retry_runs(&self, request: Request<pb::RetryRunsRequest>) -> Reply<pb::RetryRunsResponse> {
        let identity = identity::of(&request)?;
        let until = deadline(&request);
        let retried = super::retry::retry(&self.0.shard, &identity, request.get_ref(), until).await?;
        Ok(Response::new(retried))
    }

    async fn list_events(&self, request: Request<pb::ListEventsRequest>) -> Reply<pb::ListEventsResponse> {
        let identity = identity::of(&request)?;
        let listed = event::list(&self.0, &identity, request.get_ref(), deadline(&request))?;
        Ok(Response::new(listed))
    }

    type WatchEventsStream = event::EventStream;

    async fn watch_events(&self, request: Request<pb::WatchEventsRequest>) -> Reply<event::EventStream> {
        let identity = identity::of(&request)?;
        let events =
            event::watch(&self.0, &identity, request.get_ref(), deadline(&request), streams_until(&request))?;
        Ok(Response::new(events))
    }
}

/// A page of runs that goes schedule by schedule. A full one may end inside a schedule.
struct Page {
    runs: Vec<pb::Run>,
    size: usize,
    /// Runs of the first schedule that earlier pages have shown.
    skip: usize,
    /// Where the next page begins, once this one is full: after a schedule, with `#n` for the runs to skip of the one
    /// that follows.
    end: Option<String>,
}

impl Page {
    fn is_full(&self) -> bool {
        self.runs.len() == self.size
    }

    /// Returns whether there is room for more.
    fn add(&mut self, runs: Vec<pb::Run>, before: Option<&str>) -> bool {
        let skip = std::mem::take(&mut self.skip);
        let room = self.size - self.runs.len();
        let left = runs.len().saturating_sub(skip);
        self.runs.extend(runs.into_iter().skip(skip).take(room));
        if left > room {
            self.end = Some(format!("{}#{}", before.unwrap_or_default(), skip + room));
        }
        left <= room
    }
}

/// From a token's text: the schedule after which to go on, and how many runs of the next one to skip.
fn resume(position: Option<&str>) -> (Option<&str>, usize) {
    let Some(position) = position else { return (None, 0) };
    match position.split_once('#') {
        Some((after, skip)) => (Some(after).filter(|after| !after.is_empty()), skip.parse().unwrap_or(0)),
        None => (Some(position), 0),
    }
}

/// Which schedules may have a run in one of these states. Empty = any.
fn among(states: &[i32]) -> Among {
    use pb::RunState::*;
    let any = |wanted: &[pb::RunState]| {
        states.is_empty() || wanted.iter().any(|state| states.contains(&(*state).into()))
    };
    Among {
        live: any(&[Queued, Running, Cancelling]),
        succeeded: any(&[Succeeded]),
        unsucceeded: any(&[Failed, Cancelled]),
    }
}

pub fn matches(filter: &pb::RunFilter, run: &pb::Run) -> bool {
    let nominal = run.nominal_time.map(|time| (time.seconds, time.nanos));
    let from = filter.nominal_from.map(|time| (time.seconds, time.nanos));
    let to = filter.nominal_to.map(|time| (time.seconds, time.nanos));
    let class = run.failure.as_ref().map_or(0, |failure| failure.class);
    (filter.states.is_empty() || filter.states.contains(&run.state))
        && (filter.triggers.is_empty() || filter.triggers.contains(&run.trigger))
        && (filter.failure_classes.is_empty() || filter.failure_classes.contains(&class))
        && (from.is_none() || nominal >= from)
        && (to.is_none() || nominal < to)
}
