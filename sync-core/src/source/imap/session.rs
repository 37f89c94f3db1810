//! A connection that is logged in, and the few commands that a reader of mail needs.
//!
//! Folders are opened with EXAMINE and bodies fetched with PEEK: nothing that is done here changes a mailbox, not even
//! a flag. What the server says without being asked is read past.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tracing::Instrument as _;

use super::greeting;
use super::identity::{FIELDS, HEADER_MAX};
use super::login::{self, Login};
use super::name::{Folder, quote};
use super::response::{self, Kind, Response, Status, Value};
use super::uids;
use super::verdict::Problem;
use super::wire::{Bounds, Broken, Piece, Wire};
use super::{Config, Limits};
use crate::credential::Secret;
use crate::source::Fault;
use crate::source::network::{self, Dialer};

/// Lines of one answer: a server may list many folders.
const LINES_MAX: usize = 200_000;
const UIDS_MAX: usize = 4_000_000;
const TEXT: usize = 1 << 20;
/// Of anything but a body.
const LITERALS: u64 = 256 << 10;
/// A search answers with one line, whatever it finds.
const SEARCH_TEXT: usize = 32 << 20;

/// What a connection needs.
#[derive(Clone)]
pub struct Server {
    pub dialer: Dialer,
    pub tls: Arc<ClientConfig>,
    pub config: Config,
    pub limits: Limits,
}

pub struct Session {
    wire: Wire<TlsStream<TcpStream>>,
    limits: Limits,
    tag: u32,
    /// Never to be seen in a text of the server.
    secret: Secret,
    examined: Option<(String, Examined)>,
    /// Whether folders can be asked for by their special use.
    pub(super) has_special_use: bool,
}

/// What opening a folder told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// UIDVALIDITY; 0 if the server has none.
    pub validity: u32,
    /// Whether the server said that there are no messages.
    pub is_empty: bool,
}

/// A message as a page names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub uid: u32,
    pub size: Option<u64>,
    /// Unix milliseconds.
    pub received: Option<i64>,
    pub header: Option<Bytes>,
}

/// What a fetch of a body brought.
#[derive(Debug)]
pub enum Body {
    Message(Bytes),
    /// The server had nothing to say about this message.
    Nothing,
}

impl Session {
    /// # Errors
    /// Classed by what happens next.
    pub async fn open(server: &Server, login: &Login) -> Result<Self, Fault> {
        let span = tracing::debug_span!("provider", provider = "imap", call = "connect and log in");
        Self::open_now(server, login).instrument(span).await
    }

    async fn open_now(server: &Server, login: &Login) -> Result<Self, Fault> {
        let limits = server.limits;
        let stream = server.dialer.connect(&server.config.host, server.config.port).await?;
        let shaken = timeout(limits.greeting, greeting::secured(server, stream)).await;
        let (stream, is_greeted) = shaken.unwrap_or_else(|_| Err(network::unreachable()))?;
        let mut wire = Wire::new(stream, bounds(limits.greeting), limits.idle);
        if !is_greeted {
            greeting::read(&mut wire).await?;
        }
        let mut session = Self {
            wire,
            limits,
            tag: 0,
            secret: login.secret().clone(),
            examined: None,
            has_special_use: false,
        };
        login::log_in(&mut session, &server.config.user, login).await?;
        Ok(session)
    }

    pub fn fault(&self, problem: Problem) -> Fault {
        problem.fault(Some(&self.secret))
    }

    /// Answers the status with which it ended well.
    pub async fn command(
        &mut self,
        command: &str,
        each: impl FnMut(Response) -> Result<(), Broken>,
    ) -> Result<Status, Problem> {
        self.command_within(command, bounds(self.limits.command), each).await
    }

    async fn command_within(
        &mut self,
        command: &str,
        bounds: Bounds,
        each: impl FnMut(Response) -> Result<(), Broken>,
    ) -> Result<Status, Problem> {
        let span = tracing::debug_span!("provider", provider = "imap", call = word(command));
        let asked = async {
            self.begin(bounds);
            let tag = self.send(command).await?;
            self.until(&tag, None, each).await
        };
        asked.instrument(span).await
    }

    pub fn command_time(&self) -> Duration {
        self.limits.command
    }

    pub fn begin(&mut self, bounds: Bounds) {
        self.wire.begin(bounds);
    }

    /// Sends a command and answers its tag.
    pub async fn send(&mut self, command: &str) -> Result<String, Broken> {
        self.tag += 1;
        let tag = format!("D{}", self.tag);
        let line = zeroize::Zeroizing::new(format!("{tag} {command}\r\n"));
        self.wire.send(line.as_bytes()).await?;
        Ok(tag)
    }

    /// Reads to the end of the command `tag`. `payload` is what a first `+` asks for; later ones get an empty line.
    pub async fn until(
        &mut self,
        tag: &str,
        mut payload: Option<&[u8]>,
        mut each: impl FnMut(Response) -> Result<(), Broken>,
    ) -> Result<Status, Problem> {
        for _ in 0..LINES_MAX {
            match response::parse(self.wire.line().await?)? {
                Response::Tagged { tag: ended, status } if ended == tag => {
                    return if status.kind == Kind::Ok { Ok(status) } else { Err(Problem::Refused(status)) };
                }
                Response::Tagged { .. } => return Err(Broken::Grammar("the end of another command").into()),
                Response::Continue => {
                    self.wire.send(payload.take().unwrap_or_default()).await?;
                    self.wire.send(b"\r\n").await?;
                }
                Response::Status(status) if status.kind == Kind::Bye => return Err(Problem::Refused(status)),
                other => each(other)?,
            }
        }
        Err(Broken::Grammar("an answer without end").into())
    }

    /// Calls `each` with every folder.
    pub async fn list(&mut self, each: impl FnMut(Folder)) -> Result<(), Problem> {
        self.list_with("LIST \"\" \"*\"", each).await
    }

    /// Calls `each` with folders of a special use, which not every server tells otherwise.
    pub async fn list_special(&mut self, each: impl FnMut(Folder)) -> Result<(), Problem> {
        if !self.has_special_use {
            return Ok(());
        }
        self.list_with("LIST (SPECIAL-USE) \"\" \"*\"", each).await
    }

    async fn list_with(&mut self, command: &str, mut each: impl FnMut(Folder)) -> Result<(), Problem> {
        let lines = |response: Response| {
            if let Response::Data { name, rest } = response
                && name == "LIST"
            {
                // One line that is not understood hides one folder.
                response::values(&rest)
                    .ok()
                    .and_then(|values| folder(&values))
                    .into_iter()
                    .for_each(&mut each);
            }
            Ok(())
        };
        self.command(command, lines).await.map(drop)
    }

    /// Opens a folder for reading, unless it is open.
    pub async fn examine(&mut self, raw: &str) -> Result<Examined, Problem> {
        if let Some((open, examined)) = &self.examined
            && open == raw
        {
            return Ok(*examined);
        }
        self.examined = None;
        let name = quote(raw).ok_or(Broken::Grammar("a folder's name holds a line break"))?;
        let mut examined = Examined::default();
        let command = format!("EXAMINE {name}");
        let ended = self.command(&command, |response| {
            match response {
                Response::Status(status) if status.code == "UIDVALIDITY" => {
                    examined.validity = status.argument.trim().parse().unwrap_or(0);
                }
                Response::Numbered { number, name, .. } if name == "EXISTS" => {
                    examined.is_empty = number == 0
                }
                _ => {}
            }
            Ok(())
        });
        ended.await?;
        self.examined = Some((raw.to_owned(), examined));
        Ok(examined)
    }

    /// UIDs that match, in order, each once.
    pub async fn search(&mut self, criteria: &str) -> Result<Vec<u32>, Problem> {
        let bounds = Bounds { text: SEARCH_TEXT, ..bounds(self.limits.search) };
        let mut found = Vec::new();
        let lines = |response: Response| {
            if let Response::Data { name, rest } = response
                && name == "SEARCH"
            {
                collect_numbers(&rest, &mut found)?;
            }
            Ok(())
        };
        self.command_within(&format!("UID SEARCH {criteria}"), bounds, lines).await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// What the server has to say about these, in no order. Some may be missing.
    pub async fn heads(&mut self, wanted: &[u32]) -> Result<Vec<Head>, Problem> {
        let fields = FIELDS.join(" ");
        let command = format!(
            "UID FETCH {} (UID INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS ({fields})]<0.{HEADER_MAX}>)",
            uids::set(wanted)
        );
        let mut heads = Vec::new();
        let lines = |response: Response| {
            // A flag that changed is told without being asked, and has no header.
            let head = fetched(response).map(|pairs| head(&pairs)).filter(|head| head.header.is_some());
            heads.extend(head.filter(|head| wanted.binary_search(&head.uid).is_ok()));
            if heads.len() > 2 * wanted.len() {
                Err(Broken::Grammar("more messages than asked for"))
            } else {
                Ok(())
            }
        };
        self.command(&command, lines).await?;
        Ok(heads)
    }

    /// The bytes of one message, if they are no more than `max`.
    pub async fn body(&mut self, uid: u32, max: u64) -> Result<Body, Problem> {
        let time = self.limits.command + Duration::from_secs(max / self.limits.bytes_per_second.max(1));
        let bounds = Bounds { literals: max, ..bounds(time) };
        let mut body = Body::Nothing;
        let lines = |response: Response| {
            let Some(pairs) = fetched(response) else { return Ok(()) };
            if head(&pairs).uid != uid {
                return Ok(());
            }
            let found = pairs.into_iter().find(|(name, _)| name == "BODY[]");
            if let Some((_, Value::Text(bytes))) = found
                && !bytes.is_empty()
            {
                body = Body::Message(bytes);
            }
            Ok(())
        };
        self.command_within(&format!("UID FETCH {uid} (UID BODY.PEEK[])"), bounds, lines).await?;
        Ok(body)
    }

    pub async fn log_out(mut self) {
        let _ = timeout(self.limits.logout, self.command("LOGOUT", |_| Ok(()))).await;
    }
}

pub fn bounds(time: Duration) -> Bounds {
    Bounds { text: TEXT, literals: LITERALS, time }
}

fn folder(values: &[Value]) -> Option<Folder> {
    let [Value::List(attributes), delimiter, name] = values else { return None };
    let attributes = attributes.iter().filter_map(Value::bytes).take(32);
    let attributes = attributes.map(|it| String::from_utf8_lossy(it).to_lowercase()).collect();
    let delimiter = delimiter.bytes().and_then(|it| it.first()).map(|byte| char::from(*byte));
    let raw = String::from_utf8(name.bytes()?.to_vec()).ok()?;
    quote(&raw)?;
    Some(Folder::new(raw, delimiter, attributes))
}

fn collect_numbers(line: &[Piece], found: &mut Vec<u32>) -> Result<(), Broken> {
    for piece in line {
        let Piece::Text(text) = piece else { continue };
        for word in text.split(|byte| *byte == b' ') {
            // `(MODSEQ 5)` may follow, and is no UID.
            if word.first() == Some(&b'(') {
                return Ok(());
            }
            found.extend(std::str::from_utf8(word).ok().and_then(|word| word.parse::<u32>().ok()));
        }
        if found.len() > UIDS_MAX {
            return Err(Broken::Grammar("more messages than there can be"));
        }
    }
    Ok(())
}

/// Names in upper case, with their values.
fn fetched(response: Response) -> Option<Vec<(String, Value)>> {
    let Response::Numbered { name, mut values, .. } = response else { return None };
    let (true, Some(Value::List(pairs))) = (name == "FETCH", values.pop()) else { return None };
    let mut pairs = pairs.into_iter();
    let mut found = Vec::new();
    while let (Some(Value::Atom(name)), Some(value)) = (pairs.next(), pairs.next()) {
        found.push((name.to_ascii_uppercase(), value));
    }
    Some(found)
}

fn head(pairs: &[(String, Value)]) -> Head {
    let mut head = Head::default();
    for (name, value) in pairs {
        match name.as_str() {
            "UID" => head.uid = value.number().unwrap_or(0),
            "RFC822.SIZE" => head.size = value.number().map(u64::from),
            "INTERNALDATE" => head.received = value.bytes().and_then(received),
            name if name.starts_with("BODY[HEADER.FIELDS") => {
                head.header = match value {
                    Value::Text(bytes) => Some(bytes.clone()),
                    _ => Some(Bytes::new()),
                };
            }
            _ => {}
        }
    }
    head
}

/// ` 7-Jul-2026 02:44:25 -0700`
fn received(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let date = chrono::DateTime::parse_from_str(text, "%d-%b-%Y %H:%M:%S %z").ok()?;
    Some(date.timestamp_millis())
}

/// The command itself, without what it is about.
fn word(command: &str) -> &str {
    let words = if command.starts_with("UID ") { 2 } else { 1 };
    let end = command.match_indices(' ').nth(words - 1).map_or(command.len(), |(at, _)| at);
    &command[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_dates() {
        assert_eq!(received(b"01-Jan-2026 00:00:00 +0100"), Some(1_767_222_000_000));
        assert_eq!(received(b" 1-Jan-2026 00:00:00 +0000"), Some(1_767_225_600_000));
        assert_eq!(received(b"yesterday"), None);
    }
}
