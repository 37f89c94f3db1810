//! A cheap look at a message before the parser: size, parts, nesting.
//!
//! One pass over the lines, no allocation per line, so that a message made to hurt the parser is refused in
//! milliseconds.

use crate::document::Limits;

const BOUNDARY_BYTES_MAX: usize = 1024;
const HEADER_BYTES_MAX: usize = 16 << 10;

/// # Errors
/// Why the message is refused.
pub fn check(raw: &[u8], limits: &Limits) -> Result<(), String> {
    if raw.len() > limits.message_bytes {
        return Err(format!("the message has {} bytes, more than {}", raw.len(), limits.message_bytes));
    }
    let mut open: Vec<&[u8]> = Vec::new();
    let mut parts = 0usize;
    let mut messages = 0usize;
    let mut at = 0;
    while at < raw.len() {
        let line = line_at(raw, at);
        if line.starts_with(b"--") {
            if let Some((level, closes)) = delimiter(&open, line) {
                open.truncate(if closes { level } else { level + 1 });
                parts += usize::from(!closes);
            }
        } else if starts_ignoring_case(line, b"content-type:") {
            let header = header_at(raw, at);
            if let Some(boundary) = boundary(header) {
                open.push(boundary);
            } else if contains_ignoring_case(header, b"message/") {
                messages += 1;
            }
        }
        if parts > limits.parts {
            return Err(format!("the message has more than {} parts", limits.parts));
        }
        // nested messages are counted flat: fifty of them are a digest, not a tower
        if open.len() > limits.depth || messages > limits.parts {
            return Err(format!("the message is nested more than {} deep", limits.depth));
        }
        at += line.len() + 1;
    }
    Ok(())
}

fn line_at(raw: &[u8], at: usize) -> &[u8] {
    let rest = raw.get(at..).unwrap_or_default();
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// A header with its folded lines, up to a bound.
fn header_at(raw: &[u8], at: usize) -> &[u8] {
    let mut end = at + line_at(raw, at).len() + 1;
    while end < raw.len() && end - at < HEADER_BYTES_MAX && matches!(raw.get(end), Some(b' ' | b'\t')) {
        end += line_at(raw, end).len() + 1;
    }
    raw.get(at..end.min(raw.len()).min(at + HEADER_BYTES_MAX)).unwrap_or_default()
}

fn delimiter(open: &[&[u8]], line: &[u8]) -> Option<(usize, bool)> {
    let rest = line.get(2..)?;
    let level = open.iter().rposition(|b| rest.starts_with(b))?;
    let after = rest.get(open.get(level)?.len()..)?;
    Some((level, after.starts_with(b"--")))
}

fn boundary(header: &[u8]) -> Option<&[u8]> {
    if !contains_ignoring_case(header, b"multipart/") {
        return None;
    }
    let at = find_ignoring_case(header, b"boundary=")? + 9;
    let value = header.get(at..)?;
    let (value, stop): (&[u8], &[u8]) = match value.first()? {
        b'"' => (value.get(1..)?, b"\""),
        _ => (value, b"; \t\r\n"),
    };
    let end = value.iter().position(|b| stop.contains(b)).unwrap_or(value.len()).min(BOUNDARY_BYTES_MAX);
    value.get(..end).filter(|v| !v.is_empty())
}

fn starts_ignoring_case(line: &[u8], prefix: &[u8]) -> bool {
    line.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

fn find_ignoring_case(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w.eq_ignore_ascii_case(needle))
}

fn contains_ignoring_case(text: &[u8], needle: &[u8]) -> bool {
    find_ignoring_case(text, needle).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_wide_messages_are_refused() {
        let mut deep = String::new();
        for level in 0..1000 {
            deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}x\n\n--b{level}x\n"));
        }
        assert!(check(deep.as_bytes(), &Limits::default()).is_err());
        let wide = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(100_000));
        assert!(check(wide.as_bytes(), &Limits::default()).is_err());
        let large = vec![b'x'; 100];
        assert!(check(&large, &Limits { message_bytes: 99, ..Limits::default() }).is_err());
    }

    #[test]
    fn usual_messages_pass() {
        let nested = "Content-Type: multipart/mixed;\r\n boundary=\"a\"\r\n\r\n--a\r\nContent-Type: multipart/alternative; boundary=ab\r\n\r\n--ab\r\n\r\nx\r\n--ab--\r\n--a--\r\n";
        assert_eq!(check(nested.as_bytes(), &Limits::default()), Ok(()));
        let signature = format!("Subject: x\n\n{}", "-- \n-----\n".repeat(5000));
        assert_eq!(check(signature.as_bytes(), &Limits::default()), Ok(()));
    }
}
