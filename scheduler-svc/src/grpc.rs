//! The gRPC surface: checks requests, turns them into commands, turns answers into responses. No scheduling logic.

mod bulk;
mod convert;
mod event;
mod explain;
mod export;
mod field;
mod forecast;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod import;
mod limit;
mod page;
mod retry;
mod run;
mod schedule;
mod status;
mod text;
mod validate;
mod warning;
pub mod worker;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docket::{
    errors::{self, Reason, Reasons},
    identity::{
        Gate,
        tls::{client::Trust, server::Tls},
    },
    listener::{Bounds, Listener, Peer, Protocol},
    schedule::v1 as pb,
};
use prost::Message;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, transport::Server};

use forward::Forward;

use crate::{
    cluster::Leadership,
    metrics::Metrics,
    shard::{CallError, Handle},
    state_machine::{command, gate::limit::LIMITS_MAX, output::Refusal},
};

/// Bounds of protocols.md.
const MESSAGE_BYTES: usize = 4 << 20;
const HEADER_BYTES: u32 = 8 << 10;
const STREAMS: u32 = 100;
/// Streams of one connection that were reset before they were looked at; with more, it is closed as a flood. Callers that
/// give up on a service that stood still for a while are none: each of their streams may be reset a few times over.
const RESETS: usize = 3 * STREAMS as usize;

/// What every service needs.
#[derive(Clone)]
pub struct Services {
    pub shard: Handle,
    /// Milliseconds; for schedules that say nothing.
    pub default_spread: u32,
    /// What workers are told.
    pub lease: u64,
    pub heartbeat: u64,
    pub max_batch: usize,
    /// The share of runs whose traces are sampled.
    pub traces: f64,
    pub start_time: i64,
    /// Where other schedulers reach this one.
    pub advertise: Box<str>,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
    pub metrics: Arc<Metrics>,
    pub gate: Gate,
    /// None = connections are in the clear.
    pub tls: Option<Tls>,
    pub bounds: Bounds,
    /// How a leader is known over TLS.
    pub trust: Option<Trust>,
    /// Cancelled when the process stops: streams end.
    pub stopping: CancellationToken,
}

/// Serves until `stopping`, then lets calls that are under way finish.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, services: Services) -> anyhow::Result<()> {
    let stopping = services.stopping.clone();
    let connections = Listener::new(listener, Protocol::Http2, services.tls.clone(), services.bounds);
    let services = Arc::new(services);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<pb::schedule_service_server::ScheduleServiceServer<schedule::Api>>().await;
    health.set_serving::<pb::worker_service_server::WorkerServiceServer<worker::Api>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(docket::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    macro_rules! bounded {
        ($server:expr) => {
            $server.max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES)
        };
    }
    Server::builder()
        .trace_fn(crate::telemetry::call_span)
        .layer(services.metrics.calls())
        .layer(Reasons)
        .layer(services.gate.clone())
        .layer(Forward::new(services.leadership.clone(), services.trust.clone(), services.bounds.age / 2))
        .max_concurrent_streams(Some(STREAMS))
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_header_list_size(Some(HEADER_BYTES))
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_connection_age(services.bounds.age)
        .initial_connection_window_size(Some(4 << 20))
        .initial_stream_window_size(Some(1 << 20))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(bounded!(pb::schedule_service_server::ScheduleServiceServer::new(schedule::Api(
            services.clone(),
            import::Lane::default()
        ))))
        .add_service(bounded!(pb::run_service_server::RunServiceServer::new(run::Api(services.clone()))))
        .add_service(bounded!(pb::worker_service_server::WorkerServiceServer::new(worker::Api(
            services.clone()
        ))))
        .add_service(bounded!(pb::limit_service_server::LimitServiceServer::new(limit::Api(
            services.clone()
        ))))
        .add_service(bounded!(pb::status_service_server::StatusServiceServer::new(status::Api(services))))
        .serve_with_incoming_shutdown(connections, async move {
            stopping.cancelled().await;
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        })
        .await?;
    Ok(())
}

/// When the caller stops waiting.
fn deadline<T>(request: &Request<T>) -> Option<Instant> {
    Instant::now().checked_add(timeout(request.metadata().as_ref().get("grpc-timeout")?)?)
}

/// When streams of the connection that this came by should end, before it is closed of age.
fn streams_until<T>(request: &Request<T>) -> Option<Instant> {
    let peer = request.extensions().get::<Option<Peer>>()?.as_ref()?;
    Some(peer.streams_until)
}

/// The value of `grpc-timeout`.
fn timeout(value: &http::HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?;
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A request id with the digest of the rest of the request: `body` is the request without its id.
fn request_id(rpc: &str, id: &str, body: &impl Message) -> Result<Option<command::Request>, Status> {
    if field::optional_id("request_id", id)?.is_empty() {
        return Ok(None);
    }
    let mut digest = Sha256::new();
    digest.update(rpc);
    digest.update(body.encode_to_vec());
    let mut short = [0; 16];
    short.copy_from_slice(&digest.finalize()[..16]);
    Ok(Some(command::Request { id: id.into(), body: short }))
}

fn call_error(error: CallError) -> Status {
    match error {
        CallError::Refused(refused) => refusal(refused),
        CallError::Overloaded => errors::retry(
            Reason::Overloaded,
            "the scheduler's queue is full; try again shortly",
            Duration::from_millis(500),
        ),
        CallError::TooLate => {
            errors::status(Reason::DeadlineExceeded, "the deadline passed before the call was applied")
        }
        CallError::NotLeader => not_leader(),
        CallError::Stopped => {
            errors::retry(Reason::NotServing, "the scheduler is stopping; try again", Duration::from_secs(1))
        }
        CallError::Failed => errors::retry(
            Reason::StoreUnavailable,
            "the store has failed, and the scheduler stops; what was asked may have been done or not",
            Duration::from_secs(1),
        ),
        CallError::Store(why) => {
            tracing::error!(%why, "read from the store");
            errors::retry(Reason::StoreUnavailable, "the store does not answer", Duration::from_secs(1))
        }
    }
}

/// Nothing has happened.
fn not_leader() -> Status {
    errors::retry(
        Reason::NotLeader,
        "no scheduler leads at this moment, or another one does; try again",
        Duration::from_millis(500),
    )
}

/// What a caller is told of a refused command.
pub fn refusal(refusal: Refusal) -> Status {
    use Refusal as R;
    match refusal {
        R::ScheduleNotFound => errors::status(Reason::ScheduleNotFound, "there is no schedule of this id"),
        R::ScheduleExists { etag } => errors::status(
            Reason::ScheduleExists,
            format!("there is a schedule of this id already (its etag is {etag}), and create_only is set"),
        ),
        R::ScheduleReplaced => errors::status(
            Reason::ScheduleReplaced,
            "the schedule that this request_id was used on has been deleted, and another one has its id; make a new \
             request_id for that one",
        ),
        R::RunNotFound => {
            errors::status(Reason::RunNotFound, "there is no run of this id, or it has left the history")
        }
        R::EtagMismatch { current } => {
            let now =
                if current.is_empty() { "there is none".into() } else { format!("its etag is {current}") };
            errors::status(
                Reason::EtagMismatch,
                format!("the schedule has changed ({now}): read it again, then write"),
            )
        }
        R::RequestIdReused => errors::invalid(
            Reason::RequestIdReused,
            errors::Violation::new(
                "request_id",
                "was used with another request; make a new one for each change",
            ),
        ),
        R::NeverFires => errors::invalid(
            Reason::NeverFires,
            errors::Violation::new(
                "schedule.timing",
                "names no time that can still come before 2100; check dates such as 30 February, `at`, start_time, \
                 end_time and max_runs",
            ),
        ),
        R::TooManySchedules { limit } => errors::quota(
            Reason::TooManySchedules,
            "limits.schedules_per_namespace",
            format!(
                "the namespace holds {limit} schedules, as many as configured (limits.schedules_per_namespace)"
            ),
        ),
        R::TooManyRuns { limit } => errors::quota(
            Reason::TooManyRuns,
            "limits.live_runs_per_namespace",
            format!(
                "the namespace has {limit} live runs, as many as configured (limits.live_runs_per_namespace); times \
                 that are due still run"
            ),
        ),
        R::SchedulePaused => {
            errors::status(Reason::SchedulePaused, "the schedule is paused: call ResumeSchedule first")
        }
        R::ScheduleQuarantined => errors::status(
            Reason::ScheduleQuarantined,
            "the schedule was set aside: save it again to release it",
        ),
        R::RunNotLive => errors::status(Reason::RunFinal, "the run is final already"),
        R::Changed => errors::retry(
            Reason::Overloaded,
            "the schedule's history keeps changing; try again shortly",
            Duration::from_millis(500),
        ),
        R::TooManyTimes { limit } => errors::invalid(
            Reason::InvalidField,
            errors::Violation::new("to", format!("the range names more than {limit} times; split it")),
        ),
        R::BackfillUnderWay => errors::retry(
            Reason::TooManyRuns,
            "earlier backfills of the schedule are still under way; wait for their end",
            Duration::from_secs(60),
        ),
        R::ArchiveMismatch { known } => errors::status(
            Reason::ArchiveMismatch,
            format!(
                "documents are filed into archive {known}: give all workers the same archive.database_url, so that \
                 they do not end up in two places; to go on with another archive, set the scheduler's \
                 workers.archive_id"
            ),
        ),
        R::Conflict(conflict) => errors::status(Reason::ScheduleConflict, import::about_conflict(conflict)),
        R::LimitNotFound => errors::status(
            Reason::LimitNotFound,
            "no limit is set on this key or pattern, and it is not closed: see ListLimits",
        ),
        R::TooManyLimits => errors::quota(
            Reason::TooManyLimits,
            "limits of a namespace",
            format!("the namespace holds {LIMITS_MAX} limits: delete some, or set a pattern for many keys"),
        ),
        R::Poisonous => internal("the call could not be applied"),
        R::Unsecured => errors::retry(
            Reason::StoreUnavailable,
            "the change is made, and not yet where store.ack asks for; GetStatus says why. Repeat the call",
            Duration::from_secs(1),
        ),
    }
}

fn internal(why: &str) -> Status {
    tracing::error!(why, "internal error");
    errors::status(Reason::Internal, "an internal error; the log has the detail")
}

/// The machine answered with something that this command never gets.
fn mismatch() -> Status {
    internal("an answer of another command")
}
