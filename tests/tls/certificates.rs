//! Authorities and certificates, made by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// An authority, with its folder of certificates.
pub struct Authority {
    folder: PathBuf,
}

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        openssl(folder, &format!("req -x509 {KEY} -keyout ca.key -out ca.pem -subj /CN={name} -days 2"));
        Self { folder: folder.into() }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// `names`: as in `IP:127.0.0.1,URI:spiffe://x/a`.
    pub fn sign(&self, name: &str, names: &str) -> Pair {
        self.sign_for(name, names, 2)
    }

    pub fn sign_for(&self, name: &str, names: &str, days: i32) -> Pair {
        let file = |end: &str| self.folder.join(format!("{name}.{end}"));
        fs::write(
            file("ext"),
            format!("basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={names}\n"),
        )
        .expect("written");
        openssl(&self.folder, &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        let sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial";
        openssl(
            &self.folder,
            &format!("{sign} -in {name}.csr -days {days} -extfile {name}.ext -out {name}.pem"),
        );
        Pair { cert: file("pem"), key: file("key") }
    }
}

impl Pair {
    /// As a secret that is mounted again: each file is replaced whole.
    pub fn replace(&self, other: &Self) {
        for (from, to) in [(&other.key, &self.key), (&other.cert, &self.cert)] {
            let new = to.with_extension("new");
            fs::copy(from, &new).expect("copied");
            fs::rename(&new, to).expect("renamed");
        }
    }

    pub fn copy_to(&self, folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let copy = Self { cert: folder.join("tls.crt"), key: folder.join("tls.key") };
        copy.replace(self);
        copy
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder);
    let output = command.output().expect("openssl is needed for this test (Debian: apt-get install openssl)");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
