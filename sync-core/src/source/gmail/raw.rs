//! The answer to `messages.get?format=raw`, decoded while it comes in.
//!
//! The message is one string of base64 within JSON. Parsed as a whole, a mail of 50 MiB would be three times in memory;
//! here it is there once, decoded, and a mail that is larger than its reservation is noticed on the way. The rest of
//! the answer is small; it is kept without that string and parsed at the end.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;

/// All but the message: ids, labels, a snippet.
const REST_MAX: usize = 1 << 20;
const KEY: &[u8] = b"raw";

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// When Gmail took it, Unix milliseconds.
    pub time: Option<i64>,
    pub labels: Vec<String>,
    pub raw: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Larger than allowed.
    Larger,
    /// Not the JSON that was expected, or cut.
    Unreadable,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rest {
    /// What is left of the string: nothing.
    raw: Option<String>,
    internal_date: Option<String>,
    #[serde(default)]
    label_ids: Vec<String>,
}

enum State {
    /// Within nested values or between the parts of the outermost object.
    Outside,
    /// Within a string; `name` gathers it, as long as it may be the key.
    String {
        escaped: bool,
    },
    /// The key was read; the next string is the message.
    Awaiting,
    Raw,
}

pub struct Decoder {
    max: usize,
    state: State,
    depth: u32,
    name: Vec<u8>,
    /// The last string at depth 1, which a colon makes a key.
    last: Vec<u8>,
    rest: Vec<u8>,
    pending: Vec<u8>,
    raw: Vec<u8>,
}

impl Decoder {
    /// For a message of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            state: State::Outside,
            depth: 0,
            name: Vec::new(),
            last: Vec::new(),
            rest: Vec::new(),
            pending: Vec::new(),
            raw: Vec::new(),
        }
    }

    /// # Errors
    /// See [`Error`]; the answer is of no use any more then.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), Error> {
        while !piece.is_empty() {
            if matches!(self.state, State::Raw) {
                let end = piece.iter().position(|&byte| byte == b'"');
                let (text, after) = piece.split_at(end.unwrap_or(piece.len()));
                self.decode(text)?;
                piece = after;
                if end.is_some() {
                    self.flush()?;
                    self.rest.push(b'"');
                    self.state = State::Outside;
                    piece = &piece[1..];
                }
                continue;
            }
            self.byte(piece[0])?;
            piece = &piece[1..];
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), Error> {
        if self.rest.len() >= REST_MAX {
            return Err(Error::Unreadable);
        }
        self.rest.push(byte);
        match &mut self.state {
            State::String { escaped } => match byte {
                _ if *escaped => *escaped = false,
                b'\\' => *escaped = true,
                b'"' => {
                    self.last = std::mem::take(&mut self.name);
                    self.state = State::Outside;
                }
                _ if self.name.len() <= KEY.len() => self.name.push(byte),
                _ => {}
            },
            State::Awaiting if byte == b'"' => self.state = State::Raw,
            State::Awaiting if byte.is_ascii_whitespace() => {}
            // Another value than a string.
            State::Awaiting => return Err(Error::Unreadable),
            State::Outside => self.outside(byte),
            State::Raw => {}
        }
        Ok(())
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.name.clear();
                self.state = State::String { escaped: false };
            }
            b':' if self.depth == 1 && self.last == KEY => self.state = State::Awaiting,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if !byte.is_ascii_whitespace() && byte != b'"' {
            self.last.clear();
        }
    }

    fn decode(&mut self, text: &[u8]) -> Result<(), Error> {
        self.pending.extend_from_slice(text);
        let whole = self.pending.len() / 4 * 4;
        self.take(whole)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.take(self.pending.len())
    }

    fn take(&mut self, count: usize) -> Result<(), Error> {
        // Padding ends the text, wherever the pieces were cut.
        ENGINE.decode_vec(&self.pending[..count], &mut self.raw).map_err(|_| Error::Unreadable)?;
        self.pending.drain(..count);
        if self.raw.len() > self.max { Err(Error::Larger) } else { Ok(()) }
    }

    /// # Errors
    /// [`Error::Unreadable`] if the answer was cut.
    pub fn finish(self) -> Result<Message, Error> {
        if matches!(self.state, State::Raw) {
            return Err(Error::Unreadable);
        }
        let rest: Rest = serde_json::from_slice(&self.rest).map_err(|_| Error::Unreadable)?;
        rest.raw.ok_or(Error::Unreadable)?;
        let time = rest.internal_date.and_then(|date| date.parse().ok());
        Ok(Message { time, labels: rest.label_ids, raw: Bytes::from(self.raw) })
    }
}

/// A whole answer.
///
/// # Errors
/// See [`Error`].
pub fn decode(answer: &[u8], max: usize) -> Result<Message, Error> {
    let mut decoder = Decoder::new(max);
    decoder.push(answer)?;
    decoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{ "id": "1a", "snippet": "\"raw\": \"x\" \\", "payload": {"raw": "bm8"}, "labelIds":
        ["INBOX", "raw"], "raw" : "RnJvbTogYUBiCgrDvz8-", "internalDate":"1700000000123", "sizeEstimate": 15 }"#;

    #[test]
    fn a_message_is_found_however_it_is_cut() {
        let expected = "From: a@b\n\n\u{ff}?>".as_bytes();
        for size in 1..ANSWER.len() {
            let mut decoder = Decoder::new(100);
            ANSWER.as_bytes().chunks(size).for_each(|piece| decoder.push(piece).unwrap());
            let message = decoder.finish().unwrap();
            assert_eq!(&message.raw[..], expected, "{size}");
            assert_eq!(message.time, Some(1_700_000_000_123));
            assert_eq!(message.labels, ["INBOX", "raw"]);
        }
        for end in 0..ANSWER.len() - 1 {
            assert_eq!(decode(&ANSWER.as_bytes()[..end], 100), Err(Error::Unreadable), "{end}");
        }
    }

    #[test]
    fn sizes_and_paddings() {
        assert_eq!(decode(ANSWER.as_bytes(), 14), Err(Error::Larger));
        for (text, length) in [("", 0), ("YQ", 1), ("YQ==", 1), ("YWI", 2), ("YWI=", 2), ("YWJj", 3)] {
            let message = decode(format!(r#"{{"raw":"{text}"}}"#).as_bytes(), 10).unwrap();
            assert_eq!((message.raw.len(), message.time), (length, None), "{text}");
        }
        for bad in [
            "{}",
            "[]",
            "",
            "null",
            r#"{"raw":null}"#,
            r#"{"raw":"Y"}"#,
            r#"{"raw":"\n"}"#,
            r#"{"raw":["x"]}"#,
        ] {
            assert_eq!(decode(bad.as_bytes(), 10), Err(Error::Unreadable), "{bad}");
        }
        let endless = format!(r#"{{"snippet":"{}"#, "x".repeat(REST_MAX));
        assert_eq!(decode(endless.as_bytes(), 10), Err(Error::Unreadable));
    }
}
