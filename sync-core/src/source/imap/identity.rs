//! What a message is called for ever.
//!
//! UIDs are a folder's own, and a folder may get new ones (UIDVALIDITY); a move gives another one, too. So the id is
//! made of the message itself: `Message-ID`, `Date`, `From`, `Subject` and its size. It survives moves between folders
//! and new UIDs, so nothing has to be read again then, and each message is its own evidence: none is taken for another
//! because its neighbours were found again. `Message-ID` alone would not do: senders use one twice. If an id changes
//! nevertheless (a server that counts sizes anew), the message is read once more and its documents are exact duplicates.

use sha2::{Digest, Sha256};

use crate::text;

/// Header fields that are asked for.
pub const FIELDS: [&str; 4] = ["MESSAGE-ID", "DATE", "FROM", "SUBJECT"];
/// Of these fields together, as they are asked for. What is longer has no identity of its own.
pub const HEADER_MAX: usize = 8 << 10;
const MESSAGE_ID_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: String,
    /// Without brackets; empty if there is none that a server can be asked for.
    pub message_id: String,
}

/// From a header, or a whole message. None if there is nothing to tell it by.
pub fn of(header: &[u8], size: u64) -> Option<Identity> {
    let found = fields(header);
    if found.iter().all(String::is_empty) || found.iter().map(String::len).sum::<usize>() > HEADER_MAX {
        return None;
    }
    let mut hash = Sha256::new();
    for part in &found {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(size.to_be_bytes());
    let id = format!("imap:{}", text::hex(&hash.finalize()[..16]));
    let message_id = found[0].trim_matches(['<', '>']);
    let is_plain =
        |text: &str| text.len() <= MESSAGE_ID_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    let message_id = if is_plain(message_id) { message_id.to_owned() } else { String::new() };
    Some(Identity { id, message_id })
}

/// For a message that has no identity of its own.
pub fn by_place(folder: &str, validity: u32, uid: u32) -> String {
    let place = Sha256::digest(format!("{validity}\0{uid}\0{folder}"));
    format!("imap-uid:{}", text::hex(&place[..16]))
}

/// The first of each, unfolded, with single spaces.
fn fields(header: &[u8]) -> [String; 4] {
    let mut found: [Option<String>; 4] = [const { None }; 4];
    let mut current: Option<usize> = None;
    let mut bytes = 0;
    for line in header.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || bytes > 2 * HEADER_MAX {
            break;
        }
        // Longer than all may be: how much does not matter.
        let line = &line[..line.len().min(2 * HEADER_MAX)];
        if line[0] == b' ' || line[0] == b'\t' {
            if let Some(value) = current.and_then(|at| found[at].as_mut()) {
                bytes += line.len();
                value.push_str(&String::from_utf8_lossy(line));
            }
            continue;
        }
        current = None;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line[..colon].trim_ascii();
        let at = FIELDS.iter().position(|field| name.eq_ignore_ascii_case(field.as_bytes()));
        if let Some(at) = at.filter(|at| found[*at].is_none()) {
            bytes += line.len();
            found[at] = Some(String::from_utf8_lossy(&line[colon + 1..]).into_owned());
            current = Some(at);
        }
    }
    found.map(|value| value.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"Message-ID: <a@b>\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\nFrom: x@y\r\nSubject: one\r\n two\r\n\r\n";

    #[test]
    fn a_header_and_its_message_are_one() {
        let listed = of(HEADER, 100).unwrap();
        let whole = b"Received: by z\nSUBJECT:one\n\ttwo\nfrom:  x@y\nX: y\n z\nDate: Mon, 5 Jan 2026 10:00:00 +0000\n\
            Message-Id: <a@b>\nSubject: other\n\nSubject: body";
        assert_eq!(of(whole, 100), Some(listed.clone()));
        assert_eq!(listed.message_id, "a@b");
        assert_ne!(of(whole, 101).unwrap().id, listed.id, "the same Message-ID on another mail");
    }

    #[test]
    fn what_has_no_header_has_no_identity() {
        assert_eq!(of(b"", 5), None);
        assert_eq!(of(b"\r\nSubject: body", 5), None);
        assert_eq!(of(format!("Subject: {}\r\n\r\n", "x".repeat(HEADER_MAX + 1)).as_bytes(), 5), None);
        assert_eq!(of(b"Message-ID: <a b\xff>\r\n\r\n", 5).unwrap().message_id, "");
        assert_ne!(by_place("INBOX", 1, 2), by_place("INBOX", 2, 1));
    }
}
