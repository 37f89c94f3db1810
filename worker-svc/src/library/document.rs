//! `DocumentService`.

use std::sync::Arc;

use docket::{
    identity::{self, Identity},
    library::v1::{self as pb, document_service_server::DocumentService},
};
use futures_util::stream::BoxStream;
use prost::Message as _;
use sync_core::archive::{Document, DocumentPlace};
use tonic::{Request, Response, Status};

use super::{Services, archive_error, convert, download, export, field, page, validate};

pub struct Api(pub Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// Namespace and id of a request, checked.
fn key<'a>(identity: &Identity, namespace: &'a str, id: &'a str) -> Result<(&'a str, &'a str), Status> {
    let namespace = field::id("namespace", identity.namespace(namespace)?)?;
    identity.about(id);
    Ok((namespace, field::id("document_id", id)?))
}

#[tonic::async_trait]
impl DocumentService for Api {
    async fn list_documents(
        &self,
        request: Request<pb::ListDocumentsRequest>,
    ) -> Reply<pb::ListDocumentsResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        let asked = body.filter.clone().unwrap_or_default();
        let filter = validate::document_filter(namespace, &asked)?;
        let size = field::page_size(body.page_size)?;
        let binding = page::binding(&[b"ListDocuments", namespace.as_bytes(), &asked.encode_to_vec()]);
        let after = page::position(binding, &body.page_token)?;
        let after = after.map(|place| DocumentPlace { create_time: place.time, document_id: place.key });
        let listed = self.0.archive.catalog.list_documents(&filter, after.as_ref(), size + 1).await;
        let place = |document: &Document| {
            let DocumentPlace { create_time: time, document_id: key } = DocumentPlace::of(document);
            page::Place { time, key }
        };
        let (documents, next_page_token) =
            page::cut(listed.map_err(archive_error)?, size, binding, place, convert::document);
        Ok(Response::new(pb::ListDocumentsResponse { documents, next_page_token }))
    }

    async fn get_document(&self, request: Request<pb::GetDocumentRequest>) -> Reply<pb::GetDocumentResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, document_id) = key(&identity, &body.namespace, &body.document_id)?;
        let found = self.0.archive.catalog.get_document(namespace, document_id).await;
        let document = convert::document(found.map_err(archive_error)?);
        Ok(Response::new(pb::GetDocumentResponse { document: Some(document) }))
    }

    type DownloadDocumentStream = Stream<pb::DownloadDocumentResponse>;

    async fn download_document(
        &self,
        request: Request<pb::DownloadDocumentRequest>,
    ) -> Reply<Self::DownloadDocumentStream> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, document_id) = key(&identity, &body.namespace, &body.document_id)?;
        let opened = self.0.archive.open_document(namespace, document_id).await;
        let (document, bytes) = opened.map_err(archive_error)?;
        Ok(Response::new(download::stream(document, bytes)))
    }

    type ExportDocumentsStream = Stream<pb::ExportDocumentsResponse>;

    async fn export_documents(
        &self,
        request: Request<pb::ExportDocumentsRequest>,
    ) -> Reply<Self::ExportDocumentsStream> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
        let filter = validate::document_filter(namespace, &body.filter.clone().unwrap_or_default())?;
        let format = validate::export_format(body.format)?;
        tracing::info!(namespace, actor = identity.name(), ?format, "documents exported");
        Ok(Response::new(export::stream(self.0.archive.catalog.clone(), filter, format)))
    }

    async fn delete_document(
        &self,
        request: Request<pb::DeleteDocumentRequest>,
    ) -> Reply<pb::DeleteDocumentResponse> {
        let identity = identity::of(&request)?;
        let body = request.get_ref();
        let (namespace, document_id) = key(&identity, &body.namespace, &body.document_id)?;
        let catalog = &self.0.archive.catalog;
        let deleted = catalog.delete_document(namespace, document_id, (self.0.clock)()).await;
        deleted.map_err(archive_error)?;
        tracing::info!(namespace, document_id, actor = identity.name(), "document deleted");
        Ok(Response::new(pb::DeleteDocumentResponse {}))
    }
}
