//! The key file.
//!
//! ```text
//! # a comment
//! docket-keys 1
//! active 2
//! key 1 <64 hex digits>
//! key 2 <64 hex digits>
//! ```
//!
//! It is written whole or not at all, for its owner only. A file that others may read is refused. Errors name a line,
//! never what stands in it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use super::keyring::{KEY_BYTES, Key, Keyring, VERSIONS_MAX, Version};
use crate::text;

const FORMAT: &str = "docket-keys 1";
const BYTES_MAX: u64 = 64 << 10;
const OTHERS: u32 = 0o007;
const HEAD: &str = "\
# Keys that seal the credentials of mailboxes. Without this file they cannot be opened: keep a copy of it, apart from
# the backups of the database. See docs/mailboxes.md.
";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the key file {path} cannot be {done}: {reason}")]
    Io { path: PathBuf, done: &'static str, reason: io::Error },
    #[error("the key file {0} can be read by others; allow its owner alone: chmod 600")]
    Exposed(PathBuf),
    #[error("the key file {path}, line {line}: {problem}")]
    Malformed { path: PathBuf, line: usize, problem: &'static str },
    #[error("the key file {0} exists; `keys add` adds a version to it")]
    Exists(PathBuf),
    #[error("the key file holds {VERSIONS_MAX} versions; remove old ones with `keys remove` first")]
    Full,
    #[error("the key file has no version {0}")]
    NoVersion(Version),
    #[error("version {0} is the active one; make another active first")]
    Active(Version),
    #[error("the system has no randomness to give")]
    Random,
}

/// Tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

fn stamp_of(meta: &fs::Metadata) -> Stamp {
    Stamp { inode: meta.ino(), size: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) }
}

fn failed(path: &Path, done: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |reason| Error::Io { path, done, reason }
}

/// # Errors
/// When the file cannot be looked at.
pub fn stamp(path: &Path) -> Result<Stamp, Error> {
    fs::metadata(path).map(|meta| stamp_of(&meta)).map_err(failed(path, "read"))
}

/// # Errors
/// See [`Error`].
pub fn read(path: &Path) -> Result<(Keyring, Stamp), Error> {
    let mut file = File::open(path).map_err(failed(path, "read"))?;
    let meta = file.metadata().map_err(failed(path, "read"))?;
    if meta.permissions().mode() & OTHERS != 0 {
        return Err(Error::Exposed(path.to_owned()));
    }
    let malformed = |line, problem| Error::Malformed { path: path.to_owned(), line, problem };
    if meta.len() > BYTES_MAX {
        return Err(malformed(1, "is not a key file: it is too large"));
    }
    let mut content = Zeroizing::new(String::with_capacity(BYTES_MAX as usize));
    let read = (&mut file).take(BYTES_MAX).read_to_string(&mut content);
    read.map_err(failed(path, "read"))?;
    let ring = parse(&content).map_err(|(line, problem)| malformed(line, problem))?;
    Ok((ring, stamp_of(&meta)))
}

type Problem = (usize, &'static str);

fn parse(content: &str) -> Result<Keyring, Problem> {
    let mut lines = content.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let mut lines = lines.by_ref().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let first = lines.next().unwrap_or((1, ""));
    if first.1 != FORMAT {
        return Err((first.0, "must be `docket-keys 1`; `worker-svc keys create` makes a key file"));
    }
    let (mut keys, mut active) = (BTreeMap::new(), None);
    let mut last = first.0;
    for (line, text) in lines {
        last = line;
        let mut words = text.split_ascii_whitespace();
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("active"), Some(number), None, None) => {
                if active.replace(version(line, number)?).is_some() {
                    return Err((line, "names a second active version; one is allowed"));
                }
            }
            (Some("key"), Some(number), Some(hex), None) => {
                let key = key(hex).ok_or((line, "must hold a key of 64 hex digits"))?;
                if keys.insert(version(line, number)?, key).is_some() {
                    return Err((line, "names a version that was there before"));
                }
            }
            _ => return Err((line, "must be `active VERSION` or `key VERSION HEX`")),
        }
    }
    if keys.len() > VERSIONS_MAX {
        return Err((last, "is one version too many: at most 100"));
    }
    let active = active.ok_or((last, "is the last one, and none was `active VERSION`"))?;
    Keyring::new(keys, active).ok_or((last, "is the last one, and none was the key of the active version"))
}

fn version(line: usize, text: &str) -> Result<Version, Problem> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or((line, "must name a version of 1 or more"))
}

fn key(hex: &str) -> Option<Key> {
    if hex.len() != 2 * KEY_BYTES || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    let key = Key::new(bytes);
    bytes.zeroize();
    Some(key)
}

/// A new file with one version, which is active.
///
/// # Errors
/// See [`Error`]; a file that is there is left alone.
pub fn create(path: &Path) -> Result<(), Error> {
    let key = Key::random().map_err(|_| Error::Random)?;
    let ring = Keyring::new(BTreeMap::from([(1, key)]), 1).ok_or(Error::NoVersion(1))?;
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists(path.to_owned()));
    }
    write(path, &ring)
}

/// Adds a version, and makes it the active one if asked. Answers its number.
///
/// # Errors
/// See [`Error`].
pub fn add(path: &Path, activate: bool) -> Result<Version, Error> {
    let (mut ring, _) = read(path)?;
    let version = ring.add(Key::random().map_err(|_| Error::Random)?).ok_or(Error::Full)?;
    if activate {
        ring.activate(version);
    }
    write(path, &ring)?;
    Ok(version)
}

/// # Errors
/// See [`Error`].
pub fn activate(path: &Path, version: Version) -> Result<(), Error> {
    let (mut ring, _) = read(path)?;
    if !ring.activate(version) {
        return Err(Error::NoVersion(version));
    }
    write(path, &ring)
}

/// For a version that nothing is sealed with any more. Who asks has to know that.
///
/// # Errors
/// See [`Error`].
pub fn remove(path: &Path, version: Version) -> Result<(), Error> {
    let (mut ring, _) = read(path)?;
    if ring.active() == version {
        return Err(Error::Active(version));
    }
    if !ring.remove(version) {
        return Err(Error::NoVersion(version));
    }
    write(path, &ring)
}

fn write(path: &Path, ring: &Keyring) -> Result<(), Error> {
    let mut content = Zeroizing::new(String::with_capacity(BYTES_MAX as usize));
    content.push_str(HEAD);
    content.push_str(&format!("{FORMAT}\nactive {}\n", ring.active()));
    for (version, key) in ring.keys() {
        let hex = Zeroizing::new(text::hex(key.bytes()));
        content.push_str(&format!("key {version} "));
        content.push_str(&hex);
        content.push('\n');
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    replace(path, &unfinished, content.as_bytes()).map_err(failed(path, "written"))
}

fn replace(path: &Path, unfinished: &Path, content: &[u8]) -> io::Result<()> {
    if unfinished.symlink_metadata().is_ok() {
        fs::remove_file(unfinished)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(content: &str) -> Option<Problem> {
        parse(content).err()
    }

    #[test]
    fn versions_come_become_active_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create(&path).unwrap();
        assert!(matches!(create(&path), Err(Error::Exists(_))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (one, before) = read(&path).unwrap();
        assert_eq!((one.active(), add(&path, false).unwrap()), (1, 2));
        let (two, after) = read(&path).unwrap();
        assert_eq!((two.active(), two.versions().collect::<Vec<_>>()), (1, vec![1, 2]));
        assert_ne!(before, after);
        assert_eq!(two.key(1).unwrap().bytes(), one.key(1).unwrap().bytes());
        assert_ne!(two.key(1).unwrap().bytes(), two.key(2).unwrap().bytes());
        assert!(matches!(remove(&path, 1), Err(Error::Active(1))));
        activate(&path, 2).unwrap();
        remove(&path, 1).unwrap();
        assert!(matches!(activate(&path, 1), Err(Error::NoVersion(1))));
        assert!(matches!(remove(&path, 1), Err(Error::NoVersion(1))));
        assert_eq!((read(&path).unwrap().0.active(), add(&path, true).unwrap()), (2, 3));
        assert_eq!(read(&path).unwrap().0.active(), 3);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        create(&path).unwrap();
        for (mode, refused) in [(0o604, true), (0o602, true), (0o601, true), (0o640, false), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(matches!(read(&path), Err(Error::Exposed(_))), refused, "{mode:o}");
        }
        assert!(matches!(read(&folder.path().join("none")), Err(Error::Io { .. })));
    }

    #[test]
    fn errors_name_the_line_and_nothing_of_it() {
        let hex = "ab".repeat(32);
        assert_eq!(problem(&format!("# c\n\ndocket-keys 1\nactive 1\n key 1 {hex} \n")), None);
        let lines = [
            ("", 1),
            ("docket-keys 2\n", 1),
            ("docket-keys 1\nactive 1\n", 2),
            ("docket-keys 1\nkey 1 HEX\n", 2),
            ("docket-keys 1\nactive 2\nkey 1 HEX\n", 3),
            ("docket-keys 1\nactive 1\nactive 1\nkey 1 HEX\n", 3),
            ("docket-keys 1\nactive 1\nkey 1 HEX\nkey 1 HEX\n", 4),
            ("docket-keys 1\nactive 0\nkey 0 HEX\n", 2),
            ("docket-keys 1\nactive 1\nkey 1 HEX0\n", 3),
            ("docket-keys 1\nactive 1\nkey 1 hunter2\n", 3),
            ("docket-keys 1\nactive 1\nkey 1 HEX more\n", 3),
        ];
        for (content, line) in lines {
            let (at, text) = problem(&content.replace("HEX", &hex)).unwrap_or((0, ""));
            assert_eq!(at, line, "{content}: {text}");
        }
    }
}
