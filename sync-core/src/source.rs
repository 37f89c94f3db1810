//! Where messages come from.
//!
//! A [`Source`] is incremental: `changes` names messages page by page from a cursor, `fetch` brings the
//! bytes of one. The contract is made so that no source can lose or double a message:
//!
//! - A page **may** name a message again; it must never leave one out. The caller knows what it has
//!   processed (by `id`) and skips it. So a source whose cursor was lost or refused simply starts over.
//! - The caller stores `Page::next` only together with everything that the page named.
//! - An `id` stays with its message for ever, through moves and flag changes.
//! - A message that is still being written is not named, or answers [`Fetched::NotReady`]; the source
//!   names it again in a later pass.
//!
//! Deliberately absent: deletion. What was filed stays filed when the mail disappears.

mod directory;
pub mod eml;
mod fault;
mod file;
pub mod folder;
pub mod gmail;
pub mod http;
pub mod imap;
pub mod maildir;
pub mod mbox;
pub mod network;
pub mod oauth;
pub mod opener;
pub mod root;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use fault::{Class, Fault};

/// Largest message that is fetched. A larger one is recorded as failed, by name.
pub const MESSAGE_BYTES_MAX: u64 = 50 << 20;

/// Folders that [`Source::look`] names.
pub const FOLDERS_MAX: usize = 1000;

/// One message as a page names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Stable identity within the mailbox.
    pub id: String,
    /// Where the source last saw it; only the source reads this, and it may be out of date.
    pub locator: String,
    /// Unix milliseconds, if known without fetching.
    pub time: Option<i64>,
    /// Bytes, if known without fetching, or a guess that most messages stay below ([`Fetched::Larger`]). So much memory
    /// is set aside.
    pub size: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<Item>,
    /// To be stored once every item of this page is.
    pub next: String,
    pub more: bool,
    /// Messages from this page to the end of the pass, where the source can tell.
    pub remaining: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    Message(Bytes),
    /// As above, with the time at which the provider took it, Unix milliseconds.
    Received {
        raw: Bytes,
        time: i64,
    },
    /// Larger than the guess in [`Item::size`]: to be fetched again without one.
    Larger,
    TooLarge {
        size: u64,
    },
    /// Still being written: left for a later pass, not recorded.
    NotReady,
    /// No longer there.
    Gone,
    /// This message alone cannot be read, and why.
    Unreadable(String),
}

pub trait Source: Send + Sync {
    /// The next page after `cursor`; `None` begins. A cursor that the source does not understand begins too.
    fn changes<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, Fault>>;

    fn fetch<'a>(&'a self, item: &'a Item) -> BoxFuture<'a, Result<Fetched, Fault>>;

    /// Connects, and names the folders there are, as a mailbox may name them; at most [`FOLDERS_MAX`]. None where
    /// there is nothing to choose.
    fn look(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(async move { self.changes(None).await.map(|_page| Vec::new()) })
    }

    /// Takes leave of the server, after a run that went through. A source that is dropped without it has to be well.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
