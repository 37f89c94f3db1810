//! `WorkerService`: streams of due jobs, heartbeats, reports.

pub mod message;
pub mod stream;

use std::sync::Arc;

use docket::{
    identity,
    schedule::v1::{self as pb, worker_service_server::WorkerService},
};
use tonic::{Request, Response, Status};

use self::{
    message::Terms,
    stream::{CloseOnDrop, JobStream},
};
use super::{Services, call_error, deadline, field, mismatch, streams_until};
use crate::{
    shard,
    state_machine::{command::Command, id::SessionId, output::Answer},
};

pub struct Api(pub Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl WorkerService for Api {
    type StreamDueJobsStream = JobStream;

    async fn stream_due_jobs(&self, request: Request<pb::StreamDueJobsRequest>) -> Reply<JobStream> {
        let identity = identity::of(&request)?;
        let (id, until) = (SessionId(rand::random()), streams_until(&request));
        let open = message::open_session(&identity, id, request.get_ref())?;
        let (outbox, messages) = shard::outbox(open.slots);
        let services = &self.0;
        // From here on: a caller that goes away while the session opens must not leave it behind.
        let guard = CloseOnDrop::new(services.shard.clone(), id);
        let command = Command::OpenSession(Box::new(open));
        let answer = services.shard.open(command, id, outbox).await.map_err(call_error)?;
        let Answer::Opened { epoch, orders } = answer else { return Err(mismatch()) };
        let terms =
            Terms { lease: services.lease, heartbeat: services.heartbeat, max_batch: services.max_batch };
        let welcome = terms.welcome(id, epoch, orders);
        Ok(Response::new(JobStream::new(
            welcome,
            messages,
            services.stopping.clone(),
            until,
            services.traces,
            guard,
        )))
    }

    async fn heartbeat(&self, request: Request<pb::HeartbeatRequest>) -> Reply<pb::HeartbeatResponse> {
        let identity = identity::of(&request)?;
        let beat = message::heartbeat(&identity, self.0.shard.epoch(), request.get_ref())?;
        let command = Command::Heartbeat(Box::new(beat));
        let answer = self.0.shard.call(command, deadline(&request)).await.map_err(call_error)?;
        let Answer::Heard { epoch, orders, reopen, assigned } = answer else { return Err(mismatch()) };
        Ok(Response::new(message::heard(epoch, orders, reopen, assigned, self.0.heartbeat)))
    }

    async fn report_results(
        &self,
        request: Request<pb::ReportResultsRequest>,
    ) -> Reply<pb::ReportResultsResponse> {
        let identity = identity::of(&request)?;
        let reports = message::reports(&identity, self.0.shard.epoch(), request.get_ref())?;
        let command = Command::Report(reports);
        let answer = self.0.shard.call(command, deadline(&request)).await.map_err(call_error)?;
        let Answer::Reported(receipts) = answer else { return Err(mismatch()) };
        let receipts = receipts.into_iter().map(message::receipt).collect();
        Ok(Response::new(pb::ReportResultsResponse { receipts }))
    }

    async fn list_workers(&self, request: Request<pb::ListWorkersRequest>) -> Reply<pb::ListWorkersResponse> {
        let identity = identity::of(&request)?;
        let namespace = field::id("namespace", identity.namespace(&request.get_ref().namespace)?)?;
        let command = Command::ListWorkers { namespace: namespace.into() };
        let answer = self.0.shard.call(command, deadline(&request)).await.map_err(call_error)?;
        let Answer::Workers(workers) = answer else { return Err(mismatch()) };
        let workers = workers.iter().map(|view| message::worker(&identity, view)).collect();
        Ok(Response::new(pb::ListWorkersResponse { workers, next_page_token: String::new() }))
    }
}
