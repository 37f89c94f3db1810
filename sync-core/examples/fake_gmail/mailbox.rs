//! One account: its messages, and the history of what happened to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    /// Unix milliseconds.
    pub time: i64,
    pub labels: Vec<String>,
    pub raw: Vec<u8>,
    /// Search does not know it yet.
    pub is_unindexed: bool,
}

#[derive(Clone, Debug)]
struct Record {
    id: u64,
    kind: &'static str,
    message: String,
}

pub struct Mailbox {
    pub address: String,
    pub labels: Vec<String>,
    messages: BTreeMap<String, Message>,
    records: Vec<Record>,
    history: u64,
    /// Records up to here are forgotten.
    forgotten: u64,
}

/// `None`: the place in the history is not known.
pub type Page = Option<Value>;

impl Mailbox {
    pub fn new(address: String) -> Self {
        Self {
            address,
            labels: Vec::new(),
            messages: BTreeMap::new(),
            records: Vec::new(),
            history: 1_000,
            forgotten: 0,
        }
    }

    pub fn add(&mut self, raw: Vec<u8>, time: i64, labels: Vec<String>, is_unindexed: bool) -> String {
        let id = format!("{:016x}", 0x18c2_0000_0000_0000_u64 + self.messages.len() as u64 * 7);
        self.messages.insert(id.clone(), Message { id: id.clone(), time, labels, raw, is_unindexed });
        self.record("messagesAdded", id.clone());
        id
    }

    pub fn label(&mut self, id: &str, labels: Vec<String>) {
        if let Some(message) = self.messages.get_mut(id) {
            message.labels = labels;
            self.record("labelsAdded", id.to_owned());
        }
    }

    pub fn remove(&mut self, id: &str) {
        self.messages.remove(id);
    }

    fn record(&mut self, kind: &'static str, message: String) {
        // Not contiguous, as in life.
        self.history += 1 + self.history % 3;
        self.records.push(Record { id: self.history, kind, message });
    }

    pub fn forget_history(&mut self) {
        self.history += 10;
        self.forgotten = self.history;
        self.records.clear();
    }

    pub fn get(&self, id: &str) -> Option<&Message> {
        self.messages.get(id)
    }

    pub fn profile(&self) -> Value {
        json!({
            "emailAddress": self.address,
            "messagesTotal": self.messages.len(),
            "threadsTotal": self.messages.len(),
            "historyId": self.history.to_string(),
        })
    }

    /// Newest first, `max` of them after the first `skip`.
    pub fn list(&self, query: &str, with_spam_and_trash: bool, skip: usize, max: usize) -> Value {
        let search = Search::of(query);
        let mut found: Vec<&Message> = self
            .messages
            .values()
            .filter(|message| !message.is_unindexed && search.finds(message, with_spam_and_trash))
            .collect();
        found.sort_by_key(|message| (std::cmp::Reverse(message.time), std::cmp::Reverse(message.id.clone())));
        let page: Vec<Value> =
            found.iter().skip(skip).take(max).map(|it| json!({"id": it.id, "threadId": it.id})).collect();
        let mut answer = json!({"resultSizeEstimate": found.len()});
        if !page.is_empty() {
            answer["messages"] = page.into();
        }
        if found.len() > skip + max {
            answer["nextPageToken"] = format!("list-{}", skip + max).into();
        }
        answer
    }

    /// Records after `start`.
    pub fn history(&self, start: u64, kinds: &[String], skip: usize, max: usize, gap: bool) -> Page {
        if start < self.forgotten || start > self.history {
            return None;
        }
        let is_asked = |record: &Record| {
            kinds.iter().any(|kind| match kind.as_str() {
                "messageAdded" => record.kind == "messagesAdded",
                "labelAdded" => record.kind == "labelsAdded",
                _ => false,
            })
        };
        let is_wanted = |record: &&Record| record.id > start && is_asked(record);
        let found: Vec<&Record> = self.records.iter().filter(is_wanted).collect();
        let mut answer = json!({"historyId": self.history.to_string()});
        // A page without records, though more pages follow.
        if gap && skip == 0 && !found.is_empty() {
            answer["nextPageToken"] = "history-0".into();
            return Some(answer);
        }
        let record = |record: &&Record| {
            let labels = self.messages.get(&record.message).map(|message| message.labels.clone());
            let message = json!({"id": record.message, "threadId": record.message, "labelIds": labels.unwrap_or_default()});
            json!({"id": record.id.to_string(), "messages": [message.clone()], record.kind: [{"message": message}]})
        };
        let page: Vec<Value> = found.iter().skip(skip).take(max).map(record).collect();
        if !page.is_empty() {
            answer["history"] = page.into();
        }
        if found.len() > skip + max {
            answer["nextPageToken"] = format!("history-{}", skip + max).into();
        }
        Some(answer)
    }
}

/// As much of Gmail's search as a sync uses: `in:`, `label:`, `after:`, `subject:`, negation and `{a b}` for "or".
struct Search(Vec<Vec<Term>>);

struct Term {
    is_negated: bool,
    key: String,
    value: String,
}

impl Search {
    fn of(query: &str) -> Self {
        let mut groups: Vec<Vec<Term>> = Vec::new();
        let mut is_open = false;
        for word in query.split_whitespace() {
            let starts = word.starts_with('{');
            let ends = word.ends_with('}');
            let term = Term::of(word.trim_matches(['{', '}']));
            match groups.last_mut() {
                Some(group) if is_open && !starts => group.push(term),
                _ => groups.push(vec![term]),
            }
            is_open = (is_open || starts) && !ends;
        }
        Self(groups)
    }

    fn finds(&self, message: &Message, with_spam_and_trash: bool) -> bool {
        let is_hidden = message.labels.iter().any(|label| label == "SPAM" || label == "TRASH");
        (with_spam_and_trash || !is_hidden)
            && self.0.iter().all(|group| group.iter().any(|term| term.finds(message)))
    }
}

impl Term {
    fn of(word: &str) -> Self {
        let (is_negated, word) = word.strip_prefix('-').map_or((false, word), |word| (true, word));
        let (key, value) = word.split_once(':').unwrap_or(("", word));
        Self { is_negated, key: key.into(), value: value.to_lowercase() }
    }

    fn finds(&self, message: &Message) -> bool {
        let has = |name: &str| message.labels.iter().any(|label| label.to_lowercase() == name);
        let found = match self.key.as_str() {
            "in" if self.value == "chats" => has("chat"),
            "in" if self.value == "drafts" => has("draft"),
            "in" | "label" => has(&self.value),
            "category" => has(&format!("category_{}", self.value)),
            "after" => self.value.parse::<i64>().is_ok_and(|seconds| message.time / 1000 >= seconds),
            _ => String::from_utf8_lossy(&message.raw).to_lowercase().contains(&self.value),
        };
        found != self.is_negated
    }
}
