//! An authority, and certificates of it.

use std::path::Path;
use std::process::{Command, Stdio};

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let command = command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    let output = command.output().expect("openssl is needed for this test (Debian: apt-get install openssl)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `ca.pem`; `server.pem` for 127.0.0.1, `other.pem` for another name, `old.pem` has expired; all with `server.key`.
pub fn make(folder: &Path) {
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    const SIGN: &str = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial";
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    openssl(folder, &format!("req -x509 {KEY} -keyout ca.key -out ca.pem -subj /CN={name} -days 2"));
    openssl(folder, &format!("req {KEY} -keyout server.key -out server.csr -subj /CN=server"));
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    std::fs::write(folder.join("others"), "subjectAltName=DNS:imap.example\n").unwrap();
    openssl(folder, &format!("{SIGN} -days 2 -extfile names -out server.pem"));
    openssl(folder, &format!("{SIGN} -days 2 -extfile others -out other.pem"));
    openssl(folder, &format!("{SIGN} -days -1 -extfile names -out old.pem"));
}
