//! Settings that are valid, and that somebody will regret: told at the start and by `--check-config`.

use std::{fs, net::IpAddr, thread};

use docket::{identity::exposure, settings};

use super::{Config, oauth};

/// What a worker takes with the largest mails in all slots, and one reader that meets a bomb (docs/documents.md).
const WORKER_BYTES: u64 = 512 << 20;
const READER_BYTES: u64 = 256 << 20;
/// With it a process ends within 25 s.
const DRAIN_MS: u64 = 20_000;
/// Where clouds tell machines their credentials.
const METADATA: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254));

impl Config {
    /// One sentence each, with the keys.
    pub fn risks(&self) -> Vec<String> {
        let mut risks = settings::unknown_variables(settings::variables());
        risks.extend(self.risks_within(memory_limit()));
        risks
    }

    fn risks_within(&self, memory: Option<u64>) -> Vec<String> {
        let beyond = !self.grpc.listen.ip().is_loopback();
        let folders = !self.sources.folder_root.as_os_str().is_empty();
        let (file, folder) = (self.archive.database_url.is_sqlite(), self.archive.blobs_url.is_folder());
        let metadata =
            self.allowed_networks().unwrap_or_default().iter().any(|network| network.contains(METADATA));
        let told = [
            (
                file && self.worker.slots > 0 && !self.scheduler_is_here(),
                "archive.database_url is a file of this host, and the scheduler is on another: workers on other \
                 hosts need PostgreSQL, or are refused",
            ),
            (
                !file && folder,
                "archive.database_url is for several hosts, and archive.blobs_url is a folder: all of them have to \
                 share it",
            ),
            (
                beyond && self.credentials.key_file.as_os_str().is_empty(),
                "credentials.key_file is empty: mailboxes that need a credential are refused",
            ),
            (
                beyond && folders,
                "sources.folder_root is set and grpc.listen is not loopback: whoever may connect a mailbox reads the \
                 mail below it",
            ),
            (
                !self.scheduler.token_file.as_os_str().is_empty()
                    && !oauth::is_protected(&self.scheduler.url),
                "scheduler.token_file is set and scheduler.url is http:// to another host: the token travels in the \
                 clear, unless the network encrypts",
            ),
            (
                !self.scheduler.tls_ca_file.as_os_str().is_empty()
                    && self.scheduler.url.starts_with("http://"),
                "scheduler.tls_ca_file is set and scheduler.url is http://: the connection is in the clear, and nobody \
                 looks at the file",
            ),
            (
                metadata,
                "sources.allow_networks holds 169.254.169.254: users may have the cloud's credentials asked for",
            ),
        ];
        let told = told.into_iter().filter(|(is_so, _)| *is_so).map(|(_, risk)| risk.to_owned());
        let has_tls = !self.tls.cert_file.as_os_str().is_empty();
        let secrets = [
            ("auth.tokens_file", &self.auth.tokens_file),
            ("tls.key_file", &self.tls.key_file),
            ("scheduler.tls_key_file", &self.scheduler.tls_key_file),
            ("scheduler.token_file", &self.scheduler.token_file),
        ];
        let late = (self.worker.drain_ms > DRAIN_MS).then(|| {
            format!(
                "worker.drain_ms is {}: the process may take 5 s more than that to end, and what stops it has to wait \
                 (terminationGracePeriodSeconds, TimeoutStopSec)",
                self.worker.drain_ms
            )
        });
        told.chain(late)
            .chain(self.auth.empty_file())
            .chain(self.auth.risk(self.grpc.listen, has_tls))
            .chain(self.too_little(memory))
            .chain(self.grpc.bounds().risk())
            .chain(secrets.into_iter().filter_map(|(key, file)| exposure::of(key, file)))
            .collect()
    }

    fn scheduler_is_here(&self) -> bool {
        let host = self.scheduler.url.split_once("://").map_or("", |(_, rest)| rest);
        ["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here))
    }

    fn too_little(&self, memory: Option<u64>) -> Option<String> {
        if self.worker.slots == 0 || !self.kinds().any(|kind| kind == "document-sync") {
            return None;
        }
        let children = self.reader.children();
        let needed = WORKER_BYTES + READER_BYTES * children as u64;
        let memory = memory.filter(|memory| *memory < needed)?;
        Some(format!(
            "reader.children is {children}, for which a worker may need {} MiB, and this process may have {} MiB: \
             lower it, or give more",
            needed >> 20,
            memory >> 20
        ))
    }
}

impl super::Reader {
    /// How many readers there are to be.
    pub fn children(&self) -> usize {
        match self.children {
            0 => thread::available_parallelism().map_or(1, usize::from),
            children => children,
        }
    }
}

/// Of the control group, where there is one with a limit.
fn memory_limit() -> Option<u64> {
    fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risks(memory: Option<u64>, change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::load(None).expect("the defaults");
        config.reader.children = 2;
        change(&mut config);
        config.check().expect("valid");
        config.risks_within(memory).join("\n")
    }

    #[test]
    fn the_defaults_and_a_usual_installation_are_no_risk() {
        let tokens = tempfile::NamedTempFile::new().expect("a file");
        let hash = docket::identity::tokens::hash("t");
        let entry = format!(
            "[[identity]]\nname = \"a\"\nroles = [\"operator\"]\nnamespaces = [\"*\"]\nhash = \"{hash}\"\n"
        );
        fs::write(tokens.path(), entry).expect("written");
        assert_eq!(risks(None, |_| {}), "");
        let usual = risks(Some(1 << 30), |config| {
            config.grpc.listen = "0.0.0.0:7320".parse().expect("an address");
            config.scheduler.url = "http://scheduler:7310".into();
            config.archive = archive("postgres://docket@db/docket", "s3://bucket");
            config.credentials.key_file = "/run/keys".into();
            config.sources.allow_networks = "10.1.0.0/16".into();
            config.auth.tokens_file = tokens.path().into();
        });
        // Of what others reach, TLS alone is left to say.
        assert!(usual.starts_with("tls.cert_file is empty") && !usual.contains('\n'), "{usual}");
    }

    fn archive(database: &str, blobs: &str) -> super::super::archive::Archive {
        let defaults = Config::load(None).expect("the defaults").archive;
        super::super::archive::Archive { database_url: database.into(), blobs_url: blobs.into(), ..defaults }
    }

    #[test]
    fn what_will_be_regretted_is_told() {
        let away = risks(None, |config| config.scheduler.url = "http://scheduler:7310".into());
        assert!(away.contains("need PostgreSQL"), "{away}");
        let library = risks(None, |config| {
            config.scheduler.url = "http://scheduler:7310".into();
            config.worker.slots = 0;
        });
        assert_eq!(library, "");
        let shared =
            risks(None, |config| config.archive = archive("postgres://docket@db/docket", "file:blobs"));
        assert!(shared.contains("share it"), "{shared}");
        let open = risks(None, |config| {
            config.grpc.listen = "0.0.0.0:7320".parse().expect("an address");
            config.sources.folder_root = "/mail".into();
            config.auth.allow_anonymous = true;
        });
        assert!(open.contains("key_file") && open.contains("folder_root"), "{open}");
        let everything = risks(None, |config| config.sources.allow_networks = "0.0.0.0/0".into());
        assert!(everything.contains("169.254.169.254"), "{everything}");
        let token = tempfile::NamedTempFile::new().expect("a file");
        fs::write(token.path(), docket::identity::tokens::token([7; 32])).expect("written");
        let with_token = |url: &str| {
            risks(None, |config| {
                config.scheduler.url = url.into();
                config.scheduler.token_file = token.path().into();
                config.worker.slots = 0;
            })
        };
        assert!(with_token("http://scheduler:7310").contains("scheduler.token_file is set"));
        assert_eq!(with_token("http://127.0.0.1:7310"), "");
        let unused = risks(None, |config| config.scheduler.tls_ca_file = "/ca.pem".into());
        assert!(unused.contains("scheduler.tls_ca_file"), "{unused}");
        let late = risks(None, |config| config.worker.drain_ms = 60_000);
        assert!(late.contains("worker.drain_ms is 60000"), "{late}");
        let tight = risks(Some(900 << 20), |_| {});
        assert!(tight.contains("may need 1024 MiB, and this process may have 900 MiB"), "{tight}");
        assert_eq!(risks(Some(900 << 20), |config| config.worker.kinds = "noop".into()), "");
    }
}
