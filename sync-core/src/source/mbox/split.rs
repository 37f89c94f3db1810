//! Where one message ends and the next begins.
//!
//! Writers do not agree on quoting, so a line `From …` separates only if it looks like one that a mail
//! program wrote, and a header field follows:
//!
//! - `From - …` (Thunderbird), `From user@host` (Takeout), `From anything … Mon Jan  5 07:41:00 2026`;
//! - not `From Russia with love`, even above a line `Year: 1963`.
//!
//! A blank line before it is usual but not required; the one that stands there belongs to the separator.
//! `Content-Length` is not trusted. Lines may be of any length: memory is bounded by [`PIECE`].

use std::io::{self, BufRead, BufReader, Read};

use chrono::DateTime;

use super::identity::Hasher;

const PIECE: u64 = 8192;
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// One message of the file: bytes `start..end`, followed by the separator at `next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
    pub next: u64,
    pub id: String,
    /// Its own date, Unix milliseconds.
    pub time: Option<i64>,
    /// It reaches to the end of the file.
    pub last: bool,
}

pub struct Splitter<R> {
    input: BufReader<R>,
    offset: u64,
    /// A piece that was read to look ahead.
    ahead: Option<Vec<u8>>,
    /// The separator before the message to come was read.
    inside: bool,
}

impl<R: Read> Splitter<R> {
    /// `input` begins at `offset` of the file, which is its start or a separator.
    pub fn new(input: R, offset: u64) -> Self {
        Self { input: BufReader::with_capacity(64 << 10, input), offset, ahead: None, inside: false }
    }

    /// # Errors
    /// As `read`.
    pub fn next_message(&mut self) -> io::Result<Option<Span>> {
        if !self.inside && !self.skip_to_first()? {
            return Ok(None);
        }
        let mut message = Message::new(self.offset);
        loop {
            let at = self.offset;
            let Some(piece) = self.piece()? else {
                self.inside = false;
                return Ok(Some(message.finish(at, true)));
            };
            if !message.in_line && self.separates(&piece)? {
                return Ok(Some(message.finish(at, false)));
            }
            message.push(piece, self.offset);
        }
    }

    /// What stands before the first separator is no message.
    fn skip_to_first(&mut self) -> io::Result<bool> {
        let (mut in_line, mut at_start) = (false, self.offset == 0);
        while let Some(piece) = self.piece()? {
            let line = if at_start { piece.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&piece) } else { &piece };
            if !in_line && self.separates(line)? {
                self.inside = true;
                return Ok(true);
            }
            at_start = false;
            in_line = !piece.ends_with(b"\n");
        }
        Ok(false)
    }

    fn separates(&mut self, line: &[u8]) -> io::Result<bool> {
        if !is_separator(line) {
            return Ok(false);
        }
        if self.ahead.is_none() {
            self.ahead = self.read_piece()?;
        }
        Ok(self.ahead.as_deref().is_some_and(is_header))
    }

    fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let piece = match self.ahead.take() {
            Some(piece) => Some(piece),
            None => self.read_piece()?,
        };
        self.offset += piece.as_ref().map_or(0, Vec::len) as u64;
        Ok(piece)
    }

    fn read_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut piece = Vec::new();
        (&mut self.input).take(PIECE).read_until(b'\n', &mut piece)?;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// A message while its lines come in. A blank line is held back until it is known whether the next one
/// separates: then it is not part of the message.
struct Message {
    start: u64,
    /// After the last piece that is not held back.
    end: u64,
    held: Option<Vec<u8>>,
    in_line: bool,
    in_header: bool,
    time: Option<i64>,
    hasher: Hasher,
}

impl Message {
    fn new(start: u64) -> Self {
        let hasher = Hasher::default();
        Self { start, end: start, held: None, in_line: false, in_header: true, time: None, hasher }
    }

    fn push(&mut self, piece: Vec<u8>, end: u64) {
        let starts_line = !self.in_line;
        self.in_line = !piece.ends_with(b"\n");
        let before = end - piece.len() as u64;
        if let Some(held) = self.held.take() {
            self.hasher.piece(&held);
            self.end = before;
        }
        let blank = starts_line && is_blank(&piece);
        if self.in_header && starts_line {
            self.in_header = !blank;
            self.time = self.time.or_else(|| date_of(&piece));
        }
        if blank {
            self.held = Some(piece);
            return;
        }
        self.hasher.piece(&piece);
        self.end = end;
    }

    /// A blank line that is still held belongs to the separator, and so does one at the end of the file.
    fn finish(self, next: u64, last: bool) -> Span {
        Span { start: self.start, end: self.end, next, id: self.hasher.finish(), time: self.time, last }
    }
}

/// Whether a line looks like a separator that a mail program wrote.
pub fn is_separator(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(rest) = line.strip_prefix(b"From ") else { return false };
    let mut words = rest.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
    let (Some(sender), second) = (words.next(), words.next()) else { return false };
    match second {
        None => sender == b"-" || sender.contains(&b'@'),
        Some(second) => has_date(std::iter::once(second).chain(words)),
    }
}

/// `Mon Jan  5 07:41:00 2026`: a day, a time and a year are enough.
fn has_date<'a>(words: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut day, mut time, mut year) = (false, false, false);
    for word in words.take(12) {
        day |= DAYS.iter().any(|name| word.starts_with(name));
        time |= word.iter().filter(|byte| **byte == b':').count() >= 1 && word[0].is_ascii_digit();
        year |= word.len() == 4 && word.iter().all(u8::is_ascii_digit);
    }
    day && time && year
}

fn is_header(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    // Some writers put a quoted separator or their own among the headers.
    line.starts_with(b">From ")
        || (name.len() < line.len()
            && !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':'))
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

fn date_of(line: &[u8]) -> Option<i64> {
    let (name, value) = line.split_at_checked(5)?;
    if !name.eq_ignore_ascii_case(b"date:") {
        return None;
    }
    let value = std::str::from_utf8(value.get(..value.len().min(100))?).ok()?;
    let value = value.split('(').next().unwrap_or_default().trim();
    DateTime::parse_from_rfc2822(value).ok().map(|date| date.timestamp_millis())
}

/// Takes one `>` from lines that begin `>From `, `>>From ` … (mboxrd).
pub fn unquote(raw: Vec<u8>) -> Vec<u8> {
    let quoted = |line: &[u8]| {
        let unquoted = line.iter().position(|byte| *byte != b'>').unwrap_or(0);
        unquoted > 0 && line[unquoted..].starts_with(b"From ")
    };
    if !raw.split(|byte| *byte == b'\n').any(quoted) {
        return raw;
    }
    let lines = raw.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(|line| if quoted(line) { &line[1..] } else { line }).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_told_from_prose() {
        for yes in [
            "From - \n",
            "From -\r\n",
            "From 1844347792267117879@xxx\n",
            "From sender@example.com Mon Jan  5 07:41:00 2026\n",
            "From - Mon Jan  5 07:41 2026\n",
            "From MAILER-DAEMON Mon Jan 12 07:41:00 +0100 2026\n",
        ] {
            assert!(is_separator(yes.as_bytes()), "{yes}");
        }
        for no in
            ["From Russia with love\n", "From: a@b\n", "From \n", ">From a@b\n", "From Monday on, 9:00\n"]
        {
            assert!(!is_separator(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn quoting_is_undone_once() {
        let raw = b"a\n>From b\n>>From c\n> From d\n".to_vec();
        assert_eq!(unquote(raw), b"a\nFrom b\n>From c\n> From d\n");
    }

    #[test]
    fn endless_lines_stay_in_bounds() {
        let mut file = b"From - \nSubject: x\n\n".to_vec();
        file.extend(std::iter::repeat_n(b'a', 100_000));
        file.extend(b"From - \nno: header\n\nFrom - \nSubject: y\n\nend\n");
        let mut splitter = Splitter::new(file.as_slice(), 0);
        let first = splitter.next_message().unwrap().unwrap();
        let second = splitter.next_message().unwrap().unwrap();
        assert!(!first.last && second.last);
        assert_eq!(&file[second.start as usize..second.end as usize], b"Subject: y\n\nend\n");
        assert!(splitter.next_message().unwrap().is_none());
    }
}
