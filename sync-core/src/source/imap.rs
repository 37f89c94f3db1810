//! Mail from an IMAP server, over a small client of our own.
//!
//! - TLS always, from the first byte or by STARTTLS; the server's address was checked ([`super::network`]).
//! - Nothing is changed: folders are opened with EXAMINE, bodies fetched with PEEK.
//! - A message is named by what it is, not by where it lies ([`identity`]), so a move or a new UIDVALIDITY doubles
//!   nothing. What comes is compared with what was listed: another message's body is not filed under this one's name.
//! - New mail first, then older mail, newest first; a pass goes on where it was ([`uids`], [`pass`]).
//! - Everything is bounded: lines, literals, numbers of them, and time ([`wire`]).
//!
//! A client of our own, since the ones there are either grow with what a server announces or stop at answers that real
//! servers give; ours needs eight commands. Absent: IDLE (runs come by schedule), CONDSTORE (see [`uids`]), writing.

mod fetch;
mod greeting;
mod identity;
mod login;
mod name;
mod pass;
mod pool;
mod response;
mod session;
pub mod tls;
mod uids;
mod verdict;
mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use self::login::Login;
use self::pass::Listing;
use self::pool::{Freshness, Pool};
use self::session::Server;
use super::network::Dialer;
use super::oauth::{self, Clients, Tokens};
use super::{FOLDERS_MAX, Fault, Fetched, Item, Page, Source};
use crate::archive::record::MailboxSpec;
use crate::credential::{Access, Credential};

/// How the connection comes to TLS. Without TLS there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// From the first byte.
    #[default]
    Implicit,
    Starttls,
}

/// What a mailbox says about its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// A name or an address.
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub user: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the connection to the server's greeting, TLS included.
    pub greeting: Duration,
    /// Of one command.
    pub command: Duration,
    pub search: Duration,
    pub logout: Duration,
    /// Without a byte for so long, the server is gone.
    pub idle: Duration,
    /// A body may take as long as it would at this pace, beyond `command`.
    pub bytes_per_second: u64,
    /// Connections of one run at once.
    pub connections: usize,
    /// Messages of a page.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(20),
            command: Duration::from_secs(60),
            search: Duration::from_secs(120),
            logout: Duration::from_secs(2),
            idle: Duration::from_secs(60),
            bytes_per_second: 32 << 10,
            connections: 3,
            page: 200,
        }
    }
}

/// So many messages in a row that are not given out are no accident, and no fault of theirs.
const WITHHELD_MAX: usize = 10;

/// What all IMAP mailboxes of a worker share.
#[derive(Clone)]
pub struct Connector {
    pub dialer: Dialer,
    pub tls: Arc<ClientConfig>,
    pub limits: Limits,
    pub clients: Clients,
    /// None: mailboxes with OAuth are refused.
    pub tokens: Option<Arc<dyn Tokens>>,
}

/// Where a message was seen last. Its id tells whether it is still the one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Locator {
    /// Folder, as on the wire.
    f: String,
    /// UIDVALIDITY.
    v: u32,
    u: u32,
    /// Bytes, as listed.
    s: Option<u64>,
    /// Message-ID, if it can be searched for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    m: String,
}

pub struct Imap {
    pool: Pool,
    /// Locked before a connection is taken, never while one is held.
    listing: Mutex<Listing>,
    folders: KnownFolders,
    /// Messages in a row that the server did not give out.
    withheld: AtomicUsize,
    /// What its server's patience is counted under, by runs that carry it as a limit.
    provider: String,
}

/// Folders that are read, as on the wire; empty before they are known.
type KnownFolders = Arc<std::sync::Mutex<Vec<String>>>;

impl Imap {
    pub fn new(connector: &Connector, config: &Config, spec: &MailboxSpec, access: Access) -> Self {
        let server = Server {
            dialer: connector.dialer.clone(),
            tls: connector.tls.clone(),
            config: config.clone(),
            limits: connector.limits,
        };
        let logins = Logins {
            access,
            clients: connector.clients.clone(),
            tokens: connector.tokens.clone(),
            known: Mutex::new(None),
        };
        let folders = KnownFolders::default();
        let listing = Listing::new(spec, connector.limits.page, folders.clone());
        Self {
            pool: Pool::new(server, logins),
            listing: Mutex::new(listing),
            folders,
            withheld: AtomicUsize::new(0),
            provider: format!("provider:{}", config.host.to_ascii_lowercase()),
        }
    }
}

impl Source for Imap {
    fn changes<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, Fault>> {
        Box::pin(async move {
            let page = self.listing.lock().await.page(&self.pool, cursor).await;
            page.map_err(|fault| fault.shared_by(&self.provider))
        })
    }

    fn fetch<'a>(&'a self, item: &'a Item) -> BoxFuture<'a, Result<Fetched, Fault>> {
        Box::pin(async move { self.fetch_one(item).await.map_err(|fault| fault.shared_by(&self.provider)) })
    }

    fn look(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            let mut listing = self.listing.lock().await;
            let mut lent = self.pool.take("INBOX", Freshness::Any).await?;
            let mut names = Vec::new();
            let listed = lent.list(|folder| {
                if folder.is_selectable() && names.len() < FOLDERS_MAX {
                    names.push(crate::text::clean(&folder.name, 255));
                }
            });
            if let Err(problem) = listed.await {
                return Err(lent.fault(problem));
            }
            listing.check(&mut lent).await?;
            lent.give_back();
            names.sort_unstable();
            Ok(names)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.log_out())
    }
}

/// Where a run's connections get what they log in with.
struct Logins {
    access: Access,
    clients: Clients,
    tokens: Option<Arc<dyn Tokens>>,
    known: Mutex<Option<Login>>,
}

impl Logins {
    async fn get(&self) -> Result<Login, Fault> {
        let mut known = self.known.lock().await;
        if let Some(login) = known.as_ref() {
            return Ok(login.clone());
        }
        let login = match self.access.read().await? {
            Credential::Password(password) => Login::Password(password),
            Credential::OAuth { client, .. } => {
                let Some(tokens) = &self.tokens else {
                    let message = "this worker gets no OAuth tokens for IMAP; connect with a password";
                    return Err(Fault::permanent("imap-oauth-off", message));
                };
                let client = oauth::client(&self.clients, &client)?;
                Login::AccessToken(tokens.access_token(&self.access, client).await?)
            }
        };
        Ok(known.insert(login).clone())
    }

    /// A token may have ended, a password may have been changed.
    async fn forget(&self) {
        *self.known.lock().await = None;
    }
}
