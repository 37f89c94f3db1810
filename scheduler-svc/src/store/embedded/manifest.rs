//! Checks fjall's lists of tables before fjall reads them. It writes a checksum beside each and does not look at it
//! again: of a list with one bit flipped it would leave out tables, and then remove them.
//!
//! ```text
//! keyspaces/N/current = version:u64 xxh3_128(content of keyspaces/N/v{version}):u128 0     numbers little-endian
//! ```

use std::{fs, io, path::Path};

use xxhash_rust::xxh3::xxh3_128;

use super::folder::{KEYSPACES, explain};
use crate::store::StoreError;

const CURRENT: &str = "current";

/// # Errors
/// Names the file that is damaged.
pub fn check(folder: &Path) -> Result<(), StoreError> {
    let keyspaces = folder.join(KEYSPACES);
    let entries = match fs::read_dir(&keyspaces) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(&keyspaces, &error)),
    };
    for entry in entries {
        let keyspace = entry.map_err(|error| explain(&keyspaces, &error))?.path();
        check_keyspace(&keyspace)?;
    }
    Ok(())
}

fn check_keyspace(keyspace: &Path) -> Result<(), StoreError> {
    let current = keyspace.join(CURRENT);
    let pointer = match fs::read(&current) {
        Ok(pointer) => pointer,
        // Killed while the keyspace was created: fjall creates it again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(&current, &error)),
    };
    let Some((version, digest)) = parse(&pointer) else { return Err(damaged(&current)) };
    let list = keyspace.join(format!("v{version}"));
    let content = fs::read(&list).map_err(|error| explain(&list, &error))?;
    if xxh3_128(&content) == digest { Ok(()) } else { Err(damaged(&list)) }
}

fn parse(pointer: &[u8]) -> Option<(u64, u128)> {
    let (version, rest) = pointer.split_first_chunk()?;
    let (digest, kind) = rest.split_first_chunk()?;
    (kind == [0]).then(|| (u64::from_le_bytes(*version), u128::from_le_bytes(*digest)))
}

fn damaged(path: &Path) -> StoreError {
    StoreError::Fatal(format!(
        "{} is damaged: its checksum is wrong. Nothing was opened or changed: check the disk, and restore the folder \
         from a backup",
        path.display()
    ))
}
