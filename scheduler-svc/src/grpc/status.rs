//! `StatusService`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use docket::{
    identity,
    schedule::v1::{self as pb, status_service_server::StatusService},
};
use tonic::{Request, Response, Status};

use super::{Services, call_error, convert, deadline, field, forecast, mismatch};
use crate::{
    cluster::Leadership,
    shard::CallError,
    state_machine::{command::Command, output::Answer, view::StatusView},
};

/// How long the counts may take before the status goes without them.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same while the store has trouble: the machine may answer all the same.
const IN_TROUBLE: Duration = Duration::from_millis(250);

pub struct Api(pub Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

impl Api {
    /// What the machine counts. While the store is away it answers nothing, and the rest of the status matters more.
    async fn counts(
        &self,
        command: Command,
        deadline: Option<Instant>,
        available: bool,
    ) -> Result<Box<StatusView>, Status> {
        let patience = if available { PATIENCE } else { IN_TROUBLE };
        match tokio::time::timeout(patience, self.0.shard.call(command, deadline)).await {
            Ok(Ok(Answer::Status(view))) => Ok(view),
            Ok(Ok(_)) => Err(mismatch()),
            Ok(Err(CallError::NotLeader | CallError::Stopped)) | Err(_) => Ok(Box::default()),
            Ok(Err(error)) => Err(call_error(error)),
        }
    }
}

#[tonic::async_trait]
impl StatusService for Api {
    async fn get_status(&self, request: Request<pb::GetStatusRequest>) -> Reply<pb::GetStatusResponse> {
        let identity = identity::of(&request)?;
        let namespace = field::id("namespace", identity.namespace(&request.get_ref().namespace)?)?;
        let command = Command::GetStatus { namespace: namespace.into() };
        let health = self.0.shard.store_health();
        let leadership = self.0.leadership.borrow().clone();
        let view = match &leadership {
            Leadership::Mine { .. } => self.counts(command, deadline(&request), health.available).await?,
            Leadership::Theirs(_) | Leadership::Open => Box::default(),
        };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let (role, leader, epoch) = match leadership {
            _ if self.0.stopping.is_cancelled() => (pb::Role::Stopping, "".into(), view.epoch),
            Leadership::Mine { epoch } => (pb::Role::Leader, self.0.advertise.clone(), epoch),
            Leadership::Theirs(peer) => (pb::Role::Standby, peer.address, peer.epoch),
            Leadership::Open => (pb::Role::Standby, "".into(), 0),
        };
        let backlog = view.backlog.iter().map(|((kind, cause), backlog)| pb::Backlog {
            kind: kind.to_string(),
            cause: convert::wait_cause(*cause).into(),
            runs: backlog.runs as i64,
            oldest_age: Some(convert::duration((now - backlog.oldest_due).max(0))),
        });
        Ok(Response::new(pb::GetStatusResponse {
            role: role.into(),
            leader: leader.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            epoch: epoch as i64,
            store: Some(pb::StoreStatus {
                kind: self.0.shard.store_kind().into(),
                available: health.available,
                detail: health.detail,
                last_commit_latency: None,
            }),
            start_time: Some(convert::timestamp(self.0.start_time)),
            schedules_active: view.active as i64,
            schedules_paused: view.paused as i64,
            schedules_ended: view.ended as i64,
            schedules_quarantined: view.quarantined as i64,
            runs_queued: view.queued as i64,
            runs_running: view.running as i64,
            runs_succeeded: view.totals.succeeded as i64,
            runs_failed: view.totals.failed as i64,
            runs_cancelled: view.totals.cancelled as i64,
            workers: view.workers as i64,
            slots: view.slots as i64,
            lateness_p50: Some(convert::duration(view.lateness_p50)),
            lateness_p99: Some(convert::duration(view.lateness_p99)),
            backlog: backlog.collect(),
            history_bytes: view.history_bytes as i64,
            history_trimmed: view.history_trimmed as i64,
        }))
    }

    async fn get_forecast(&self, request: Request<pb::GetForecastRequest>) -> Reply<pb::GetForecastResponse> {
        let identity = identity::of(&request)?;
        let until = deadline(&request);
        Ok(Response::new(forecast::forecast(&self.0.shard, &identity, request.get_ref(), until).await?))
    }
}
