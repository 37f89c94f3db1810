//! Logs, and spans that go into the trace of their run.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use docket::{
    schedule::v1 as pb,
    settings::LogFormat,
    trace::{TRACEPARENT, TraceParent},
};
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState, TracerProvider as _},
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tonic::codegen::http;
use tracing::{Span, debug_span, info_span, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::Config;

/// What is exported, whatever the log shows.
const TRACED: [(&str, LevelFilter); 2] =
    [("worker_svc", LevelFilter::DEBUG), ("sync_core", LevelFilter::DEBUG)];

/// Flushes what is left when dropped.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
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
        let layer = layer.with_filter(filter);
        let endpoint = &config.telemetry.otlp_endpoint;
        let provider = if endpoint.is_empty() { None } else { Some(provider(endpoint)?) };
        let export = provider.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("docket"));
            layer.with_location(false).with_filter(Targets::new().with_targets(TRACED))
        });
        tracing_subscriber::registry().with(export).with(layer).try_init()?;
        Ok(Self { provider })
    }
}

/// What `log.level` lets through.
///
/// # Errors
/// Names the key and what is wrong.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    docket::log_level::check(level)?;
    // These libraries are loud at debug; name them in log.level to hear them.
    let quiet = "h2=info,hyper=info,hyper_util=info,tower=info,tonic=info,sqlx=warn,html5ever=error";
    EnvFilter::try_new(format!("{quiet},{level}")).map_err(|error| format!("log.level `{level}`: {error}"))
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            // A collector that is down must not keep the process from ending.
            let _ = provider.shutdown_with_timeout(Duration::from_secs(1));
        }
    }
}

fn provider(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let resource = Resource::builder().with_service_name("worker-svc").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The span of one attempt, below the run's own.
pub fn attempt_span(job: &pb::DueJob) -> Span {
    let parent = TraceParent::parse(&job.traceparent);
    let kind = job.task.as_ref().map_or("", |task| task.kind.as_str());
    let span = info_span!(
        "job",
        run = job.run_id,
        attempt = job.attempt,
        schedule = job.schedule_id,
        kind,
        trace_id = parent.map(|parent| format!("{:032x}", parent.trace_id)),
    );
    if let Some(parent) = parent {
        // Without an exporter there is nothing to attach it to.
        let _ = span.set_parent(remote(parent));
    }
    span
}

/// From the end of an attempt until the scheduler has answered its report.
pub fn report_span(attempt: &Span) -> Span {
    debug_span!(parent: attempt, "report", receipt = tracing::field::Empty)
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
