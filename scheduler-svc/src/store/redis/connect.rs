//! How Redis is reached: one server, or the master that Sentinel names; over TLS or not; through pools.

use std::{fmt, path::PathBuf, time::Duration};

use deadpool_redis::{
    PoolConfig, Runtime, Timeouts,
    redis::{
        AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
        RedisConnectionInfo, RedisError, TlsCertificates, aio::MultiplexedConnection,
    },
    sentinel,
};

use docket::errors::cause;

use crate::store::StoreError;

/// A connection has to stand within it.
const CONNECT: Duration = Duration::from_secs(2);
/// An answer has to come within it; a batch is bounded, so no healthy server takes as long.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// History is read over so many connections at most.
const POOLED: usize = 8;

/// Where the state is kept, and how to get there.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Without credentials; for people.
    pub shown: String,
    servers: Servers,
    user: Option<String>,
    password: Option<String>,
    database: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Servers {
    One { host: String, port: u16, tls: bool },
    Socket(PathBuf),
    Sentinel { sentinels: Vec<(String, u16)>, master: String, tls: bool },
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

const FORMS: &str = "write redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, redis+unix:///PATH, or \
                     redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]/MASTER[/DATABASE], rediss+sentinel:// for TLS";

impl Address {
    /// # Errors
    /// Says what is wrong, and never repeats a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let (user, password) = credentials.map_or(Ok((None, None)), parse_credentials)?;
        let (servers, database) = match scheme {
            "redis+unix" | "unix" if place.starts_with('/') => (Servers::Socket(place.into()), 0),
            "redis" | "rediss" => parse_one(place, scheme == "rediss")?,
            "redis+sentinel" | "rediss+sentinel" => parse_sentinel(place, scheme == "rediss+sentinel")?,
            _ => return Err(FORMS.into()),
        };
        Ok(Self { shown: format!("{scheme}://{place}"), servers, user, password, database })
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        login
    }
}

fn parse_credentials(text: &str) -> Result<(Option<String>, Option<String>), String> {
    let decoded = |text: &str| {
        percent_decoded(text).ok_or_else(|| "user or password is not percent-encoded UTF-8".to_owned())
    };
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok((some(decoded(user)?), some(decoded(password)?)))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn parse_place(text: &str, port: u16) -> Result<(String, u16), String> {
    // An IPv6 address stands in brackets.
    let (host, given) = match text.rsplit_once(':') {
        Some((host, given)) if !given.contains(']') => (host, Some(given)),
        _ => (text, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = given.map_or(Ok(port), |given| given.parse().map_err(|_| format!("{given} is no port")))?;
    if host.is_empty() { Err(FORMS.into()) } else { Ok((host.to_owned(), port)) }
}

fn parse_database(text: Option<&str>) -> Result<i64, String> {
    match text {
        None | Some("") => Ok(0),
        Some(number) => number.parse().map_err(|_| format!("{number} is no number of a database")),
    }
}

fn parse_one(place: &str, tls: bool) -> Result<(Servers, i64), String> {
    let mut parts = place.splitn(2, '/');
    let (host, port) = parse_place(parts.next().unwrap_or_default(), 6_379)?;
    Ok((Servers::One { host, port, tls }, parse_database(parts.next())?))
}

fn parse_sentinel(place: &str, tls: bool) -> Result<(Servers, i64), String> {
    let mut parts = place.splitn(3, '/');
    let sentinels = parts.next().unwrap_or_default().split(',');
    let sentinels = sentinels.map(|place| parse_place(place, 26_379)).collect::<Result<_, _>>()?;
    let master = parts.next().filter(|master| !master.is_empty()).ok_or(FORMS)?.to_owned();
    Ok((Servers::Sentinel { sentinels, master, tls }, parse_database(parts.next())?))
}

/// Pools of connections to the server that takes writes.
pub enum Pools {
    One(deadpool_redis::Pool),
    Sentinel(sentinel::Pool),
}

impl Pools {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(address: &Address, ca_pem: Option<Vec<u8>>) -> Result<Self, StoreError> {
        let fatal = |why: String| StoreError::Fatal(format!("{}: {why}", address.shown));
        // Fails only when one is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match &address.servers {
            Servers::Sentinel { sentinels, master, tls } => {
                if ca_pem.is_some() {
                    let why = "store.tls_ca_file does not work with Sentinel yet; install the authority on the host";
                    return Err(fatal(why.into()));
                }
                let node = sentinel::SentinelNodeConnectionInfo {
                    tls_mode: tls.then_some(sentinel::TlsMode::Secure),
                    redis_connection_info: Some(deadpool_redis::RedisConnectionInfo {
                        db: address.database,
                        username: address.user.clone(),
                        password: address.password.clone(),
                        ..Default::default()
                    }),
                };
                let addresses: Vec<ConnectionInfo> = sentinels
                    .iter()
                    .map(|place| place.clone().into_connection_info())
                    .collect::<Result<_, _>>()
                    .map_err(|error: RedisError| fatal(error.to_string()))?;
                let manager = sentinel::Manager::new(
                    addresses,
                    master.clone(),
                    Some(node),
                    sentinel::SentinelServerType::Master,
                )
                .map_err(|error| fatal(error.to_string()))?;
                let pool =
                    sentinel::Pool::builder(manager).config(pool_config()).runtime(Runtime::Tokio1).build();
                pool.map(Self::Sentinel).map_err(|error| fatal(error.to_string()))
            }
            Servers::One { .. } | Servers::Socket(_) => {
                let info = one(address, ca_pem).map_err(|error| fatal(error.to_string()))?;
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT))
                    .set_response_timeout(Some(ANSWER));
                let manager = deadpool_redis::Manager::new_with_config(info, config)
                    .map_err(|error| fatal(error.to_string()))?;
                let pool = deadpool_redis::Pool::builder(manager)
                    .config(pool_config())
                    .runtime(Runtime::Tokio1)
                    .build();
                pool.map(Self::One).map_err(|error| fatal(error.to_string()))
            }
        }
    }

    /// A connection of one's own, that no pool takes back.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn dedicated(&self) -> Result<MultiplexedConnection, String> {
        let mut connection = match self {
            Self::One(pool) => {
                deadpool_redis::Connection::take(pool.get().await.map_err(|error| cause(&error))?)
            }
            Self::Sentinel(pool) => {
                sentinel::Connection::take(pool.get().await.map_err(|error| cause(&error))?)
            }
        };
        connection.set_response_timeout(ANSWER);
        Ok(connection)
    }

    /// Uses a pooled connection for one thing.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, String> {
        match self {
            Self::One(pool) => {
                let mut connection = pool.get().await.map_err(|error| cause(&error))?;
                work(&mut connection).await.map_err(|error| cause(&error))
            }
            Self::Sentinel(pool) => {
                let mut connection = pool.get().await.map_err(|error| cause(&error))?;
                connection.set_response_timeout(ANSWER);
                work(&mut connection).await.map_err(|error| cause(&error))
            }
        }
    }
}

fn pool_config() -> PoolConfig {
    let timeouts = Timeouts { wait: Some(CONNECT), create: Some(CONNECT), recycle: Some(CONNECT) };
    PoolConfig { timeouts, ..PoolConfig::new(POOLED) }
}

fn one(address: &Address, ca_pem: Option<Vec<u8>>) -> Result<ConnectionInfo, RedisError> {
    let place = match &address.servers {
        Servers::One { host, port, tls: false } => ConnectionAddr::Tcp(host.clone(), *port),
        Servers::One { host, port, tls: true } => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        Servers::Socket(path) => ConnectionAddr::Unix(path.clone()),
        Servers::Sentinel { .. } => ConnectionAddr::Tcp(String::new(), 0),
    };
    let info = place.into_connection_info()?.set_redis_settings(address.login());
    if ca_pem.is_none() || !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Ok(info);
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: ca_pem };
    Ok(Client::build_with_tls(info, certificates)?.get_connection_info().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let one = Address::parse("redis://docket:s%40crt@cache:6380/3").unwrap();
        assert_eq!(one.servers, Servers::One { host: "cache".into(), port: 6_380, tls: false });
        assert_eq!((one.user.as_deref(), one.password.as_deref()), (Some("docket"), Some("s@crt")));
        assert_eq!((one.database, one.shown.as_str()), (3, "redis://cache:6380/3"));
        let tls = Address::parse("rediss://:pw@[::1]").unwrap();
        assert_eq!(tls.servers, Servers::One { host: "::1".into(), port: 6_379, tls: true });
        assert_eq!((tls.user, tls.password.as_deref()), (None, Some("pw")));
        let sentinel = Address::parse("redis+sentinel://a:1,b/main/2").unwrap();
        let sentinels = vec![("a".into(), 1), ("b".into(), 26_379)];
        assert_eq!(sentinel.servers, Servers::Sentinel { sentinels, master: "main".into(), tls: false });
        assert_eq!(sentinel.database, 2);
        assert_eq!(
            Address::parse("redis+unix:///run/r.sock").unwrap().servers,
            Servers::Socket("/run/r.sock".into())
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for url in [
            "redis:",
            "http://u:pw@x",
            "redis://u:pw@x:port",
            "redis://u:pw@/1",
            "redis+sentinel://u:pw@a",
            "rediss://u:pw@x/y",
        ] {
            let why = Address::parse(url).unwrap_err();
            assert!(!why.contains("pw"), "{why}");
        }
        assert_eq!(format!("{:?}", Address::parse("redis://u:pw@x").unwrap()), "redis://x");
    }
}
