//! Logs, and the trace of each run.
//!
//! A run's root span and trace have ids derived from the run id (`docket::trace`), so every process that touches the
//! run, before and after a crash, adds to the same trace without storing anything. The scheduler's spans are made when
//! their end is known, from the times in the events:
//!
//! ```text
//! run (due → final)
//! ├── queued (due or last end → start of the attempt)
//! └── attempt (start → end; the worker adds its own span, `job`, and what lies below it)
//! ```
//!
//! Without an endpoint nothing of this is computed.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _},
    time::{Duration, SystemTime},
};

use docket::{
    settings::LogFormat,
    trace::{TRACEPARENT, TraceParent},
};
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{
        Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider},
};
use tonic::codegen::http;
use tracing::{Span, debug, error, info, info_span, level_filters::LevelFilter, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    config::Config,
    shard::Observer,
    state_machine::{
        definition::Definition,
        failure::Failure,
        id::RunId,
        output::{Event, ScheduleChange},
        run::{Finished, Outcome},
        timing::TZDB,
        view::ScheduleView,
    },
};

/// Flushes what is left when dropped.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    ratio: f64,
}

impl Telemetry {
    /// Sets up logging and, with an endpoint, the export of traces.
    ///
    /// # Errors
    /// When the level or the endpoint cannot be used.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let filter = filter(&config.log.level).map_err(anyhow::Error::msg)?;
        let layer = match config.log.format {
            LogFormat::Text => tracing_subscriber::fmt::layer()
                .with_target(false)
                .with_ansi(io::stdout().is_terminal())
                .boxed(),
            LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).boxed(),
        };
        let endpoint = &config.telemetry.otlp_endpoint;
        let provider = if endpoint.is_empty() { None } else { Some(provider(endpoint)?) };
        let export = provider.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("docket"));
            // Whatever the log shows.
            let traced = Targets::new().with_target("scheduler_svc", LevelFilter::INFO);
            layer.with_location(false).with_filter(traced)
        });
        tracing_subscriber::registry().with(export).with(layer.with_filter(filter)).try_init()?;
        Ok(Self { provider, ratio: config.telemetry.sample_ratio })
    }

    pub fn observer(&self) -> impl Observer + use<> {
        let tracer = self.provider.as_ref().map(|provider| provider.tracer("docket"));
        RunObserver { tracer, ratio: self.ratio }
    }
}

/// What `log.level` lets through.
///
/// # Errors
/// Names the key and what is wrong.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    docket::log_level::check(level)?;
    // These libraries are loud at debug; name them in log.level to hear them.
    let quiet = "h2=info,hyper=info,hyper_util=info,tower=info,tonic=info,fjall=warn,lsm_tree=warn";
    EnvFilter::try_new(format!("{quiet},{level}")).map_err(|error| format!("log.level `{level}`: {error}"))
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            // A collector that is down must not keep the process from ending.
            let _ = provider.shutdown_with_timeout(Duration::from_secs(2));
        }
    }
}

fn provider(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let resource = Resource::builder().with_service_name("scheduler-svc").build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(GivenIds)
        .with_resource(resource)
        .build();
    Ok(provider)
}

thread_local! {
    /// Ids for the next span that this thread makes. The SDK asks for them in an order of its own.
    static NEXT: (Cell<Option<u128>>, Cell<Option<u64>>) = const { (Cell::new(None), Cell::new(None)) };
}

/// Lets a span have ids that are derived; all others are random.
#[derive(Debug)]
struct GivenIds;

impl GivenIds {
    fn set(parent: TraceParent) {
        NEXT.with(|(trace, span)| {
            trace.set(Some(parent.trace_id));
            span.set(Some(parent.span_id));
        });
    }
}

impl IdGenerator for GivenIds {
    fn new_trace_id(&self) -> TraceId {
        let given = NEXT.with(|(trace, _)| trace.take());
        given.map_or_else(|| RandomIdGenerator::default().new_trace_id(), TraceId::from)
    }

    fn new_span_id(&self) -> SpanId {
        let given = NEXT.with(|(_, span)| span.take());
        given.map_or_else(|| RandomIdGenerator::default().new_span_id(), SpanId::from)
    }
}

/// Turns events into log lines and spans.
struct RunObserver {
    tracer: Option<SdkTracer>,
    ratio: f64,
}

impl Observer for RunObserver {
    fn observe(&self, event: &Event) {
        log(event);
        match event {
            Event::Started { run, at } => {
                self.child(run.id, &run.definition, "queued", (run.due, *at), run.attempt, "", None);
            }
            Event::AttemptEnded { id, definition, attempt, worker_id, start, at, failure } => {
                self.child(
                    *id,
                    definition,
                    "attempt",
                    (*start, *at),
                    *attempt,
                    worker_id,
                    failure.as_deref(),
                );
            }
            Event::Finished { definition, finished } => self.root(definition, finished),
            Event::Created { .. }
            | Event::Fired { .. }
            | Event::Retrying { .. }
            | Event::Discarded { .. }
            | Event::Schedule { .. }
            | Event::TimesMoved { .. }
            | Event::GateClosed { .. }
            | Event::GateReopened { .. }
            | Event::WorkerJoined { .. }
            | Event::WorkerLost { .. }
            | Event::WorkerTwice { .. } => {}
        }
    }
}

impl RunObserver {
    /// Where a sampled run's spans go, and its root.
    fn sampled(&self, id: RunId) -> Option<(&SdkTracer, TraceParent)> {
        let tracer = self.tracer.as_ref()?;
        let root = TraceParent::of_run(&id.to_string(), true).sampled_at(self.ratio);
        root.sampled.then_some((tracer, root))
    }

    fn root(&self, definition: &Definition, finished: &Finished) {
        let Some((tracer, root)) = self.sampled(finished.id) else { return };
        GivenIds::set(root);
        let caller = definition.saved_by.ids().map(|(trace_id, span_id)| {
            let caller = TraceParent { trace_id, span_id, sampled: true };
            Link::with_context(remote(caller).span().span_context().clone())
        });
        let mut span = tracer
            .span_builder("run")
            .with_kind(SpanKind::Producer)
            .with_start_time(instant(finished.due))
            .with_attributes(attributes(finished.id, definition))
            .with_links(caller.into_iter().collect())
            .start_with_context(tracer, &Context::new());
        span.set_attribute(KeyValue::new("docket.outcome", format!("{:?}", finished.outcome).to_lowercase()));
        if finished.outcome == Outcome::Failed {
            fail(&mut span, finished.failure.as_deref());
        }
        span.end_with_timestamp(instant(finished.finish));
    }

    #[allow(clippy::too_many_arguments)]
    fn child(
        &self,
        id: RunId,
        definition: &Definition,
        name: &'static str,
        (from, to): (i64, i64),
        attempt: u32,
        worker_id: &str,
        failure: Option<&Failure>,
    ) {
        let Some((tracer, root)) = self.sampled(id) else { return };
        let mut span = tracer
            .span_builder(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(instant(from))
            .with_attributes(attributes(id, definition))
            .start_with_context(tracer, &remote(root));
        span.set_attribute(KeyValue::new("docket.attempt", i64::from(attempt)));
        if !worker_id.is_empty() {
            span.set_attribute(KeyValue::new("docket.worker_id", worker_id.to_owned()));
        }
        if failure.is_some() {
            fail(&mut span, failure);
        }
        span.end_with_timestamp(instant(to.max(from)));
    }
}

/// The span of a call whose client sent a `traceparent`: it goes on with the client's trace. Others have none, so
/// heartbeats do not fill the collector.
pub fn call_span(request: &http::Request<()>) -> Span {
    let header = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let Some(parent) = header.and_then(TraceParent::parse) else { return Span::none() };
    let span =
        info_span!("call", method = request.uri().path(), trace_id = format!("{:032x}", parent.trace_id));
    // Without an exporter there is nothing to attach it to.
    let _ = span.set_parent(remote(parent));
    span
}

/// A position in a trace that another process, or another moment, has made.
fn remote(parent: TraceParent) -> Context {
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (parent.trace_id.into(), parent.span_id.into());
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

fn attributes(id: RunId, definition: &Definition) -> Vec<KeyValue> {
    vec![
        KeyValue::new("docket.namespace", definition.key.namespace.to_string()),
        KeyValue::new("docket.schedule_id", definition.key.id.to_string()),
        KeyValue::new("docket.run_id", id.to_string()),
        KeyValue::new("docket.kind", definition.task.kind.to_string()),
        KeyValue::new("docket.trigger", format!("{:?}", id.trigger).to_lowercase()),
    ]
}

fn fail(span: &mut opentelemetry_sdk::trace::Span, failure: Option<&Failure>) {
    let text = failure.map_or_else(String::new, |failure| format!("{:?} {}", failure.class, failure.code));
    span.set_status(Status::error(text));
}

fn instant(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.max(0).unsigned_abs())
}

fn log(event: &Event) {
    match event {
        Event::Fired { id, definition, .. } => {
            debug!(schedule = %definition.key.id, run = %id, trace_id = %trace(*id), "fired");
        }
        Event::Started { run, .. } => {
            let (worker, trace_id) = (run.worker_id.as_deref().unwrap_or_default(), trace(run.id));
            let schedule = &run.definition.key.id;
            debug!(%schedule, run = %run.id, attempt = run.attempt, worker, %trace_id, "handed out");
        }
        Event::AttemptEnded { id, definition, attempt, worker_id, failure, .. } => {
            let Some(failure) = failure else { return };
            info!(
                schedule = %definition.key.id, run = %id, attempt, worker = %worker_id, trace_id = %trace(*id),
                class = ?failure.class, code = %failure.code, why = %failure.message, "attempt failed"
            );
        }
        Event::Finished { definition, finished } => log_finished(definition, finished),
        Event::Discarded { definition, finished } => {
            debug!(schedule = %definition.key.id, run = %finished.id, "gone before it began");
        }
        // Told with `Fired` and `AttemptEnded`.
        Event::Created { .. } | Event::Retrying { .. } => {}
        Event::Schedule { change, view, actor, .. } => log_schedule(*change, view, actor),
        Event::TimesMoved { former, moved, ids } => {
            let ids: Vec<&str> = ids.iter().map(|key| &*key.id).collect();
            warn!(%former, now = TZDB, moved, first = ?ids, "the tz database has changed; next times were computed anew");
        }
        Event::GateClosed { namespace, key, until, reason } => {
            warn!(%namespace, limit = %key, until, %reason, "limit closed by throttling");
        }
        Event::GateReopened { namespace, key } => {
            info!(%namespace, limit = %key, "limit opens again, by slow start")
        }
        Event::WorkerJoined { worker_id, session, slots } => {
            info!(worker = %worker_id, %session, slots, "worker connected")
        }
        Event::WorkerLost { worker_id, session, runs } if *runs > 0 => {
            warn!(worker = %worker_id, %session, runs, "worker lost; its runs are given to others");
        }
        Event::WorkerLost { worker_id, session, .. } => info!(worker = %worker_id, %session, "worker gone"),
        Event::WorkerTwice { worker_id } => {
            warn!(worker = %worker_id, "two processes use this worker id; give each its own worker.id");
        }
    }
}

fn log_schedule(change: ScheduleChange, view: &ScheduleView, actor: &str) {
    let id = &view.definition.key.id;
    match change {
        ScheduleChange::Created | ScheduleChange::Updated => {
            debug!(schedule = %id, ?change, %actor, etag = %view.etag, "schedule saved");
        }
        ScheduleChange::Paused => {
            let note = view.pause.as_ref().map_or("", |pause| &*pause.note);
            info!(schedule = %id, %actor, %note, "schedule paused");
        }
        ScheduleChange::Resumed => info!(schedule = %id, %actor, "schedule resumed"),
        ScheduleChange::Ended => info!(schedule = %id, "schedule ended"),
        ScheduleChange::Deleted => info!(schedule = %id, %actor, "schedule deleted"),
        ScheduleChange::Quarantined => {
            error!(schedule = %id, why = %view.quarantine.as_deref().unwrap_or_default(), "schedule set aside");
        }
    }
}

fn log_finished(definition: &Definition, finished: &Finished) {
    let (schedule, run, trace_id) = (&definition.key.id, finished.id, trace(finished.id));
    match (finished.outcome, finished.failure.as_deref()) {
        (Outcome::Failed, Some(failure)) => warn!(
            %schedule, %run, %trace_id, class = ?failure.class, code = %failure.code, why = %failure.message,
            "run failed"
        ),
        (outcome, _) => debug!(%schedule, %run, %trace_id, ?outcome, "run finished"),
    }
}

fn trace(id: RunId) -> impl std::fmt::Display {
    struct Lazy(RunId);
    impl std::fmt::Display for Lazy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:032x}", TraceParent::of_run(&self.0.to_string(), true).trace_id)
        }
    }
    Lazy(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker's spans name this parent without having seen it.
    #[test]
    fn a_root_span_has_the_ids_that_are_derived_from_its_run() {
        let tracer = SdkTracerProvider::builder().with_id_generator(GivenIds).build().tracer("test");
        let parent = TraceParent::of_run("0-00ff-s1795485600000", true);
        GivenIds::set(parent);
        let root = tracer.span_builder("run").start_with_context(&tracer, &Context::new());
        let context = root.span_context();
        assert_eq!((context.trace_id(), context.span_id()), (parent.trace_id.into(), parent.span_id.into()));
        let other = tracer.span_builder("run").start_with_context(&tracer, &Context::new());
        assert_ne!(other.span_context().trace_id(), context.trace_id());
        assert_ne!(other.span_context().span_id(), context.span_id());
    }
}
