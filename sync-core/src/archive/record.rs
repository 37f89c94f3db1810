//! The archive's records as the services see them, and the places in lists.
//!
//! A *place* is the key of the last entry of a page. Lists are ordered by keys that an insertion elsewhere
//! cannot move, so going on from a place neither repeats nor skips what was there before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::query::QueryBuilder;
use crate::document::{Fields, Kind, State};
use crate::source::{folder, imap};

/// Where a mailbox's mail comes from. Microsoft Graph follows as a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceConfig {
    Folder(folder::Config),
    Imap(imap::Config),
    Gmail(GmailConfig),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GmailConfig {
    /// Name of a configured OAuth client.
    pub oauth_client: String,
}

impl SourceConfig {
    /// Folders are below a root that only the operator sets.
    pub fn needs_credential(&self) -> bool {
        !matches!(self, Self::Folder(_))
    }

    /// Whether the ids of messages mean the same in both. How a server is reached does not matter to them, nor do
    /// they depend on the OAuth client.
    pub fn is_same_account(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Imap(one), Self::Imap(other)) => one.host == other.host && one.user == other.user,
            (Self::Gmail(_), Self::Gmail(_)) => true,
            (one, other) => one == other,
        }
    }
}

/// What an app sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxSpec {
    pub namespace: String,
    pub mailbox_id: String,
    pub owner: String,
    pub address: String,
    pub source: SourceConfig,
    /// Unix milliseconds: older mail is left alone.
    pub since: Option<i64>,
    pub folders: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// What may change without connecting again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub address: String,
    pub since: Option<i64>,
    pub folders: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailboxState {
    Connected,
    Reauthorize,
    Disconnected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub spec: MailboxSpec,
    pub state: MailboxState,
    pub state_reason: String,
    /// The etag: grows with the definition and the state, never with syncing.
    pub version: i64,
    pub last_sync_time: Option<i64>,
    pub messages: i64,
    pub documents: i64,
    /// Exact duplicates that were dropped.
    pub duplicates: i64,
    pub create_time: i64,
    pub update_time: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    Filed,
    NoDocument,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub mailbox_id: String,
    pub message_key: String,
    pub source_id: String,
    pub received_time: i64,
    pub message_id: Option<String>,
    pub from: String,
    pub subject: String,
    pub state: MessageState,
    pub reason: String,
    /// Also those that another message brought first.
    pub document_ids: Vec<String>,
    pub attempts: i64,
    /// A later run will process it again.
    pub retry: bool,
    /// The run that processed it last; empty when it is marked to be processed again.
    pub run_id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub namespace: String,
    pub document_id: String,
    pub owner: String,
    pub mailbox_id: String,
    pub run_id: String,
    pub kind: Kind,
    pub state: State,
    pub confidence: f32,
    pub fields: Fields,
    /// The message that brought it; `None` if its row is gone.
    pub message: Option<MessageRef>,
    pub part: String,
    pub file_name: Option<String>,
    pub media_type: String,
    pub size: u64,
    pub sha256: String,
    pub blob_key: String,
    pub flags: Vec<String>,
    pub likely_duplicate_ids: Vec<String>,
    pub extractor_version: u32,
    pub create_time: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRef {
    pub source_id: String,
    pub message_id: Option<String>,
    pub received_time: i64,
    pub from: String,
    pub subject: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    pub namespace: String,
    pub mailbox_id: String,
    /// Any of these; empty = all.
    pub states: Vec<MessageState>,
    /// Unix milliseconds, from (inclusive) and to (exclusive).
    pub received_from: Option<i64>,
    pub received_to: Option<i64>,
}

/// Newest received first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePlace {
    pub received_time: i64,
    pub message_key: String,
}

impl MessagePlace {
    pub fn of(message: &Message) -> Self {
        Self { received_time: message.received_time, message_key: message.message_key.clone() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentFilter {
    pub namespace: String,
    pub owner: Option<String>,
    pub mailbox_id: Option<String>,
    pub run_id: Option<String>,
    /// Any of these; empty = all.
    pub kinds: Vec<Kind>,
    pub states: Vec<State>,
    /// A part of the supplier's name, in any case.
    pub supplier: Option<String>,
    /// Exactly.
    pub number: Option<String>,
    /// ISO dates, first and last day.
    pub issued_from: Option<String>,
    pub issued_to: Option<String>,
    /// Unix milliseconds, from (inclusive) and to (exclusive).
    pub created_from: Option<i64>,
    pub created_to: Option<i64>,
}

/// Newest filed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentPlace {
    pub create_time: i64,
    pub document_id: String,
}

impl DocumentPlace {
    pub fn of(document: &Document) -> Self {
        Self { create_time: document.create_time, document_id: document.document_id.clone() }
    }
}

/// Text as both databases hold it: PostgreSQL refuses NUL.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// An enum's name in the catalog: its serde name.
pub(super) fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// ` AND column IN (…)`, unless `values` is empty.
pub(super) fn push_any<T: Serialize>(query: &mut QueryBuilder, column: &str, values: &[T]) {
    if !values.is_empty() {
        query.push_in(column, values.iter().map(name_of));
    }
}

/// ` AND column >= from AND column < to`, as far as they are there.
pub(super) fn push_span(query: &mut QueryBuilder, column: &str, from: Option<i64>, to: Option<i64>) {
    if let Some(from) = from {
        query.push(format_args!(" AND {column} >= ")).push_bind(from);
    }
    if let Some(to) = to {
        query.push(format_args!(" AND {column} < ")).push_bind(to);
    }
}

pub(super) fn named<T: for<'a> Deserialize<'a>>(name: String) -> super::Result<T> {
    Ok(serde_json::from_value(serde_json::Value::String(name))?)
}
