//! The folder itself: whose it is, whether it was ever finished, and what to do when the disk says no.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::Path,
};

use super::journal::is_unused;
use crate::store::StoreError;

const LOCK: &str = "docket.lock";
/// Written by fjall when a folder is complete.
const VERSION: &str = "version";
const VERSION_LENGTH: u64 = 4;
const FIRST_JOURNAL: &str = "0.jnl";
pub const KEYSPACES: &str = "keyspaces";

/// The folder is this process's until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Creates the folder if need be and takes it.
///
/// # Errors
/// Also when another process has it.
pub fn lock(folder: &Path) -> Result<Lock, StoreError> {
    fs::create_dir_all(folder).map_err(|error| explain(folder, &error))?;
    let path = folder.join(LOCK);
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| explain(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = fs::read_to_string(&path).unwrap_or_default();
            let owner = if owner.is_empty() { String::new() } else { format!(" ({})", owner.trim()) };
            return Err(StoreError::Fatal(format!(
                "{} is open in another process: stop it first{owner}",
                folder.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(explain(&path, &error)),
    }
    let name_owner = file.set_len(0).and_then(|()| writeln!(file, "pid {}", std::process::id()));
    name_owner.map_err(|error| explain(&path, &error))?;
    Ok(Lock { _file: file })
}

/// Clears away what a process left that was killed while it created the folder: fjall would take it for a folder of
/// another kind and refuse it for good. Nothing that ever held a commit is touched.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn clear_unfinished(folder: &Path) -> Result<(), StoreError> {
    let clear = || -> io::Result<()> {
        let version = folder.join(VERSION);
        if length(&version)?.is_some_and(|length| length >= VERSION_LENGTH)
            || !is_empty(&folder.join(KEYSPACES))?
        {
            return Ok(());
        }
        let journal = folder.join(FIRST_JOURNAL);
        if length(&journal)?.is_some() && !is_unused(&journal)? {
            return Ok(());
        }
        for file in [journal, version] {
            if length(&file)?.is_some() {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    };
    clear().map_err(|error| explain(folder, &error))
}

fn length(file: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(file) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// An error of the disk as a person needs it: where, what, and what to do.
pub fn explain(path: &Path, error: &io::Error) -> StoreError {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: free some space, then start again"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: the kernel's log says why; make it writable, then start again"
        }
        ErrorKind::PermissionDenied => "give the folder and all in it to the user that scheduler-svc runs as",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "a file is in the way: store.url has to name a folder, or a place for one"
        }
        ErrorKind::NotFound => "a file is missing: restore the folder from a backup",
        _ => {
            "check the disk (the kernel's log), then start again; if data is lost, restore the folder from a backup"
        }
    };
    StoreError::Fatal(format!("{}: {error}; {remedy}", path.display()))
}
