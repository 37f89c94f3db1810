//! The default store: one folder, nothing to install, synced to disk before a commit returns.
//!
//! An LSM tree (fjall) with a keyspace for hot records, one for cold ones, and one record that says who owns the
//! folder and how far it has come. One process per folder: the folder is locked while it is open. Any IO error is
//! fatal, because a second fsync may succeed over pages that the first one lost.
//!
//! What a crash or the disk can do to the folder is looked at before fjall opens it ([`manifest`], [`journal`]), and what was
//! acknowledged is noted beside it ([`watermark`]), so that a loss is found and not taken for the whole.

mod folder;
mod journal;
mod manifest;
mod watermark;

use std::{
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Batch, Cursor, Key, Opened, Packer, Page, Store, StoreError, key::Name};
use crate::state_machine::id::Uid;
use folder::{Lock, explain};
use watermark::Watermark;

const OWNER: &[u8] = b"owner";
/// Bytes of one keyspace that are held in memory, beside the journal, until they are written as a table. A start reads
/// again what was not: little of it is a short start, also after a kill in the middle of an import. fjall keeps the
/// number that a folder was created with.
const BUFFER: u64 = 16 << 20;
/// Bytes of tables that are held in memory. Only history is read while the service runs.
const CACHE: u64 = 8 << 20;
/// Bytes of journals from which on what holds back the oldest is written as a table. All of them are read at a start,
/// so it is the least that fjall takes.
const JOURNALS: u64 = 64 << 20;
/// How long the end may take to write what is in memory.
const FLUSH: Duration = Duration::from_secs(3);
/// Records of one page of a scan.
const PAGE: usize = 1_000;

/// How far a folder has come. Later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    epoch: u64,
    seq: u64,
}

impl Position {
    fn to_bytes(self) -> Vec<u8> {
        [self.epoch.to_be_bytes(), self.seq.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self { epoch: number(0)?, seq: number(8)? })
    }

    /// A commit raises the sequence by one, an opening only the epoch.
    fn may_follow(self, before: Self) -> bool {
        let is_commit = self == Self { seq: before.seq + 1, ..before };
        is_commit || (self.seq == before.seq && self.epoch > before.epoch)
    }
}

pub struct EmbeddedStore {
    folder: PathBuf,
    watermark: Mutex<Watermark>,
    database: Database,
    owner: Keyspace,
    hot: Keyspace,
    cold: Keyspace,
    /// The next opening gets a higher epoch.
    outranked: AtomicU64,
    /// Last, so that the folder is free only when all is closed.
    _lock: Lock,
}

impl EmbeddedStore {
    /// Opens or creates the folder.
    ///
    /// # Errors
    /// Also when another process has it open, or when what it holds is not all that was acknowledged.
    pub fn new(folder: &Path) -> Result<Self, StoreError> {
        Self::with_buffer(folder, BUFFER)
    }

    /// With tables written after other than the usual bytes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_buffer(folder: &Path, buffer: u64) -> Result<Self, StoreError> {
        let lock = folder::lock(folder)?;
        folder::clear_unfinished(folder)?;
        let acknowledged = watermark::read(folder)?;
        manifest::check(folder)?;
        journal::check(folder, acknowledged)?;
        // fjall asserts some of what it reads.
        let opened = catch_unwind(AssertUnwindSafe(|| open(folder, buffer)));
        let opened = opened.unwrap_or(Err(fjall::Error::Unrecoverable));
        let (database, [owner, hot, cold]) = opened.map_err(|error| describe(folder, &error))?;
        let found = position(folder, &owner)?;
        if found < acknowledged {
            return Err(StoreError::Fatal(format!(
                "{} has lost acknowledged commits: it ends at {found:?}, and {acknowledged:?} was acknowledged. Check \
                 the disk, and restore the folder from a backup",
                folder.display()
            )));
        }
        let watermark = Watermark::create(folder, found).map_err(|error| explain(folder, &error))?;
        Ok(Self {
            folder: folder.into(),
            watermark: Mutex::new(watermark),
            database,
            owner,
            hot,
            cold,
            outranked: AtomicU64::new(0),
            _lock: lock,
        })
    }

    fn position(&self) -> Result<Position, StoreError> {
        position(&self.folder, &self.owner)
    }

    fn batch_at(&self, position: Position) -> fjall::OwnedWriteBatch {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.owner, OWNER, position.to_bytes());
        batch
    }

    /// Synced, and noted before anybody is told.
    fn finish(&self, batch: fjall::OwnedWriteBatch, position: Position) -> Result<(), StoreError> {
        batch.commit().map_err(|error| self.failed(&error))?;
        let mut watermark = self.watermark.lock().unwrap_or_else(PoisonError::into_inner);
        watermark.raise(position).map_err(|error| explain(&self.folder, &error))
    }

    fn hot_records(&self, (from, to): (Bound<&Key>, Bound<&Key>)) -> Result<Vec<(Key, Bytes)>, StoreError> {
        let mut records = Vec::new();
        let mut packer = Packer::default();
        for record in self.hot.range::<&[u8], _>((from.map(Key::as_bytes), to.map(Key::as_bytes))) {
            let (key, value) = record.into_inner().map_err(|error| self.failed(&error))?;
            records.push((Key::from_bytes(&key), packer.pack(&value)));
        }
        Ok(records)
    }

    fn failed(&self, error: &fjall::Error) -> StoreError {
        describe(&self.folder, error)
    }
}

fn open(folder: &Path, buffer: u64) -> fjall::Result<(Database, [Keyspace; 3])> {
    let builder = Database::builder(folder).worker_threads(1).cache_size(CACHE);
    let database = builder.max_journaling_size(JOURNALS).open()?;
    let keyspace =
        |name| database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(buffer));
    let keyspaces = [keyspace("owner")?, keyspace("hot")?, keyspace("cold")?];
    Ok((database, keyspaces))
}

fn position(folder: &Path, owner: &Keyspace) -> Result<Position, StoreError> {
    let Some(value) = owner.get(OWNER).map_err(|error| describe(folder, &error))? else {
        return Ok(Position::default());
    };
    Position::from_bytes(&value).ok_or_else(|| describe(folder, &fjall::Error::Unrecoverable))
}

fn describe(folder: &Path, error: &fjall::Error) -> StoreError {
    let place = folder.display();
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => explain(folder, error),
        fjall::Error::Locked => {
            StoreError::Fatal(format!("{place} is open in another process: stop it first"))
        }
        fjall::Error::Poisoned => StoreError::Fatal(format!(
            "{place}: an earlier write failed, and none is tried after it; the log above says why: check the disk and \
             its free space, then start again"
        )),
        fjall::Error::InvalidVersion(_) => StoreError::Fatal(format!(
            "{place} is not a folder of this version of scheduler-svc, or its file `version` is damaged ({error})"
        )),
        error => StoreError::Fatal(format!(
            "{place} is damaged ({error}): check the disk, and restore the folder from a backup"
        )),
    }
}

impl Store for EmbeddedStore {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let begun = Instant::now();
        let Position { epoch, seq } = self.position()?;
        let outranked = self.outranked.load(Ordering::Relaxed);
        let position = Position { epoch: epoch.max(outranked) + 1, seq };
        self.finish(self.batch_at(position), position)?;
        // States are about half of all records, and their keys come last.
        let middle = Key::new(&Name::State(Uid(0)));
        let (hot, states) = thread::scope(|scope| {
            let states = scope.spawn(|| self.hot_records((Bound::Included(&middle), Bound::Unbounded)));
            let others = self.hot_records((Bound::Unbounded, Bound::Excluded(&middle)));
            (others, states.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let (mut hot, states) = (hot?, states?);
        hot.extend(states);
        Ok(Opened { epoch: position.epoch, seq, hot, took: begun.elapsed() })
    }

    fn commit(&self, epoch: u64, seq: u64, writes: Batch) -> Result<(), StoreError> {
        let stored = self.position()?;
        if epoch != stored.epoch {
            return Err(StoreError::Fenced);
        }
        if seq == stored.seq {
            return Ok(());
        }
        if seq != stored.seq + 1 {
            return Err(StoreError::Fatal(format!("commit {seq} after {}", stored.seq)));
        }
        let position = Position { epoch, seq };
        let mut batch = self.batch_at(position);
        for write in writes.iter() {
            let keyspace = if write.key.is_cold() { &self.cold } else { &self.hot };
            match &write.value {
                Some(value) => batch.insert(keyspace, write.key.as_bytes(), &**value),
                None => batch.remove(keyspace, write.key.as_bytes()),
            }
        }
        self.finish(batch, position)
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let read = |key: &Key| {
            let keyspace = if key.is_cold() { &self.cold } else { &self.hot };
            let value = keyspace.get(key.as_bytes()).map_err(|error| self.failed(&error))?;
            Ok(value.map(|value| Bytes::copy_from_slice(&value)))
        };
        keys.iter().map(read).collect()
    }

    fn scan(&self, from: Option<&Cursor>) -> Result<Page, StoreError> {
        let begin = from.map_or(Bound::Unbounded, |last| Bound::Excluded(&**last));
        let mut records = Vec::with_capacity(PAGE);
        for record in self.cold.range::<&[u8], _>((begin, Bound::Unbounded)).take(PAGE) {
            let (key, value) = record.into_inner().map_err(|error| self.failed(&error))?;
            records.push((Key::from_bytes(&key), Bytes::copy_from_slice(&value)));
        }
        Ok(Page { next: super::next_page(&records, PAGE), records })
    }

    /// Writes as tables what only journal and memory hold, so that the next start has less to read again. The journal
    /// has all of it, so nothing depends on this, and it ends after a while: on a disk that fails fjall waits for ever.
    fn resign(&self) {
        let keyspaces = [self.hot.clone(), self.cold.clone(), self.owner.clone()];
        let (done, flushed) = mpsc::channel();
        let flush = move || {
            // Nobody may be waiting any more.
            let _ = done.send(keyspaces.iter().try_for_each(Keyspace::rotate_memtable_and_wait));
        };
        let begun = thread::Builder::new().name("flush".into()).spawn(flush);
        if begun.is_err() || !matches!(flushed.recv_timeout(FLUSH), Ok(Ok(()))) {
            tracing::warn!("not all could be written as tables at the end; the next start takes longer");
        }
    }

    fn outrank(&self, epoch: u64) {
        self.outranked.fetch_max(epoch, Ordering::Relaxed);
    }
}
