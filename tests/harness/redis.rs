//! A real Redis for tests: on a socket in a folder of its own, killed and started again at will.
//!
//! It is the `redis-server` of the path, or the one that `DOCKET_TEST_REDIS` names: a newer Redis, or Valkey.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::{
    env, fs, io,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long it may take until it answers.
const START: Duration = Duration::from_secs(90);

/// A server that runs. Dropping it kills it.
pub struct Redis {
    child: Child,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Redis {
    /// With an append-only file that is synced every second, as most people run it.
    pub fn start(folder: &Path) -> Self {
        Self::with(folder, &["--appendonly", "yes", "--appendfsync", "everysec"])
    }

    pub fn with(folder: &Path, arguments: &[&str]) -> Self {
        Self::within(folder, arguments, Vec::new())
    }

    /// With more variables in its environment.
    pub fn within(folder: &Path, arguments: &[&str], environment: Vec<(String, String)>) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = spawn(folder, &arguments, &environment);
        let mut redis = Self { child, folder: folder.to_owned(), arguments, environment };
        redis.until_it_answers();
        redis
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `kill -9`, and nothing else.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("reap");
    }

    /// A new process on the same folder.
    pub fn restart(&mut self) {
        self.begin();
        self.until_it_answers();
    }

    /// A new process on the same folder, that may not answer for a while.
    pub fn begin(&mut self) {
        self.child = spawn(&self.folder, &self.arguments, &self.environment);
    }

    /// For the starts to come.
    pub fn add(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill");
        assert!(status.success(), "kill {name}");
    }

    /// Sends one command and returns the answer as it comes.
    pub fn ask(&self, command: &[&str]) -> io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = format!("*{}\r\n", command.len());
        for part in command {
            request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        stream.write_all(request.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The one append-only file that grows.
    pub fn log(&self) -> PathBuf {
        let folder = self.folder.join("appendonlydir");
        let files = fs::read_dir(&folder).expect("appendonlydir").map(|entry| entry.expect("entry").path());
        files.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max().expect("an append-only file")
    }

    fn until_it_answers(&mut self) {
        let begin = Instant::now();
        loop {
            if self.ask(&["PING"]).is_ok_and(|answer| answer.starts_with("+PONG")) {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("redis-server") {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("redis-server ended with {status}:\n{log}");
            }
            assert!(begin.elapsed() < START, "redis-server does not answer");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(folder: &Path, arguments: &[String], environment: &[(String, String)]) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    // A path to a socket is bounded, so it is named from within the folder.
    Command::new(binary())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .args(["--port", "0", "--unixsocket", "s", "--save", "", "--dir", "."])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed for this test (Debian: apt-get install redis-server)")
}

pub fn binary() -> PathBuf {
    env::var_os("DOCKET_TEST_REDIS").map_or_else(|| "redis-server".into(), Into::into)
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be stopped by a signal, or dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
