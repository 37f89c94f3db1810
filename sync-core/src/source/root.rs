//! The one directory below which folder sources may read.
//!
//! Guarantees: a resolved path lies below the root after all symbolic links were followed. The check is
//! made when a mailbox is connected and again by every run, since links can change in between. Absent: no
//! defence against somebody who may write below the root *while* a run reads (that needs `openat2`);
//! entries that are symbolic links are never followed below a resolved path.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::Fault;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("folder sources are off: the operator has set no sources.folder_root")]
    NotConfigured,
    #[error("the folder must lie below the configured folder root")]
    Outside,
    #[error("the folder does not exist")]
    Missing,
    #[error("the folder cannot be read: {0}")]
    Unreadable(io::ErrorKind),
}

/// For a run. A missing folder is worth a retry, since volumes come and go.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotConfigured => Self::permanent("folder-not-configured", message),
            Error::Outside => Self::permanent("folder-outside-root", message),
            Error::Missing => Self::transient("folder-missing", message + "; mount or create it"),
            Error::Unreadable(_) => Self::transient("folder-unreadable", message + "; check its permissions"),
        }
    }
}

/// The configured root, if any.
#[derive(Clone, Debug, Default)]
pub struct Root(Option<PathBuf>);

impl Root {
    /// Folder sources are off.
    pub fn none() -> Self {
        Self(None)
    }

    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(Some(path.into()))
    }

    /// The real path of `path`, which is relative to the root or absolute below it.
    ///
    /// # Errors
    /// See [`Error`]; whatever lies outside the root is refused before it is looked at.
    pub fn resolve(&self, path: &str) -> Result<PathBuf, Error> {
        let configured = self.0.as_deref().ok_or(Error::NotConfigured)?;
        let root = configured.canonicalize().map_err(classify)?;
        let path = Path::new(path);
        let relative = match path.strip_prefix(configured).or_else(|_| path.strip_prefix(&root)) {
            Ok(below) => below,
            Err(_) => path,
        };
        if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(Error::Outside);
        }
        let real = root.join(relative).canonicalize().map_err(classify)?;
        if real.starts_with(&root) { Ok(real) } else { Err(Error::Outside) }
    }
}

fn classify(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Missing,
        kind => Error::Unreadable(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_root_resolve() {
        let dir = tempfile::tempdir().unwrap();
        let root_path = dir.path().join("root");
        std::fs::create_dir_all(root_path.join("alice/mail")).unwrap();
        std::fs::create_dir_all(dir.path().join("secret")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), root_path.join("way-out")).unwrap();
        std::os::unix::fs::symlink(root_path.join("alice"), root_path.join("way-in")).unwrap();
        let root = Root::new(&root_path);

        assert!(root.resolve("alice/mail").is_ok());
        assert!(root.resolve(root_path.join("alice").to_str().unwrap()).is_ok());
        assert!(root.resolve("way-in/mail").is_ok());
        for outside in ["way-out", "../secret", "alice/../../secret", "/etc", "/"] {
            assert!(matches!(root.resolve(outside), Err(Error::Outside)), "{outside}");
        }
        assert!(matches!(root.resolve("bob"), Err(Error::Missing)));
        assert!(matches!(root.resolve("a\0b"), Err(Error::Unreadable(_))));
        assert!(matches!(Root::none().resolve("alice"), Err(Error::NotConfigured)));
    }
}
