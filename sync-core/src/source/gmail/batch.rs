//! Several calls in one request: `multipart/mixed`, a part for each call, answers in any order. Each part succeeds or
//! fails by itself, and parts may be missing.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// More are not recommended by Google.
pub const CALLS_MAX: usize = 50;
const BOUNDARY: &str = "docket-part";

pub const CONTENT_TYPE: &str = "multipart/mixed; boundary=docket-part";

/// A request for `paths`, all GET.
pub fn encode(paths: &[String]) -> String {
    let part = |(index, path): (usize, &String)| {
        format!(
            "--{BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <item-{index}>\r\n\r\nGET {path}\r\n\r\n"
        )
    };
    let parts: String = paths.iter().enumerate().map(part).collect();
    format!("{parts}--{BOUNDARY}--\r\n")
}

/// The answer to one call.
#[derive(Debug)]
pub struct Part<'a> {
    /// Of the call.
    pub index: usize,
    pub status: StatusCode,
    pub body: &'a [u8],
}

/// The parts of an answer that are whole; what cannot be read is left out, as is what comes after a cut.
pub fn decode<'a>(content_type: &str, body: &'a [u8]) -> Vec<Part<'a>> {
    let Some(boundary) = boundary(content_type) else { return Vec::new() };
    let mark = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = body;
    // Up to the first mark is nothing, and what follows the last one is cut.
    let mut is_first = true;
    while let Some(at) = find(rest, mark.as_bytes()) {
        if !is_first {
            parts.extend(part(&rest[..at]));
        }
        is_first = false;
        rest = &rest[at + mark.len()..];
    }
    parts
}

fn boundary(content_type: &str) -> Option<&str> {
    let (_, value) = content_type.split_once("boundary=")?;
    let value = value.split(';').next()?.trim().trim_matches('"');
    (1..=200).contains(&value.len()).then_some(value)
}

fn part(text: &[u8]) -> Option<Part<'_>> {
    let (outer, inner) = headers(text)?;
    let id = outer.get("content-id")?.to_str().ok()?;
    let index = id.trim_matches(['<', '>']).rsplit('-').next()?.parse().ok()?;
    let inner = inner.trim_ascii_start();
    let line_end = find(inner, b"\n")?;
    let line = std::str::from_utf8(&inner[..line_end]).ok()?;
    let status = line.strip_prefix("HTTP/")?.split_whitespace().nth(1)?.parse().ok()?;
    let (_, body) = headers(&inner[line_end + 1..])?;
    Some(Part { index, status: StatusCode::from_u16(status).ok()?, body: body.trim_ascii() })
}

/// Header lines and what comes after the empty line.
fn headers(text: &[u8]) -> Option<(HeaderMap, &[u8])> {
    let mut headers = HeaderMap::new();
    let mut rest = text.strip_prefix(b"\r\n").or_else(|| text.strip_prefix(b"\n")).unwrap_or(text);
    loop {
        let end = find(rest, b"\n")?;
        let line = rest[..end].trim_ascii_end();
        rest = &rest[end + 1..];
        if line.is_empty() {
            return Some((headers, rest));
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok();
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok();
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|&byte| byte == first) {
        if text[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "--batch_x\r\nContent-Type: application/http\r\nContent-ID: <response-item-1>\r\n\r\n\
        HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Type: application/json\r\n\r\n{\"error\": {}}\r\n\
        --batch_x\nContent-ID: <response-item-0>\n\nHTTP/1.1 200 OK\nContent-Length: 11\n\n{\n \"id\": 1 }\n\
        --batch_x\r\nContent-ID: <response-item-x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}\r\n\
        --batch_x\r\nno part\r\n--batch_x--\r\n";

    #[test]
    fn parts_are_told_apart() {
        let parts = decode("multipart/mixed; boundary=\"batch_x\"; charset=UTF-8", ANSWER.as_bytes());
        let told: Vec<_> = parts.iter().map(|part| (part.index, part.status.as_u16(), part.body)).collect();
        assert_eq!(told, [(1, 429, &b"{\"error\": {}}"[..]), (0, 200, &b"{\n \"id\": 1 }"[..])]);
    }

    #[test]
    fn a_cut_answer_keeps_its_whole_parts() {
        for end in 0..ANSWER.len() {
            let parts = decode("multipart/mixed; boundary=batch_x", &ANSWER.as_bytes()[..end]);
            assert!(parts.iter().all(|part| part.body.ends_with(b"}")), "{end}: {parts:?}");
        }
        assert!(decode("text/html", ANSWER.as_bytes()).is_empty());
        assert!(decode("multipart/mixed; boundary=", ANSWER.as_bytes()).is_empty());
    }

    #[test]
    fn a_request_names_each_call() {
        let text = encode(&["/a".into(), "/b?c=d".into()]);
        assert_eq!(text.matches("--docket-part\r\n").count(), 2);
        assert!(text.contains("Content-ID: <item-1>\r\n\r\nGET /b?c=d\r\n\r\n--docket-part--"), "{text}");
    }
}
