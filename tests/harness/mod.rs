//! Real processes for tests, the demo and benchmarks: starts services on free loopback ports, knows when they serve,
//! kills them, and connects clients.

#![allow(dead_code)] // Each user of this module uses a part of it.

pub mod collector;
pub mod gmail;
pub mod postgres;
pub mod prometheus;
pub mod redis;

use std::{
    env, fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use docket::{
    library::v1::{
        document_service_client::DocumentServiceClient, mailbox_service_client::MailboxServiceClient,
    },
    schedule::v1::{
        run_service_client::RunServiceClient, schedule_service_client::ScheduleServiceClient,
        status_service_client::StatusServiceClient, worker_service_client::WorkerServiceClient,
    },
};
use tonic::transport::{Channel, Endpoint};

/// How long a service may take until it serves.
const START: Duration = Duration::from_secs(90);

/// A service that runs. Dropping it kills it.
pub struct Service {
    child: Child,
    pub name: &'static str,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// Everything it logged, over all its lives.
    pub log: PathBuf,
}

/// What a service is started with, kept to start it again.
#[derive(Clone)]
pub struct Plan {
    pub name: &'static str,
    pub folder: PathBuf,
    pub settings: Vec<(String, String)>,
    /// Where its binary is, if not beside this program's own.
    pub binaries: Option<PathBuf>,
}

impl Plan {
    /// `name` is that of the binary and its folder below `folder`.
    pub fn new(name: &'static str, folder: &Path) -> Self {
        Self { name, folder: folder.join(name), settings: Vec::new(), binaries: None }
    }

    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.into(), value.to_string()));
        self
    }

    /// On free ports, or on those that were set. The former stay free while the service is down, for it to come back to.
    pub fn start(&self) -> anyhow::Result<Service> {
        fs::create_dir_all(&self.folder)?;
        let beside = || binary(self.name);
        let binary = self.binaries.as_ref().map_or_else(beside, |folder| Ok(folder.join(self.name)))?;
        let mut command = Command::new(&binary);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (key, _) in env::vars().filter(|(key, _)| key.starts_with("DOCKET_")) {
            command.env_remove(key);
        }
        // Ctrl-C in a terminal is for the program that started them; it stops them in its own order.
        command.process_group(0);
        for key in ["DOCKET_GRPC__LISTEN", "DOCKET_HTTP__LISTEN"] {
            command.env(key, format!("127.0.0.1:{}", quiet_port()?));
        }
        command.envs(self.settings.iter().map(|(key, value)| (key, value)));
        let mut child = command.spawn().with_context(|| format!("start {}", binary.display()))?;
        let log = self.folder.join("log");
        let (announce, announced) = mpsc::channel();
        let out = child.stdout.take().context("stdout")?;
        let errors = child.stderr.take().context("stderr")?;
        for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(errors)] {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
            let announce = announce.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if let Some(addresses) = addresses(&line) {
                        let _ = announce.send(addresses);
                    }
                    let _ = writeln!(file, "{line}");
                }
            });
        }
        drop(announce);
        let Ok((grpc, http)) = announced.recv_timeout(START) else {
            let _ = child.kill();
            bail!("{} did not come up:\n{}", self.name, fs::read_to_string(&log).unwrap_or_default());
        };
        Ok(Service { child, name: self.name, grpc, http, log })
    }
}

/// A free port that nobody gets who asks for any: Linux gives those from 32768 on (`ip_local_port_range`). None is given
/// twice; the first is anywhere, so that processes side by side seldom meet.
fn quiet_port() -> anyhow::Result<u16> {
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(RandomState::new().build_hasher().finish() as u32));
    let mut ports = (0..1_000).map(|_| 10_000 + (NEXT.fetch_add(1, Ordering::Relaxed) % 22_000) as u16);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(free).context("no port from 10000 to 32000 is free")
}

/// From the first line that says where the service serves.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let value = |key: &str| {
        line.split_whitespace().find_map(|word| word.strip_prefix(key)).and_then(|v| v.parse().ok())
    };
    line.contains("serving").then(|| Some((value("grpc=")?, value("http=")?)))?
}

/// Beside this program's own binary, as cargo lays them out.
fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe()?;
    let found = own.ancestors().skip(1).take(3).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} is not built; run `cargo build --workspace` in the same profile first")
    })
}

/// A binary as an operator runs it, without the settings of whoever runs the tests.
pub fn command(name: &str, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(binary(name)?);
    for (key, _) in env::vars().filter(|(key, _)| key.starts_with("DOCKET_")) {
        command.env_remove(key);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

impl Service {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM. Returns its exit code once it has drained.
    pub fn terminate(&mut self) -> anyhow::Result<Option<i32>> {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        Ok(self.child.wait()?.code())
    }

    /// As in `kill`: "-STOP", "-CONT".
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {name}");
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits until it ends by itself. Returns its exit code.
    pub fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait()?.code())
    }

    pub fn channel(&self) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc))?;
        Ok(endpoint
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .connect_lazy())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Clients of the scheduler. They connect again by themselves after a restart on the same port.
#[derive(Clone)]
pub struct Scheduler {
    pub schedules: ScheduleServiceClient<Channel>,
    pub runs: RunServiceClient<Channel>,
    pub workers: WorkerServiceClient<Channel>,
    pub status: StatusServiceClient<Channel>,
}

impl Scheduler {
    pub fn connect(service: &Service) -> anyhow::Result<Self> {
        let channel = service.channel()?;
        Ok(Self {
            schedules: ScheduleServiceClient::new(channel.clone()),
            runs: RunServiceClient::new(channel.clone()),
            workers: WorkerServiceClient::new(channel.clone()),
            status: StatusServiceClient::new(channel),
        })
    }
}

/// Clients of a worker's library.
#[derive(Clone)]
pub struct Library {
    pub mailboxes: MailboxServiceClient<Channel>,
    pub documents: DocumentServiceClient<Channel>,
}

impl Library {
    pub fn connect(service: &Service) -> anyhow::Result<Self> {
        let channel = service.channel()?;
        Ok(Self {
            mailboxes: MailboxServiceClient::new(channel.clone()),
            documents: DocumentServiceClient::new(channel),
        })
    }
}
