//! A power supply that can be cut: of what a process wrote, only what it had synced is left. `power.c` says how.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = include_str!("power.c");

pub struct Power {
    library: PathBuf,
    hold: PathBuf,
    notes: PathBuf,
}

impl Power {
    /// Builds what is preloaded into a folder.
    pub fn new(folder: &Path) -> Self {
        let (source, library) = (folder.join("power.c"), folder.join("power.so"));
        fs::write(&source, SOURCE).expect("the source");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let status = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(status.is_ok_and(|status| status.success()), "a C compiler builds power.c");
        Self { library, hold: folder.join("hold"), notes: folder.join("notes") }
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        [("LD_PRELOAD", &self.library), ("POWER_HOLD", &self.hold), ("POWER_NOTES", &self.notes)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .into()
    }

    /// From now on no sync comes to its end.
    pub fn hold_syncs(&self) {
        fs::write(&self.hold, "").expect("an order");
    }

    pub fn release_syncs(&self) {
        fs::remove_file(&self.hold).expect("an order");
    }

    /// Takes from a file what was not synced. The process that wrote it has been killed.
    pub fn cut(&self, file: &Path) {
        let notes = fs::read_to_string(&self.notes).unwrap_or_default();
        let name = file.canonicalize().expect("a file").display().to_string();
        let synced = notes.lines().filter_map(|line| line.split_once(' ')).filter(|(_, path)| *path == name);
        let length = synced.filter_map(|(length, _)| length.parse::<u64>().ok()).max().unwrap_or(0);
        let file = fs::File::options().write(true).open(file).expect("a file");
        assert!(file.metadata().expect("its length").len() >= length);
        file.set_len(length).expect("cut");
    }
}
