//! Gmail's answers, as far as they are read. Anything may be left out, and nothing is believed to be of bounded size.

use serde::{Deserialize, Deserializer};

const ID_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub email_address: String,
    #[serde(default)]
    pub messages_total: u64,
    #[serde(deserialize_with = "number")]
    pub history_id: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct List {
    pub messages: Vec<Named>,
    pub next_page_token: Option<String>,
    /// Always there; an answer without it is somebody else's, and must not pass for an empty mailbox.
    pub result_size_estimate: Option<u64>,
}

impl List {
    pub fn is_sound(&self) -> bool {
        !self.messages.is_empty() || self.result_size_estimate.is_some()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// May be left out though more pages follow.
    #[serde(default)]
    pub history: Vec<Record>,
    #[serde(default)]
    pub next_page_token: Option<String>,
    #[serde(deserialize_with = "number")]
    pub history_id: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    pub messages_added: Vec<Change>,
    pub labels_added: Vec<Change>,
}

#[derive(Debug, Deserialize)]
pub struct Change {
    pub message: Named,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    pub id: String,
    #[serde(default)]
    pub label_ids: Vec<String>,
}

impl Named {
    /// It becomes part of an address and a key.
    pub fn is_sound(&self) -> bool {
        (1..=ID_MAX).contains(&self.id.len())
            && self.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Labels {
    pub labels: Vec<Label>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Label {
    pub id: String,
    pub name: String,
}

/// Gmail writes large numbers as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Number(u64),
    }
    match Number::deserialize(deserializer)? {
        Number::Number(number) => Ok(number),
        Number::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_empty() {
        let page: History = serde_json::from_str(r#"{"nextPageToken":"t","historyId":"12"}"#).unwrap();
        assert_eq!((page.history.len(), page.history_id), (0, 12));
        let page: List = serde_json::from_str(r#"{"resultSizeEstimate":0}"#).unwrap();
        assert!(page.messages.is_empty() && page.next_page_token.is_none());
        assert!(serde_json::from_str::<History>(r#"{"historyId":"x"}"#).is_err());
        assert!(serde_json::from_str::<History>("{}").is_err());
    }

    #[test]
    fn ids_are_plain() {
        let is_sound = |id: &str| Named { id: id.into(), label_ids: vec![] }.is_sound();
        assert!(is_sound("18c2f4b3e8a9d7f6"));
        assert!(["", "a/b", "a?b", "a b", "..", &"x".repeat(65)].iter().all(|id| !is_sound(id)));
    }
}
