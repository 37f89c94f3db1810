//! Where a mailbox's sync stands.
//!
//! ```text
//! (none) ─► List ─ page by page, newest first ─► increments from the history id that was current when the list began
//!             ▲                                      │
//!             └── the history id is too old (404) ───┘
//! ```

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The account's address, as Gmail writes it.
    pub account: String,
    /// Increments begin after this record.
    pub history: u64,
    /// When that was read, Unix seconds: what came later is newer, unless it was imported with an old date.
    pub at: i64,
    #[serde(default)]
    pub place: Place,
}

/// Within a list that goes over several pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Nothing is under way.
    #[default]
    Between,
    /// All messages. Without a token, its beginning.
    List { token: Option<String>, listed: u64 },
    /// What has changed; `until` is the history id to begin after once it is read.
    History { token: String, until: u64 },
}

impl Cursor {
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn at(&self, place: Place) -> Self {
        Self { place, ..self.clone() }
    }
}
