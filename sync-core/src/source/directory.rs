//! What Maildir and `.eml` folders share: passes over a directory, newest message first.
//!
//! A file's time says nothing about when it arrived (a copy keeps its old time), so there is no "since the
//! last run": every run passes over the whole listing, and what was processed is skipped by id. The cursor
//! is only the place within an unfinished pass. A file that arrives behind that place is named by the next
//! pass.
//!
//! Memory is bounded by [`WINDOW`] entries, whatever the directory holds: a pass over more files lists the
//! directory once per window.

use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Fault, Item, Page};

pub const WINDOW: usize = 20_000;
pub const PAGE: usize = 500;

/// A message's place in the order of a pass: newest first, then by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub time: i64,
    pub id: String,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.time.cmp(&self.time).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// One message file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub place: Place,
    /// Relative to the folder.
    pub path: PathBuf,
    pub size: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    after: Option<Place>,
}

/// The first entries after a place, and how many there were in all.
struct Window {
    /// The place before the first entry.
    after: Option<Place>,
    /// In reverse, so that a page is taken from the end.
    entries: Vec<Entry>,
    remaining: u64,
}

/// Turns listings into pages.
pub struct Pass {
    window: Mutex<Option<Window>>,
    window_max: usize,
}

impl Default for Pass {
    fn default() -> Self {
        Self { window: Mutex::new(None), window_max: WINDOW }
    }
}

impl Pass {
    /// The page after `cursor`. `list` calls back with every message file there is; it runs only when the
    /// window is used up.
    ///
    /// # Errors
    /// Those of `list`.
    pub fn page(
        &self,
        cursor: Option<&str>,
        list: impl FnOnce(&mut dyn FnMut(Entry)) -> Result<(), Fault>,
    ) -> Result<Page, Fault> {
        let cursor: Cursor = cursor.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = window.take().filter(|w| w.after == cursor.after && !w.entries.is_empty());
        let mut current = match usable {
            Some(current) => current,
            None => scan(cursor.after, self.window_max, list)?,
        };
        let page = take_page(&mut current);
        *window = Some(current);
        Ok(page)
    }
}

fn scan(
    after: Option<Place>,
    max: usize,
    list: impl FnOnce(&mut dyn FnMut(Entry)) -> Result<(), Fault>,
) -> Result<Window, Fault> {
    let mut heap = BinaryHeap::with_capacity(max.min(1024));
    let mut remaining = 0;
    list(&mut |entry| {
        if after.as_ref().is_some_and(|after| entry.place <= *after) {
            return;
        }
        remaining += 1;
        heap.push(entry);
        if heap.len() > max {
            heap.pop();
        }
    })?;
    let mut entries = heap.into_sorted_vec();
    entries.reverse();
    Ok(Window { after, entries, remaining })
}

fn take_page(window: &mut Window) -> Page {
    let keep = window.entries.len().saturating_sub(PAGE);
    let taken: Vec<Entry> = window.entries.drain(keep..).rev().collect();
    let remaining = window.remaining;
    window.remaining -= taken.len() as u64;
    let more = window.remaining > 0;
    // At the end of a pass the place is forgotten: the next run begins a new one.
    window.after = if more { taken.last().map(|entry| entry.place.clone()) } else { None };
    let next = serde_json::to_string(&Cursor { after: window.after.clone() }).unwrap_or_default();
    Page { items: taken.into_iter().map(item).collect(), next, more, remaining: Some(remaining) }
}

fn item(entry: Entry) -> Item {
    Item {
        id: entry.place.id,
        locator: super::file::encode(entry.path.as_os_str()),
        time: Some(entry.place.time),
        size: entry.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64) -> Entry {
        Entry { place: Place { time: n, id: format!("id{n}") }, path: format!("{n}").into(), size: None }
    }

    fn drain(pass: &Pass, files: &[Entry]) -> Vec<String> {
        let mut ids = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = pass
                .page(cursor.as_deref(), |emit| {
                    files.iter().cloned().for_each(emit);
                    Ok(())
                })
                .unwrap();
            ids.extend(page.items.into_iter().map(|item| item.id));
            cursor = Some(page.next);
            if !page.more {
                return ids;
            }
        }
    }

    /// A window far smaller than the directory must still name everything once, newest first.
    #[test]
    fn a_small_window_names_all_files_newest_first() {
        let files: Vec<Entry> = (0..2345).map(entry).collect();
        let pass = Pass { window: Mutex::default(), window_max: 700 };
        let expected: Vec<String> = (0..2345).rev().map(|n| format!("id{n}")).collect();
        assert_eq!(drain(&pass, &files), expected);
    }

    #[test]
    fn a_file_that_appears_behind_the_place_is_named_by_the_next_pass() {
        let mut files: Vec<Entry> = (0..600).map(entry).collect();
        let pass = Pass::default();
        let list = |emit: &mut dyn FnMut(Entry)| {
            files.iter().cloned().for_each(emit);
            Ok(())
        };
        let first = pass.page(None, list).unwrap();
        files.push(entry(10_000));
        // A new process has no window and continues from the cursor alone.
        let second = Pass::default()
            .page(Some(&first.next), |emit| {
                files.iter().cloned().for_each(emit);
                Ok(())
            })
            .unwrap();
        assert!(!second.more);
        assert_eq!(second.items.len(), 100);
        assert!(drain(&pass, &files).contains(&"id10000".to_owned()));
    }
}
