//! `WorkerService`: streams of due jobs, heartbeats, reports.

pub mod message;

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use docket::{
    errors::{self, Reason},
    identity,
    schedule::v1::{
        self as pb, stream_due_jobs_response::Message as Sent, worker_service_server::WorkerService,
    },
};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Request, Response, Status};

use super::{Services, call_error, deadline, field, mismatch};
use crate::{
    shard::Handle,
    state_machine::{
        command::Command,
        id::SessionId,
        output::{Answer, Message},
    },
};
use message::{
    REPORTS_MAX, Terms, convert_message, heard, heartbeat, open_session, receipt, report, sent, worker,
};

pub struct Api(pub Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl WorkerService for Api {
    type StreamDueJobsStream = JobStream;

    async fn stream_due_jobs(&self, request: Request<pb::StreamDueJobsRequest>) -> Reply<JobStream> {
        let identity = identity::of(&request)?;
        let id = SessionId(rand::random());
        let open = open_session(&identity, id, request.get_ref())?;
        let (sender, messages) = mpsc::unbounded_channel();
        let services = &self.0;
        // From here on: a caller that goes away while the session opens must not leave it behind.
        let guard = CloseOnDrop { shard: services.shard.clone(), id };
        let command = Command::OpenSession(Box::new(open));
        let answer = services.shard.open(command, id, sender).await.map_err(call_error)?;
        let Answer::Opened { epoch, orders } = answer else { return Err(mismatch()) };
        let terms = Terms {
            lease: services.lease,
            heartbeat: services.heartbeat,
            max_batch: services.max_batch,
        };
        Ok(Response::new(JobStream {
            welcome: Some(terms.welcome(id, epoch, orders)),
            messages,
            stopping: Box::pin(services.stopping.clone().cancelled_owned()),
            ended: false,
            _guard: guard,
        }))
    }

    async fn heartbeat(&self, request: Request<pb::HeartbeatRequest>) -> Reply<pb::HeartbeatResponse> {
        let beat = heartbeat(request.get_ref())?;
        let command = Command::Heartbeat(Box::new(beat));
        let answer = self.0.shard.call(command, deadline(&request)).await.map_err(call_error)?;
        let Answer::Heard { epoch, orders, reopen, assigned } = answer else { return Err(mismatch()) };
        Ok(Response::new(heard(epoch, orders, reopen, assigned, self.0.heartbeat)))
    }

    async fn report_results(
        &self,
        request: Request<pb::ReportResultsRequest>,
    ) -> Reply<pb::ReportResultsResponse> {
        let reports = &request.get_ref().reports;
        field::count("reports", reports.len(), REPORTS_MAX)?;
        let command = Command::Report(reports.iter().map(report).collect());
        let answer = self.0.shard.call(command, deadline(&request)).await.map_err(call_error)?;
        let Answer::Reported(receipts) = answer else { return Err(mismatch()) };
        let receipts = receipts.into_iter().map(receipt).collect();
        Ok(Response::new(pb::ReportResultsResponse { receipts }))
    }

    async fn list_workers(&self, request: Request<pb::ListWorkersRequest>) -> Reply<pb::ListWorkersResponse> {
        let identity = identity::of(&request)?;
        let namespace = field::id("namespace", identity.namespace(&request.get_ref().namespace)?)?;
        let command = Command::ListWorkers { namespace: namespace.into() };
        let answer = self.0.shard.call(command, deadline(&request)).await.map_err(call_error)?;
        let Answer::Workers(workers) = answer else { return Err(mismatch()) };
        let workers = workers.iter().map(worker).collect();
        Ok(Response::new(pb::ListWorkersResponse { workers, next_page_token: String::new() }))
    }
}

/// The messages of one session, from welcome to the end of the session or of the process.
pub struct JobStream {
    welcome: Option<pb::Welcome>,
    messages: mpsc::UnboundedReceiver<Message>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    _guard: CloseOnDrop,
}

/// However a stream ends, the machine hears of it.
struct CloseOnDrop {
    shard: Handle,
    id: SessionId,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.shard.close(self.id);
    }
}

impl Stream for JobStream {
    type Item = Result<pb::StreamDueJobsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(welcome) = self.welcome.take() {
            return Poll::Ready(Some(Ok(sent(1, Sent::Welcome(welcome)))));
        }
        if self.stopping.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(Err(errors::status(
                Reason::NotServing,
                "the scheduler is stopping; connect again",
            ))));
        }
        match self.messages.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(message)) => Poll::Ready(Some(Ok(convert_message(message)))),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(Some(Err(errors::status(
                    Reason::NotServing,
                    "the session has ended; connect again",
                ))))
            }
        }
    }
}
