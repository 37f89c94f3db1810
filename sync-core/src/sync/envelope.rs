//! Who sent a message and about what, for messages that no parser survives: a person must be able to find
//! them. Plain header lines only; encoded words stay as they are.

use crate::document::MessageHead;

const HEADER_BYTES_MAX: usize = 64 << 10;

pub fn of(raw: &[u8]) -> MessageHead {
    let header = String::from_utf8_lossy(&raw[..raw.len().min(HEADER_BYTES_MAX)]);
    let mut head = MessageHead::default();
    let mut current: Option<(String, String)> = None;
    for line in header.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = &mut current {
                value.push_str(line);
            }
            continue;
        }
        note(&mut head, current.take());
        if line.is_empty() {
            return head;
        }
        current = line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    }
    note(&mut head, current);
    head
}

fn note(head: &mut MessageHead, line: Option<(String, String)>) {
    let Some((name, value)) = line else { return };
    let value = value.trim().to_owned();
    match name.as_str() {
        "from" => head.from = value,
        "subject" => head.subject = value,
        "message-id" => head.message_id = Some(value.trim_matches(['<', '>']).to_owned()),
        "date" => {
            head.date = chrono::DateTime::parse_from_rfc2822(&value).ok().map(|date| date.timestamp());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_headers_are_found() {
        let head = of(b"FROM: a@b.example\r\nSubject: one\r\n two\r\nMessage-ID: <x@y>\r\n\r\nSubject: body");
        assert_eq!(head.from, "a@b.example");
        assert_eq!(head.subject, "one two");
        assert_eq!(head.message_id.as_deref(), Some("x@y"));
        assert_eq!(of(b"\xff\xfe\0:").subject, "");
    }
}
