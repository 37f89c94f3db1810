//! Reading one message file, and writing its name down.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Fetched, MESSAGE_BYTES_MAX};
use crate::text;

/// A file that changed this recently may still be written to.
pub const SETTLE_MS: i64 = 2_000;

/// Whether a writer has left the file alone for [`SETTLE_MS`]. A time in the future says nothing about
/// writers (clocks differ, archives are unpacked with their own times), so it counts as settled.
pub fn is_settled(meta: &Metadata, now: i64) -> bool {
    (now - modified_ms(meta)).abs() >= SETTLE_MS
}

/// Unix milliseconds.
pub fn modified_ms(meta: &Metadata) -> i64 {
    let Ok(time) = meta.modified() else { return 0 };
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// Opens a regular file below `base`: no symbolic link at its end, no pipe that would block.
///
/// # Errors
/// As `open`; `NotFound` also for what is no regular file or lies elsewhere.
pub fn open_below(base: &Path, relative: &Path) -> io::Result<File> {
    let path = base.join(relative);
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?.canonicalize()?;
    if !parent.starts_with(base) {
        return Err(io::ErrorKind::NotFound.into());
    }
    open(&path)
}

/// As [`open_below`], for a path that was resolved before.
///
/// # Errors
/// As [`open_below`].
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// All of a message file, unless it changes while it is read.
///
/// # Errors
/// As `read`.
pub fn read_whole(mut file: File) -> io::Result<Fetched> {
    let before = file.metadata()?;
    if before.len() > MESSAGE_BYTES_MAX {
        return Ok(Fetched::TooLarge { size: before.len() });
    }
    let mut raw = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    (&mut file).take(MESSAGE_BYTES_MAX + 1).read_to_end(&mut raw)?;
    let after = file.metadata()?;
    if raw.len() as u64 != before.len() || modified_ms(&after) != modified_ms(&before) {
        return Ok(Fetched::NotReady);
    }
    Ok(Fetched::Message(Bytes::from(raw)))
}

/// What an IO error on one file means for that message.
pub fn unreadable(error: &io::Error) -> Fetched {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Fetched::Gone,
        _ => Fetched::Unreadable(format!("the message file cannot be read: {}", error.kind())),
    }
}

/// A name as text, without loss: bytes other than printable ASCII, and `%`, become `%XX`.
pub fn encode(name: &OsStr) -> String {
    use std::fmt::Write;
    name.as_bytes().iter().fold(String::new(), |mut out, &byte| {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The path that [`encode`] wrote, if it is one that stays below where it starts.
pub fn decode(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    let path = PathBuf::from(OsStr::from_bytes(&bytes));
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// A source id of bounded length.
pub fn bounded_id(prefix: &str, name: &str) -> String {
    if name.len() <= 200 {
        return format!("{prefix}:{name}");
    }
    format!("{prefix}:#{}", text::hex(&Sha256::digest(name.as_bytes())[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_as_text() {
        for name in [&b"plain.eml"[..], b"100%.eml", b"\xff\xfe/caf\xc3\xa9 \n.eml"] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(decode(&encode(path.as_os_str())).unwrap(), path);
        }
        assert_eq!(decode("../x"), None);
        assert_eq!(decode("/etc/passwd"), None);
        assert_eq!(decode("%4"), None);
    }
}
