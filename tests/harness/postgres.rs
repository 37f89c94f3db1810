//! A real PostgreSQL for tests: in a folder of its own, on a free loopback port, without syncing to disk. One server
//! serves a whole test binary, with a database for each test ([`Server::shared`]); who restarts it has one of its own.
//!
//! It runs as another user when the tests run as root, since PostgreSQL refuses root, and dies with the tests however
//! they end.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How long it may take until it answers.
const START: Duration = Duration::from_secs(90);
/// `nobody`, on Linux.
const NOBODY: u32 = 65_534;

pub struct Server {
    folder: PathBuf,
    port: u16,
    process: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Server {
    /// The one of this test binary; removed when the binary ends.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        extern "C" fn remove() {
            if let Some(server) = SHARED.get() {
                server.remove();
            }
        }
        SHARED.get_or_init(|| {
            // SAFETY: the function is called once, on exit, and touches nothing but the server.
            unsafe { libc::atexit(remove) };
            Self::start()
        })
    }

    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("docket-postgres-").tempdir().expect("a folder").keep();
        if is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("a folder of nobody");
        }
        let data = folder.join("data");
        // Another collation than that of bytes: nothing may depend on it.
        let mut init = program("initdb");
        init.args(["--username=docket", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]);
        init.args(["--locale-provider=icu", "--icu-locale=en-US"]).arg("-D").arg(&data);
        run(init);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|it| it.local_addr())
            .expect("a port")
            .port();
        let server = Self { folder, port, process: Mutex::default(), databases: AtomicU32::new(0) };
        server.up();
        server
    }

    /// The address of a new database.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.client("createdb", &[&name]);
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://docket:unused@127.0.0.1:{}/{database}", self.port)
    }

    /// What one statement says, in a database that [`Self::database`] made.
    pub fn ask(&self, url: &str, sql: &str) -> String {
        let mut psql = program("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", sql, url]);
        run(psql)
    }

    /// Stops at once, as a crash does.
    pub fn down(&self) {
        if let Some(mut child) = self.process.lock().expect("one user").take() {
            // SAFETY: the child was not waited for, so the id is still its own.
            unsafe { libc::kill(child.id().cast_signed(), libc::SIGQUIT) };
            child.wait().expect("reap");
        }
    }

    /// Starts, and answers when it returns.
    pub fn up(&self) {
        let mut postgres = program("postgres");
        postgres.arg("-D").arg(self.folder.join("data")).args(["-h", "127.0.0.1", "-k", ""]);
        postgres.args(["-p", &self.port.to_string(), "-c", "max_connections=200"]);
        // Commits still reach the system before they are acknowledged, so a crash of the server loses none.
        postgres.args(["-c", "shared_buffers=16MB", "-c", "fsync=off", "-c", "full_page_writes=off"]);
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).expect("a log");
        postgres.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        *self.process.lock().expect("one user") = Some(spawn(postgres));
        let begin = Instant::now();
        while !self.answers() {
            assert!(
                begin.elapsed() < START,
                "PostgreSQL did not start; see {}",
                self.folder.join("log").display()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let mut ready = program("pg_isready");
        ready.args(["-q", "-h", "127.0.0.1", "-U", "docket", "-p", &self.port.to_string()]);
        ready.status().expect("pg_isready").success()
    }

    fn client(&self, name: &str, arguments: &[&str]) {
        let mut client = program(name);
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "docket"]).args(arguments);
        run(client);
    }

    fn remove(&self) {
        self.down();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.remove();
    }
}

fn is_root() -> bool {
    // SAFETY: it only reads.
    unsafe { libc::geteuid() == 0 }
}

/// Of the newest PostgreSQL that is installed, as a user that it accepts.
fn program(name: &str) -> Command {
    let mut command = Command::new(folder_of_programs().join(name));
    if is_root() {
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    command
}

fn folder_of_programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let found = versions.filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            folder.join("initdb").is_file().then_some((version, folder))
        });
        let newest = found.max().map(|(_, folder)| folder);
        newest.expect("PostgreSQL 15 or later is needed for this test (Debian: apt-get install postgresql)")
    })
}

fn run(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("a program of PostgreSQL");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Starts a process that is stopped when this one ends, even if it is killed. The kernel ties that to the thread that
/// starts it, so one thread starts all and lives as long as the process.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static ORDERS: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let mut command = command;
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let (answer, answered) = mpsc::channel();
    orders.lock().expect("one user").send((command, answer)).expect("the thread lives");
    answered.recv().expect("an answer").expect("PostgreSQL starts")
}
