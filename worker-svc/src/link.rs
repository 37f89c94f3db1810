//! The task around the agent: the stream, heartbeats, reports, and the attempts themselves.
//!
//! Everything that can happen comes in through one loop; everything the agent wants done goes out of it. Calls and
//! attempts run in tasks of their own, so the loop never waits for one of them; attempts on another runtime, so that
//! no job can hold up the loop.

mod attempt;
mod outage;

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use docket::{
    errors::{Reason, reason_of},
    identity::{
        bearer::Bearer,
        tls::client::{self, Trust},
    },
    schedule::v1::{self as pb, worker_service_client::WorkerServiceClient},
    settings,
};
use tokio::{
    runtime::{self, Handle},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tracing::{Instrument as _, Span, debug, error, info, warn};

use outage::{hint, is_refusal, why};

use crate::{
    agent::{Agent, Effect, Key, Refusal},
    kind::{Context, Outcome, Progress, Registry},
    telemetry,
};

/// Of a heartbeat or a report.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const MESSAGE_BYTES: usize = 4 << 20;

/// Everything that can happen to the link.
enum Input {
    /// The stream that was asked for as this number.
    Opened(u64, Result<Box<Streaming<pb::StreamDueJobsResponse>>, Box<tonic::Status>>),
    Progressed(Key, Progress),
    Ended(Key, Outcome),
    Heard(u64, Option<pb::HeartbeatResponse>),
    Receipts(u64, Option<Vec<pb::Receipt>>),
}

/// Where due jobs come from, and what it is told of who asks.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub url: String,
    pub trust: Trust,
    pub bearer: Bearer,
}

impl Scheduler {
    /// Connects when it is first used, and again whenever it has to. A peer that went silent is noticed by pings.
    fn channel(&self) -> Result<InterceptedService<Channel, Bearer>, tonic::transport::Error> {
        let set = |endpoint: Endpoint| {
            endpoint
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(5))
                .keep_alive_while_idle(true)
                .initial_connection_window_size(4 << 20)
                .initial_stream_window_size(2 << 20)
        };
        Ok(InterceptedService::new(client::channel(&self.url, &self.trust, set)?, self.bearer.clone()))
    }
}

/// What others may know about the link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    pub connected: bool,
    pub held: usize,
    /// Why it is not connected, where a person has to know.
    pub refusal: Option<Refusal>,
    /// Why the last try to connect failed.
    pub outage: Option<String>,
}

struct Started {
    stop: CancellationToken,
    span: Span,
}

struct Link {
    agent: Agent,
    client: WorkerServiceClient<InterceptedService<Channel, Bearer>>,
    registry: Registry,
    stream: Option<Streaming<pb::StreamDueJobsResponse>>,
    /// Streams that were asked for; all but the last are of no interest any more.
    opened: u64,
    attempts: HashMap<Key, Started>,
    /// Of attempts that have ended and are to be reported, if they are traced.
    reports: HashMap<Key, Span>,
    inputs: mpsc::UnboundedSender<Input>,
    received: mpsc::UnboundedReceiver<Input>,
    status: watch::Sender<LinkStatus>,
    /// As it may be shown.
    url: String,
    was_connected: bool,
    /// Why the last try failed; None from a welcome on.
    outage: Option<String>,
    start: Instant,
    drain: Duration,
    /// Where attempts run.
    jobs: Handle,
}

/// Starts a link on a thread and a runtime of its own: a job that blocks its threads keeps no heartbeat from going out.
/// Attempts run on the caller's runtime. `drain`: how long they may go on after the worker is asked to stop.
///
/// The link ends when `stopping` is cancelled and everything that was taken has been handed in; then the receiver has
/// its answer, or an error if the link has panicked.
pub fn start(
    agent: Agent,
    scheduler: Scheduler,
    registry: Registry,
    drain: Duration,
    stopping: CancellationToken,
) -> io::Result<(oneshot::Receiver<()>, watch::Receiver<LinkStatus>)> {
    let (status, shown) = watch::channel(LinkStatus::default());
    let (end, ended) = oneshot::channel();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let jobs = Handle::current();
    thread::Builder::new().name("link".into()).spawn(move || {
        runtime.block_on(async {
            // The channel's own tasks belong to the runtime in which it is made.
            match scheduler.channel() {
                Ok(channel) => {
                    let url = settings::shown(&scheduler.url);
                    Link::new(agent, channel, url, registry, drain, status, jobs).run(stopping).await;
                }
                Err(error) => error!(%error, url = settings::shown(&scheduler.url), "scheduler.url"),
            }
        });
        let _ = end.send(());
    })?;
    Ok((ended, shown))
}

impl Link {
    fn new(
        agent: Agent,
        channel: InterceptedService<Channel, Bearer>,
        url: String,
        registry: Registry,
        drain: Duration,
        status: watch::Sender<LinkStatus>,
        jobs: Handle,
    ) -> Self {
        let (inputs, received) = mpsc::unbounded_channel();
        let client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        Self {
            agent,
            client,
            registry,
            stream: None,
            opened: 0,
            attempts: HashMap::new(),
            reports: HashMap::new(),
            inputs,
            received,
            status,
            url,
            was_connected: false,
            outage: None,
            start: Instant::now(),
            drain,
            jobs,
        }
    }

    /// Runs until `stopping` is cancelled and everything that was taken has been handed in.
    async fn run(mut self, stopping: CancellationToken) {
        let mut drained = false;
        loop {
            self.agent.wake(self.now());
            for effect in self.agent.effects() {
                self.perform(effect);
            }
            self.show();
            if self.agent.is_drained() {
                if self.agent.held() > 0 {
                    warn!(
                        held = self.agent.held(),
                        "left without handing in everything: what was held is given to others when its leases end"
                    );
                }
                return;
            }
            let nap = Duration::from_millis(self.agent.next_wake().saturating_sub(self.now()).min(60_000));
            let mut inputs = Vec::new();
            // All branches are safe to cancel: what was not received stays in its channel or stream.
            tokio::select! {
                () = stopping.cancelled(), if !drained => {
                    drained = true;
                    self.agent.drain(self.now(), u64::try_from(self.drain.as_millis()).unwrap_or(u64::MAX));
                }
                message = next_message(&mut self.stream) => self.stream_said(message),
                _ = self.received.recv_many(&mut inputs, 1_000) => {}
                () = tokio::time::sleep(nap) => {}
            }
            inputs.into_iter().for_each(|input| self.happened(input));
        }
    }

    /// Tells others how the link does, and a person when it cannot do at all: once per reason, not once per try.
    fn show(&mut self) {
        let connected = self.agent.is_connected();
        if connected && (self.outage.take().is_some() || !self.was_connected) {
            info!(scheduler = self.url, "connected");
        }
        self.was_connected |= connected;
        let shown = LinkStatus {
            connected,
            held: self.agent.held(),
            refusal: self.agent.refusal().cloned(),
            outage: self.outage.clone(),
        };
        self.status.send_if_modified(|status| {
            match &shown.refusal {
                Some(refusal @ Refusal::ByScheduler(_)) if shown.refusal != status.refusal => error!(
                    "{refusal}; change this worker's configuration or the scheduler's, then restart; trying again \
                     every minute"
                ),
                Some(refusal @ Refusal::OldEpoch { .. }) if shown.refusal != status.refusal => {
                    warn!("{refusal}");
                }
                Some(_) | None => {}
            }
            let changed = *status != shown;
            *status = shown;
            changed
        });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn stream_said(&mut self, message: Result<pb::StreamDueJobsResponse, Option<tonic::Status>>) {
        let now = self.now();
        match message {
            Ok(message) => self.agent.stream_message(now, message),
            Err(status) => {
                self.stream = None;
                self.stream_failed(status.as_ref());
            }
        }
    }

    fn stream_failed(&mut self, status: Option<&tonic::Status>) {
        let now = self.now();
        match status {
            Some(status) if is_refusal(status) => {
                let reason = reason_of(status).map_or("no reason given", Reason::name);
                let why = format!("{:?} ({reason}): {}", status.code(), status.message());
                self.agent.stream_refused(now, why);
            }
            Some(status) => {
                let why = why(status);
                let hint = if self.was_connected { "" } else { hint(&self.url, &why) };
                self.lost(format!("{why}{hint}"));
                self.agent.stream_ended(now);
            }
            None => {
                debug!("the scheduler ended the stream; opening another");
                self.agent.stream_ended(now);
            }
        }
    }

    /// Told once per outage, not once per try.
    fn lost(&mut self, why: String) {
        if self.outage.is_none() {
            warn!(scheduler = self.url, why, "the scheduler is not connected; trying again");
        } else {
            debug!(scheduler = self.url, why, "the scheduler is not connected; trying again");
        }
        self.outage = Some(why);
    }

    fn happened(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Opened(number, _) if number != self.opened => {}
            Input::Opened(_, Ok(stream)) => self.stream = Some(*stream),
            Input::Opened(_, Err(status)) => self.stream_failed(Some(&status)),
            Input::Progressed(key, progress) => self.agent.progressed(&key, progress),
            Input::Ended(key, outcome) => {
                let started = self.attempts.remove(&key);
                let report = started.map(|started| telemetry::report_span(&started.span));
                self.reports.extend(report.filter(|span| !span.is_none()).map(|span| (key.clone(), span)));
                self.agent.ended(now, &key, outcome);
            }
            Input::Heard(number, answer) => self.agent.heartbeat_answered(now, number, answer),
            Input::Receipts(call, receipts) => {
                receipts.iter().flatten().for_each(log_receipt);
                self.agent.report_answered(now, call, receipts);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        let (mut client, inputs) = (self.client.clone(), self.inputs.clone());
        match effect {
            Effect::Open(request) => {
                self.close_stream();
                let number = self.opened;
                tokio::spawn(async move {
                    let answer = client.stream_due_jobs(request).await;
                    let stream = answer.map(|response| Box::new(response.into_inner())).map_err(Box::new);
                    inputs.send(Input::Opened(number, stream))
                });
            }
            Effect::CloseStream => {
                let is_opening = !self.status.borrow().connected;
                if is_opening && self.agent.refusal().is_none() {
                    self.lost("it does not answer".into());
                }
                self.close_stream();
            }
            Effect::Start(job) => self.start_attempt(*job),
            Effect::Stop(key) => {
                if let Some(started) = self.attempts.get(&key) {
                    started.stop.cancel();
                }
            }
            Effect::Heartbeat { number, request } => {
                tokio::spawn(async move {
                    let answer = tokio::time::timeout(CALL_TIMEOUT, client.heartbeat(request)).await;
                    let heard = answer.ok().and_then(Result::ok).map(tonic::Response::into_inner);
                    inputs.send(Input::Heard(number, heard))
                });
            }
            Effect::Report { call, request } => {
                let spans = self.report_spans(&request.reports);
                tokio::spawn(async move {
                    let answer = tokio::time::timeout(CALL_TIMEOUT, client.report_results(request)).await;
                    let receipts =
                        answer.ok().and_then(Result::ok).map(|response| response.into_inner().receipts);
                    for (span, receipt) in spans.iter().zip(receipts.iter().flatten()) {
                        span.record("receipt", receipt.status().as_str_name());
                    }
                    drop(spans);
                    inputs.send(Input::Receipts(call, receipts))
                });
            }
        }
    }

    /// One for each report, if any is traced.
    fn report_spans(&mut self, reports: &[pb::Report]) -> Vec<Span> {
        if self.reports.is_empty() {
            return Vec::new();
        }
        let key = |report: &pb::Report| Key { run_id: report.run_id.clone(), attempt: report.attempt };
        let spans = reports.iter().map(|report| self.reports.remove(&key(report)).unwrap_or(Span::none()));
        let spans = spans.collect();
        // What was dropped meanwhile is not reported.
        self.reports.retain(|key, _| self.agent.holds(key));
        spans
    }

    /// One that is still being opened is let go as well.
    fn close_stream(&mut self) {
        self.stream = None;
        self.opened += 1;
    }

    fn start_attempt(&mut self, job: pb::DueJob) {
        let key = Key { run_id: job.run_id.clone(), attempt: job.attempt };
        let stop = CancellationToken::new();
        let span = telemetry::attempt_span(&job);
        self.attempts.insert(key.clone(), Started { stop: stop.clone(), span: span.clone() });
        let inputs = self.inputs.clone();
        let kind_name = job.task.as_ref().map(|task| task.kind.as_str()).unwrap_or_default();
        let Some(kind) = self.registry.get(kind_name) else {
            let outcome = Outcome::failure(
                pb::FailureClass::Permanent,
                "UNKNOWN_KIND",
                "this worker does not run this kind",
            );
            let _ = inputs.send(Input::Ended(key, outcome));
            return;
        };
        let progress = {
            let (inputs, key) = (inputs.clone(), key.clone());
            Arc::new(move |progress| {
                let _ = inputs.send(Input::Progressed(key.clone(), progress));
            })
        };
        let context = Context { cancelled: stop, progress };
        self.jobs.spawn(
            async move {
                let _ = inputs.send(Input::Ended(key, attempt::outcome(kind, job, context).await));
            }
            .instrument(span),
        );
    }
}

/// Pends for ever while there is no stream.
async fn next_message(
    stream: &mut Option<Streaming<pb::StreamDueJobsResponse>>,
) -> Result<pb::StreamDueJobsResponse, Option<tonic::Status>> {
    let Some(stream) = stream else { return std::future::pending().await };
    match stream.message().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(None),
        Err(status) => Err(Some(status)),
    }
}

fn log_receipt(receipt: &pb::Receipt) {
    match receipt.status() {
        pb::ReceiptStatus::Accepted | pb::ReceiptStatus::Repeated => {}
        pb::ReceiptStatus::Invalid => {
            warn!(reason = receipt.reason, "an outcome was not taken: its attempt counts as failed");
        }
        status => info!(?status, reason = receipt.reason, "an outcome was not taken"),
    }
}
