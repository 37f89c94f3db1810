use futures_util::StreamExt as _;
use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::world::World;

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
async fn it_stops_when_told() {
    let World { served, stopping, mailboxes, documents, .. } = World::new().await;
    stopping.cancel();
    drop((mailboxes, documents));
    served.await.unwrap().unwrap();
}
