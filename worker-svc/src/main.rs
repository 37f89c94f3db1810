//! `worker-svc`: configuration, logging, archive, listeners, the link to the scheduler; then waits for a signal and
//! drains.

use std::{
    env, fs,
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
    settings::{self, LogFormat, printed, say},
};
use sync_core::{
    archive::Archive,
    credential::{Credentials, Vault},
    reader::{self, Bounds, Pool},
    source::{
        self, gmail, imap,
        network::Dialer,
        oauth::{Clients, Tokens, refresh::Refresher},
        opener::Opener,
        root::Root,
    },
    sync::{Clock, FolderSources, Settings, Sources, Syncer},
};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{Level, enabled, error, info, warn};
use worker_svc::{
    agent::{Agent, Profile},
    config::{Config, DEFAULTS, oauth},
    http, keys,
    kind::{Registry, document_sync::DocumentSync, noop::Noop},
    library::{self, Services},
    link::{self, LinkStatus},
    metrics::{CountedKind, CountedReader, CountedSources, CountedTokens, Metrics},
    telemetry::Telemetry,
};

/// EX_USAGE of sysexits.h: the configuration has to be changed.
const BAD_CONFIG: u8 = 64;
/// After the time of a drain: for jobs to be handed in, and for calls that are still under way. Whatever has not ended
/// then is cut off, so that with the defaults a signal ends the process within 25 s.
const LEAVE_AFTER: Duration = Duration::from_millis(3_500);
/// For the tasks that are left to be dropped; readers end with them.
const CUT_OFF: Duration = Duration::from_millis(200);
/// Between two looks for blobs that nothing names.
const SWEEP: Duration = Duration::from_secs(3600);
/// Content of mails that may be in readers and on its way back at once.
const CONTENT_BUDGET: u64 = 128 << 20;

/// Runs due jobs, and serves mailboxes and documents.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
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

#[derive(Subcommand)]
enum Command {
    /// Reads mails from stdin, for the worker's own use: it limits itself so that a hostile mail ends only this process.
    #[command(hide = true)]
    ReadMail,
    /// The key file, and what is sealed with it.
    #[command(subcommand)]
    Keys(keys::Command),
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::ReadMail) = arguments.command {
        let code = reader::serve(std::io::stdin(), std::io::stdout(), sync_core::read::read_message);
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    if arguments.print_defaults {
        say(DEFAULTS);
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("configuration: {error}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
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
    // `keys create` makes one of the files.
    let needs_files = arguments.check_config || arguments.command.is_none();
    if needs_files && let Err(error) = config.check_files() {
        eprintln!("configuration: {error}");
        return ExitCode::from(BAD_CONFIG);
    }
    if arguments.check_config {
        say("configuration is valid\n");
        config.risks().iter().for_each(|risk| say(&format!("warning: {risk}\n")));
        return ExitCode::SUCCESS;
    }
    let in_log = arguments.command.is_none() && config.log.format == LogFormat::Json;
    let done = match arguments.command {
        Some(Command::Keys(command)) => manage_keys(command, config),
        _ => run(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Once: in a log that programs read, if it is up, and otherwise on stderr.
            let error = in_full(error.as_ref());
            if in_log && enabled!(Level::ERROR) {
                error!(error, "stopped");
            } else {
                eprintln!("worker-svc: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn manage_keys(command: keys::Command, config: Config) -> anyhow::Result<()> {
    let _telemetry = Telemetry::start(&config)?;
    let catalog = async { Ok(config.archive.open(now()).await?.catalog) };
    keys::run(command, &config.credentials.key_file, catalog, Arc::new(now)).await
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(config));
    // A job that blocks its thread must not keep the process.
    runtime.shutdown_timeout(CUT_OFF);
    done
}

async fn serve(config: Config) -> anyhow::Result<()> {
    sync_core::net::choose_cryptography();
    let _telemetry = Telemetry::start(&config)?;
    for risk in config.risks() {
        warn!("{risk}");
    }
    let (stopping, stopped) = (CancellationToken::new(), CancellationToken::new());
    let clock: Clock = Arc::new(now);
    let root = match &config.sources.folder_root {
        none if none.as_os_str().is_empty() => Root::none(),
        folder => Root::new(folder),
    };
    let archive = config.archive.open(now()).await?;
    let archive_id = archive.catalog.archive_id().to_owned();
    info!(
        archive = archive_id,
        database = %config.archive.database_url,
        blobs = %config.archive.blobs_url,
        "opened"
    );
    let credentials = credentials(&config, &archive, &clock)?;
    let clients = oauth::clients(&config.oauth)?;
    let metrics = Metrics::new(config.worker.slots).context("metrics")?;
    let refresher = Refresher::new(source::http::client(), clock.clone());
    let tokens: Arc<dyn Tokens> = Arc::new(CountedTokens::new(refresher, &metrics));
    let opener = Opener {
        folders: FolderSources { root: root.clone(), clock: clock.clone() },
        credentials: credentials.clone(),
        gmail: gmail(&config, tokens.clone(), clients.clone(), &clock).with_waits(metrics.quota_waits()),
        imap: imap_connector(&config, clients.clone(), tokens)?,
    };
    let sources: Arc<dyn Sources> = Arc::new(CountedSources::new(opener, &metrics));
    let registry = registry(&config, &archive, &sources, &clock, &metrics)?;

    let gate = config.auth.gate().map_err(anyhow::Error::msg)?;
    tokio::spawn(gate.clone().keep());
    let tls = config.tls.open().map_err(anyhow::Error::msg)?;
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.keep());
    }
    let grpc = bind("grpc.listen", config.grpc.listen).await?;
    let http = bind("http.listen", config.http.listen).await?;
    announce(&config.runtime.address_file, grpc.local_addr()?, http.local_addr()?)?;
    let (mut link, status) = start_link(&config, registry, archive_id, stopping.clone())?.unzip();
    // The library goes on while jobs are handed in: an app still asks.
    let handed_in = CancellationToken::new();
    tokio::spawn(sweep(archive.clone(), stopping.clone()));
    tokio::spawn(metrics.clone().keep(stopped.clone()));
    let stopping_library = handed_in.clone();
    let http = Listener::new(http, Protocol::Http1, tls.clone().filter(|_| config.http.tls), BOUNDS);
    let services = Services {
        archive,
        root,
        credentials,
        clients,
        sources,
        clock,
        metrics: metrics.clone(),
        gate: gate.clone(),
        tls,
        bounds: config.grpc.bounds(),
        mailboxes_per_namespace: config.limits.mailboxes_per_namespace,
        stopping: stopping_library,
    };
    let drain = Duration::from_millis(config.worker.drain_ms);
    let guard = http::Guard { gate, open_metrics: config.http.open_metrics };
    let mut http = tokio::spawn(http::serve(http, status, metrics, guard, stopping.clone(), stopped.clone()));
    let mut grpc = tokio::spawn(library::serve(grpc, services));
    tokio::select! {
        () = terminated() => info!("stopping"),
        served = &mut grpc => served??,
        served = &mut http => served?,
        () = link_broke(&mut link) => anyhow::bail!("the link to the scheduler has panicked"),
    }
    stopping.cancel();
    let ended = async {
        if let Some(link) = link {
            link.await.context("the link to the scheduler has panicked")?;
        }
        handed_in.cancel();
        anyhow::Ok(grpc.await??)
    };
    let within = drain.max(library::DRAIN) + LEAVE_AFTER;
    match tokio::time::timeout(within, ended).await {
        Ok(ended) => ended?,
        Err(_) => warn!(?within, "calls or jobs were still under way when the time to stop was over"),
    }
    stopped.cancel();
    info!("stopped");
    Ok(())
}

/// Pends for ever while there is nothing wrong with it.
async fn link_broke(link: &mut Option<oneshot::Receiver<()>>) {
    match link {
        Some(link) => drop(link.await),
        None => std::future::pending().await,
    }
}

fn credentials(config: &Config, archive: &Archive, clock: &Clock) -> anyhow::Result<Credentials> {
    let vault = match &config.credentials.key_file {
        none if none.as_os_str().is_empty() => None,
        file => Some(Arc::new(Vault::open(file).context("credentials.key_file")?)),
    };
    Ok(Credentials::new(archive.catalog.clone(), vault, clock.clone()))
}

fn gmail(config: &Config, tokens: Arc<dyn Tokens>, clients: Clients, clock: &Clock) -> gmail::Provider {
    let settings = config.gmail.settings();
    gmail::Provider::new(source::http::client(), tokens, clients, settings, clock.clone())
}

fn imap_connector(
    config: &Config,
    clients: Clients,
    tokens: Arc<dyn Tokens>,
) -> anyhow::Result<imap::Connector> {
    let ca_file = Some(config.sources.ca_file.as_path()).filter(|file| !file.as_os_str().is_empty());
    Ok(imap::Connector {
        dialer: Dialer::new(config.allowed_networks()?),
        tls: imap::tls::config(ca_file).context("sources.ca_file")?,
        limits: imap::Limits::default(),
        clients,
        tokens: Some(tokens),
    })
}

/// Takes blobs that no row has named for a day: what deletes and killed attempts left behind (rule D2).
async fn sweep(archive: Archive, stopping: CancellationToken) {
    let mut hours = tokio::time::interval(SWEEP);
    while stopping.run_until_cancelled(hours.tick()).await.is_some() {
        match archive.sweep(now()).await {
            Ok(0) => {}
            Ok(blobs) => info!(blobs, "swept"),
            Err(error) => warn!(%error, "sweep the archive's blobs"),
        }
    }
}

fn registry(
    config: &Config,
    archive: &Archive,
    sources: &Arc<dyn Sources>,
    clock: &Clock,
    metrics: &Metrics,
) -> anyhow::Result<Registry> {
    let mut registry = Registry::default();
    if config.kinds().any(|kind| kind == "noop") {
        registry.add(CountedKind::new(Noop, metrics));
    }
    if config.kinds().any(|kind| kind == "document-sync") {
        let command = reader::Command { program: env::current_exe()?, arguments: vec!["read-mail".into()] };
        let pool = Pool::new(command, config.reader.children(), CONTENT_BUDGET, Bounds::default());
        let reader = Arc::new(CountedReader::new(pool, metrics));
        let syncer =
            Syncer::new(archive.clone(), reader, sources.clone(), Settings::default(), clock.clone())
                .with_meter(metrics.meter());
        registry.add(CountedKind::new(DocumentSync::new(Arc::new(syncer)), metrics));
    }
    Ok(registry)
}

/// Unix milliseconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What takes and runs jobs; none in a process with 0 slots.
fn start_link(
    config: &Config,
    registry: Registry,
    archive_id: String,
    stopping: CancellationToken,
) -> anyhow::Result<Option<(oneshot::Receiver<()>, watch::Receiver<LinkStatus>)>> {
    if config.worker.slots == 0 {
        return Ok(None);
    }
    let guarded = registry.kinds().filter(|kind| kind.is_guarded()).map(|kind| kind.name().into());
    let profile = Profile {
        worker_id: config.worker_id(),
        instance: format!("{:016x}", rand::random::<u64>()),
        slots: i32::try_from(config.worker.slots)?,
        kinds: registry.kinds().map(|kind| kind.name().into()).collect(),
        guarded: guarded.collect(),
        version: env!("CARGO_PKG_VERSION").into(),
        archive_id,
    };
    info!(worker = profile.worker_id, slots = profile.slots, kinds = ?profile.kinds, scheduler = settings::shown(&config.scheduler.url), "taking jobs");
    let agent = Agent::new(profile, rand::random());
    let drain = Duration::from_millis(config.worker.drain_ms);
    let scheduler = link::Scheduler {
        url: config.scheduler.url.clone(),
        trust: config.scheduler.trust(),
        bearer: config.bearer()?,
    };
    Ok(Some(link::start(agent, scheduler, registry, drain, stopping)?))
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key} {address}"))
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

async fn terminated() {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}
