//! When a write is on Redis' disk, on each kind of server.
//!
//! From Redis 8 on `WAITAOF` says so ([`told`]). Redis 7.2 and 7.4 know the command, and so does Valkey, but with
//! `everysec` they may answer it before the sync has even begun (https://github.com/redis/redis/pull/13793; seen in
//! Valkey 9.1). There, and before: with `appendfsync always` the write is synced before it is answered; with `everysec`
//! it is concluded from `INFO persistence` ([`Watch`]).

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use deadpool_redis::redis::{self, aio::MultiplexedConnection};

use super::{script::Failed, server::Server};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// WAITAOF.
    Tells,
    BeforeAnswers,
    EverySecond,
}

impl Fsync {
    /// # Errors
    /// When this Redis cannot be known to have anything on disk; with the remedy.
    pub async fn ask(connection: &mut MultiplexedConnection, server: &Server) -> Result<Self, Failed> {
        let fatal = |why: &str| Failed { passing: false, why: format!("store.ack is disk, and {why}") };
        if !server.has_log {
            return Err(fatal(
                "this Redis keeps no append-only file: set appendonly yes there, or store.ack to memory or replica",
            ));
        }
        if server.tells_fsync() {
            return Ok(Self::Tells);
        }
        let settings: Result<HashMap<String, String>, _> = redis::cmd("CONFIG")
            .arg("GET")
            .arg(&["appendfsync", "no-appendfsync-on-rewrite"])
            .query_async(connection)
            .await;
        let settings = settings.map_err(|error| {
            fatal(&format!(
                "a Redis before 8.0, or Valkey, has to be asked for its settings: allow the user +config|get ({error})"
            ))
        })?;
        Self::read(&settings).map_err(fatal)
    }

    fn read(settings: &HashMap<String, String>) -> Result<Self, &'static str> {
        let is = |name: &str, value: &str| settings.get(name).is_some_and(|set| set == value);
        if is("appendfsync", "always") {
            Ok(Self::BeforeAnswers)
        } else if !is("appendfsync", "everysec") {
            Err("this Redis leaves syncs to its host: set appendfsync everysec or always there")
        } else if !is("no-appendfsync-on-rewrite", "no") {
            Err("this Redis does not sync during a rewrite, and before 8.0 cannot say when it does: set \
                 no-appendfsync-on-rewrite no there")
        } else {
            Ok(Self::EverySecond)
        }
    }
}

/// Waits until what was written on this connection is on disk, as WAITAOF says. Returns whether it is within `limit`.
pub async fn told(connection: &mut MultiplexedConnection, limit: Duration) -> Result<bool, Failed> {
    let millis = limit.as_millis() as u64;
    let (local, _): (u32, u32) =
        redis::cmd("WAITAOF").arg(1).arg(0).arg(millis).query_async(connection).await?;
    Ok(local > 0)
}

/// Whether the server is set to leave syncs to its host, as far as it tells.
pub async fn is_off(connection: &mut MultiplexedConnection) -> bool {
    let setting: Result<HashMap<String, String>, _> =
        redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(connection).await;
    setting.is_ok_and(|setting| setting.get("appendfsync").is_some_and(|set| set == "no"))
}

/// What `INFO persistence` shows.
#[derive(Clone, Copy)]
struct Look<'a>(&'a str);

impl Look<'_> {
    fn is(self, name: &str, expected: &str) -> bool {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.is_some_and(|value| value.trim() == expected)
    }

    /// Whether no sync is under way or waits for its turn.
    fn is_idle(self) -> Result<bool, Failed> {
        if self.is("aof_enabled", "1") && self.is("aof_last_write_status", "ok") {
            return Ok(self.is("aof_pending_bio_fsync", "0"));
        }
        let why = "Redis does not write its append-only file: its log says why";
        Err(Failed { passing: true, why: why.into() })
    }
}

/// Concludes from what `INFO persistence` shows that a write is synced, with `appendfsync everysec`.
///
/// Redis appends to a buffer, writes it out each turn of its loop (at most 2 s late, when a sync is slow), and begins a
/// sync in the background each second unless one runs. So, after the write was answered:
///
/// 1. the buffer is empty, or 2.5 s have passed: it is written out;
/// 2. 1.5 s later no sync is pending. Whatever sync began last began after 1, unless one that lasted for so long has
///    just ended; then Redis begins the next one before it answers anything else;
/// 3. once more no sync is pending: the one that covers the write has ended.
#[derive(Debug)]
pub struct Watch {
    begin: Instant,
    written: Option<Instant>,
    idle: u32,
}

impl Watch {
    /// Between two looks.
    pub const PAUSE: Duration = Duration::from_millis(100);
    const WRITTEN: Duration = Duration::from_millis(2_500);
    const BEGUN: Duration = Duration::from_millis(1_500);

    /// The write has just been answered.
    pub fn new(now: Instant) -> Self {
        Self { begin: now, written: None, idle: 0 }
    }

    /// # Errors
    /// When it does not get there any more.
    pub fn is_synced(&mut self, now: Instant, info: &str) -> Result<bool, Failed> {
        let look = Look(info);
        let idle = look.is_idle()?;
        let Some(written) = self.written else {
            if look.is("aof_buffer_length", "0") || now - self.begin >= Self::WRITTEN {
                self.written = Some(now);
            }
            return Ok(false);
        };
        if now - written >= Self::BEGUN && idle {
            self.idle += 1;
        }
        Ok(self.idle >= 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn o10_what_cannot_be_known_is_refused() {
        let read = |fsync: &str, rewrite: &str| {
            Fsync::read(&settings(&[("appendfsync", fsync), ("no-appendfsync-on-rewrite", rewrite)]))
        };
        assert_eq!(read("always", "yes"), Ok(Fsync::BeforeAnswers));
        assert_eq!(read("everysec", "no"), Ok(Fsync::EverySecond));
        assert!(read("everysec", "yes").unwrap_err().contains("set no-appendfsync-on-rewrite no"));
        assert!(read("no", "no").unwrap_err().contains("set appendfsync"));
        assert!(Fsync::read(&settings(&[])).is_err());
    }

    fn info(buffer: u32, pending: u32) -> String {
        format!(
            "aof_enabled:1\r\naof_last_write_status:ok\r\naof_buffer_length:{buffer}\r\naof_pending_bio_fsync:{pending}\r\n"
        )
    }

    #[test]
    fn o10_a_sync_that_began_before_the_write_does_not_count() {
        let begin = Instant::now();
        let mut watch = Watch::new(begin);
        let mut look = |millis: u64, buffer: u32, pending: u32| {
            watch.is_synced(begin + Duration::from_millis(millis), &info(buffer, pending)).unwrap()
        };
        assert!(!look(0, 20, 1), "not written out");
        assert!(!look(100, 0, 1), "written out, beside a sync that is under way");
        assert!(!look(1_500, 0, 0), "the next may not have begun");
        assert!(!look(1_600, 0, 1));
        assert!(!look(1_700, 0, 0), "it begins now at the latest");
        assert!(!look(1_800, 0, 1));
        assert!(look(1_900, 0, 0));
    }

    #[test]
    fn o10_a_buffer_that_is_never_seen_empty_is_written_out_in_time() {
        let begin = Instant::now();
        let mut watch = Watch::new(begin);
        let looks: Vec<u64> = (0..60)
            .map(|n| n * 100)
            .filter(|millis| {
                watch.is_synced(begin + Duration::from_millis(*millis), &info(7, 0)).unwrap_or_default()
            })
            .collect();
        assert_eq!(looks.first(), Some(&4_100));
    }

    #[test]
    fn o10_a_log_that_is_not_written_is_an_error() {
        let now = Instant::now();
        for broken in
            [info(0, 0).replace("status:ok", "status:err"), info(0, 0).replace("enabled:1", "enabled:0")]
        {
            assert!(Watch::new(now).is_synced(now, &broken).is_err());
        }
    }
}
