//! The tokens file: who may call, with what rights, and how each proves who it is.
//!
//! ```toml
//! [[identity]]
//! name = "shop"                  # in the audit log, and as the actor of changes
//! roles = ["app"]                # app, worker, operator, scheduler, metrics
//! namespaces = ["shop"]          # ["*"] for all
//! kinds = ["document-sync"]      # for workers; ["*"] for all
//! hash = "sha256:<64 hex digits>"
//! expires = 2027-06-30T00:00:00Z # optional
//! ```
//!
//! Instead of `hash`, `certificate` names a URI or a DNS name among the subject alternative names of a client's
//! certificate.
//!
//! The file holds hashes only. A token is 256 random bits, so plain SHA-256 is enough: there is nothing to guess that a
//! slow hash would protect. Several entries may have one name: that is how tokens rotate. Presented tokens are compared
//! with every entry, in constant time.
//!
//! A file that cannot be read whole changes nothing: the identities that were there stay, and the log names the line.

mod read;
mod watch;

use std::{
    collections::HashMap,
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Identity;

/// What tokens begin with, so that scanners for leaked secrets find them.
pub const PREFIX: &str = "docket_";
/// What hashes begin with.
pub const SHA256: &str = "sha256:";
/// Entries of one file.
const ENTRIES_MAX: usize = 1_000;
const FILE_BYTES: u64 = 1 << 20;

/// The file's name and line, the field, and what would be right. Never a value: it might be a secret in the wrong place.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// What a token is kept as.
pub fn hash(token: &str) -> String {
    let hex = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{SHA256}{hex}")
}

/// Of 256 random bits.
pub fn token(random: [u8; 32]) -> String {
    let hex = random.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{PREFIX}{hex}")
}

/// All identities of one state of the file.
#[derive(Default)]
pub struct Set {
    tokens: Vec<([u8; 32], Entry)>,
    certificates: HashMap<String, Entry>,
}

struct Entry {
    identity: Identity,
    /// Unix seconds.
    expires: Option<i64>,
}

impl Entry {
    fn valid(&self, now: i64) -> Option<Identity> {
        self.expires.is_none_or(|end| now < end).then(|| self.identity.clone())
    }
}

impl Set {
    fn by_token(&self, token: &str, now: i64) -> Option<Identity> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (known, entry) in &self.tokens {
            if bool::from(known.ct_eq(&hash)) {
                found = Some(entry);
            }
        }
        found?.valid(now)
    }

    pub fn len(&self) -> usize {
        self.tokens.len() + self.certificates.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The file and what it says now. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    path: PathBuf,
    current: RwLock<Arc<Set>>,
    seen: Mutex<Stamp>,
}

/// Counts only.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({}, {} entries)", self.0.path.display(), self.set().len())
    }
}

/// Tells one state of a file from the next, also where a symbolic link is turned to another file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::identity) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    pub(in crate::identity) fn of(path: &Path) -> io::Result<Self> {
        let about = fs::metadata(path)?;
        Ok(Self { modified: about.modified().ok(), length: about.len(), inode: about.ino() })
    }
}

/// What came of a look at the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    Same,
    Changed { entries: usize },
}

impl Tokens {
    /// # Errors
    /// Names the line and the field.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let stamp = stamp(path)?;
        let set = load(path)?;
        let inner = Inner { path: path.into(), current: RwLock::new(Arc::new(set)), seen: Mutex::new(stamp) };
        Ok(Self(Arc::new(inner)))
    }

    pub fn is_empty(&self) -> bool {
        self.set().is_empty()
    }

    /// Reads the file again if it has changed.
    ///
    /// # Errors
    /// Once for each broken state of the file; what was known stays.
    pub fn reload(&self) -> Result<Look, Error> {
        let now = stamp(&self.0.path);
        {
            let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
            // One that is away is told of once as well.
            let state = now.as_ref().map_or(Stamp { modified: None, length: 0, inode: 0 }, |now| *now);
            if *seen == state {
                return Ok(Look::Same);
            }
            *seen = state;
        }
        now?;
        let set = Arc::new(load(&self.0.path)?);
        let entries = set.len();
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(Look::Changed { entries })
    }

    /// Whose token it is; none of anybody's and one that has expired are the same.
    pub fn by_token(&self, token: &str) -> Option<Identity> {
        self.set().by_token(token, now())
    }

    /// Whose certificate it is, by its subject alternative names.
    pub fn by_certificate(&self, names: &[String]) -> Option<(String, Identity)> {
        let set = self.set();
        names.iter().find_map(|name| Some((name.clone(), set.certificates.get(name)?.valid(now())?)))
    }

    fn set(&self) -> Arc<Set> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn stamp(path: &Path) -> Result<Stamp, Error> {
    Stamp::of(path).map_err(|error| Error(format!("{}: {error}", path.display())))
}

fn load(path: &Path) -> Result<Set, Error> {
    let about = |why: String| Error(format!("{}: {why}", path.display()));
    let file = fs::metadata(path).map_err(|error| about(error.to_string()))?;
    if file.len() > FILE_BYTES {
        return Err(about(format!("is larger than {FILE_BYTES} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| about(error.to_string()))?;
    read::read(&text).map_err(|(line, why)| match line {
        Some(line) => about(format!("line {line}: {why}")),
        None => about(why),
    })
}

#[cfg(test)]
mod tests;
