//! Settings that are valid, and that somebody will regret: told at the start and by `--check-config`.
//!
//! What only a running Redis can tell (no append-only file, a policy that evicts) is told when it is opened.

use std::net::SocketAddr;

use docket::{identity::exposure, settings};

use super::{Ack, Config, StoreUrl};

impl Config {
    /// One sentence each, with the keys.
    pub fn risks(&self) -> Vec<String> {
        let mut risks = settings::unknown_variables(settings::variables());
        risks.extend(self.risks_of_settings());
        risks
    }

    fn risks_of_settings(&self) -> Vec<String> {
        let mut risks = Vec::new();
        let listen = self.grpc.listen;
        match self.store_url() {
            Ok(StoreUrl::Memory) => risks.push(
                "store.url is memory: and keeps nothing: all schedules and runs are gone with this process"
                    .into(),
            ),
            Ok(StoreUrl::Redis(_)) => {
                risks.extend(self.risks_on_redis(listen));
            }
            Ok(StoreUrl::Embedded(_)) | Err(_) => {
                if self.store.ack == Ack::Disk {
                    risks.push(
                        "store.ack is for Redis: embedded:FOLDER syncs before each answer anyway".into(),
                    );
                }
            }
        }
        if self.store.accept_older {
            risks.push(
                "store.accept_older is set: a store that lost changes is taken without a word; unset it after \
                 the restore"
                    .into(),
            );
        }
        risks.extend(self.auth.risk(listen, !self.tls.cert_file.as_os_str().is_empty()));
        risks.extend(self.auth.empty_file());
        risks.extend(self.grpc.bounds().risk());
        let secrets = [
            ("auth.tokens_file", &self.auth.tokens_file),
            ("tls.key_file", &self.tls.key_file),
            ("cluster.tls_key_file", &self.cluster.tls_key_file),
        ];
        risks.extend(secrets.into_iter().filter_map(|(key, file)| exposure::of(key, file)));
        risks
    }

    fn risks_on_redis(&self, listen: SocketAddr) -> Vec<String> {
        let mut risks = Vec::new();
        if self.cluster.advertise.is_empty() && listen.ip().is_unspecified() {
            risks.push(format!(
                "cluster.advertise is empty and grpc.listen is {listen}: other schedulers cannot pass calls on to \
                 this one"
            ));
        }
        let advertise = &self.cluster.advertise;
        if !advertise.is_empty() && !has_port(advertise) {
            risks.push(format!(
                "cluster.advertise is {advertise}, without a port: other schedulers cannot pass calls on to this one; \
                 write HOST:PORT"
            ));
        }
        let url = &self.store.url;
        if !self.store.tls_ca_file.as_os_str().is_empty() && !url.starts_with("rediss") {
            risks.push(
                "store.tls_ca_file is set and store.url is not rediss://: the connection is in the clear, and nobody \
                 looks at the file"
                    .into(),
            );
        }
        let in_the_clear = url.starts_with("redis://") || url.starts_with("redis+sentinel://");
        if in_the_clear
            && url.contains('@')
            && !["@127.", "@localhost", "@[::1]"].iter().any(|here| url.contains(here))
        {
            risks.push("store.url sends its password over the network in the clear: use rediss://".into());
        }
        risks
    }
}

fn has_port(place: &str) -> bool {
    place
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risks(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::load(None).expect("the defaults");
        change(&mut config);
        config.check().expect("valid");
        config.risks_of_settings().join("\n")
    }

    #[test]
    fn the_defaults_and_a_usual_installation_are_no_risk() {
        let tokens = tempfile::NamedTempFile::new().expect("a file");
        let hash = docket::identity::tokens::hash("t");
        let entry = format!(
            "[[identity]]\nname = \"a\"\nroles = [\"operator\"]\nnamespaces = [\"*\"]\nhash = \"{hash}\"\n"
        );
        std::fs::write(tokens.path(), entry).expect("written");
        assert_eq!(risks(|_| {}), "");
        let usual = risks(|config| {
            config.store.url = "rediss://docket:s3cret@redis:6379".into();
            config.store.ack = Ack::Disk;
            config.cluster.advertise = "10.0.0.7:7310".into();
            config.grpc.listen = "0.0.0.0:7310".parse().expect("an address");
            config.auth.tokens_file = tokens.path().into();
        });
        // Of what others reach, TLS alone is left to say.
        assert!(usual.starts_with("tls.cert_file is empty") && !usual.contains('\n'), "{usual}");
    }

    #[test]
    fn what_will_be_regretted_is_told_without_secrets() {
        assert!(risks(|config| config.store.url = "memory:".into()).contains("keeps nothing"));
        assert!(risks(|config| config.store.ack = Ack::Disk).contains("anyway"));
        assert!(risks(|config| config.store.accept_older = true).contains("unset it"));
        let clear = risks(|config| config.store.url = "redis://docket:s3cret@redis".into());
        assert!(clear.contains("rediss://") && !clear.contains("s3cret"), "{clear}");
        assert_eq!(risks(|config| config.store.url = "redis://:s3cret@127.0.0.1".into()), "");
        let unused = risks(|config| {
            config.store.url = "redis://127.0.0.1".into();
            config.store.tls_ca_file = "/ca.pem".into();
        });
        assert!(unused.contains("store.tls_ca_file") && unused.contains("rediss://"), "{unused}");
        let portless = risks(|config| {
            config.store.url = "redis://127.0.0.1".into();
            config.cluster.advertise = "10.0.0.7".into();
        });
        assert!(portless.contains("cluster.advertise") && portless.contains("HOST:PORT"), "{portless}");
        let hidden = risks(|config| {
            config.store.url = "redis://redis".into();
            config.grpc.listen = "0.0.0.0:7310".parse().expect("an address");
            config.auth.allow_anonymous = true;
        });
        assert!(hidden.contains("cluster.advertise") && hidden.contains("auth.allow_anonymous"), "{hidden}");
    }
}
