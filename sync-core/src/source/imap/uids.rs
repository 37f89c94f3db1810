//! Sets of UIDs, and which of them a folder's pass has been through.
//!
//! A folder's place is one interval, `lo` to `hi`: all messages in it have been named. A first pass begins at the top
//! and moves `lo` down to 1, newest first; new mail moves `hi` up. Both may be interrupted anywhere. HIGHESTMODSEQ
//! (CONDSTORE) is not kept: it tells of flags and deletions, which mean nothing here, and new mail is above `hi`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// UIDVALIDITY. 0, which a server must not say, is never the same as another 0.
    pub v: u32,
    pub lo: u32,
    pub hi: u32,
}

impl Span {
    /// Nothing below `next` was named, and nothing from it on exists.
    pub fn before(validity: u32, next: u32) -> Self {
        Self { v: validity, lo: next.max(1), hi: next.max(1) - 1 }
    }

    pub fn is_whole(&self) -> bool {
        self.lo <= 1
    }
}

/// By folder, as on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub folders: BTreeMap<String, Span>,
}

impl Cursor {
    pub fn parse(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Where the pass over a folder goes on; None begins.
    pub fn span(&self, folder: &str, validity: u32) -> Option<Span> {
        let known = self.folders.get(folder).copied();
        known.filter(|span| {
            validity != 0 && span.v == validity && span.lo >= 1 && span.lo <= span.hi.saturating_add(1)
        })
    }
}

/// `1,3:5` of numbers in order.
pub fn set(uids: &[u32]) -> String {
    let mut set = String::new();
    let mut at = 0;
    while at < uids.len() {
        let first = uids[at];
        while at + 1 < uids.len() && uids[at + 1] == uids[at] + 1 {
            at += 1;
        }
        if !set.is_empty() {
            set.push(',');
        }
        set.push_str(&first.to_string());
        if uids[at] != first {
            set.push_str(&format!(":{}", uids[at]));
        }
        at += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        assert_eq!(set(&[1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(set(&[5]), "5");
        assert_eq!(set(&[u32::MAX - 1, u32::MAX]), "4294967294:4294967295");
    }

    #[test]
    fn a_cursor_that_cannot_be_begins_anew() {
        let of = |text: &str| Cursor::parse(Some(text));
        let good = of(r#"{"folders":{"INBOX":{"v":7,"lo":3,"hi":9}}}"#);
        assert_eq!(good.span("INBOX", 7), Some(Span { v: 7, lo: 3, hi: 9 }));
        assert_eq!((good.span("INBOX", 8), good.span("x", 7)), (None, None));
        assert_eq!(of(r#"{"folders":{"INBOX":{"v":0,"lo":3,"hi":9}}}"#).span("INBOX", 0), None);
        assert_eq!(of(r#"{"folders":{"INBOX":{"v":7,"lo":13,"hi":9}}}"#).span("INBOX", 7), None);
        assert_eq!(of(r#"{"folders":{"INBOX":{"v":7,"lo":0,"hi":9}}}"#).span("INBOX", 7), None);
        assert_eq!(of("{}"), Cursor::default());
        assert_eq!(of("[1"), Cursor::default());
        assert_eq!(Span::before(1, 0), Span { v: 1, lo: 1, hi: 0 });
    }
}
