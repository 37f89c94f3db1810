//! Looks at a folder before a mailbox is connected to it, so that a wrong path is refused at once. Each run checks
//! again: folders and links change.

use docket::errors::{self, Reason, Violation};
use sync_core::source::{
    folder::{Config, Format},
    root::{Error, Root},
};
use tonic::Status;

/// # Errors
/// PERMISSION_DENIED, NOT_FOUND, or INVALID_ARGUMENT for a file where the format wants a directory, and so on.
pub async fn check(root: &Root, config: &Config) -> Result<(), Status> {
    let (root, config) = (root.clone(), config.clone());
    let checked = tokio::task::spawn_blocking(move || look(&root, &config)).await;
    checked.unwrap_or_else(|_| Err(errors::status(Reason::NotServing, "the process is stopping; try again")))
}

fn look(root: &Root, config: &Config) -> Result<(), Status> {
    let is_file = root.resolve(&config.path).map_err(refusal)?.is_file();
    let wanted = match config.format {
        Format::Mbox if !is_file => "an mbox is one file, and this path is a directory",
        Format::Maildir | Format::Eml if is_file => {
            "this path is a file, and the format is one of directories"
        }
        _ => return Ok(()),
    };
    Err(Violation::new(
        "mailbox.folder.format",
        format!("{wanted}; leave the format out to have it found out"),
    )
    .into())
}

fn refusal(error: Error) -> Status {
    let said = |remedy: &str| format!("mailbox.folder.path: {error}{remedy}");
    match error {
        Error::NotConfigured => errors::status(
            Reason::FolderForbidden,
            "folder sources are off: the operator turns them on with DOCKET_SOURCES__FOLDER_ROOT",
        ),
        Error::Outside => {
            errors::status(Reason::FolderForbidden, said("; name it relative to the root, without `..`"))
        }
        Error::Missing => {
            errors::status(Reason::FolderNotFound, said("; create or mount it, then connect again"))
        }
        Error::Unreadable(_) => {
            errors::status(Reason::FolderForbidden, said("; the operator must let the worker read it"))
        }
    }
}
