//! `ScheduleService`.

use std::{sync::Arc, time::SystemTime};

use docket::{
    errors::{self, Reason, Violation},
    identity::{self, Identity},
    schedule::v1::{self as pb, schedule_service_server::ScheduleService},
    trace::TraceParent,
};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    Services, bulk, call_error, convert, deadline, export, field, history, import, mismatch, page,
    request_id, validate, warning,
};
use crate::shard::CallError;
use crate::state_machine::{
    command::{self, BulkChange, Command},
    definition::{Caller, ScheduleKey},
    id::Uid,
    output::Answer,
    schedule::Span,
    timing::{Timing, spread_offset},
    view::{RunView, ScheduleView},
};

const NOTE_BYTES: usize = 1 << 10;
/// Next times that an upsert answers with.
const NEXT_TIMES: usize = 5;
const PREVIEW_MAX: u32 = 1_000;

pub struct Api(pub Arc<Services>, pub import::Lane);

type Reply<T> = Result<Response<T>, Status>;

/// Namespace and id of a request, checked.
fn key(identity: &Identity, namespace: &str, id: &str) -> Result<ScheduleKey, Status> {
    let namespace = identity.namespace(namespace)?;
    identity.about(id);
    Ok(ScheduleKey::new(field::id("namespace", namespace)?, field::id("schedule_id", id)?))
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Api {
    async fn ask<T>(&self, request: &Request<T>, command: Command) -> Result<Answer, Status> {
        self.0.shard.call(command, deadline(request)).await.map_err(call_error)
    }

    /// What a person should know of a live run.
    async fn about_live<T>(
        &self,
        request: &Request<T>,
        view: &ScheduleView,
    ) -> Result<Option<String>, Status> {
        let Some(id) = view.active.first().copied() else { return Ok(None) };
        let namespace = view.definition.key.namespace.clone();
        let get = command::GetRun { namespace, id, wait: false };
        Ok(match self.0.shard.call(Command::GetRun(get), deadline(request)).await {
            Ok(Answer::Run(run)) => match *run {
                RunView::Live(live) => Some(super::explain::about_run(&live)),
                RunView::Final { .. } => None,
            },
            Ok(_) => return Err(mismatch()),
            // It has become final meanwhile, with its schedule.
            Err(CallError::Refused(_)) => None,
            Err(error) => return Err(call_error(error)),
        })
    }

    async fn shown(&self, view: ScheduleView) -> Result<pb::Schedule, Status> {
        history::schedule(&self.0.shard, view).await
    }
}

#[tonic::async_trait]
impl ScheduleService for Api {
    async fn upsert_schedule(
        &self,
        request: Request<pb::UpsertScheduleRequest>,
    ) -> Reply<pb::UpsertScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let asked = body.schedule.as_ref().ok_or_else(|| Violation::new("schedule", "is required"))?;
        let namespace = identity.namespace(&asked.namespace)?;
        identity.about(&asked.schedule_id);
        let mut definition = validate::schedule(namespace, asked, self.0.default_spread)?;
        definition.saved_by = caller(request.metadata());
        if body.create_only && !body.etag.is_empty() {
            return Err(Violation::new(
                "etag",
                "is of a schedule that is there: leave it out with create_only",
            )
            .into());
        }
        let without_id = pb::UpsertScheduleRequest { request_id: String::new(), ..body.clone() };
        let upsert = command::Upsert {
            definition,
            uid: Uid(rand::random()),
            etag: Some(body.etag.clone()).filter(|etag| !etag.is_empty()),
            create_only: body.create_only,
            request: request_id("UpsertSchedule", &body.request_id, &without_id)?,
            validate_only: body.validate_only,
            actor: identity.name().into(),
        };
        let answer = self.ask(&request, Command::Upsert(Box::new(upsert))).await?;
        let Answer::Upserted { schedule, change, no_worker, crowd } = answer else { return Err(mismatch()) };
        let warnings = warning::of(&schedule, no_worker, crowd, next_times(&schedule).next());
        Ok(Response::new(pb::UpsertScheduleResponse {
            next_times: next_times(&schedule).take(NEXT_TIMES).map(convert::timestamp).collect(),
            change: change as i32,
            warnings,
            schedule: Some(self.shown(*schedule).await?),
        }))
    }

    async fn get_schedule(&self, request: Request<pb::GetScheduleRequest>) -> Reply<pb::GetScheduleResponse> {
        let identity = identity::of(&request)?;
        let key = key(&identity, &request.get_ref().namespace, &request.get_ref().schedule_id)?;
        let Answer::Schedule(view) = self.ask(&request, Command::GetSchedule(key)).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(pb::GetScheduleResponse { schedule: Some(self.shown(*view).await?) }))
    }

    async fn list_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Reply<pb::ListSchedulesResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let filter = body.filter.clone().unwrap_or_default();
        let list = bulk::list(&identity, &body.namespace, &filter)?;
        let binding = page::binding(&[b"ListSchedules", list.namespace.as_bytes(), &filter.encode_to_vec()]);
        let list = command::ListSchedules {
            after: page::position(binding, &body.page_token)?,
            limit: field::page_size(body.page_size)?,
            ..list
        };
        let Answer::Schedules { schedules, next } = self.ask(&request, Command::ListSchedules(list)).await?
        else {
            return Err(mismatch());
        };
        Ok(Response::new(pb::ListSchedulesResponse {
            schedules: history::schedules(&self.0.shard, &schedules).await?,
            next_page_token: next.map(|last| page::token(binding, &last)).unwrap_or_default(),
        }))
    }

    async fn delete_schedule(
        &self,
        request: Request<pb::DeleteScheduleRequest>,
    ) -> Reply<pb::DeleteScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let without_id = pb::DeleteScheduleRequest { request_id: String::new(), ..body.clone() };
        if let Some(filter) = &body.filter {
            bulk::either(&body.schedule_id)?;
            if !body.etag.is_empty() {
                return Err(
                    Violation::new("etag", "belongs to one schedule: leave it out with a filter").into()
                );
            }
            let bulk = bulk::Bulk {
                filter: bulk::filter(&identity, &body.namespace, filter)?,
                change: BulkChange::Delete { cancel_running: body.cancel_running },
                request: request_id("DeleteSchedule", &body.request_id, &without_id)?,
                actor: identity.name().into(),
            };
            let deleted = bulk.run(&self.0.shard, deadline(&request)).await?;
            return Ok(Response::new(pb::DeleteScheduleResponse { deleted }));
        }
        let delete = command::Delete {
            key: key(&identity, &body.namespace, &body.schedule_id)?,
            cancel_running: body.cancel_running,
            etag: Some(body.etag.clone()).filter(|etag| !etag.is_empty()),
            request: request_id("DeleteSchedule", &body.request_id, &without_id)?,
            actor: identity.name().into(),
        };
        let Answer::Deleted(deleted) = self.ask(&request, Command::Delete(delete)).await? else {
            return Err(mismatch());
        };
        Ok(Response::new(pb::DeleteScheduleResponse { deleted: deleted as i64 }))
    }

    async fn pause_schedule(
        &self,
        request: Request<pb::PauseScheduleRequest>,
    ) -> Reply<pb::PauseScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let until = field::optional_time("until", body.until.as_ref())?;
        if until.is_some_and(|until| until <= now()) {
            return Err(Violation::new(
                "until",
                "must be in the future; leave it out to pause until ResumeSchedule",
            )
            .into());
        }
        let without_id = pb::PauseScheduleRequest { request_id: String::new(), ..body.clone() };
        let note = field::note("note", &body.note, NOTE_BYTES)?;
        let once = request_id("PauseSchedule", &body.request_id, &without_id)?;
        if let Some(filter) = &body.filter {
            bulk::either(&body.schedule_id)?;
            let bulk = bulk::Bulk {
                filter: bulk::filter(&identity, &body.namespace, filter)?,
                change: BulkChange::Pause { note, until },
                request: once,
                actor: identity.name().into(),
            };
            let paused = bulk.run(&self.0.shard, deadline(&request)).await?;
            return Ok(Response::new(pb::PauseScheduleResponse { schedule: None, paused }));
        }
        let pause = command::Pause {
            key: key(&identity, &body.namespace, &body.schedule_id)?,
            note,
            until,
            request: once,
            actor: identity.name().into(),
        };
        let Answer::Paused { schedule, changed } = self.ask(&request, Command::Pause(pause)).await? else {
            return Err(mismatch());
        };
        let schedule = Some(self.shown(*schedule).await?);
        Ok(Response::new(pb::PauseScheduleResponse { schedule, paused: changed.into() }))
    }

    async fn resume_schedule(
        &self,
        request: Request<pb::ResumeScheduleRequest>,
    ) -> Reply<pb::ResumeScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let without_id = pb::ResumeScheduleRequest { request_id: String::new(), ..body.clone() };
        let once = request_id("ResumeSchedule", &body.request_id, &without_id)?;
        if let Some(filter) = &body.filter {
            bulk::either(&body.schedule_id)?;
            let bulk = bulk::Bulk {
                filter: bulk::filter(&identity, &body.namespace, filter)?,
                change: BulkChange::Resume { catch_up: body.catch_up },
                request: once,
                actor: identity.name().into(),
            };
            let resumed = bulk.run(&self.0.shard, deadline(&request)).await?;
            return Ok(Response::new(pb::ResumeScheduleResponse { schedule: None, resumed }));
        }
        let resume = command::Resume {
            key: key(&identity, &body.namespace, &body.schedule_id)?,
            catch_up: body.catch_up,
            request: once,
            actor: identity.name().into(),
        };
        let Answer::Resumed { schedule, changed } = self.ask(&request, Command::Resume(resume)).await? else {
            return Err(mismatch());
        };
        let schedule = Some(self.shown(*schedule).await?);
        Ok(Response::new(pb::ResumeScheduleResponse { schedule, resumed: changed.into() }))
    }

    async fn trigger_schedule(
        &self,
        request: Request<pb::TriggerScheduleRequest>,
    ) -> Reply<pb::TriggerScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let without_id = pb::TriggerScheduleRequest { request_id: String::new(), ..body.clone() };
        let trigger = command::TriggerNow {
            key: key(&identity, &body.namespace, &body.schedule_id)?,
            request: request_id("TriggerSchedule", &body.request_id, &without_id)?,
            actor: identity.name().into(),
        };
        let Answer::Triggered { run, created } = self.ask(&request, Command::Trigger(trigger)).await? else {
            return Err(mismatch());
        };
        let run = Some(history::run(&self.0.shard, *run).await.map_err(no_such_run)?);
        Ok(Response::new(pb::TriggerScheduleResponse { run, created }))
    }

    async fn preview_schedule(
        &self,
        request: Request<pb::PreviewScheduleRequest>,
    ) -> Reply<pb::PreviewScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let asked = body.schedule.as_ref().ok_or_else(|| Violation::new("schedule", "is required"))?;
        identity.namespace(&asked.namespace)?;
        let after = field::optional_time("after", body.after.as_ref())?.unwrap_or_else(now);
        let count = field::number("count", body.count, 1, PREVIEW_MAX, 10)? as usize;
        Ok(Response::new(preview(asked, self.0.default_spread, after, count)?))
    }

    async fn explain_schedule(
        &self,
        request: Request<pb::ExplainScheduleRequest>,
    ) -> Reply<pb::ExplainScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let key = key(&identity, &body.namespace, &body.schedule_id)?;
        let nominal = field::optional_time("nominal_time", body.nominal_time.as_ref())?;
        let Answer::Schedule(view) = self.ask(&request, Command::GetSchedule(key)).await? else {
            return Err(mismatch());
        };
        let decisions = history::decisions(&self.0.shard, &view).await?;
        let about = |d: &&_| nominal.is_none_or(|at| super::explain::covers(&view, d, at));
        let decisions =
            decisions.iter().filter(about).map(|d| convert::decision(view.uid, d)).collect::<Vec<_>>();
        let mut summary = super::explain::summary(&view, nominal, !decisions.is_empty(), now());
        if let Some(live) = self.about_live(&request, &view).await? {
            summary = format!("{summary} {live}");
        }
        Ok(Response::new(pb::ExplainScheduleResponse {
            decisions,
            summary,
            schedule: Some(self.shown(*view).await?),
        }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<pb::BackfillScheduleRequest>,
    ) -> Reply<pb::BackfillScheduleResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let without_id = pb::BackfillScheduleRequest { request_id: String::new(), ..body.clone() };
        let backfill = command::Backfill {
            key: key(&identity, &body.namespace, &body.schedule_id)?,
            span: backfill_span(body, now())?,
            known: Vec::new(),
            as_of: Default::default(),
            request: request_id("BackfillSchedule", &body.request_id, &without_id)?,
            actor: identity.name().into(),
        };
        let (accepted, existing) = bulk::backfill(&self.0.shard, backfill, deadline(&request)).await?;
        Ok(Response::new(pb::BackfillScheduleResponse { accepted, existing }))
    }

    async fn import_schedules(
        &self,
        request: Request<Streaming<pb::ImportSchedulesRequest>>,
    ) -> Reply<pb::ImportSchedulesResponse> {
        import::import(&self.0, &self.1, request).await.map(Response::new)
    }

    type ExportSchedulesStream = export::Records;

    async fn export_schedules(&self, request: Request<pb::ExportSchedulesRequest>) -> Reply<export::Records> {
        export::records(&self.0, &request).map(Response::new)
    }
}

/// A run that was just made is there; one that a repeated call asks for again need not be.
fn no_such_run(status: Status) -> Status {
    if errors::reason_of(&status) != Some(Reason::RunNotFound) {
        return status;
    }
    let why = "the run of the first call with this request_id has left the history; make a new request_id to run it again";
    errors::status(Reason::RunNotFound, why)
}

fn backfill_span(body: &pb::BackfillScheduleRequest, now: i64) -> Result<Span, Violation> {
    let time = |field: &str, time: Option<&prost_types::Timestamp>| {
        field::optional_time(field, time)?.ok_or_else(|| Violation::new(field, "is required"))
    };
    let (from, to) = (time("from", body.from.as_ref())?, time("to", body.to.as_ref())?);
    if from >= to {
        return Err(Violation::new("to", "must be later than from"));
    }
    if to > now {
        return Err(Violation::new("to", "must not be later than now: times to come fire by themselves"));
    }
    Ok(Span { from, to })
}

/// Due times to come.
fn next_times(view: &ScheduleView) -> impl Iterator<Item = i64> {
    let offset = view.definition.spread_offset();
    let times = view.definition.times(view.anchor);
    std::iter::successors(view.next, move |at| times.next(*at))
        .map(move |nominal| nominal.saturating_add(offset))
}

fn preview(
    asked: &pb::Schedule,
    default_spread: u32,
    after: i64,
    count: usize,
) -> Result<pb::PreviewScheduleResponse, Status> {
    let timing = validate::timing(asked)?;
    let spread = validate::spread(asked, default_spread)?;
    let start = field::optional_time("schedule.start_time", asked.start_time.as_ref())?;
    let end = field::optional_time("schedule.end_time", asked.end_time.as_ref())?;
    let anchor = match &timing {
        Timing::Every { anchor, .. } => anchor.unwrap_or(after),
        Timing::Cron(_) | Timing::At(_) => after,
    };
    let namespace = if asked.namespace.is_empty() { docket::DEFAULT_NAMESPACE } else { &asked.namespace };
    let offset = spread_offset(namespace, &asked.schedule_id, spread);
    let times = crate::state_machine::timing::Times { timing: &timing, anchor, start, end };
    let fires: Vec<i64> =
        std::iter::successors(times.next(after), |at| times.next(*at)).take(count).collect();
    let note = |(previous, fire): (&i64, &i64)| match &timing {
        Timing::Cron(cron) => {
            let text = cron.note(previous.div_euclid(1000), fire / 1000)?;
            Some(pb::TimingNote { fire_time: Some(convert::timestamp(*fire)), text })
        }
        Timing::Every { .. } | Timing::At(_) => None,
    };
    let previous = std::iter::once(&after).chain(&fires);
    Ok(pb::PreviewScheduleResponse {
        notes: previous.zip(&fires).filter_map(note).collect(),
        due_times: fires.iter().map(|fire| convert::timestamp(fire.saturating_add(offset))).collect(),
        fire_times: fires.into_iter().map(convert::timestamp).collect(),
    })
}

/// What the traces of the schedule's runs are linked to.
fn caller(metadata: &MetadataMap) -> Caller {
    let parent = TraceParent::from_metadata(metadata).filter(|parent| parent.sampled);
    parent.map_or_else(Caller::default, |parent| Caller::new(parent.trace_id, parent.span_id))
}
