//! Looks through fjall's journals before fjall opens them.
//!
//! On its own, fjall takes rot for a torn end and a torn end for rot: at an entry that it cannot read it cuts off
//! everything behind, good batches included, and it refuses to open when the last batch, which nobody was told of, is
//! whole in length but not in content (a power cut in mid-write leaves that). So the journals are checked here first:
//!
//! - A torn end of the newest journal was never acknowledged. It is cut off, with a line in the log.
//! - Anything else that is wrong is damage. Nothing is opened, and nothing is changed.
//!
//! One commit is in flight at a time, and it is synced before the next is written: nothing good follows a torn batch.
//! That tells the two apart, and [`Position`] tells whether the end that is missing had been acknowledged.
//!
//! ```text
//! journal = batch* zeros*                               numbers little-endian
//! batch   = 01 count:u32 seqno:u64  entry{count}  03 xxh3(entries):u64 "FJL\x03"
//! entry   = 02 kind:u8 compression:u8 keyspace:u64 key:u16 raw:u32 stored:u32  key  value   |   04 keyspace:u64
//! ```

use std::{
    fs,
    io::{self, Read as _},
    mem,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{OWNER, Position, folder::explain};
use crate::store::StoreError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: &[u8] = b"FJL\x03";
const ZEROS: &[u8] = &[0; 1 << 16];

/// Refuses damage, cuts off a torn end, and syncs what it has read.
///
/// # Errors
/// Says what is damaged and what to do.
pub fn check(folder: &Path, acknowledged: Position) -> Result<(), StoreError> {
    let journals = list(folder).map_err(|error| explain(folder, &error))?;
    let mut last = Last::default();
    for (n, path) in journals.iter().enumerate() {
        let bytes = content(path).map_err(|error| explain(path, &error))?;
        let end = scan(&bytes, &mut last).map_err(|(at, why)| damaged(path, at, why))?;
        let is_newest = n + 1 == journals.len();
        let is_torn = !is_zero(&bytes[end..]);
        if is_torn && (!is_newest || follows(&bytes[end..], last.seqno)) {
            return Err(damaged(path, end, "cannot be read, and good data follows"));
        }
        if is_newest {
            if last.position.is_some_and(|position| position < acknowledged) {
                return Err(damaged(path, end, "ends before the last acknowledged commit"));
            }
            settle(path, &bytes[..end], is_torn).map_err(|error| explain(path, &error))?;
        }
    }
    Ok(())
}

fn damaged(path: &Path, at: usize, why: &str) -> StoreError {
    StoreError::Fatal(format!(
        "{} is damaged: at byte {at} it {why}. Acknowledged data would be missing, so nothing was opened or changed: \
         check the disk, and restore the folder from a backup",
        path.display()
    ))
}

/// Oldest first.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort_unstable();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// What the batches so far have come to.
#[derive(Debug, Default)]
struct Last {
    seqno: Option<u64>,
    position: Option<Position>,
}

/// Goes through all batches from the start. Returns where the last good one ends, or where the history has a hole.
fn scan(bytes: &[u8], last: &mut Last) -> Result<usize, (usize, &'static str)> {
    let mut at = 0;
    while let Some(batch) = Batch::read(&bytes[at..]) {
        if last.seqno.is_some_and(|seqno| batch.seqno <= seqno) {
            return Err((at, "goes back in its numbering"));
        }
        if let (Some(before), Some(now)) = (last.position, batch.position)
            && !now.may_follow(before)
        {
            return Err((at, "leaves out a commit"));
        }
        last.seqno = Some(batch.seqno);
        last.position = batch.position.or(last.position);
        at += batch.length;
    }
    Ok(at)
}

/// Without the zeros at the end: fjall makes journals 64 MB long before it fills them.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let (mut bytes, mut zeros, mut chunk) = (Vec::new(), 0, vec![0; ZEROS.len()]);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(bytes);
        }
        if is_zero(&chunk[..read]) {
            zeros += read;
        } else {
            bytes.resize(bytes.len() + mem::take(&mut zeros), 0);
            bytes.extend_from_slice(&chunk[..read]);
        }
    }
}

/// Whether a journal never held anything.
pub fn is_unused(path: &Path) -> io::Result<bool> {
    content(path).map(|bytes| bytes.is_empty())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Whether a good batch begins somewhere behind the first byte.
fn follows(bytes: &[u8], seqno: Option<u64>) -> bool {
    let starts = bytes.iter().enumerate().skip(1).filter(|(_, byte)| **byte == START);
    starts.filter_map(|(at, _)| Batch::read(&bytes[at..])).any(|batch| Some(batch.seqno) > seqno)
}

/// Cuts a torn end off. What is left is written again in its place and synced: if an earlier sync failed, what was read
/// may stand in the kernel's memory alone, and a sync without a write would not put it on the disk.
fn settle(path: &Path, good: &[u8], is_torn: bool) -> io::Result<()> {
    let file = fs::File::options().write(true).open(path)?;
    if is_torn {
        tracing::warn!(
            journal = %path.display(),
            at = good.len(),
            "the last write was cut short; it was not acknowledged and is dropped"
        );
        file.set_len(good.len() as u64)?;
    }
    file.write_all_at(good, 0)?;
    file.sync_all()
}

struct Batch {
    length: usize,
    seqno: u64,
    /// From the owner record, which every commit writes.
    position: Option<Position>,
}

impl Batch {
    /// The whole and correct batch at the start of these bytes.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if take(&mut rest, 1)? != [START] {
            return None;
        }
        let count = u32::from_le_bytes(array(&mut rest)?);
        let seqno = u64::from_le_bytes(array(&mut rest)?);
        let (entries, mut position) = (rest, None);
        for _ in 0..count {
            position = entry(&mut rest)?.or(position);
        }
        let entries = &entries[..entries.len() - rest.len()];
        if take(&mut rest, 1)? != [END] {
            return None;
        }
        let digest = u64::from_le_bytes(array(&mut rest)?);
        let is_whole = take(&mut rest, MAGIC.len())? == MAGIC && count > 0 && xxh3_64(entries) == digest;
        is_whole.then(|| Self { length: bytes.len() - rest.len(), seqno, position })
    }
}

/// Outer None: not an entry. Inner: an entry that is not the owner record.
fn entry(rest: &mut &[u8]) -> Option<Option<Position>> {
    match take(rest, 1)? {
        [ITEM] => {
            // Kind, compression, keyspace.
            take(rest, 1 + 1 + 8)?;
            let key = usize::from(u16::from_le_bytes(array(rest)?));
            let _raw: [u8; 4] = array(rest)?;
            let stored = usize::try_from(u32::from_le_bytes(array(rest)?)).ok()?;
            let (key, value) = (take(rest, key)?, take(rest, stored)?);
            Some(if key == OWNER { Position::from_bytes(value) } else { None })
        }
        [CLEAR] => take(rest, 8).map(|_| None),
        _ => None,
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}
