//! Moves everything from one store to another: `scheduler-svc copy`.
//!
//! It owns both stores while it works, so no scheduler can change the one or use the other. The target is marked first
//! and unmarked last, by a record that keeps every scheduler from loading it: whatever kills a copy, what it leaves is
//! never taken for a whole store. A copy that was killed is started again and begins with an empty target.
//!
//! ```text
//! own both ─► mark target ─► clear it ─► hot records ─► history ─► read back and compare ─► unmark
//! ```
//!
//! Absent on purpose: any idea of what the records hold. They are moved as bytes.

use std::{collections::BTreeMap, fmt, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::store::{Cursor, Key, Opened, Store, StoreError, Write, key::Name};

/// Of one commit.
const RECORDS_MAX: usize = 2_000;
const BYTES_MAX: usize = 4 << 20;
/// What is unknown is tried again for 30 s.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether what the target holds is given up.
    pub replace: bool,
    /// The target's epoch will be above this one, as it will be above the source's.
    pub above: u64,
    /// What the mark says.
    pub source: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(
        "{place} is led by the scheduler at {address}, epoch {epoch}: stop all schedulers of that store first"
    )]
    Led { place: Place, address: Box<str>, epoch: u64 },
    #[error("the source holds nothing: look whether --from and its prefix or database are right")]
    Nothing,
    #[error("the source is what an unfinished copy has left: run that copy again first")]
    Unfinished,
    #[error("the target holds {0}: name an empty one, or give up what it holds by --replace")]
    NotEmpty(Moved),
    #[error(
        "record {0} of the source is none of this version: nothing is left out silently, so nothing was copied"
    )]
    Unknown(String),
    #[error(
        "the target does not hold what was written to it ({found} instead of {expected}): run the copy again"
    )]
    Different { expected: Moved, found: Moved },
    #[error("{place}: {error}; run the copy again")]
    Store { place: Place, error: StoreError },
}

/// One end of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Source,
    Target,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Target => "the target",
        })
    }
}

impl Place {
    fn failed(self, error: StoreError) -> CopyError {
        match error {
            StoreError::Held { by, left } => {
                let address = if by.address.is_empty() {
                    format!("(it does not say where; its lease lasts {} ms more)", left.as_millis()).into()
                } else {
                    by.address
                };
                CopyError::Led { place: self, address, epoch: by.epoch }
            }
            error => CopyError::Store { place: self, error },
        }
    }
}

/// How many records of each kind, and a digest of all of them that does not depend on their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    counts: BTreeMap<&'static str, u64>,
    digest: u128,
}

impl Moved {
    fn add(&mut self, key: &Key, value: &[u8]) -> Result<(), CopyError> {
        let kind = match key.name() {
            // It is each store's own whether it has one before anything is saved.
            Some(Name::Meta) => "settings",
            Some(Name::Definition(..)) => "definitions",
            Some(Name::State(_)) => "schedules",
            Some(Name::Run(_)) => "live runs",
            Some(Name::Request { .. }) => "request ids",
            Some(Name::Limit { .. }) => "limits",
            Some(Name::Closing { .. }) => "closed keys",
            Some(Name::Decision(..)) => "decisions",
            Some(Name::Succeeded(..)) => "succeeded runs",
            Some(Name::Unsucceeded(..)) => "failed runs",
            Some(Name::Copying) => return Ok(()),
            None => {
                let key = key.as_bytes().iter().map(|byte| format!("{byte:02x}"));
                return Err(CopyError::Unknown(key.collect()));
            }
        };
        *self.counts.entry(kind).or_default() += 1;
        let mut hash = Xxh3::new();
        for part in [key.as_bytes(), value] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        self.digest = self.digest.wrapping_add(hash.digest128());
        Ok(())
    }

    pub fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }

    fn is_nothing(&self) -> bool {
        self.counts.keys().all(|kind| *kind == "settings")
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.counts.is_empty() {
            return f.write_str("nothing");
        }
        let parts = self.counts.iter().map(|(kind, count)| format!("{count} {kind}"));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// Moves everything. Blocking; both stores are given back in the end.
///
/// # Errors
/// See [`CopyError`]. Whatever happened, the source is as it was, and the target is whole, untouched, or marked.
pub fn copy(source: &dyn Store, target: &dyn Store, options: &Options) -> Result<Moved, CopyError> {
    let outcome = own_and_copy(source, target, options);
    target.resign();
    source.resign();
    outcome
}

fn own_and_copy(source: &dyn Store, target: &dyn Store, options: &Options) -> Result<Moved, CopyError> {
    let from = source.open().map_err(|error| Place::Source.failed(error))?;
    let expected = survey(source, &from.hot, Place::Source)?;
    if from.hot.iter().any(|(key, _)| key.name() == Some(Name::Copying)) {
        return Err(CopyError::Unfinished);
    }
    if expected.is_nothing() {
        return Err(CopyError::Nothing);
    }
    target.outrank(from.epoch.max(options.above));
    let to = target.open().map_err(|error| Place::Target.failed(error))?;
    let is_marked = to.hot.iter().any(|(key, _)| key.name() == Some(Name::Copying));
    if !is_marked && !options.replace {
        let found = survey(target, &to.hot, Place::Target)?;
        if !found.is_nothing() {
            return Err(CopyError::NotEmpty(found));
        }
    }
    let mut writer = Writer::new(target, &to);
    writer.put(mark(Some(options.source.clone().into())))?;
    writer.flush()?;
    clear(&mut writer, to)?;
    for (key, value) in from.hot {
        writer.put(Write { key, value: Some(value) })?;
    }
    each_cold(source, Place::Source, |key, value| writer.put(Write { key, value: Some(value) }))?;
    writer.flush()?;
    // Whoever took the source meanwhile may have changed it.
    let still_ours = source.commit(from.epoch, from.seq + 1, Arc::default());
    still_ours.map_err(|error| Place::Source.failed(error))?;
    // Read as a scheduler will read it.
    target.resign();
    let to = target.open().map_err(|error| Place::Target.failed(error))?;
    let found = survey(target, &to.hot, Place::Target)?;
    if found != expected {
        return Err(CopyError::Different { expected, found });
    }
    let mut writer = Writer::new(target, &to);
    writer.put(mark(None))?;
    writer.flush()?;
    Ok(found)
}

fn mark(value: Option<Bytes>) -> Write {
    Write { key: Key::new(&Name::Copying), value }
}

/// Everything but the mark, which comes into its place.
fn clear(writer: &mut Writer<'_>, found: Opened) -> Result<(), CopyError> {
    for (key, _) in found.hot.into_iter().filter(|(key, _)| key.name() != Some(Name::Copying)) {
        writer.put(Write { key, value: None })?;
    }
    let store = writer.store;
    each_cold(store, Place::Target, |key, _| writer.put(Write { key, value: None }))?;
    writer.flush()
}

fn survey(store: &dyn Store, hot: &[(Key, Bytes)], place: Place) -> Result<Moved, CopyError> {
    let mut moved = Moved::default();
    for (key, value) in hot {
        moved.add(key, value)?;
    }
    each_cold(store, place, |key, value| moved.add(&key, &value))?;
    Ok(moved)
}

/// Goes through the history page by page.
fn each_cold(
    store: &dyn Store,
    place: Place,
    mut each: impl FnMut(Key, Bytes) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let mut from: Option<Cursor> = None;
    loop {
        store.progress();
        let page = patiently(|| store.scan(from.as_ref())).map_err(|error| place.failed(error))?;
        page.records.into_iter().try_for_each(|(key, value)| each(key, value))?;
        from = page.next;
        if from.is_none() {
            return Ok(());
        }
    }
}

/// Tries again what may not have been done.
fn patiently<T>(mut work: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for _ in 1..TRIES {
        match work() {
            Err(StoreError::Unknown(_)) => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    work()
}

/// Gathers writes into commits of bounded size.
struct Writer<'a> {
    store: &'a dyn Store,
    epoch: u64,
    seq: u64,
    batch: Vec<Write>,
    bytes: usize,
}

impl<'a> Writer<'a> {
    fn new(store: &'a dyn Store, opened: &Opened) -> Self {
        Self { store, epoch: opened.epoch, seq: opened.seq, batch: Vec::new(), bytes: 0 }
    }

    fn put(&mut self, write: Write) -> Result<(), CopyError> {
        self.bytes += write.key.as_bytes().len() + write.value.as_ref().map_or(0, Bytes::len);
        self.batch.push(write);
        if self.batch.len() >= RECORDS_MAX || self.bytes >= BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CopyError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = Arc::new(std::mem::take(&mut self.batch));
        (self.seq, self.bytes) = (self.seq + 1, 0);
        self.store.progress();
        let commit = || self.store.commit(self.epoch, self.seq, batch.clone());
        patiently(commit).map_err(|error| Place::Target.failed(error))
    }
}

#[cfg(test)]
mod tests;
