//! A folder of `.eml` files, read recursively.
//!
//! - Taken: regular files whose name ends in `.eml` (any case), down to [`DEPTH_MAX`] folders deep.
//! - Left alone: hidden names, symbolic links, and files of another ending, so a writer may use `.tmp`,
//!   `.part` or a leading dot until it renames. A file that changed within the last two seconds, or changes
//!   while it is read, is left for the next run.
//! - A message is its path, size and modification time: a file that is overwritten is a new message. A file
//!   that is only renamed or touched is read again, and its documents are dropped as exact duplicates.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory::{Entry, Pass, Place};
use super::file;
use super::folder::Folder;
use super::{Fault, Fetched, Item, Page};

pub const DEPTH_MAX: usize = 16;

pub struct Eml {
    base: PathBuf,
    since: Option<i64>,
    pass: Pass,
}

impl Eml {
    /// `base` is a resolved path; `since` in Unix milliseconds, compared with the file's time.
    pub fn new(base: PathBuf, since: Option<i64>) -> Self {
        Self { base, since, pass: Pass::default() }
    }

    fn list(&self, now: i64, emit: &mut dyn FnMut(Entry)) -> Result<(), Fault> {
        let mut folders = vec![(PathBuf::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let read = match fs::read_dir(self.base.join(&folder)) {
                Ok(read) => read,
                Err(error) if depth == 0 => return Err(super::folder::listing_fault(&error)),
                // A folder below may vanish or be private; that must not hide the others.
                Err(_) => continue,
            };
            for dir_entry in read.flatten() {
                let Ok(kind) = dir_entry.file_type() else { continue };
                let path = folder.join(dir_entry.file_name());
                if is_hidden(&path) {
                    continue;
                }
                if kind.is_dir() && depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                } else if kind.is_file() && is_eml(&path) {
                    self.entry(path, &dir_entry, now).into_iter().for_each(&mut *emit);
                }
            }
        }
        Ok(())
    }

    fn entry(&self, path: PathBuf, dir_entry: &fs::DirEntry, now: i64) -> Option<Entry> {
        let meta = dir_entry.metadata().ok()?;
        let time = file::modified_ms(&meta);
        if !file::is_settled(&meta, now) || self.since.is_some_and(|since| time < since) {
            return None;
        }
        let name = format!("{}:{}:{time}", file::encode(path.as_os_str()), meta.len());
        let place = Place { time, id: file::bounded_id("eml", &name) };
        Some(Entry { place, path, size: Some(meta.len()) })
    }
}

impl Folder for Eml {
    fn changes(&self, cursor: Option<&str>, now: i64) -> Result<Page, Fault> {
        self.pass.page(cursor, |emit| self.list(now, emit))
    }

    fn fetch(&self, item: &Item) -> Result<Fetched, Fault> {
        let Some(path) = file::decode(&item.locator) else { return Ok(Fetched::Gone) };
        let read = file::open_below(&self.base, &path).and_then(file::read_whole);
        Ok(read.unwrap_or_else(|error| file::unreadable(&error)))
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_eml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("eml"))
}
