//! A server that speaks S3, on a free loopback port, with one bucket. `make target/moto/bin/moto_server` installs it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use sync_core::archive::Blobs;
use sync_core::archive::blobs::Place;

pub struct Server {
    process: Mutex<Child>,
    endpoint: String,
}

impl Server {
    pub fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/moto/bin/moto_server");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("a server that speaks S3: make target/moto/bin/moto_server");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let endpoint =
            lines.find_map(|line| line.split_once("Running on ").map(|(_, url)| url.trim().to_owned()));
        let server = Self { process: Mutex::new(process), endpoint: endpoint.expect("it serves") };
        // What it logs later is read, so that it never waits.
        std::thread::spawn(move || lines.for_each(drop));
        server.make_bucket();
        server
    }

    fn make_bucket(&self) {
        let address = self.endpoint.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = format!(
            "PUT /bucket HTTP/1.1\r\nHost: {address}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let answer = std::io::read_to_string(stream).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    pub fn blobs(&self, prefix: &str) -> Blobs {
        let environment = [
            ("AWS_ENDPOINT", self.endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let place = Place::parse(&format!("s3://bucket/{prefix}")).unwrap();
        Blobs::at(&place, environment).unwrap()
    }

    pub fn stop(&self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
