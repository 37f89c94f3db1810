//! Cold records behind what the machine shows: ends of runs, and the decision log.

use tonic::Status;

use super::{convert, internal, refusal};
use crate::{
    record,
    shard::Handle,
    state_machine::{
        history::Ring,
        id::RunId,
        output::Refusal,
        run::Finished,
        schedule::Decision,
        view::{RunView, ScheduleView},
    },
    store::Key,
};
use docket::schedule::v1 as pb;

/// Schedules as clients read them, with the ends of their last runs. One read for all of them.
pub async fn schedules(shard: &Handle, views: &[ScheduleView]) -> Result<Vec<pb::Schedule>, Status> {
    let mut keys = Vec::new();
    let mut places = Vec::new();
    for (index, view) in views.iter().enumerate() {
        if let Some(last) = view.last_run {
            let ring = if last.succeeded { Ring::Succeeded } else { Ring::Unsucceeded };
            keys.push(Key::new(&ring.name(view.uid, last.slot)));
            places.push((index, false));
        }
        if let Some(newest) = view.rings.numbers(Ring::Succeeded).last() {
            keys.push(Key::new(&Ring::Succeeded.name(view.uid, newest)));
            places.push((index, true));
        }
    }
    let values = shard.read(keys).await.map_err(super::call_error)?;
    let mut schedules: Vec<pb::Schedule> = views.iter().map(convert::schedule).collect();
    for ((index, success), value) in places.into_iter().zip(values) {
        let Some(value) = value else { continue };
        let finished = record::read_finished(views[index].uid, value).map_err(|error| internal(&error.0))?;
        let summary = Some(convert::summary(&finished));
        if success {
            schedules[index].last_success = summary;
        } else {
            schedules[index].last_run = summary;
        }
    }
    Ok(schedules)
}

pub async fn schedule(shard: &Handle, view: ScheduleView) -> Result<pb::Schedule, Status> {
    let mut schedules = schedules(shard, &[view]).await?;
    schedules.pop().ok_or_else(|| internal("no schedule for a view"))
}

/// Keys of what a ring keeps, oldest first.
fn keys(view: &ScheduleView, ring: Ring) -> impl DoubleEndedIterator<Item = Key> {
    let uid = view.uid;
    view.rings.numbers(ring).map(move |number| Key::new(&ring.name(uid, number)))
}

/// All ends of runs that a schedule keeps, newest first.
pub async fn finished(shard: &Handle, view: &ScheduleView) -> Result<Vec<Finished>, Status> {
    let keys = keys(view, Ring::Succeeded).chain(keys(view, Ring::Unsucceeded));
    let values = shard.read(keys.collect()).await.map_err(super::call_error)?;
    let mut finished = Vec::new();
    for value in values.into_iter().flatten() {
        finished.push(record::read_finished(view.uid, value).map_err(|error| internal(&error.0))?);
    }
    finished.sort_by_key(|finished| std::cmp::Reverse((finished.finish, finished.id)));
    Ok(finished)
}

/// The decision log, newest first.
pub async fn decisions(shard: &Handle, view: &ScheduleView) -> Result<Vec<Decision>, Status> {
    let values = shard.read(keys(view, Ring::Decisions).rev().collect()).await.map_err(super::call_error)?;
    let mut decisions: Vec<Decision> = view.decision.iter().cloned().collect();
    for value in values.into_iter().flatten() {
        decisions.push(record::read_decision(value).map_err(|error| internal(&error.0))?);
    }
    Ok(decisions)
}

pub async fn run(shard: &Handle, view: RunView) -> Result<pb::Run, Status> {
    match view {
        RunView::Live(live) => Ok(convert::live_run(&live)),
        RunView::Final { schedule, finished: Some(finished), .. } => {
            Ok(convert::finished_run(&schedule, &finished))
        }
        RunView::Final { id, schedule, finished: None } => find(shard, id, &schedule).await,
    }
}

async fn find(shard: &Handle, id: RunId, view: &ScheduleView) -> Result<pb::Run, Status> {
    let kept = finished(shard, view).await?;
    let found = kept.iter().find(|finished| finished.id == id);
    found.map(|finished| convert::finished_run(view, finished)).ok_or_else(|| refusal(Refusal::RunNotFound))
}
