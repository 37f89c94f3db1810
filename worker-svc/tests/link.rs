//! The link against a scheduler that says no: what a person can see.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use docket::{
    errors::{Reason, status},
    schedule::v1::{
        self as pb,
        worker_service_server::{WorkerService, WorkerServiceServer},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_stream::Pending;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};
use worker_svc::{
    agent::{Agent, Profile, Refusal},
    http,
    kind::Registry,
    link::Link,
};

/// Knows another archive.
struct Refusing(Arc<Notify>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl WorkerService for Refusing {
    type StreamDueJobsStream = Pending<Result<pb::StreamDueJobsResponse, Status>>;

    async fn stream_due_jobs(
        &self,
        _: Request<pb::StreamDueJobsRequest>,
    ) -> Reply<Self::StreamDueJobsStream> {
        self.0.notify_one();
        Err(status(Reason::ArchiveMismatch, "documents are filed into archive A"))
    }

    async fn heartbeat(&self, _: Request<pb::HeartbeatRequest>) -> Reply<pb::HeartbeatResponse> {
        Err(Status::internal("no session was opened"))
    }

    async fn report_results(&self, _: Request<pb::ReportResultsRequest>) -> Reply<pb::ReportResultsResponse> {
        Err(Status::internal("no session was opened"))
    }

    async fn list_workers(&self, _: Request<pb::ListWorkersRequest>) -> Reply<pb::ListWorkersResponse> {
        Err(Status::internal("not asked here"))
    }
}

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_worker_that_is_refused_for_good_is_not_ready_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Notify::new());
    let server = Server::builder().add_service(WorkerServiceServer::new(Refusing(asked.clone())));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let profile = Profile {
        worker_id: "w".into(),
        instance: "i".into(),
        slots: 1,
        kinds: vec!["noop".into()],
        guarded: BTreeSet::new(),
        version: "test".into(),
        archive_id: "B".into(),
    };
    let channel = Channel::from_shared(url).unwrap().connect_lazy();
    let (link, mut shown) = Link::new(Agent::new(profile, 1), channel, Registry::default(), Duration::ZERO);
    let (stopping, stopped) = (CancellationToken::new(), CancellationToken::new());
    let running = tokio::spawn(link.run(stopping.clone()));
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let number = port.local_addr().unwrap().port();
    tokio::spawn(http::serve(port, Some(shown.clone()), stopping.clone(), stopped.clone()));

    let refused = |link: &worker_svc::link::LinkStatus| link.refusal.is_some();
    let status = shown.wait_for(refused).await.unwrap().clone();
    let Some(Refusal::ByScheduler(why)) = &status.refusal else { panic!("{status:?}") };
    assert!(why.contains("ARCHIVE_MISMATCH") && why.contains("archive A"), "{why}");
    let ready = get(number, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("ARCHIVE_MISMATCH"), "{ready}");
    assert!(get(number, "/livez").await.starts_with("HTTP/1.1 200"), "a restart would not help");
    asked.notified().await;
    stopping.cancel();
    running.await.unwrap();
    assert!(get(number, "/readyz").await.contains("stopping"));
    stopped.cancel();
}
