//! Requests as the archive's own terms.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use docket::{
    errors::Violation,
    library::v1::{self as pb, mailbox::Source},
};
use sync_core::{
    archive::{DocumentFilter, MailboxSpec, MessageState, SourceConfig},
    document::{Kind, State},
    source::{
        folder::{self, Format as FolderFormat},
        oauth::Clients,
    },
};
use tonic::Status;

use super::{connect, export::Format, field};

pub const ADDRESS_MAX: usize = 320;
const PATH_MAX: usize = 1_024;
const FOLDERS_MAX: usize = 64;
const FOLDER_NAME_MAX: usize = 255;
const LABELS_MAX: usize = 16;
const LABEL_MAX: usize = 63;
const SEARCH_MAX: usize = 200;

/// What ConnectMailbox asks for, in a namespace that the caller may use.
pub fn connect(
    namespace: &str,
    asked: &pb::ConnectMailboxRequest,
    clients: &Clients,
) -> Result<MailboxSpec, Status> {
    let mailbox = asked.mailbox.as_ref().ok_or_else(|| Violation::new("mailbox", "is required"))?;
    let namespace = field::id("mailbox.namespace", namespace)?;
    let mailbox_id = field::id("mailbox.mailbox_id", &mailbox.mailbox_id)?;
    let owner = field::id("mailbox.owner", &mailbox.owner)?;
    let source = source(mailbox.source.as_ref(), clients)?;
    Ok(MailboxSpec {
        namespace: namespace.to_owned(),
        mailbox_id: mailbox_id.to_owned(),
        owner: owner.to_owned(),
        address: field::text("mailbox.address", &mailbox.address, ADDRESS_MAX)?,
        source,
        since: field::time("mailbox.since", mailbox.since.as_ref())?,
        folders: folders(&mailbox.folders)?,
        labels: labels(mailbox)?,
    })
}

pub fn source(source: Option<&Source>, clients: &Clients) -> Result<SourceConfig, Status> {
    match source {
        None => {
            Err(Violation::new("mailbox.source", "is required: one of folder, gmail, graph, imap").into())
        }
        Some(Source::Folder(folder)) => Ok(SourceConfig::Folder(folder_source(folder)?)),
        Some(other) => connect::source(other, clients),
    }
}

fn folder_source(asked: &pb::FolderSource) -> Result<folder::Config, Violation> {
    const PATH: &str = "mailbox.folder.path";
    let path = field::text(PATH, &asked.path, PATH_MAX)?;
    if path.is_empty() {
        return Err(Violation::new(PATH, "is required, relative to the folder root; `.` is the root itself"));
    }
    let path = plain(&path);
    let format = match pb::FolderFormat::try_from(asked.format) {
        Ok(pb::FolderFormat::Unspecified) => FolderFormat::Detect,
        Ok(pb::FolderFormat::Maildir) => FolderFormat::Maildir,
        Ok(pb::FolderFormat::Mbox) => FolderFormat::Mbox,
        Ok(pb::FolderFormat::Eml) => FolderFormat::Eml,
        Err(_) => {
            let remedy = "must be FOLDER_FORMAT_MAILDIR, _MBOX or _EML, or left out to be found out";
            return Err(Violation::new("mailbox.folder.format", remedy));
        }
    };
    Ok(folder::Config { path, format })
}

/// One spelling for one path: another one would count as another source, and all mail would be read again.
fn plain(path: &str) -> String {
    let parts = Path::new(path).components().filter(|part| *part != Component::CurDir);
    let plain: PathBuf = parts.collect();
    if plain.as_os_str().is_empty() { ".".to_owned() } else { plain.to_string_lossy().into_owned() }
}

pub fn folders(asked: &[String]) -> Result<Vec<String>, Violation> {
    field::count("mailbox.folders", asked.len(), FOLDERS_MAX)?;
    let one = |(at, name): (usize, &String)| {
        let path = format!("mailbox.folders[{at}]");
        let name = field::text(&path, name, FOLDER_NAME_MAX)?;
        if name.is_empty() { Err(Violation::new(path, "must not be empty")) } else { Ok(name) }
    };
    asked.iter().enumerate().map(one).collect()
}

pub fn labels(mailbox: &pb::Mailbox) -> Result<BTreeMap<String, String>, Violation> {
    const LABELS: &str = "mailbox.labels";
    field::count(LABELS, mailbox.labels.len(), LABELS_MAX)?;
    let one = |(key, value): (&String, &String)| {
        if key.is_empty() {
            return Err(Violation::new(LABELS, "a key must not be empty"));
        }
        Ok((field::text(LABELS, key, LABEL_MAX)?, field::text(LABELS, value, LABEL_MAX)?))
    };
    mailbox.labels.iter().map(one).collect()
}

pub fn document_filter(namespace: &str, asked: &pb::DocumentFilter) -> Result<DocumentFilter, Violation> {
    let filter = DocumentFilter {
        namespace: namespace.to_owned(),
        owner: field::optional_id("filter.owner", &asked.owner)?,
        mailbox_id: field::optional_id("filter.mailbox_id", &asked.mailbox_id)?,
        run_id: field::optional_id("filter.run_id", &asked.run_id)?,
        kinds: field::any_of("filter.kinds", &asked.kinds, kind)?,
        states: field::any_of("filter.states", &asked.states, state)?,
        supplier: field::optional_text("filter.supplier", &asked.supplier, SEARCH_MAX)?,
        number: field::optional_text("filter.number", &asked.number, SEARCH_MAX)?,
        issued_from: field::date("filter.issue_date_from", &asked.issue_date_from)?,
        issued_to: field::date("filter.issue_date_to", &asked.issue_date_to)?,
        created_from: field::time("filter.create_time_from", asked.create_time_from.as_ref())?,
        created_to: field::time("filter.create_time_to", asked.create_time_to.as_ref())?,
    };
    field::range("filter.issue_date_to", filter.issued_from.as_ref(), filter.issued_to.as_ref(), true)?;
    field::range("filter.create_time_to", filter.created_from.as_ref(), filter.created_to.as_ref(), false)?;
    Ok(filter)
}

pub fn message_states(asked: &[i32]) -> Result<Vec<MessageState>, Violation> {
    field::any_of("states", asked, |state| match state {
        pb::MessageState::Unspecified => None,
        pb::MessageState::Filed => Some(MessageState::Filed),
        pb::MessageState::NoDocument => Some(MessageState::NoDocument),
        pb::MessageState::Failed => Some(MessageState::Failed),
    })
}

pub fn export_format(asked: i32) -> Result<Format, Violation> {
    match pb::ExportFormat::try_from(asked) {
        Ok(pb::ExportFormat::JsonLines) => Ok(Format::JsonLines),
        Ok(pb::ExportFormat::Csv) => Ok(Format::Csv),
        Ok(pb::ExportFormat::Unspecified) | Err(_) => {
            Err(Violation::new("format", "must be EXPORT_FORMAT_JSON_LINES or EXPORT_FORMAT_CSV"))
        }
    }
}

fn kind(kind: pb::DocumentKind) -> Option<Kind> {
    match kind {
        pb::DocumentKind::Unspecified => None,
        pb::DocumentKind::Invoice => Some(Kind::Invoice),
        pb::DocumentKind::Receipt => Some(Kind::Receipt),
        pb::DocumentKind::CreditNote => Some(Kind::CreditNote),
        pb::DocumentKind::OrderConfirmation => Some(Kind::OrderConfirmation),
    }
}

fn state(state: pb::DocumentState) -> Option<State> {
    match state {
        pb::DocumentState::Unspecified => None,
        pb::DocumentState::Filed => Some(State::Filed),
        pb::DocumentState::NeedsOcr => Some(State::NeedsOcr),
        pb::DocumentState::Unreadable => Some(State::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        let spellings = ["a/b", "./a/b/", "a//b", "a/./b/."];
        assert!(spellings.iter().all(|path| plain(path) == "a/b"));
        assert_eq!((plain("./"), plain("/a/"), plain("../a")), (".".into(), "/a".into(), "../a".into()));
    }
}
