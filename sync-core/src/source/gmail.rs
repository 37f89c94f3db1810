//! Gmail, over its REST API.
//!
//! - First all messages, newest first, bounded by the mailbox's `since`; from then on what the history names. A history
//!   that is too old (404) leads back to the list, where what is known is skipped by its id.
//! - A message is its Gmail id, whatever happens to its labels, and is fetched once, as raw MIME.
//! - The account must stay the same: another address behind the same consent is refused.
//! - Calls are paid for from the user's and the project's quota before they are made; what Gmail still refuses is
//!   waited for within the run if that is short, and else told as `throttled`, with the limit that all mailboxes share
//!   only if it is theirs.
//!
//! Absent: push notifications; sending or changing anything.

mod answers;
mod api;
mod batch;
mod changes;
mod cursor;
mod error;
mod gather;
mod labels;
mod pace;
pub mod quota;
mod raw;
mod retry;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Client as Http, Url};
use tokio::sync::{Mutex, OnceCell};

use self::answers::Profile;
use self::api::{Api, Got};
use self::changes::Window;
use self::error::Error;
use self::gather::Gatherer;
use self::labels::Selection;
use self::pace::Pace;
use self::quota::{Limits, Quota, Waits};
use super::oauth::refresh::Refresher;
use super::oauth::{self, Clients, Tokens};
use super::{FOLDERS_MAX, Fault, Fetched, Item, MESSAGE_BYTES_MAX, Page, Source};
use crate::archive::Mailbox;
use crate::archive::record::GmailConfig;
use crate::credential::Access;
use crate::sync::Clock;

pub use error::PROJECT;

/// Most messages are smaller. Memory is set aside for so much until one turns out not to be.
const GUESS: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    /// Narrows what is read, in the words of Gmail's search. Empty = everything that was received.
    pub query: String,
    /// Ids in a page of a list, up to 500.
    pub page: u32,
    pub patience: Patience,
}

/// How often a call is made again within the run, and after how long.
#[derive(Clone, Debug)]
pub struct Patience {
    pub tries: u32,
    /// Doubled each time.
    pub first: Duration,
    /// What has to wait longer ends the run instead.
    pub longest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let patience =
            Patience { tries: 4, first: Duration::from_millis(500), longest: Duration::from_secs(20) };
        Self { limits: Limits::default(), query: String::new(), page: 500, patience }
    }
}

/// Opens mailboxes at Gmail. One value serves all runs of a process, which share its connections and quota.
pub struct Provider {
    http: Http,
    tokens: Arc<dyn Tokens>,
    clients: Clients,
    quota: Arc<Quota>,
    settings: Settings,
    clock: Clock,
}

impl Provider {
    pub fn new(
        http: Http,
        tokens: Arc<dyn Tokens>,
        clients: Clients,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        let quota = Arc::new(Quota::new(settings.limits.clone()));
        Self { http, tokens, clients, quota, settings, clock }
    }

    /// Tells of waits for the quota.
    #[must_use]
    pub fn with_waits(mut self, waits: Waits) -> Self {
        let mut quota = Quota::new(self.settings.limits.clone());
        quota.waits = Some(waits);
        self.quota = Arc::new(quota);
        self
    }

    /// With a quota and a token refresher of its own.
    pub fn alone(clients: Clients, settings: Settings, clock: Clock) -> Self {
        let http = super::http::client();
        let tokens = Arc::new(Refresher::new(http.clone(), clock.clone()));
        Self::new(http, tokens, clients, settings, clock)
    }

    /// Asks nothing of the network yet.
    ///
    /// # Errors
    /// When the mailbox's OAuth client is not configured, or its address is none.
    pub fn open(&self, config: &GmailConfig, mailbox: &Mailbox, access: Access) -> Result<Gmail, Fault> {
        let client = oauth::client(&self.clients, &config.oauth_client)?;
        let base = Url::parse(&client.api_url).map_err(|_| {
            Fault::permanent(
                "oauth-client-address",
                "the OAuth client's api_url is no address; the operator must correct it",
            )
        })?;
        let spec = &mailbox.spec;
        let api = Api {
            http: self.http.clone(),
            base,
            client: client.clone(),
            tokens: self.tokens.clone(),
            access,
            quota: self.quota.clone(),
            user: format!("{}\0{}", spec.namespace, spec.mailbox_id),
            pace: Pace::new(),
            patience: self.settings.patience.clone(),
            clock: self.clock.clone(),
            token: Mutex::default(),
        };
        Ok(Gmail {
            api,
            gatherer: Gatherer::new(),
            query: self.settings.query.trim().to_owned(),
            page: self.settings.page.clamp(1, 500).to_string(),
            address: spec.address.clone(),
            folders: spec.folders.clone(),
            since: spec.since,
            profile: OnceCell::new(),
            selection: OnceCell::new(),
            window: OnceCell::new(),
            pages: std::sync::Mutex::default(),
        })
    }
}

/// One mailbox for one run.
pub struct Gmail {
    api: Api,
    gatherer: Gatherer,
    query: String,
    page: String,
    address: String,
    folders: Vec<String>,
    /// Unix milliseconds.
    since: Option<i64>,
    profile: OnceCell<Profile>,
    selection: OnceCell<Selection>,
    window: OnceCell<Window>,
    pages: std::sync::Mutex<Pages>,
}

/// Of this run. A page token that comes twice would lead round for ever.
#[derive(Default)]
struct Pages {
    /// What is listed, and the token.
    tokens: HashSet<(String, String)>,
    restarts: u32,
}

impl Source for Gmail {
    fn changes<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, Fault>> {
        Box::pin(async move { self.page_after(cursor).await.map_err(Error::into_fault) })
    }

    fn fetch<'a>(&'a self, item: &'a Item) -> BoxFuture<'a, Result<Fetched, Fault>> {
        Box::pin(self.get(item))
    }

    fn look(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            self.account(None).await.map_err(Error::into_fault)?;
            let labels = self.api.labels().await.map_err(Error::into_fault)?.labels;
            Ok(labels.into_iter().take(FOLDERS_MAX).map(|label| label.name).collect())
        })
    }
}

impl Gmail {
    async fn get(&self, item: &Item) -> Result<Fetched, Fault> {
        let max = item.size.unwrap_or(MESSAGE_BYTES_MAX).min(MESSAGE_BYTES_MAX);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        match self.gatherer.get(&self.api, &item.id, max).await {
            Ok(Got::Message(message)) => Ok(match message.time {
                Some(time) if self.since.is_some_and(|since| time < since) => Fetched::Gone,
                Some(time) => Fetched::Received { raw: message.raw, time },
                None => Fetched::Message(message.raw),
            }),
            Ok(Got::Larger) if item.size.is_some() => Ok(Fetched::Larger),
            Ok(Got::Larger) => Ok(Fetched::TooLarge { size: MESSAGE_BYTES_MAX + 1 }),
            Err(Error::NotFound) => Ok(Fetched::Gone),
            Err(Error::Passing(fault)) => self.is_it_this_one(fault).await,
            Err(error) => Err(error.into_fault()),
        }
    }

    /// A message that Gmail cannot give, while it answers otherwise, must not stop the mailbox.
    async fn is_it_this_one(&self, fault: Fault) -> Result<Fetched, Fault> {
        match self.api.profile().await {
            Ok(_) => Ok(Fetched::Unreadable(format!("the message could not be fetched: {}", fault.message))),
            Err(_) => Err(fault),
        }
    }
}

/// A message as a page names it.
fn item(id: String) -> Item {
    Item { locator: String::new(), id, time: None, size: Some(GUESS) }
}
