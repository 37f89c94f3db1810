//! The stream of due jobs to one worker.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use docket::{
    errors::{self, Reason},
    schedule::v1::{self as pb, stream_due_jobs_response::Message as Sent},
};
use futures_util::Stream;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use crate::{
    grpc::convert,
    shard::{Handle, Messages},
    state_machine::{
        id::SessionId,
        output::{Body, Message},
    },
};

/// The messages of one session, from welcome to the end of the session or of the process.
pub struct JobStream {
    welcome: Option<pb::Welcome>,
    messages: Messages,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until then. The session gets nothing more after that, and what was sent to it before is still told.
    until: Option<Pin<Box<Sleep>>>,
    closing: bool,
    ended: bool,
    traces: f64,
    guard: CloseOnDrop,
}

impl JobStream {
    pub fn new(
        welcome: pb::Welcome,
        messages: Messages,
        stopping: CancellationToken,
        until: Option<Instant>,
        traces: f64,
        guard: CloseOnDrop,
    ) -> Self {
        let stopping = Box::pin(stopping.cancelled_owned());
        let until = until.map(|until| Box::pin(sleep_until(until.into())));
        let (welcome, closing, ended) = (Some(welcome), false, false);
        Self { welcome, messages, stopping, until, closing, ended, traces, guard }
    }
}

/// However a stream ends, the machine hears of it.
pub struct CloseOnDrop {
    shard: Handle,
    id: SessionId,
}

impl CloseOnDrop {
    pub fn new(shard: Handle, id: SessionId) -> Self {
        Self { shard, id }
    }

    fn close(&self) {
        self.shard.close(self.id);
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.close();
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
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready()) {
            self.until = None;
            self.closing = true;
            self.guard.close();
        }
        match self.messages.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(message)) => Poll::Ready(Some(Ok(convert_message(message, self.traces)))),
            Poll::Ready(None) if self.closing => {
                self.ended = true;
                Poll::Ready(None)
            }
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

/// `sequence` grows by one per message of a session, from 1.
pub fn sent(sequence: u64, message: Sent) -> pb::StreamDueJobsResponse {
    pb::StreamDueJobsResponse { sequence: sequence as i64, message: Some(message) }
}

pub fn convert_message(message: Message, traces: f64) -> pb::StreamDueJobsResponse {
    let body = match message.body {
        Body::Jobs(jobs) => Sent::DueJobs(pb::DueJobs {
            jobs: jobs.iter().map(|job| convert::due_job(job, traces)).collect(),
        }),
        Body::Cancel { id, attempt, reason } => Sent::Cancel(pb::Cancel {
            run_id: id.to_string(),
            attempt: attempt as i32,
            reason: reason.into(),
        }),
    };
    sent(message.sequence, body)
}
