//! `scheduler-svc`: configuration, logging, store, shard, listeners; then waits for a signal and drains.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::Parser;
use scheduler_svc::{
    config::{Config, DEFAULTS, StoreUrl},
    grpc::{self, Services},
    http, shard, state_machine,
    store::{Store, embedded::EmbeddedStore, memory::MemoryStore},
    telemetry::Telemetry,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// EX_USAGE of sysexits.h: the configuration has to be changed.
const BAD_CONFIG: u8 = 64;
/// How long calls that are under way may take after a signal.
const DRAIN: Duration = Duration::from_secs(20);
/// When the store has failed: how long callers are still told so before their connections are closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// Owns schedules and runs, and streams due jobs to workers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Overrides the defaults; see --print-defaults for every key.
    #[arg(long, value_name = "FILE")]
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

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.print_defaults {
        print!("{DEFAULTS}");
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
        println!("configuration is valid");
        return ExitCode::SUCCESS;
    }
    if arguments.print_config {
        println!("{config:#?}");
        return ExitCode::SUCCESS;
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be up yet, so a person gets it on stderr in any case.
            error!(error = format!("{error:#}"), "stopped");
            eprintln!("scheduler-svc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&config)?;
    let store = open_store(&config)?;
    let machine = state_machine::Config {
        lease: config.lease.term_ms,
        heartbeat: config.lease.heartbeat_ms,
        reconnect_grace: config.lease.reconnect_grace_ms,
        schedules_per_namespace: config.limits.schedules_per_namespace,
        live_runs_max: config.limits.live_runs_per_schedule,
        ..state_machine::Config::default()
    };
    let observer = telemetry.observer();
    let shard = tokio::task::spawn_blocking(move || shard::start(store, machine, observer)).await??;
    info!(epoch = shard.epoch, records = shard.loaded, store = config.store.url, "loaded");

    let grpc = TcpListener::bind(config.grpc.listen)
        .await
        .with_context(|| format!("grpc.listen {}", config.grpc.listen))?;
    let http = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("http.listen {}", config.http.listen))?;
    let (stopping, stopped) = (CancellationToken::new(), CancellationToken::new());
    let terminated = terminated().context("listen to signals")?;
    announce(&config.runtime.address_file, grpc.local_addr()?, http.local_addr()?)?;

    let services = Services {
        shard: shard.handle,
        default_spread: config.schedules.default_spread_ms,
        lease: machine.lease,
        heartbeat: machine.heartbeat,
        max_batch: machine.max_batch,
        start_time: now(),
        stopping: stopping.clone(),
    };
    let mut http = tokio::spawn(http::serve(http, stopping.clone(), stopped.clone()));
    let mut grpc = tokio::spawn(grpc::serve(grpc, services));
    let mut shard = shard.stopped;
    let failure = tokio::select! {
        () = terminated => None,
        halt = &mut shard => Some(match halt {
            Ok(Some(halt)) => anyhow::anyhow!("the store can no longer be written: {halt}"),
            Ok(None) => anyhow::anyhow!("the shard ended without a reason"),
            Err(_) => anyhow::anyhow!("the shard ended by a panic; the lines above tell where"),
        }),
        served = &mut grpc => return served?,
        served = &mut http => return Ok(served??),
    };
    info!(failure = failure.as_ref().map(tracing::field::display), "stopping");
    if failure.is_some() {
        tokio::time::sleep(FAREWELL).await;
    }
    // Callers end first, then the shard commits what they left, then the health port goes.
    stopping.cancel();
    let patience = if failure.is_some() { FAREWELL } else { DRAIN };
    if tokio::time::timeout(patience, &mut grpc).await.is_err() {
        grpc.abort();
    }
    drop(grpc);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let halt = tokio::time::timeout(Duration::from_secs(4), shard).await;
    stopped.cancel();
    match halt {
        Ok(Ok(Some(halt))) => anyhow::bail!("the last commit failed: {halt}"),
        Ok(_) | Err(_) => info!("stopped"),
    }
    Ok(())
}

fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match config.store_url()? {
        StoreUrl::Embedded(folder) => Arc::new(EmbeddedStore::new(&folder)?),
        StoreUrl::Memory => Arc::new(MemoryStore::default()),
    })
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
