//! The file `acknowledged`: how far callers were told, so that a tail that is lost later is noticed.
//!
//! It is written after each commit and synced now and then, so it never says more than was promised. After a kill it is
//! exact, since the kernel keeps what was written; after a power cut it may be [`SYNC_EVERY`] behind.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{Position, folder::explain};
use crate::store::StoreError;

const FILE: &str = "acknowledged";
const UNFINISHED: &str = "acknowledged.tmp";
const SYNC_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Watermark {
    file: File,
    synced: Instant,
}

/// Zero when there is no such file: a new folder, or an operator who removed it.
///
/// # Errors
/// When the file cannot be read, or says nothing that makes sense.
pub fn read(folder: &Path) -> Result<Position, StoreError> {
    let path = folder.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).ok_or_else(|| {
            StoreError::Fatal(format!(
                "{} is damaged: check the disk, and restore the folder from a backup; or remove this file, if you \
                 know the rest of the folder to be sound",
                path.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
        Err(error) => Err(explain(&path, &error)),
    }
}

/// Always of one length, so that it is overwritten in place.
fn line(position: Position) -> String {
    format!("epoch {:020} seq {:020}\n", position.epoch, position.seq)
}

fn parse(text: &str) -> Option<Position> {
    let mut words = text.split_whitespace();
    let position = Position { epoch: words.nth(1)?.parse().ok()?, seq: words.nth(1)?.parse().ok()? };
    (line(position) == text).then_some(position)
}

impl Watermark {
    /// Replaces the file, whole or not at all.
    pub fn create(folder: &Path, position: Position) -> io::Result<Self> {
        let unfinished = folder.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(line(position).as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(FILE))?;
        File::open(folder)?.sync_all()?;
        Ok(Self { file, synced: Instant::now() })
    }

    pub fn raise(&mut self, position: Position) -> io::Result<()> {
        self.file.write_all_at(line(position).as_bytes(), 0)?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }
}

impl Drop for Watermark {
    fn drop(&mut self) {
        // Best effort: it only makes the file newer than it has to be.
        let _ = self.file.sync_data();
    }
}
