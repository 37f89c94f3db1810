//! One mbox file, read from where the last run ended.
//!
//! - A message is the hash of its bytes without the header lines that mail programs rewrite (`Status:` …),
//!   so its identity survives a rewritten file, and a file that was rewritten is simply read again.
//! - The cursor is an offset with a hash of the bytes before it. A shorter file, other bytes there, or
//!   anything but a separator after it means that the file was rewritten: the next page starts at the top.
//! - The last message counts once the file was left alone for two seconds and no `FILE.lock` exists.
//! - Where messages begin is [`split`]'s business.

mod identity;
pub mod split;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::split::{Span, Splitter};
use super::file;
use super::folder::{Folder, listing_fault};
use super::{Fault, Fetched, Item, MESSAGE_BYTES_MAX, Page};
use crate::text;

const PAGE_MESSAGES: usize = 200;
/// A page ends after this many scanned bytes, so that a run stays cancellable in a huge file.
const PAGE_BYTES: u64 = 64 << 20;
const TAIL: u64 = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    offset: u64,
    /// Of up to [`TAIL`] bytes before `offset`.
    tail: String,
}

pub struct Mbox {
    path: PathBuf,
    since: Option<i64>,
}

impl Mbox {
    /// `path` is resolved; `since` in Unix milliseconds, compared with the message's own date.
    pub fn new(path: PathBuf, since: Option<i64>) -> Self {
        Self { path, since }
    }

    fn page(&self, cursor: Option<&str>, now: i64) -> io::Result<Page> {
        let mut file = file::open(&self.path)?;
        let meta = file.metadata()?;
        let whole = file::is_settled(&meta, now) && !self.is_locked();
        let begin = cursor.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let begin = if still_valid(&mut file, &begin, meta.len())? { begin.offset } else { 0 };
        file.seek(SeekFrom::Start(begin))?;
        // Bytes that arrive while we read belong to the next page.
        let mut splitter = Splitter::new((&mut file).take(meta.len() - begin), begin);
        let (mut items, mut end, mut more) = (Vec::new(), begin, false);
        while let Some(span) = splitter.next_message()? {
            if span.last && !whole {
                break;
            }
            end = span.next;
            items.extend(self.item(span));
            if items.len() >= PAGE_MESSAGES || end - begin >= PAGE_BYTES {
                more = end < meta.len();
                break;
            }
        }
        let next = Cursor { offset: end, tail: tail_hash(&mut file, end)? };
        let next = serde_json::to_string(&next).map_err(io::Error::other)?;
        Ok(Page { items, next, more, remaining: None })
    }

    fn item(&self, span: Span) -> Option<Item> {
        if span.time.zip(self.since).is_some_and(|(time, since)| time < since) || span.start == span.end {
            return None;
        }
        Some(Item {
            id: format!("mbox:{}", span.id),
            locator: format!("{}-{}", span.start, span.end),
            time: span.time,
            size: Some(span.end - span.start),
        })
    }

    fn is_locked(&self) -> bool {
        let mut lock = self.path.clone().into_os_string();
        lock.push(".lock");
        PathBuf::from(lock).symlink_metadata().is_ok()
    }

    fn read(&self, item: &Item, start: u64, end: u64) -> io::Result<Fetched> {
        let size = end.saturating_sub(start);
        if size > MESSAGE_BYTES_MAX {
            return Ok(Fetched::TooLarge { size });
        }
        let mut file = file::open(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut raw = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(size).read_to_end(&mut raw)?;
        if item.id != format!("mbox:{}", identity::of(&raw)) {
            // Rewritten since it was listed; the next pass finds it at its new place.
            return Ok(Fetched::Gone);
        }
        Ok(Fetched::Message(Bytes::from(split::unquote(raw))))
    }
}

impl Folder for Mbox {
    fn changes(&self, cursor: Option<&str>, now: i64) -> Result<Page, Fault> {
        self.page(cursor, now).map_err(|error| listing_fault(&error))
    }

    fn fetch(&self, item: &Item) -> Result<Fetched, Fault> {
        let range = item.locator.split_once('-');
        let range = range.and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
        let Some((start, end)) = range else { return Ok(Fetched::Gone) };
        Ok(self.read(item, start, end).unwrap_or_else(|error| file::unreadable(&error)))
    }
}

fn still_valid(file: &mut File, cursor: &Cursor, len: u64) -> io::Result<bool> {
    if cursor.offset > len || tail_hash(file, cursor.offset)? != cursor.tail {
        return Ok(false);
    }
    if cursor.offset == len || cursor.offset == 0 {
        return Ok(true);
    }
    let mut next = Vec::new();
    file.seek(SeekFrom::Start(cursor.offset))?;
    file.take(1024).read_to_end(&mut next)?;
    Ok(split::is_separator(&next))
}

fn tail_hash(file: &mut File, offset: u64) -> io::Result<String> {
    let len = offset.min(TAIL);
    file.seek(SeekFrom::Start(offset - len))?;
    let mut tail = Vec::new();
    file.take(len).read_to_end(&mut tail)?;
    Ok(text::hex(&Sha256::digest(&tail)[..16]))
}
