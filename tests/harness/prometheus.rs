//! A Prometheus of a test's own, if Debian's is installed, or unpacked below `target/prometheus`
//! (`make target/prometheus`).

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// `prometheus` or `promtool`. Where `CI` is set they have to be there.
pub fn tool(name: &str) -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/prometheus/usr/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([unpacked]);
    let found = folders.map(|folder| folder.join(name)).find(|tool| tool.is_file());
    assert!(found.is_some() || env::var_os("CI").is_none(), "no {name}: run `make target/prometheus`");
    found
}

/// GET or POST over HTTP/1.0, so that the body ends with the connection.
pub fn ask(server: SocketAddr, path: &str, form: Option<&str>) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(server)?;
    let request = match form {
        None => format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n"),
        Some(form) => format!(
            "POST {path} HTTP/1.0\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{form}",
            form.len()
        ),
    };
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.to_owned(), body.to_owned()))
}

/// Dropping it kills it.
pub struct Prometheus {
    child: Child,
    server: SocketAddr,
}

impl Prometheus {
    /// Scrapes these each second. None without the program.
    pub fn start(folder: &Path, targets: &[SocketAddr]) -> Option<Self> {
        let program = tool("prometheus")?;
        let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: docket\n  static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        fs::write(folder.join("prometheus.yml"), config).expect("a configuration");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let child = Command::new(program)
            .current_dir(folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus-data"])
            .arg(format!("--web.listen-address={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("prometheus.log")).expect("a log"))
            .spawn()
            .expect("prometheus");
        Some(Self { child, server: port })
    }

    /// What a query finds, as soon as it finds something. Metrics come with the next scrape, rates with the second.
    pub fn find(&self, query: &str) -> serde_json::Value {
        let form = format!("query={}", encoded(query));
        let begin = Instant::now();
        let mut last = String::new();
        while begin.elapsed() < PATIENCE {
            // It may be on its way up.
            let Ok((_, body)) = ask(self.server, "/api/v1/query", Some(&form)) else { continue };
            let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            assert_ne!(answer["status"], "error", "{query}: {body}");
            if answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty()) {
                return answer["data"]["result"].clone();
            }
            last = body;
        }
        panic!("{query} finds nothing: {last}")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}
