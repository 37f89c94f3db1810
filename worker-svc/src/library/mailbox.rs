//! `MailboxService`.

use std::sync::Arc;

use docket::{
    errors::Violation,
    identity::{self, Identity},
    library::v1::{self as pb, mailbox_service_server::MailboxService},
};
use prost::Message as _;
use sync_core::archive::{
    Mailbox, MailboxState, Message, MessageFilter, MessagePlace, SourceConfig,
    mailboxes::{Change, MailboxFilter},
};
use tonic::{Request, Response, Status};

use super::{Services, archive_error, connect, convert, field, folder, manage, page, validate};

pub struct Api(pub Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

/// Namespace and id of a request, checked.
fn key<'a>(identity: &Identity, namespace: &'a str, id: &'a str) -> Result<(&'a str, &'a str), Status> {
    let namespace = field::id("namespace", identity.namespace(namespace)?)?;
    identity.about(id);
    Ok((namespace, field::id("mailbox_id", id)?))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Api {
    async fn mailbox(&self, namespace: &str, mailbox_id: &str) -> Result<Mailbox, Status> {
        self.0.archive.catalog.get_mailbox(namespace, mailbox_id).await.map_err(archive_error)
    }
}

#[tonic::async_trait]
impl MailboxService for Api {
    async fn connect_mailbox(
        &self,
        request: Request<pb::ConnectMailboxRequest>,
    ) -> Reply<pb::ConnectMailboxResponse> {
        let identity = identity::of(&request)?;
        let mut body = request.into_inner();
        let namespace = body.mailbox.as_ref().map_or("", |mailbox| &mailbox.namespace);
        let namespace = identity.namespace(namespace)?;
        identity.about(body.mailbox.as_ref().map_or("", |mailbox| &mailbox.mailbox_id));
        let spec = validate::connect(namespace, &body, &self.0.clients)?;
        connect::check_room(&self.0, &spec).await?;
        let credential = connect::credential(&mut body, &spec.source, &self.0.clients)?;
        if let SourceConfig::Folder(config) = &spec.source {
            folder::check(&self.0.root, config).await?;
        }
        let sealed = connect::seal(&self.0, &spec, credential).await?;
        let now = (self.0.clock)();
        let connected = self.0.archive.catalog.connect_mailbox_with(&spec, sealed.as_ref(), None, now).await;
        let (mailbox, change) = connected.map_err(archive_error)?;
        tracing::info!(
            namespace = %spec.namespace,
            mailbox_id = %spec.mailbox_id,
            actor = identity.name(),
            ?change,
            credential = sealed.is_some(),
            "mailbox connected"
        );
        Ok(Response::new(pb::ConnectMailboxResponse {
            mailbox: Some(convert::mailbox(mailbox)),
            created: change == Change::Created,
        }))
    }

    async fn get_mailbox(&self, request: Request<pb::GetMailboxRequest>) -> Reply<pb::GetMailboxResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, mailbox_id) = key(&identity, &body.namespace, &body.mailbox_id)?;
        let mailbox = self.mailbox(namespace, mailbox_id).await?;
        Ok(Response::new(pb::GetMailboxResponse { mailbox: Some(convert::mailbox(mailbox)) }))
    }

    async fn list_mailboxes(
        &self,
        request: Request<pb::ListMailboxesRequest>,
    ) -> Reply<pb::ListMailboxesResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        let owner = field::optional_id("owner", &body.owner)?;
        let size = field::page_size(body.page_size)?;
        let binding = page::binding(&[b"ListMailboxes", namespace.as_bytes(), body.owner.as_bytes()]);
        let after = page::position(binding, &body.page_token)?.map(|place| place.key);
        let filter = MailboxFilter { namespace: namespace.to_owned(), owner, state: None };
        let listed = self.0.archive.catalog.list_mailboxes(&filter, after.as_deref(), size + 1).await;
        let place = |mailbox: &Mailbox| page::Place { time: 0, key: mailbox.spec.mailbox_id.clone() };
        let (mailboxes, next_page_token) =
            page::cut(listed.map_err(archive_error)?, size, binding, place, convert::mailbox);
        Ok(Response::new(pb::ListMailboxesResponse { mailboxes, next_page_token }))
    }

    async fn update_mailbox(
        &self,
        request: Request<pb::UpdateMailboxRequest>,
    ) -> Reply<pb::UpdateMailboxResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let asked = body.mailbox.as_ref().ok_or_else(|| Violation::new("mailbox", "is required"))?;
        let namespace = field::id("mailbox.namespace", identity.namespace(&asked.namespace)?)?;
        identity.about(&asked.mailbox_id);
        let mailbox_id = field::id("mailbox.mailbox_id", &asked.mailbox_id)?;
        let old = self.mailbox(namespace, mailbox_id).await?;
        let (mailbox, change) = manage::update(&self.0, old, asked, &body.etag).await?;
        tracing::info!(namespace, mailbox_id, actor = identity.name(), ?change, "mailbox settings written");
        Ok(Response::new(pb::UpdateMailboxResponse { mailbox: Some(convert::mailbox(mailbox)) }))
    }

    async fn test_mailbox(&self, request: Request<pb::TestMailboxRequest>) -> Reply<pb::TestMailboxResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, mailbox_id) = key(&identity, &body.namespace, &body.mailbox_id)?;
        let mailbox = self.mailbox(namespace, mailbox_id).await?;
        let tested = manage::test(&self.0, &mailbox).await?;
        let (actor, code) = (identity.name(), &tested.code);
        tracing::info!(namespace, mailbox_id, actor, ok = tested.ok, code, "mailbox tested");
        Ok(Response::new(tested))
    }

    /// Disconnecting again changes nothing but what `delete_documents` asks for.
    async fn disconnect_mailbox(
        &self,
        request: Request<pb::DisconnectMailboxRequest>,
    ) -> Reply<pb::DisconnectMailboxResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, mailbox_id) = key(&identity, &body.namespace, &body.mailbox_id)?;
        if !body.delete_documents {
            let mailbox = self.mailbox(namespace, mailbox_id).await?;
            if mailbox.state == MailboxState::Disconnected {
                let mailbox = Some(convert::mailbox(mailbox));
                return Ok(Response::new(pb::DisconnectMailboxResponse { mailbox, ..Default::default() }));
            }
        }
        let now = (self.0.clock)();
        let catalog = &self.0.archive.catalog;
        let done = catalog.disconnect_mailbox(namespace, mailbox_id, None, body.delete_documents, now).await;
        let done = done.map_err(archive_error)?;
        tracing::info!(
            namespace,
            mailbox_id,
            actor = identity.name(),
            documents_deleted = done.documents_deleted,
            documents_moved = done.documents_moved,
            "mailbox disconnected"
        );
        Ok(Response::new(pb::DisconnectMailboxResponse {
            mailbox: Some(convert::mailbox(done.mailbox)),
            documents_deleted: count(done.documents_deleted),
            documents_moved: count(done.documents_moved),
        }))
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Reply<pb::ListMessagesResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, mailbox_id) = key(&identity, &body.namespace, &body.mailbox_id)?;
        let size = field::page_size(body.page_size)?;
        let filter = MessageFilter {
            namespace: namespace.to_owned(),
            mailbox_id: mailbox_id.to_owned(),
            states: validate::message_states(&body.states)?,
            received_from: field::time("received_from", body.received_from.as_ref())?,
            received_to: field::time("received_to", body.received_to.as_ref())?,
        };
        field::range("received_to", filter.received_from.as_ref(), filter.received_to.as_ref(), false)?;
        let filtered = pb::ListMessagesRequest { page_size: 0, page_token: String::new(), ..body.clone() };
        let parts: [&[u8]; 4] =
            [b"ListMessages", namespace.as_bytes(), mailbox_id.as_bytes(), &filtered.encode_to_vec()];
        let binding = page::binding(&parts);
        let after = page::position(binding, &body.page_token)?;
        let after = after.map(|place| MessagePlace { received_time: place.time, message_key: place.key });
        self.mailbox(namespace, mailbox_id).await?;
        let listed = self.0.archive.catalog.list_messages(&filter, after.as_ref(), size + 1).await;
        let place = |message: &Message| {
            let MessagePlace { received_time: time, message_key: key } = MessagePlace::of(message);
            page::Place { time, key }
        };
        let (messages, next_page_token) =
            page::cut(listed.map_err(archive_error)?, size, binding, place, convert::message);
        Ok(Response::new(pb::ListMessagesResponse { messages, next_page_token }))
    }

    async fn reprocess_messages(
        &self,
        request: Request<pb::ReprocessMessagesRequest>,
    ) -> Reply<pb::ReprocessMessagesResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, mailbox_id) = key(&identity, &body.namespace, &body.mailbox_id)?;
        let selection = manage::selection(body)?;
        self.mailbox(namespace, mailbox_id).await?;
        let catalog = &self.0.archive.catalog;
        let marked = catalog.reprocess_messages(namespace, mailbox_id, &selection).await;
        let marked = marked.map_err(archive_error)?;
        tracing::info!(
            namespace,
            mailbox_id,
            actor = identity.name(),
            marked,
            "messages marked to be read again"
        );
        Ok(Response::new(pb::ReprocessMessagesResponse { marked: count(marked) }))
    }

    /// Erasing again finds nothing and is no error.
    async fn erase_owner(&self, request: Request<pb::EraseOwnerRequest>) -> Reply<pb::EraseOwnerResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        let owner = field::id("owner", &body.owner)?;
        let erased = self.0.archive.erase_owner(namespace, owner, (self.0.clock)()).await;
        let erased = erased.map_err(archive_error)?;
        // Not whom: that would be left of them.
        tracing::info!(namespace, actor = identity.name(), ?erased, "owner erased");
        Ok(Response::new(pb::EraseOwnerResponse {
            mailboxes: count(erased.mailboxes),
            documents: count(erased.documents),
            blobs: count(erased.blobs),
        }))
    }
}
