//! The library's gRPC surface: mailboxes and documents.
//!
//! It checks requests, asks the archive and turns its answers into responses. Guarantees:
//! - A request reaches the archive only when every field of it was checked; a refusal names the field as the client
//!   wrote it, and what would be right.
//! - Nothing is read or changed outside the caller's namespace: what lies in another one is not found.
//! - Foreign text leaves bounded and without control characters; an answer never exceeds the message limit.
//!
//! - Who changes or exports something is in the log, with what and of whom.
//!
//! Absent so far: Microsoft Graph. It answers UNIMPLEMENTED.

mod connect;
mod convert;
mod document;
mod download;
mod export;
mod field;
mod file_name;
mod folder;
mod mailbox;
mod manage;
mod page;
mod validate;

use std::{sync::Arc, time::Duration};

use docket::{
    errors::{self, Reason, Reasons, Violation},
    identity::{Gate, tls::server::Tls},
    library::v1::{
        document_service_server::DocumentServiceServer, mailbox_service_server::MailboxServiceServer,
    },
    listener::{Bounds, Listener, Protocol},
};
use sync_core::{
    archive::{Archive, Error},
    credential::Credentials,
    source::{oauth::Clients, root::Root},
    sync::{Clock, Sources},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Server};

use crate::metrics::Metrics;

/// Bounds of protocols.md.
const MESSAGE_BYTES: usize = 4 << 20;
const HEADER_BYTES: u32 = 8 << 10;
const STREAMS: u32 = 100;
/// Streams of one connection that were reset before they were looked at; with more, it is closed as a flood. Callers that
/// give up on a service that stood still for a while are none: each of their streams may be reset a few times over.
const RESETS: usize = 3 * STREAMS as usize;
/// Calls that are under way when the process stops may take this long, downloads to slow clients included.
pub const DRAIN: Duration = Duration::from_secs(10);

/// What both services need.
#[derive(Clone)]
pub struct Services {
    pub archive: Archive,
    /// Folder sources lie below it; without one they are refused.
    pub root: Root,
    pub credentials: Credentials,
    /// OAuth clients that mailboxes may name.
    pub clients: Clients,
    /// Opens sources, to test them.
    pub sources: Arc<dyn Sources>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub gate: Gate,
    /// None = connections are in the clear.
    pub tls: Option<Tls>,
    pub bounds: Bounds,
    pub mailboxes_per_namespace: u64,
    /// Cancelled when the process stops.
    pub stopping: CancellationToken,
}

/// Serves until `stopping`, then lets calls that are under way finish, within [`DRAIN`].
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, services: Services) -> anyhow::Result<()> {
    let stopping = services.stopping.clone();
    let connections = Listener::new(listener, Protocol::Http2, services.tls.clone(), services.bounds);
    let services = Arc::new(services);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MailboxServiceServer<mailbox::Api>>().await;
    health.set_serving::<DocumentServiceServer<document::Api>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(docket::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    macro_rules! bounded {
        ($server:expr) => {
            $server.max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES)
        };
    }
    let stopped = stopping.clone();
    let serving = Server::builder()
        .trace_fn(crate::telemetry::call_span)
        .layer(services.metrics.calls())
        .layer(Reasons)
        .layer(services.gate.clone())
        .max_concurrent_streams(Some(STREAMS))
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_header_list_size(Some(HEADER_BYTES))
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_connection_age(services.bounds.age)
        .initial_connection_window_size(Some(4 << 20))
        .initial_stream_window_size(Some(1 << 20))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(bounded!(MailboxServiceServer::new(mailbox::Api(services.clone()))))
        .add_service(bounded!(DocumentServiceServer::new(document::Api(services))))
        .serve_with_incoming_shutdown(connections, async move {
            stopped.cancelled().await;
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        });
    tokio::select! {
        served = serving => served?,
        () = overdue(stopping) => tracing::warn!("calls were still under way when the library stopped"),
    }
    Ok(())
}

async fn overdue(stopping: CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}

/// What the archive's errors mean to a caller. Details of faults stay in the log.
fn archive_error(error: Error) -> Status {
    match error {
        Error::NotFound("document") => {
            errors::status(Reason::DocumentNotFound, "there is no document of this id")
        }
        Error::NotFound(_) => errors::status(Reason::MailboxNotFound, "there is no mailbox of this id"),
        Error::VersionMismatch => errors::status(
            Reason::EtagMismatch,
            "the mailbox has changed: read it again, then write with its new etag",
        ),
        Error::OwnerMismatch => Violation::new(
            "mailbox.owner",
            "is not the owner of this mailbox, and a mailbox never changes hands; connect under another mailbox_id",
        )
        .into(),
        error if error.is_missing_blob() => {
            tracing::error!(%error, "a document's bytes are missing");
            errors::status(Reason::Internal, "the document's bytes are missing; the log has the detail")
        }
        Error::Database(_) | Error::Blobs(_) => {
            tracing::error!(%error, "the archive does not answer");
            errors::retry(
                Reason::StoreUnavailable,
                "the archive does not answer; try again",
                Duration::from_secs(1),
            )
        }
        Error::Damaged(_) | Error::Unusable(_) => {
            tracing::error!(%error, "internal error");
            errors::status(Reason::Internal, "an internal error; the log has the detail")
        }
    }
}
