//! A disk that fails on demand, for a process that is started with [`Disk::environment`]. `faulty.c` says how.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const SOURCE: &str = include_str!("faulty.c");

pub const EIO: i32 = 5;
pub const EACCES: i32 = 13;
pub const ENOSPC: i32 = 28;
pub const EROFS: i32 = 30;

/// The disk under one folder.
pub struct Disk {
    folder: PathBuf,
    order: PathBuf,
}

impl Disk {
    /// `scratch` is a place outside of `folder`.
    pub fn new(folder: &Path, scratch: &Path) -> Self {
        Self { folder: folder.into(), order: scratch.join("fault-order") }
    }

    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAULT_FOLDER", self.folder.display().to_string()),
            ("FAULT_ORDER", self.order.display().to_string()),
        ]
    }

    /// From now on calls of these kinds fail with this errno.
    pub fn fail(&self, kinds: &str, errno: i32) {
        let unfinished = self.order.with_extension("tmp");
        fs::write(&unfinished, format!("{kinds} {errno}")).expect("an order");
        fs::rename(unfinished, &self.order).expect("an order");
    }

    pub fn heal(&self) {
        fs::remove_file(&self.order).expect("an order");
    }
}

/// Compiled once per test program.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let stem = format!("faulty-{}", std::process::id());
        let (source, library) = (folder.join(format!("{stem}.c")), folder.join(format!("{stem}.so")));
        fs::write(&source, SOURCE).expect("the source");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let status = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(status.is_ok_and(|status| status.success()), "a C compiler builds faulty.c");
        library
    })
}
