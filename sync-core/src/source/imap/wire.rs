//! Bytes of a connection as lines of the protocol: bounded in size and in time, whatever the server does.
//!
//! A *line* here is one whole response: text, and literals (`{5}` and five bytes) in between. Nothing is read ahead of
//! its bound: a literal that announces too much is refused before its first byte.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the server closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server is too slow")]
    Slow,
    #[error("the server does not keep to the protocol: {0}")]
    Grammar(&'static str),
    #[error("the server announced {0} bytes")]
    TooLarge(u64),
}

/// Of one line, and of the time until the command's end.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub text: usize,
    /// All literals of a line together.
    pub literals: u64,
    pub time: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Bytes),
    Literal(Bytes),
}

pub type Line = Vec<Piece>;

pub struct Wire<S> {
    stream: S,
    buffer: BytesMut,
    deadline: Instant,
    bounds: Bounds,
    /// Without a byte for so long, the server is gone.
    idle: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S, bounds: Bounds, idle: Duration) -> Self {
        let deadline = Instant::now() + bounds.time;
        Self { stream, buffer: BytesMut::new(), deadline, bounds, idle }
    }

    /// Bounds of what follows, from now on.
    pub fn begin(&mut self, bounds: Bounds) {
        self.deadline = Instant::now() + bounds.time;
        self.bounds = bounds;
    }

    /// The stream, unless the server has said something that nobody asked for.
    pub fn into_inner(self) -> Option<S> {
        self.buffer.is_empty().then_some(self.stream)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout_at(self.deadline, written).await.map_err(|_| Broken::Slow)??;
        Ok(())
    }

    pub async fn line(&mut self) -> Result<Line, Broken> {
        let (mut pieces, mut text_left, mut literals_left) =
            (Vec::new(), self.bounds.text, self.bounds.literals);
        loop {
            let text = self.text(text_left).await?;
            text_left -= text.len();
            let announced = match pieces.first() {
                None if !may_hold_literals(&text) => None,
                _ => announced(&text)?,
            };
            let Some((length, text_end)) = announced else {
                pieces.push(Piece::Text(text));
                return Ok(pieces);
            };
            if is_within_quotes(&text[..text_end]) {
                return Err(Broken::Grammar("a literal within quotes"));
            }
            literals_left = literals_left.checked_sub(length).ok_or(Broken::TooLarge(length))?;
            pieces.push(Piece::Text(text.slice(..text_end)));
            pieces.push(Piece::Literal(self.exactly(length as usize).await?));
        }
    }

    /// Up to the end of the line, without it.
    async fn text(&mut self, max: usize) -> Result<Bytes, Broken> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(searched + at).freeze();
                self.buffer.advance(1);
                if line.ends_with(b"\r") {
                    line.truncate(line.len() - 1);
                }
                if line.len() > max {
                    return Err(Broken::Grammar("a line is too long"));
                }
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > max {
                return Err(Broken::Grammar("a line is too long"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        self.buffer.reserve(16 << 10);
        let until = self.deadline.min(Instant::now() + self.idle);
        let read = timeout_at(until, self.stream.read_buf(&mut self.buffer)).await;
        match read.map_err(|_| Broken::Slow)?? {
            0 => Err(Broken::Closed),
            _ => Ok(()),
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Bytes, Broken> {
        if length <= self.buffer.len() {
            return Ok(self.buffer.split_to(length).freeze());
        }
        // Within its bound, and memory that is not written to costs nothing.
        let mut literal = Vec::with_capacity(length);
        literal.extend_from_slice(&self.buffer.split());
        while literal.len() < length {
            let missing = (length - literal.len()) as u64;
            let until = self.deadline.min(Instant::now() + self.idle);
            let mut rest = (&mut self.stream).take(missing);
            let read = timeout_at(until, rest.read_buf(&mut literal)).await;
            if read.map_err(|_| Broken::Slow)?? == 0 {
                return Err(Broken::Closed);
            }
        }
        Ok(literal.into())
    }
}

/// Free text for people may look like anything: it follows a status, a tag or a `+`.
fn may_hold_literals(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"* ") else { return false };
    let word = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    !["OK", "NO", "BAD", "BYE", "PREAUTH"].iter().any(|status| word.eq_ignore_ascii_case(status.as_bytes()))
}

/// The length that the end of `text` announces, and where the announcement begins. `{5+}` is what clients say, and some
/// servers as well.
fn announced(text: &[u8]) -> Result<Option<(u64, usize)>, Broken> {
    let Some(inner) = text.strip_suffix(b"}") else { return Ok(None) };
    let Some(open) = inner.iter().rposition(|byte| *byte == b'{') else { return Ok(None) };
    let digits = &inner[open + 1..];
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    let length = length.filter(|length| *length <= u64::from(u32::MAX) * 2);
    length.map(|length| Some((length, open))).ok_or(Broken::Grammar("a literal of impossible length"))
}

fn is_within_quotes(text: &[u8]) -> bool {
    let (mut open, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if open => escaped = true,
            b'"' => open = !open,
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { text: 100, literals: 50, time: Duration::from_secs(5) };

    async fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        // Cut into small pieces, as networks do.
        let (client, mut server) = tokio::io::duplex(7);
        let bytes = bytes.to_vec();
        let sending = tokio::spawn(async move {
            let _ = server.write_all(&bytes).await;
        });
        let mut wire = Wire::new(client, BOUNDS, Duration::from_secs(5));
        let line = wire.line().await.map_err(|broken| broken.to_string());
        drop(wire);
        sending.await.unwrap();
        let shown = |piece: Piece| match piece {
            Piece::Text(text) => String::from_utf8_lossy(&text).into_owned(),
            Piece::Literal(bytes) => format!("<{}>", String::from_utf8_lossy(&bytes)),
        };
        Ok(line?.into_iter().map(shown).collect())
    }

    #[tokio::test]
    async fn lines_with_and_without_literals() {
        assert_eq!(read(b"* SEARCH 1 2\r\n").await.unwrap(), ["* SEARCH 1 2"]);
        assert_eq!(read(b"* SEARCH\n").await.unwrap(), ["* SEARCH"], "a bare line feed ends a line, too");
        let fetch = b"* 1 FETCH (BODY[] {5}\r\na\r\n{9 UID 3)\r\n";
        assert_eq!(read(fetch).await.unwrap(), ["* 1 FETCH (BODY[] ", "<a\r\n{9>", " UID 3)"]);
        let two = b"* LIST () {1}\r\n/ {0}\r\n\r\n";
        assert_eq!(read(two).await.unwrap(), ["* LIST () ", "</>", " ", "<>", ""]);
        for free in ["* OK hello {5}", "+ go {5}", "D1 NO \"really {5}", "* BYE {99999999999}"] {
            assert_eq!(read(format!("{free}\r\n").as_bytes()).await.unwrap(), [free]);
        }
    }

    #[tokio::test]
    async fn what_is_out_of_bounds_is_refused() {
        for (bytes, why) in [
            ("* 1 FETCH {4294967296}\r\n", "announced 4294967296"),
            ("* 1 FETCH {51}\r\n", "announced 51"),
            ("* 1 FETCH {30}\r\n123456789012345678901234567890 {30}\r\n", "announced 30"),
            ("* 1 FETCH {99999999999999999999999}\r\n", "impossible length"),
            ("* LIST () \"x {3}\r\nabc\"\r\n", "within quotes"),
            ("* 1 FETCH {5}\r\nab", "closed"),
            ("* 1 FE", "closed"),
        ] {
            let said = read(bytes.as_bytes()).await.unwrap_err();
            assert!(said.contains(why), "{bytes}: {said}");
        }
        assert!(read("x".repeat(101).as_bytes()).await.unwrap_err().contains("too long"));
        assert!(read(format!("{}\r\n", "x".repeat(101)).as_bytes()).await.unwrap_err().contains("too long"));
    }
}
