//! What kind of Redis answers, and whether it may hold anything.

use deadpool_redis::redis::{self, aio::MultiplexedConnection};

use super::{Ack, script::Failed};

/// Scripts with a shebang, and a whole script in one transaction of the log, need it.
const OLDEST: (u32, u32) = (7, 0);
/// WAITAOF that can be believed; see `fsync`. Valkey calls itself 7.2.
const TELLS_FSYNC: (u32, u32) = (8, 0);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Another one after each restart, and after another replica has become master: history may have changed.
    pub identity: String,
    pub version: (u32, u32),
    pub has_log: bool,
    pub replicas: u32,
    /// Whether it refuses writes while too few replicas are in touch.
    pub waits_for_replicas: bool,
}

impl Server {
    /// # Errors
    /// When it does not answer, or must not be used.
    pub async fn ask(connection: &mut MultiplexedConnection) -> Result<Self, Failed> {
        let info: String = redis::cmd("INFO").query_async(connection).await?;
        Self::read(&info)
    }

    pub fn tells_fsync(&self) -> bool {
        self.version >= TELLS_FSYNC && self.has_log
    }

    /// What a person should mend; empty if nothing.
    pub fn advice(&self, ack: Ack) -> String {
        let mut advice = Vec::new();
        if !self.has_log {
            advice.push("this Redis keeps no append-only file, and forgets what it holds when it restarts: set appendonly yes");
        }
        if self.replicas > 0 && !self.waits_for_replicas {
            advice.push("this Redis takes writes while it is cut off from its replicas, and loses them when one of these \
                         becomes master: set min-replicas-to-write 1");
        }
        if self.replicas == 0 && ack == Ack::Replica {
            advice.push("no replica is connected, and with store.ack = replica no change is acknowledged: connect one");
        }
        advice.join("; ")
    }

    fn read(info: &str) -> Result<Self, Failed> {
        let value = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .unwrap_or_default()
                .trim()
        };
        let passing = |why: &str| Failed { passing: true, why: why.into() };
        if value("loading") == "1" {
            return Err(passing("Redis is loading its data"));
        }
        if value("role") != "master" {
            return Err(passing("this Redis is a replica; a master has to be named, or Sentinel"));
        }
        let version = version(value("redis_version"));
        let fatal = |why: String| Failed { passing: false, why };
        if version < OLDEST {
            return Err(fatal(format!(
                "Redis {} is too old: 7.0 or later is needed",
                value("redis_version")
            )));
        }
        let policy = value("maxmemory_policy");
        if policy != "noeviction" {
            return Err(fatal(format!(
                "Redis may throw away records (maxmemory-policy {policy}): set maxmemory-policy noeviction"
            )));
        }
        Ok(Self {
            identity: format!("{}/{}", value("run_id"), value("master_replid")),
            version,
            has_log: value("aof_enabled") == "1",
            replicas: value("connected_slaves").parse().unwrap_or(0),
            // It is only shown when `min-replicas-to-write` is set.
            waits_for_replicas: !value("min_slaves_good_slaves").is_empty(),
        })
    }
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nloading:0\r\naof_enabled:1\r\n\
                        maxmemory_policy:noeviction\r\nrole:master\r\nconnected_slaves:2\r\nmaster_replid:def\r\n";

    #[test]
    fn a_fit_server_is_known() {
        let server = Server::read(INFO).unwrap();
        assert_eq!(server.identity, "abc/def");
        assert_eq!((server.version, server.has_log, server.replicas), ((7, 0), true, 2));
        assert!(!server.tells_fsync());
        assert!(!Server::read(&INFO.replace("7.0.15", "7.4.2")).unwrap().tells_fsync());
        assert!(Server::read(&INFO.replace("7.0.15", "8.0.0")).unwrap().tells_fsync());
    }

    #[test]
    fn o6_o10_what_should_be_mended_is_said() {
        let advice = |from: &str, to: &str, ack| Server::read(&INFO.replace(from, to)).unwrap().advice(ack);
        let guarded = "connected_slaves:2\r\nmin_slaves_good_slaves:2";
        assert!(advice("", "", Ack::Memory).contains("min-replicas-to-write 1"));
        assert_eq!(advice("connected_slaves:2", guarded, Ack::Replica), "");
        assert!(advice("aof_enabled:1", "aof_enabled:0", Ack::Memory).contains("appendonly yes"));
        assert_eq!(advice("connected_slaves:2", "connected_slaves:0", Ack::Memory), "");
        assert!(
            advice("connected_slaves:2", "connected_slaves:0", Ack::Replica)
                .contains("no replica is connected")
        );
    }

    #[test]
    fn o6_an_unfit_server_is_refused_with_the_remedy() {
        let refused = |from: &str, to: &str| Server::read(&INFO.replace(from, to)).unwrap_err();
        let evicts = refused("noeviction", "allkeys-lru");
        assert!(!evicts.passing && evicts.why.contains("set maxmemory-policy noeviction"), "{}", evicts.why);
        assert!(!refused("7.0.15", "6.2.7").passing);
        assert!(refused("role:master", "role:slave").passing);
        assert!(refused("loading:0", "loading:1").passing);
    }
}
