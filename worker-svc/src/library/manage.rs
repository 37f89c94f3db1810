//! Calls that change a mailbox or ask its server: settings, a test, processing again.

use std::time::Duration;

use docket::{
    errors::{self, Reason, Violation},
    library::v1 as pb,
};
use sync_core::{
    archive::{Mailbox, MailboxState, Settings, erase::Selection, mailboxes::Change},
    source::Fault,
    text::clean,
};
use tokio::sync::Semaphore;
use tonic::Status;

use super::{Services, archive_error, convert, field, validate};

const SOURCE_IDS_MAX: usize = 1_000;
const SOURCE_ID_MAX: usize = 1_024;
const MESSAGE_MAX: usize = 300;
/// Of one test, with all its connections.
const TEST: Duration = Duration::from_secs(90);
/// Each test opens connections to a server of a user's choice.
static TESTS: Semaphore = Semaphore::const_new(8);

/// Changes settings of a mailbox that `asked` names. Fields that cannot change may be left out.
pub async fn update(
    services: &Services,
    old: Mailbox,
    asked: &pb::Mailbox,
    etag: &str,
) -> Result<(Mailbox, Change), Status> {
    let expected = Some(old.version).filter(|_| !etag.is_empty());
    if !etag.is_empty() && etag != convert::etag(&old) {
        return Err(archive_error(sync_core::archive::Error::VersionMismatch));
    }
    if !asked.owner.is_empty() && asked.owner != old.spec.owner {
        return Err(archive_error(sync_core::archive::Error::OwnerMismatch));
    }
    if let Some(source) = &asked.source {
        let same = validate::source(Some(source), &services.clients)? == old.spec.source;
        if !same {
            let remedy = "cannot be changed here: ConnectMailbox takes a new source, with its credential";
            return Err(Violation::new("mailbox.source", remedy).into());
        }
    }
    let settings = settings(asked)?;
    let (namespace, mailbox_id) = (&old.spec.namespace, &old.spec.mailbox_id);
    let now = (services.clock)();
    let updated =
        services.archive.catalog.update_mailbox(namespace, mailbox_id, &settings, expected, now).await;
    updated.map_err(archive_error)
}

fn settings(asked: &pb::Mailbox) -> Result<Settings, Violation> {
    Ok(Settings {
        address: field::text("mailbox.address", &asked.address, validate::ADDRESS_MAX)?,
        since: field::time("mailbox.since", asked.since.as_ref())?,
        folders: validate::folders(&asked.folders)?,
        labels: validate::labels(asked)?,
    })
}

/// Connects to the source and says what it finds. A source that fails is an answer, not an error.
pub async fn test(services: &Services, mailbox: &Mailbox) -> Result<pb::TestMailboxResponse, Status> {
    if mailbox.state == MailboxState::Disconnected {
        return Err(errors::status(
            Reason::MailboxDisconnected,
            "the mailbox is disconnected: connect it again",
        ));
    }
    let Ok(_permit) = TESTS.try_acquire() else {
        return Err(errors::retry(
            Reason::Overloaded,
            "many mailboxes are being tested; try again shortly",
            Duration::from_secs(5),
        ));
    };
    let looked = tokio::time::timeout(TEST, look(services, mailbox)).await;
    let too_slow = || Err(Fault::transient("source-slow", "the source takes too long to answer"));
    Ok(match looked.unwrap_or_else(|_| too_slow()) {
        Ok(folders) => pb::TestMailboxResponse { ok: true, folders, ..Default::default() },
        Err(fault) => pb::TestMailboxResponse {
            ok: false,
            code: fault.code.replace('-', "_").to_ascii_uppercase(),
            message: clean(&fault.message, MESSAGE_MAX),
            folders: Vec::new(),
        },
    })
}

async fn look(services: &Services, mailbox: &Mailbox) -> Result<Vec<String>, Fault> {
    let source = services.sources.open(mailbox, None).await?;
    let looked = source.look().await;
    source.close().await;
    looked
}

pub fn selection(asked: &pb::ReprocessMessagesRequest) -> Result<Selection, Violation> {
    field::count("source_ids", asked.source_ids.len(), SOURCE_IDS_MAX)?;
    for (at, id) in asked.source_ids.iter().enumerate() {
        if id.is_empty() || id.len() > SOURCE_ID_MAX {
            let remedy = "must be the source_id of a message, as ListMessages answers it";
            return Err(Violation::new(format!("source_ids[{at}]"), remedy));
        }
    }
    let extractor_below = match u32::try_from(asked.extractor_below) {
        Ok(0) => None,
        Ok(below) => Some(below),
        Err(_) => return Err(Violation::new("extractor_below", "must be 1 or more, or 0 for all")),
    };
    let selection = Selection {
        states: validate::message_states(&asked.states)?,
        source_ids: asked.source_ids.clone(),
        received_from: field::time("received_from", asked.received_from.as_ref())?,
        received_to: field::time("received_to", asked.received_to.as_ref())?,
        extractor_below,
    };
    field::range("received_to", selection.received_from.as_ref(), selection.received_to.as_ref(), false)?;
    Ok(selection)
}
