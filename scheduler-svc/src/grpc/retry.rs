//! RetryRuns: finds failed runs in the history and has them run again, page by page.

use std::time::Instant;

use docket::{errors::Violation, identity::Identity, schedule::v1 as pb};
use prost::Message as _;
use tonic::Status;

use super::{call_error, convert, field, history, mismatch, run::matches, validate};
use crate::{
    shard::Handle,
    state_machine::{
        command::{self, Among, Command, ListRuns, Page},
        id::RunId,
        output::Answer,
        run::Outcome,
        view::ScheduleView,
    },
};

/// Runs that one call may name.
const IDS_MAX: usize = 1_000;
/// Schedules whose history is read between two commands.
const SCHEDULES_PER_PAGE: usize = 100;

pub async fn retry(
    shard: &Handle,
    identity: &Identity,
    body: &pb::RetryRunsRequest,
    deadline: Option<Instant>,
) -> Result<pb::RetryRunsResponse, Status> {
    let without_id = pb::RetryRunsRequest { request_id: String::new(), ..body.clone() };
    let first = command::RetryRuns {
        namespace: field::id("namespace", identity.namespace(&body.namespace)?)?.into(),
        ids: Vec::new(),
        page: Page::default(),
        request: super::request_id("RetryRuns", &body.request_id, &without_id)?,
        actor: identity.name().into(),
    };
    identity.about(body.run_ids.first().map_or("(filter)", String::as_str));
    let retry = Retry { shard, first, deadline };
    match &body.filter {
        None => retry.named(&body.run_ids).await,
        Some(filter) if body.run_ids.is_empty() => retry.matching(filter).await,
        Some(_) => Err(Violation::new("filter", "stands instead of run_ids: set one of the two").into()),
    }
}

struct Retry<'a> {
    shard: &'a Handle,
    first: command::RetryRuns,
    deadline: Option<Instant>,
}

/// What the pages so far have come to, and the schedule after which to go on.
struct Progress {
    accepted: u64,
    skipped: u64,
    next: Option<Box<str>>,
}

impl Progress {
    fn answer(&self) -> pb::RetryRunsResponse {
        pb::RetryRunsResponse { accepted: self.accepted as i64, skipped: self.skipped as i64 }
    }
}

impl Retry<'_> {
    async fn named(self, run_ids: &[String]) -> Result<pb::RetryRunsResponse, Status> {
        if run_ids.is_empty() {
            return Err(Violation::new("run_ids", "is empty: name runs, or set filter").into());
        }
        field::count("run_ids", run_ids.len(), IDS_MAX)?;
        let mut failed = Vec::new();
        for (index, id) in run_ids.iter().enumerate() {
            let field = format!("run_ids[{index}]");
            field::id(&field, id)?;
            let id = RunId::parse(id).ok_or_else(|| Violation::new(&*field, "is no run id"))?;
            if self.has_failed(id).await? {
                failed.push(id);
            }
        }
        let page = Page { skipped: (run_ids.len() - failed.len()) as u64, last: true, ..Page::default() };
        Ok(self.page(failed, page).await?.answer())
    }

    async fn has_failed(&self, id: RunId) -> Result<bool, Status> {
        use crate::{shard::CallError, state_machine::output::Refusal, state_machine::view::RunView};
        let get = command::GetRun { namespace: self.first.namespace.clone(), id, wait: false };
        let view = match self.shard.call(Command::GetRun(get), self.deadline).await {
            Ok(Answer::Run(view)) => *view,
            Ok(_) => return Err(mismatch()),
            Err(CallError::Refused(Refusal::RunNotFound)) => return Ok(false),
            Err(error) => return Err(call_error(error)),
        };
        let RunView::Final { schedule, .. } = view else { return Ok(false) };
        let ends = history::finished(self.shard, &schedule).await?;
        Ok(ends.iter().any(|end| end.id == id && end.outcome == Outcome::Failed))
    }

    async fn matching(self, filter: &pb::RunFilter) -> Result<pb::RetryRunsResponse, Status> {
        if filter.encoded_len() == 0 {
            let remedy = "is empty and would name every failed run; set at least one of its fields";
            return Err(Violation::new("filter", remedy).into());
        }
        let schedule = field::optional_id("filter.schedule_id", &filter.schedule_id)?;
        let mut list = ListRuns {
            namespace: self.first.namespace.clone(),
            schedule: Some(schedule.into()).filter(|_| !schedule.is_empty()),
            after: None,
            labels: validate::labels("filter.labels", &filter.labels)?,
            among: Among::UNSUCCEEDED,
            limit: SCHEDULES_PER_PAGE,
        };
        // A call that was cut off goes on where it stood.
        let mut progress = self.page(Vec::new(), Page::default()).await?;
        while let Some(after) = progress.next.take() {
            list.after = Some(after).filter(|after| !after.is_empty());
            let (failed, next) = self.failed(&list, filter).await?;
            let through = next.clone().unwrap_or_else(|| "\u{7f}".into());
            let (done, skipped) = (progress.accepted, progress.skipped);
            progress = self.page(failed, Page { done, skipped, through, last: next.is_none() }).await?;
        }
        Ok(progress.answer())
    }

    /// Failed runs of one page of schedules, and the id after which the next page begins.
    async fn failed(
        &self,
        list: &ListRuns,
        filter: &pb::RunFilter,
    ) -> Result<(Vec<RunId>, Option<Box<str>>), Status> {
        let answer =
            self.shard.call(Command::ListRuns(list.clone()), self.deadline).await.map_err(call_error)?;
        let Answer::Runs { schedules, next } = answer else { return Err(mismatch()) };
        let mut failed = Vec::new();
        for (view, _) in &schedules {
            failed.extend(self.failed_of(view, filter).await?);
        }
        Ok((failed, next))
    }

    async fn failed_of(&self, view: &ScheduleView, filter: &pb::RunFilter) -> Result<Vec<RunId>, Status> {
        let ends = history::finished(self.shard, view).await?;
        let failed = ends.iter().filter(|end| end.outcome == Outcome::Failed);
        Ok(failed
            .filter(|end| matches(filter, &convert::finished_run(view, end)))
            .map(|end| end.id)
            .collect())
    }

    async fn page(&self, ids: Vec<RunId>, page: Page) -> Result<Progress, Status> {
        let retry = command::RetryRuns { ids, page, ..self.first.clone() };
        let asked = Command::RetryRuns(Box::new(retry));
        let answer = self.shard.call(asked, self.deadline).await.map_err(call_error)?;
        let Answer::Progress { done, skipped, next } = answer else { return Err(mismatch()) };
        Ok(Progress { accepted: done, skipped, next })
    }
}
