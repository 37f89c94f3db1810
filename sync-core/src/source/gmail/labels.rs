//! Which of an account's messages are read.
//!
//! A mailbox that names folders means labels, by name or id. One that names none means all mail, however it is filed,
//! but for spam, trash, drafts, chats, and what the user only sent.

use super::answers::Label;
use crate::source::Fault;
use crate::text::clean;

/// Gmail's ids of what nobody received.
const NOT_RECEIVED: [&str; 4] = ["SPAM", "TRASH", "DRAFT", "CHAT"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Ids; none = by default.
    labels: Vec<String>,
    /// As Gmail's search wants it.
    pub query: String,
    /// Lists leave spam and trash out unless asked.
    pub with_spam_and_trash: bool,
}

impl Selection {
    pub fn by_default() -> Self {
        Self {
            labels: Vec::new(),
            query: "-in:chats -in:drafts {-in:sent in:inbox}".into(),
            with_spam_and_trash: false,
        }
    }

    /// # Errors
    /// [`Fault`] if the account has no label of such a name.
    pub fn of(folders: &[String], known: &[Label]) -> Result<Self, Fault> {
        if folders.is_empty() {
            return Ok(Self::by_default());
        }
        let find = |folder: &String| {
            let found = known.iter().find(|label| label.is_named(folder));
            found.ok_or_else(|| missing(folder))
        };
        let labels: Vec<&Label> = folders.iter().map(find).collect::<Result<_, _>>()?;
        let terms: Vec<String> = labels.iter().map(|label| label.term()).collect();
        let with_spam_and_trash = labels.iter().any(|label| ["SPAM", "TRASH"].contains(&label.id.as_str()));
        let ids = labels.iter().map(|label| label.id.clone()).collect();
        Ok(Self { labels: ids, query: format!("{{{}}}", terms.join(" ")), with_spam_and_trash })
    }

    /// Whether a message with these labels is one of them.
    pub fn has(&self, labels: &[String]) -> bool {
        let is = |id: &str| labels.iter().any(|label| label == id);
        if !self.labels.is_empty() {
            return self.labels.iter().any(|label| is(label));
        }
        !NOT_RECEIVED.iter().any(|id| is(id)) && (!is("SENT") || is("INBOX"))
    }
}

fn missing(folder: &str) -> Fault {
    let folder = clean(folder, 100);
    Fault::permanent(
        "gmail-label-missing",
        format!("the account has no label `{folder}`; correct mailbox.folders"),
    )
}

impl Label {
    fn is_named(&self, name: &str) -> bool {
        self.id.eq_ignore_ascii_case(name) || self.name.to_lowercase() == name.to_lowercase()
    }

    /// Search knows labels by their names, with hyphens for what is no letter or digit.
    fn term(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() || "_.".contains(c) { c } else { '-' };
        format!("label:{}", self.name.chars().map(plain).collect::<String>().to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn by_default_all_that_was_received() {
        let all = Selection::by_default();
        for labels in ["", "INBOX UNREAD", "Label_1", "SENT INBOX", "CATEGORY_PROMOTIONS"] {
            assert!(all.has(&words(labels)), "{labels}");
        }
        for labels in ["SPAM", "TRASH INBOX", "DRAFT", "CHAT", "SENT"] {
            assert!(!all.has(&words(labels)), "{labels}");
        }
    }

    #[test]
    fn folders_are_labels_by_name_or_id() {
        let label = |id: &str, name: &str| Label { id: id.into(), name: name.into() };
        let known = [label("INBOX", "INBOX"), label("Label_7", "Work/Bills & more"), label("SPAM", "SPAM")];
        let some = Selection::of(&["inbox".into(), "work/bills & MORE".into()], &known).unwrap();
        assert_eq!(
            (some.query.as_str(), some.with_spam_and_trash),
            ("{label:inbox label:work-bills---more}", false)
        );
        assert!(some.has(&words("Label_7 STARRED")) && !some.has(&words("STARRED")));
        assert!(Selection::of(&["spam".into()], &known).unwrap().with_spam_and_trash);
        assert_eq!(Selection::of(&["Other".into()], &known).unwrap_err().code, "gmail-label-missing");
    }
}
