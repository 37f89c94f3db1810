use docket::{errors::Reason, library::v1 as pb};
use futures_util::StreamExt as _;
use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::world::{World, refused};

#[tokio::test]
async fn health_and_both_reflections_answer() {
    let world = World::new().await;
    let channel = Channel::from_shared(world.channel_address()).unwrap().connect().await.unwrap();
    for service in ["", "docket.library.v1.MailboxService", "docket.library.v1.DocumentService"] {
        let request = HealthCheckRequest { service: service.into() };
        let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status(), ServingStatus::Serving, "{service}");
    }
    let list = || v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list()) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let requests = futures_util::stream::iter([request]);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.next().await.unwrap().unwrap());
    assert!(answer.contains("docket.library.v1.DocumentService"), "{answer}");

    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let requests = futures_util::stream::iter([request]);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.next().await.unwrap().unwrap());
    assert!(answer.contains("docket.library.v1.MailboxService"), "{answer}");
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let world = World::new().await;
    let (mut mailboxes, mut documents) = (world.mailboxes.clone(), world.documents.clone());
    let reason = Reason::NotImplemented;
    refused(mailboxes.update_mailbox(pb::UpdateMailboxRequest::default()).await, reason, "UpdateMailbox");
    refused(mailboxes.test_mailbox(pb::TestMailboxRequest::default()).await, reason, "TestMailbox");
    refused(
        mailboxes.reprocess_messages(pb::ReprocessMessagesRequest::default()).await,
        reason,
        "ReprocessMessages",
    );
    refused(mailboxes.erase_owner(pb::EraseOwnerRequest::default()).await, reason, "EraseOwner");
    refused(
        documents.export_documents(pb::ExportDocumentsRequest::default()).await,
        reason,
        "ExportDocuments",
    );
    refused(documents.delete_document(pb::DeleteDocumentRequest::default()).await, reason, "DeleteDocument");
}

#[tokio::test]
async fn it_stops_when_told() {
    let World { served, stopping, mailboxes, documents, .. } = World::new().await;
    stopping.cancel();
    drop((mailboxes, documents));
    served.await.unwrap().unwrap();
}
