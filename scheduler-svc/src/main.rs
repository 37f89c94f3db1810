//! `scheduler-svc`: configuration, logging, store, shard, listeners; then waits for a signal and drains.

mod moving;
mod token;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use docket::{
    errors::in_full,
    listener::{Listener, Protocol, http::BOUNDS},
    settings::{LogFormat, printed, say},
};
use scheduler_svc::{
    cluster::{Cluster, Leadership},
    config::{Ack, Config, DEFAULTS, StoreUrl},
    event_log,
    grpc::{self, Services},
    http,
    metrics::{Metrics, ShardMetrics, watchdog},
    shard::Handle,
    state_machine,
    store::{
        Store,
        embedded::EmbeddedStore,
        memory::MemoryStore,
        redis::{self, RedisStore},
    },
    telemetry::Telemetry,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{Level, enabled, error, info, warn};

/// EX_USAGE of sysexits.h: the configuration has to be changed.
const BAD_CONFIG: u8 = 64;
/// How long calls that are under way may take after a signal.
const DRAIN: Duration = Duration::from_secs(18);
/// How long the last commit and the resignation may take after that.
const RESIGN: Duration = Duration::from_secs(5);
/// When the store has failed: how long callers are still told so before their connections are closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// Owns schedules and runs, and streams due jobs to workers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Overrides the defaults; see --print-defaults for every key.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration and exit.
    #[arg(long)]
    check_config: bool,
    /// Print the configuration in force and exit.
    #[arg(long)]
    print_config: bool,
    /// Print the documented default file and exit.
    #[arg(long)]
    print_defaults: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Moves everything from one store to another: schedules, runs, history, limits. Stop all schedulers of both first.
    Copy(moving::Arguments),
    /// Tokens of callers.
    #[command(subcommand)]
    Token(token::Verb),
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.print_defaults {
        say(DEFAULTS);
        return ExitCode::SUCCESS;
    }
    if let Some(Verb::Token(verb)) = &arguments.verb {
        say(&token::run(verb));
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("configuration: {error}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if arguments.check_config {
        say("configuration is valid\n");
        config.risks().iter().for_each(|risk| say(&format!("warning: {risk}\n")));
        return ExitCode::SUCCESS;
    }
    if arguments.print_config {
        return match printed(&config) {
            Ok(text) => {
                say(&text);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("configuration: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let in_log = config.log.format == LogFormat::Json;
    let outcome = match &arguments.verb {
        Some(Verb::Copy(ends)) => moving::copy(&config, ends),
        Some(Verb::Token(_)) => Ok(()),
        None => run(config),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Once: in a log that programs read, if it is up, and otherwise on stderr.
            let error = in_full(error.as_ref());
            if in_log && enabled!(Level::ERROR) {
                error!(error, "stopped");
            } else {
                eprintln!("scheduler-svc: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&config)?;
    for risk in config.risks() {
        warn!("{risk}");
    }
    let machine = state_machine::Config {
        lease: config.lease.term_ms,
        heartbeat: config.lease.heartbeat_ms,
        reconnect_grace: config.lease.reconnect_grace_ms,
        schedules_per_namespace: config.limits.schedules_per_namespace,
        live_runs_per_namespace: config.limits.live_runs_per_namespace,
        live_runs_max: config.limits.live_runs_per_schedule,
        archive: Some(&*config.workers.archive_id.clone().leak()).filter(|id| !id.is_empty()),
        history: config.history.kept(),
        history_of: config.history.of_namespaces().collect::<Vec<_>>().leak(),
        history_bytes_max: config.history.bytes_max,
        ..state_machine::Config::default()
    };
    let events = event_log::Bounds {
        events: config.events.kept,
        bytes: config.events.kept_bytes,
        watchers: config.events.watchers,
    };
    let gate = config.auth.gate().map_err(anyhow::Error::msg)?;
    tokio::spawn(gate.clone().keep());
    let tls = config.tls.open().map_err(anyhow::Error::msg)?;
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.keep());
    }
    let grpc = bind("grpc.listen", config.grpc.listen).await?;
    let http = bind("http.listen", config.http.listen).await?;
    let advertise = advertised(&config, grpc.local_addr()?);
    let store = open_store(&config, &advertise)?;
    let handle = Handle::vacant(store, events);
    let (telemetry, watched) = (Arc::new(telemetry), handle.clone());
    let metrics = Metrics::new().context("metrics")?;
    let (observers, counted) = (telemetry.clone(), metrics.clone());
    let cluster = Cluster::new(handle.clone(), machine, move || {
        Box::new((observers.observer(), ShardMetrics::new(counted.clone())))
    });
    let (stopping, stopped) = (CancellationToken::new(), CancellationToken::new());
    let (mut leadership, looked) = (cluster.leadership(), cluster.looked());
    let terminated = terminated().context("listen to signals")?;
    tokio::pin!(terminated);
    let alarm = Duration::from_millis(config.telemetry.overdue_alarm_ms);
    tokio::spawn(watchdog::run(metrics.clone(), handle.clone(), alarm, stopped.clone()));
    let http_tls = tls.clone().filter(|_| config.http.tls);
    let services = Services {
        shard: handle,
        metrics: metrics.clone(),
        gate: gate.clone(),
        tls,
        bounds: config.grpc.bounds(),
        trust: config.trust(),
        default_spread: config.schedules.default_spread_ms,
        lease: machine.lease,
        heartbeat: machine.heartbeat,
        max_batch: machine.max_batch,
        traces: config.telemetry.sample_ratio,
        start_time: now(),
        advertise: advertise.as_str().into(),
        leadership: leadership.clone(),
        stopping: stopping.clone(),
    };
    let addresses = (grpc.local_addr()?, http.local_addr()?);
    let resigned = CancellationToken::new();
    let mut cluster = tokio::spawn({
        let (stopping, resigned) = (stopping.clone(), resigned.clone());
        async move { cluster.run(&stopping, &resigned).await }
    });
    info!(store = config.store.shown(), "opens the store");
    let guard = http::Guard { gate, open_metrics: config.http.open_metrics };
    // Being alive does not depend on the store (rule S3), so a store that is away keeps nobody from asking.
    let mut http = tokio::spawn(http::serve(
        Listener::new(http, Protocol::Http1, http_tls, BOUNDS),
        leadership.clone(),
        watched,
        metrics,
        guard,
        stopping.clone(),
        stopped.clone(),
    ));
    tokio::select! {
        known = leadership.wait_for(|known| *known != Leadership::Open) => { known?; }
        () = looked.cancelled() => {}
        ended = &mut cluster => return ended?,
        () = &mut terminated => return Ok(()),
    }
    announce(&config.runtime.address_file, addresses.0, addresses.1)?;
    let mut grpc = tokio::spawn(grpc::serve(grpc, services));
    let failure = tokio::select! {
        () = &mut terminated => None,
        ended = &mut cluster => Some(ended?.err().unwrap_or_else(|| anyhow::anyhow!("it stopped leading without a reason"))),
        served = &mut grpc => return served?,
        served = &mut http => return Ok(served?),
    };
    info!(failure = failure.as_ref().map(tracing::field::display), "stopping");
    if failure.is_some() {
        tokio::time::sleep(FAREWELL).await;
    }
    // The shard commits what it was asked and gives the lease back; calls that are under way go on to the next leader;
    // then the health port goes.
    stopping.cancel();
    let patience = if failure.is_some() { FAREWELL } else { DRAIN };
    if tokio::time::timeout(patience, &mut grpc).await.is_err() {
        grpc.abort();
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let outcome = tokio::select! {
        ended = &mut cluster => ended?,
        () = resigned.cancelled() => Ok(()),
        () = tokio::time::sleep(RESIGN) => Ok(()),
    };
    cluster.abort();
    stopped.cancel();
    outcome?;
    info!("stopped");
    Ok(())
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key} {address}"))
}

/// Where the other schedulers reach this one.
fn advertised(config: &Config, bound: SocketAddr) -> String {
    if config.cluster.advertise.is_empty() { bound.to_string() } else { config.cluster.advertise.clone() }
}

fn open_store(config: &Config, advertise: &str) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match config.store_url()? {
        StoreUrl::Embedded(folder) => Arc::new(EmbeddedStore::new(&folder)?),
        StoreUrl::Memory => Arc::new(MemoryStore::default()),
        StoreUrl::Redis(address) => Arc::new(RedisStore::new(redis::Options {
            prefix: config.store.prefix.clone(),
            ca_pem: authority(&config.store.tls_ca_file)?,
            term: Duration::from_millis(config.store.lease_ms),
            advertise: advertise.into(),
            accept_older: config.store.accept_older,
            ack: match config.store.ack {
                Ack::Memory => redis::Ack::Memory,
                Ack::Disk => redis::Ack::Disk,
                Ack::Replica => redis::Ack::Replica,
            },
            ..redis::Options::new(address)
        })?),
    })
}

fn authority(file: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    fs::read(file).map(Some).with_context(|| format!("store.tls_ca_file {}", file.display()))
}

/// The first lines of the log, and the address file for scripts: written whole or not at all.
fn announce(file: &Path, grpc: SocketAddr, http: SocketAddr) -> anyhow::Result<()> {
    info!(%grpc, %http, pid = std::process::id(), "serving");
    if file.as_os_str().is_empty() {
        return Ok(());
    }
    let unfinished = file.with_extension("tmp");
    let write = fs::write(&unfinished, format!("grpc={grpc}\nhttp={http}\n"))
        .and_then(|()| fs::rename(&unfinished, file));
    write.with_context(|| format!("runtime.address_file {}", file.display()))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Resolves when the process is asked to stop. Signals count from this call on, not only when it is polled.
fn terminated() -> std::io::Result<impl Future<Output = ()>> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
