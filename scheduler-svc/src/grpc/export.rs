//! Export: schedules as records that a restore takes, page by page.
//!
//! The next page is asked for when the client has read the last one, so a slow reader holds no more than a page.

use std::{pin::Pin, time::Instant};

use docket::{identity, schedule::v1 as pb};
use futures_util::{Stream, stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::{Services, bulk, call_error, convert, deadline, mismatch, text};
use crate::{
    shard::{CallError, Handle},
    state_machine::{
        command::{self, Command},
        history::Rings,
        output::Answer,
        schedule::{self, Status as ScheduleStatus},
        snapshot::Snapshot,
        view::ScheduleView,
    },
};

/// Schedules that one command looks up and one message holds.
pub const PAGE: usize = 500;
/// A message is closed once it is larger: one record is some 30 KiB at most, so it stays far below 4 MiB.
const MESSAGE_BYTES: usize = 512 << 10;
/// Of the reason for a quarantine.
pub const REASON_BYTES: usize = 256;

pub type Records = Pin<Box<dyn Stream<Item = Result<pb::ExportSchedulesResponse, Status>> + Send>>;

struct Export {
    shard: Handle,
    stopping: CancellationToken,
    deadline: Option<Instant>,
    /// The next page; None when there is none.
    list: Option<command::ListSchedules>,
    /// What is left of the last one.
    page: std::vec::IntoIter<Snapshot>,
}

pub fn records(
    services: &Services,
    request: &Request<pb::ExportSchedulesRequest>,
) -> Result<Records, Status> {
    let identity = identity::of(request)?;
    let body = request.get_ref();
    let filter = body.filter.clone().unwrap_or_default();
    let list = bulk::list(&identity, &body.namespace, &filter)?;
    let export = Export {
        shard: services.shard.clone(),
        stopping: services.stopping.clone(),
        deadline: deadline(request),
        list: Some(command::ListSchedules { limit: PAGE, ..list }),
        page: Vec::new().into_iter(),
    };
    Ok(Box::pin(stream::try_unfold(export, |mut export| async move {
        Ok(export.message().await?.map(|message| (message, export)))
    })))
}

impl Export {
    async fn message(&mut self) -> Result<Option<pb::ExportSchedulesResponse>, Status> {
        while self.page.len() == 0 {
            let Some(list) = self.list.take() else { return Ok(None) };
            self.next_page(list).await?;
        }
        let (mut schedules, mut bytes) = (Vec::new(), 0);
        while bytes < MESSAGE_BYTES
            && let Some(snapshot) = self.page.next()
        {
            let record = record(snapshot);
            bytes += record.encoded_len();
            schedules.push(record);
        }
        Ok(Some(pb::ExportSchedulesResponse { schedules }))
    }

    async fn next_page(&mut self, list: command::ListSchedules) -> Result<(), Status> {
        let asked =
            async { self.shard.enqueue(Command::Export(list.clone()), self.deadline).await?.answer().await };
        let answer = tokio::select! {
            answer = asked => answer.map_err(call_error)?,
            () = self.stopping.cancelled() => return Err(call_error(CallError::Stopped)),
        };
        let Answer::Exported { snapshots, next } = answer else { return Err(mismatch()) };
        self.page = snapshots.into_iter();
        self.list = next.map(|last| command::ListSchedules { after: Some(last), ..list });
        Ok(())
    }
}

pub fn record(snapshot: Snapshot) -> pb::ScheduleRecord {
    let time = |millis: Option<i64>| millis.map(convert::timestamp);
    let range =
        |span: &schedule::Span| pb::BackfillRange { from: time(Some(span.from)), to: time(Some(span.to)) };
    let quarantine = snapshot.quarantine.as_deref().unwrap_or_default();
    pb::ScheduleRecord {
        decided_through: time(Some(snapshot.decided_through)),
        run_count: snapshot.runs as i64,
        revision: snapshot.revision.into(),
        anchor: time(Some(snapshot.anchor)),
        last_manual_time: time(Some(snapshot.last_manual).filter(|at| *at > 0)),
        failures: snapshot.failures.into(),
        catch_up_through: time(snapshot.catch_up),
        backfill: snapshot.backfill.iter().map(range).collect(),
        waiting_time: time(snapshot.waiting),
        quarantine_reason: text::clean(quarantine, REASON_BYTES),
        schedule: Some(convert::schedule(&view(snapshot))),
    }
}

fn view(snapshot: Snapshot) -> ScheduleView {
    ScheduleView {
        next: snapshot.next().filter(|_| snapshot.status == ScheduleStatus::Active),
        etag: schedule::etag(snapshot.uid, snapshot.revision),
        uid: snapshot.uid,
        definition: snapshot.definition,
        generation: snapshot.generation,
        status: snapshot.status,
        pause: snapshot.pause,
        quarantine: snapshot.quarantine,
        anchor: snapshot.anchor,
        decided_through: snapshot.decided_through,
        decision: None,
        rings: Rings::default(),
        last_run: None,
        active: snapshot.active,
        created: snapshot.created,
        updated: snapshot.updated,
    }
}
