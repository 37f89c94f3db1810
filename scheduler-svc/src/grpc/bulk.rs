//! Calls that go through many schedules page by page, and those that need history before they can be asked.

use std::time::Instant;

use docket::{errors::Violation, identity::Identity, schedule::v1 as pb};
use prost::Message as _;
use tonic::Status;

use super::{call_error, field, history, mismatch, refusal, validate};
use crate::{
    shard::{CallError, Handle},
    state_machine::{
        command::{self, BulkChange, Command},
        id::Trigger,
        output::{Answer, Refusal},
        schedule::{PauseReason, Span, Status as ScheduleStatus, Verdict},
    },
};

/// How often a call is asked anew because history changed meanwhile.
const TRIES: usize = 5;

/// A change of all schedules that match.
pub struct Bulk {
    pub filter: command::ListSchedules,
    pub change: BulkChange,
    pub request: Option<command::Request>,
    pub actor: std::sync::Arc<str>,
}

impl Bulk {
    /// Goes through the pages. Returns how many schedules were changed.
    pub async fn run(self, shard: &Handle, deadline: Option<Instant>) -> Result<i64, Status> {
        let Self { mut filter, change, request, actor } = self;
        let mut done = 0;
        loop {
            let page = command::Bulk {
                filter: filter.clone(),
                change: change.clone(),
                done,
                request: request.clone(),
                actor: actor.clone(),
            };
            let answer = shard.call(Command::Bulk(Box::new(page)), deadline).await.map_err(call_error)?;
            let Answer::Progress { done: so_far, next, .. } = answer else { return Err(mismatch()) };
            let Some(next) = next else { return Ok(so_far as i64) };
            (done, filter.after) = (so_far, Some(next));
        }
    }
}

pub fn either(schedule_id: &str) -> Result<(), Violation> {
    if schedule_id.is_empty() {
        return Ok(());
    }
    Err(Violation::new("filter", "stands instead of schedule_id: set one of the two"))
}

/// The filter of a change. An empty one would name everything, most often by mistake.
pub fn filter(
    identity: &Identity,
    namespace: &str,
    filter: &pb::ScheduleFilter,
) -> Result<command::ListSchedules, Status> {
    if filter.encoded_len() == 0 {
        let remedy = "is empty and would name every schedule; set labels, states, id_prefix or pause_reasons";
        return Err(Violation::new("filter", remedy).into());
    }
    identity.about("(filter)");
    list(identity, namespace, filter)
}

/// Position and size of a page are for the caller to set.
pub fn list(
    identity: &Identity,
    namespace: &str,
    filter: &pb::ScheduleFilter,
) -> Result<command::ListSchedules, Status> {
    let namespace = field::id("namespace", identity.namespace(namespace)?)?;
    Ok(matching(namespace, "filter", filter)?)
}

/// `name` is that of the filter's field.
pub fn matching(
    namespace: &str,
    name: &str,
    filter: &pb::ScheduleFilter,
) -> Result<command::ListSchedules, Violation> {
    Ok(command::ListSchedules {
        namespace: namespace.into(),
        after: None,
        prefix: field::optional_id(&format!("{name}.id_prefix"), &filter.id_prefix)?.into(),
        labels: validate::labels(&format!("{name}.labels"), &filter.labels)?,
        states: states(&format!("{name}.states"), &filter.states)?,
        pause_reasons: pause_reasons(&format!("{name}.pause_reasons"), &filter.pause_reasons)?,
        limit: 0,
    })
}

fn pause_reasons(field: &str, reasons: &[i32]) -> Result<Vec<PauseReason>, Violation> {
    let reason = |number: &i32| match pb::PauseReason::try_from(*number) {
        Ok(pb::PauseReason::Requested) => Ok(PauseReason::Requested),
        Ok(pb::PauseReason::Reauthorize) => Ok(PauseReason::Reauthorize),
        Ok(pb::PauseReason::Failures) => Ok(PauseReason::Failures),
        Ok(pb::PauseReason::Unspecified) | Err(_) => {
            Err(Violation::new(field, "must be of REQUESTED, REAUTHORIZE, FAILURES"))
        }
    };
    reasons.iter().map(reason).collect()
}

fn states(field: &str, states: &[i32]) -> Result<Vec<ScheduleStatus>, Violation> {
    let state = |number: &i32| match pb::ScheduleState::try_from(*number) {
        Ok(pb::ScheduleState::Active) => Ok(ScheduleStatus::Active),
        Ok(pb::ScheduleState::Paused) => Ok(ScheduleStatus::Paused),
        Ok(pb::ScheduleState::Ended) => Ok(ScheduleStatus::Ended),
        Ok(pb::ScheduleState::Quarantined) => Ok(ScheduleStatus::Quarantined),
        Ok(pb::ScheduleState::Unspecified) | Err(_) => {
            Err(Violation::new(field, "must be of ACTIVE, PAUSED, ENDED, QUARANTINED"))
        }
    };
    states.iter().map(state).collect()
}

/// Asks for a backfill, with what history knows of the times that have a run. Returns accepted and existing.
pub async fn backfill(
    shard: &Handle,
    mut command: command::Backfill,
    deadline: Option<Instant>,
) -> Result<(i64, i64), Status> {
    for _ in 0..TRIES {
        let get = Command::GetSchedule(command.key.clone());
        let Answer::Schedule(view) = shard.call(get, deadline).await.map_err(call_error)? else {
            return Err(mismatch());
        };
        command.as_of = view.rings;
        command.known = known(shard, &view).await?;
        let asked = Command::Backfill(Box::new(command.clone()));
        match shard.call(asked, deadline).await {
            Ok(Answer::Backfilled { accepted, existing }) => return Ok((accepted as i64, existing as i64)),
            Ok(_) => return Err(mismatch()),
            Err(CallError::Refused(Refusal::Changed)) => {}
            Err(error) => return Err(call_error(error)),
        }
    }
    Err(refusal(Refusal::Changed))
}

/// Times of a schedule that have a run of their own, as far as its history reaches.
async fn known(shard: &Handle, view: &crate::state_machine::view::ScheduleView) -> Result<Vec<Span>, Status> {
    let fired = history::decisions(shard, view).await?;
    let fired = fired.into_iter().filter(|decision| decision.verdict == Verdict::Fired);
    let mut known: Vec<Span> =
        fired.map(|decision| Span { from: decision.first, to: decision.last + 1 }).collect();
    let ended = history::finished(shard, view).await?;
    let ended = ended.into_iter().filter(|run| run.id.trigger != Trigger::Manual);
    known.extend(ended.map(|run| Span { from: run.id.nominal, to: run.id.nominal + 1 }));
    Ok(known)
}
