//! Maildir, with the subfolders of Maildir++.
//!
//! - A message is its base name, the part before the `:` of its flags, so neither the move from `new` to
//!   `cur`, nor flags, nor a move to another folder makes it a new one. `tmp` is never read.
//! - Its time is the one at the start of the name, else the file's.
//! - Folders: those the mailbox names (`INBOX` is the top), else all but trash, junk, spam and drafts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{Entry, Pass, Place};
use super::file;
use super::folder::Folder;
use super::{Fault, Fetched, Item, Page};

const NOT_BY_DEFAULT: [&str; 4] = ["trash", "junk", "spam", "drafts"];

pub struct Maildir {
    base: PathBuf,
    folders: Vec<String>,
    since: Option<i64>,
    pass: Pass,
}

impl Maildir {
    /// `base` is a resolved path that holds `cur` and `new`; `since` in Unix milliseconds.
    pub fn new(base: PathBuf, folders: Vec<String>, since: Option<i64>) -> Self {
        Self { base, folders, since, pass: Pass::default() }
    }

    /// The directories that hold messages, relative to the base. `new` comes first: a message that moves to
    /// `cur` meanwhile is then seen twice rather than never.
    fn directories(&self) -> Result<Vec<PathBuf>, Fault> {
        let mut found = Vec::new();
        if self.wants("INBOX") {
            found.push(PathBuf::new());
        }
        let read = fs::read_dir(&self.base).map_err(|error| super::folder::listing_fault(&error))?;
        for entry in read.flatten() {
            let name = entry.file_name();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let folder = name.to_str().and_then(|name| name.strip_prefix('.'));
            if is_folder && folder.is_some_and(|folder| self.wants(folder)) {
                found.push(name.into());
            }
        }
        Ok(found.iter().flat_map(|folder| [folder.join("new"), folder.join("cur")]).collect())
    }

    fn wants(&self, folder: &str) -> bool {
        if self.folders.is_empty() {
            return !NOT_BY_DEFAULT.contains(&folder.to_lowercase().as_str());
        }
        self.folders.iter().any(|wanted| wanted == folder)
    }

    fn list(&self, emit: &mut dyn FnMut(Entry)) -> Result<(), Fault> {
        for directory in self.directories()? {
            let read = match fs::read_dir(self.base.join(&directory)) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(super::folder::listing_fault(&error)),
            };
            for entry in read {
                // Half a listing would end the pass early and look like a whole one.
                let entry = entry.map_err(|error| super::folder::listing_fault(&error))?;
                self.entry(&directory, &entry).into_iter().for_each(&mut *emit);
            }
        }
        Ok(())
    }

    fn entry(&self, directory: &Path, entry: &fs::DirEntry) -> Option<Entry> {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || !entry.file_type().ok()?.is_file() {
            return None;
        }
        let encoded = file::encode(&name);
        let time = match named_time(&encoded) {
            Some(time) => time,
            None => file::modified_ms(&entry.metadata().ok()?),
        };
        if self.since.is_some_and(|since| time < since) {
            return None;
        }
        let place = Place { time, id: file::bounded_id("maildir", base_name(&encoded)) };
        Some(Entry { place, path: directory.join(&name), size: None })
    }

    /// Where a message went since it was listed.
    fn find(&self, id: &str) -> Result<Option<PathBuf>, Fault> {
        let mut found = None;
        self.list(&mut |entry| {
            if entry.place.id == id {
                found = Some(entry.path);
            }
        })?;
        Ok(found)
    }
}

impl Folder for Maildir {
    fn changes(&self, cursor: Option<&str>, _now: i64) -> Result<Page, Fault> {
        let mut page = self.pass.page(cursor, |emit| self.list(emit))?;
        for item in &mut page.items {
            let path = file::decode(&item.locator).map(|path| self.base.join(path));
            item.size = path.and_then(|path| fs::symlink_metadata(path).ok()).map(|meta| meta.len());
        }
        Ok(page)
    }

    fn fetch(&self, item: &Item) -> Result<Fetched, Fault> {
        let Some(path) = file::decode(&item.locator) else { return Ok(Fetched::Gone) };
        let mut opened = file::open_below(&self.base, &path);
        if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let Some(path) = self.find(&item.id)? else { return Ok(Fetched::Gone) };
            opened = file::open_below(&self.base, &path);
        }
        Ok(opened.and_then(file::read_whole).unwrap_or_else(|error| file::unreadable(&error)))
    }
}

fn base_name(name: &str) -> &str {
    name.split_once(':').map_or(name, |(base, _flags)| base)
}

/// Delivery agents begin names with the Unix time in seconds.
fn named_time(name: &str) -> Option<i64> {
    let (digits, _) = name.split_once('.')?;
    if !(9..=11).contains(&digits.len()) {
        return None;
    }
    digits.parse::<i64>().ok().map(|seconds| seconds * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_identity_and_time() {
        assert_eq!(base_name("1700000000.M1P2.host,S=12:2,RS"), "1700000000.M1P2.host,S=12");
        assert_eq!(named_time("1700000000.M1P2.host"), Some(1_700_000_000_000));
        assert_eq!(named_time("msg.1"), None);
        assert_eq!(named_time("1e9999999.x"), None);
    }
}
