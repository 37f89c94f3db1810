//! The archive's records as messages of the contract. Text that came with a mail is cleaned and bounded here, whatever
//! a reader made of it.

use docket::library::v1 as pb;
use prost_types::Timestamp;
use sync_core::{
    archive::{self, MailboxState, MessageState, SourceConfig},
    document::{Field, Kind, Origin, State},
    source::{folder::Format, imap::Security},
    text::clean,
};

const VALUE_MAX: usize = 500;
const NAME_MAX: usize = 255;
const FLAGS_MAX: usize = 32;

/// Of Unix milliseconds.
pub fn timestamp(millis: i64) -> Timestamp {
    let nanos = i32::try_from(millis.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    Timestamp { seconds: millis.div_euclid(1000), nanos }
}

/// Another mailbox of the same id, after an erasure, has other etags.
pub fn etag(mailbox: &archive::Mailbox) -> String {
    format!("{:x}-{:x}", mailbox.create_time, mailbox.version)
}

pub fn mailbox(mailbox: archive::Mailbox) -> pb::Mailbox {
    let etag = etag(&mailbox);
    let spec = mailbox.spec;
    let source = match spec.source {
        SourceConfig::Folder(folder) => {
            let format = folder_format(folder.format).into();
            pb::mailbox::Source::Folder(pb::FolderSource { path: folder.path, format })
        }
        SourceConfig::Imap(imap) => pb::mailbox::Source::Imap(pb::ImapSource {
            host: imap.host,
            port: imap.port.into(),
            security: imap_security(imap.security).into(),
            user: imap.user,
        }),
        SourceConfig::Gmail(gmail) => {
            pb::mailbox::Source::Gmail(pb::GmailSource { oauth_client: gmail.oauth_client })
        }
    };
    let state = match mailbox.state {
        MailboxState::Connected => pb::MailboxState::Connected,
        MailboxState::Reauthorize => pb::MailboxState::Reauthorize,
        MailboxState::Disconnected => pb::MailboxState::Disconnected,
    };
    pb::Mailbox {
        namespace: spec.namespace,
        mailbox_id: spec.mailbox_id,
        owner: spec.owner,
        address: spec.address,
        source: Some(source),
        since: spec.since.map(timestamp),
        folders: spec.folders,
        labels: spec.labels.into_iter().collect(),
        state: state.into(),
        state_reason: clean(&mailbox.state_reason, VALUE_MAX),
        last_sync_time: mailbox.last_sync_time.map(timestamp),
        messages: mailbox.messages,
        documents: mailbox.documents,
        duplicates: mailbox.duplicates,
        etag,
        create_time: Some(timestamp(mailbox.create_time)),
    }
}

fn folder_format(format: Format) -> pb::FolderFormat {
    match format {
        Format::Detect => pb::FolderFormat::Unspecified,
        Format::Maildir => pb::FolderFormat::Maildir,
        Format::Mbox => pb::FolderFormat::Mbox,
        Format::Eml => pb::FolderFormat::Eml,
    }
}

fn imap_security(security: Security) -> pb::ImapSecurity {
    match security {
        Security::Implicit => pb::ImapSecurity::Implicit,
        Security::Starttls => pb::ImapSecurity::Starttls,
    }
}

pub fn message(message: archive::Message) -> pb::Message {
    let state = match message.state {
        MessageState::Filed => pb::MessageState::Filed,
        MessageState::NoDocument => pb::MessageState::NoDocument,
        MessageState::Failed => pb::MessageState::Failed,
    };
    pb::Message {
        mailbox_id: message.mailbox_id,
        source_id: message.source_id,
        received_time: Some(timestamp(message.received_time)),
        from: clean(&message.from, VALUE_MAX),
        subject: clean(&message.subject, VALUE_MAX),
        state: state.into(),
        reason: clean(&message.reason, VALUE_MAX),
        document_ids: message.document_ids,
        run_id: message.run_id,
    }
}

pub fn document(document: archive::Document) -> pb::Document {
    let fields = document.fields;
    let found_in = document.message.map(|message| pb::DocumentMessage {
        source_id: message.source_id,
        message_id: clean(&message.message_id.unwrap_or_default(), VALUE_MAX),
        received_time: Some(timestamp(message.received_time)),
        from: clean(&message.from, VALUE_MAX),
        subject: clean(&message.subject, VALUE_MAX),
        ..pb::DocumentMessage::default()
    });
    pb::Document {
        namespace: document.namespace,
        document_id: document.document_id,
        owner: document.owner,
        mailbox_id: document.mailbox_id,
        run_id: document.run_id,
        kind: kind(document.kind).into(),
        state: state(document.state).into(),
        confidence: document.confidence,
        supplier: field(fields.supplier),
        vat_id: field(fields.vat_id),
        buyer: field(fields.buyer),
        number: field(fields.number),
        issue_date: field(fields.issue_date),
        due_date: field(fields.due_date),
        currency: field(fields.currency),
        net: field(fields.net),
        tax: field(fields.tax),
        total: field(fields.total),
        payable: field(fields.payable),
        message: Some(pb::DocumentMessage {
            part: clean(&document.part, NAME_MAX),
            file_name: clean(&document.file_name.unwrap_or_default(), NAME_MAX),
            ..found_in.unwrap_or_default()
        }),
        media_type: media_type(&document.media_type),
        size: i64::try_from(document.size).unwrap_or(i64::MAX),
        sha256: document.sha256,
        likely_duplicate_ids: document.likely_duplicate_ids,
        flags: document.flags.iter().take(FLAGS_MAX).map(|flag| clean(flag, NAME_MAX)).collect(),
        extractor_version: i32::try_from(document.extractor_version).unwrap_or(i32::MAX),
        create_time: Some(timestamp(document.create_time)),
    }
}

/// A type that is safe in a header: anything else than `type/subtype` is just bytes.
pub fn media_type(said: &str) -> String {
    let is_token = |part: &str| {
        !part.is_empty()
            && part.len() <= 127
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let essence = said.split(';').next().unwrap_or_default().trim();
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => essence.to_ascii_lowercase(),
        _ => "application/octet-stream".to_owned(),
    }
}

pub fn kind(kind: Kind) -> pb::DocumentKind {
    match kind {
        Kind::Invoice => pb::DocumentKind::Invoice,
        Kind::Receipt => pb::DocumentKind::Receipt,
        Kind::CreditNote => pb::DocumentKind::CreditNote,
        Kind::OrderConfirmation => pb::DocumentKind::OrderConfirmation,
    }
}

pub fn state(state: State) -> pb::DocumentState {
    match state {
        State::Filed => pb::DocumentState::Filed,
        State::NeedsOcr => pb::DocumentState::NeedsOcr,
        State::Unreadable => pb::DocumentState::Unreadable,
    }
}

fn field(field: Field) -> Option<pb::Field> {
    let from = match field.origin {
        None => pb::FieldOrigin::Unspecified,
        Some(Origin::Xml) => pb::FieldOrigin::Xml,
        Some(Origin::Markup) => pb::FieldOrigin::Markup,
        Some(Origin::PdfText) => pb::FieldOrigin::PdfText,
        Some(Origin::Html) => pb::FieldOrigin::Html,
        Some(Origin::Text) => pb::FieldOrigin::Text,
    };
    Some(pb::Field {
        value: field.value.map(|value| clean(&value, VALUE_MAX)),
        from: from.into(),
        confidence: field.confidence,
        place: clean(&field.place, VALUE_MAX),
        reason: clean(&field.reason, VALUE_MAX),
        other_value: clean(&field.other_value.unwrap_or_default(), VALUE_MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_positive_nanos() {
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_000_000 });
        assert_eq!(timestamp(1_500), Timestamp { seconds: 1, nanos: 500_000_000 });
    }

    #[test]
    fn media_types_fit_into_a_header() {
        assert_eq!(media_type("Application/PDF; name=x"), "application/pdf");
        for odd in ["", "pdf", "a/b\r\nX: y", "a/", "text/html/x", "é/x"] {
            assert_eq!(media_type(odd), "application/octet-stream", "{odd:?}");
        }
    }
}
