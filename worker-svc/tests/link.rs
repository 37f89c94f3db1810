//! The link against a scheduler that says no: what a person can see.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use docket::{
    errors::{Reason, status},
    identity::{bearer::Bearer, tls::client::Trust},
    listener::{Bounds, Listener, Protocol},
    schedule::v1::{
        self as pb,
        stream_due_jobs_response::Message as Said,
        worker_service_server::{WorkerService, WorkerServiceServer},
    },
};
use futures_util::{future::BoxFuture, stream::BoxStream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};
use tokio_stream::{Pending, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};
use worker_svc::{
    agent::{Agent, Profile, Refusal},
    http,
    kind::{Context, Kind, Outcome, Registry},
    link,
    metrics::Metrics,
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

fn scheduler(url: String) -> link::Scheduler {
    link::Scheduler { url, trust: Trust::default(), bearer: Bearer::default() }
}

/// Hands out one job, and counts what it hears of it.
struct Patient {
    heartbeats: mpsc::UnboundedSender<usize>,
    results: mpsc::UnboundedSender<usize>,
}

#[tonic::async_trait]
impl WorkerService for Patient {
    type StreamDueJobsStream = BoxStream<'static, Result<pb::StreamDueJobsResponse, Status>>;

    async fn stream_due_jobs(
        &self,
        _: Request<pb::StreamDueJobsRequest>,
    ) -> Reply<Self::StreamDueJobsStream> {
        let welcome = pb::Welcome {
            session_id: "1".into(),
            epoch: 1,
            lease: Some(prost_types::Duration { seconds: 15, nanos: 0 }),
            heartbeat: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        let task = pb::Task { kind: "stubborn".into(), ..Default::default() };
        let job = pb::DueJob { run_id: "r".into(), attempt: 1, task: Some(task), ..Default::default() };
        let batch = pb::DueJobs { jobs: vec![job] };
        let said = [(1, Said::Welcome(welcome)), (2, Said::DueJobs(batch))]
            .map(|(sequence, said)| Ok(pb::StreamDueJobsResponse { sequence, message: Some(said) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(said).chain(tokio_stream::pending()))))
    }

    async fn heartbeat(&self, request: Request<pb::HeartbeatRequest>) -> Reply<pb::HeartbeatResponse> {
        let _ = self.heartbeats.send(request.get_ref().held.len());
        Ok(Response::new(pb::HeartbeatResponse { epoch: 1, ..Default::default() }))
    }

    async fn report_results(
        &self,
        request: Request<pb::ReportResultsRequest>,
    ) -> Reply<pb::ReportResultsResponse> {
        let reports = &request.get_ref().reports;
        let _ = self.results.send(reports.len());
        let accepted = pb::Receipt { status: pb::ReceiptStatus::Accepted as i32, ..Default::default() };
        Ok(Response::new(pb::ReportResultsResponse { receipts: vec![accepted; reports.len()] }))
    }

    async fn list_workers(&self, _: Request<pb::ListWorkersRequest>) -> Reply<pb::ListWorkersResponse> {
        Err(Status::internal("not asked here"))
    }
}

/// Takes the thread that it runs on and gives it back when it is told.
struct Stubborn(Arc<Mutex<std::sync::mpsc::Receiver<()>>>);

impl Kind for Stubborn {
    fn name(&self) -> &'static str {
        "stubborn"
    }

    fn run(&self, _: pb::DueJob, _: Context) -> BoxFuture<'static, Outcome> {
        let told = self.0.clone();
        Box::pin(async move {
            let _ = told.lock().unwrap().recv();
            Outcome::Success { result: prost_types::Struct::default() }
        })
    }
}

fn profile(kind: &str) -> Profile {
    Profile {
        worker_id: "w".into(),
        instance: "i".into(),
        slots: 1,
        kinds: vec![kind.into()],
        guarded: BTreeSet::new(),
        version: "test".into(),
        archive_id: "B".into(),
    }
}

/// A runtime of its own for the scheduler: what it does is not held up by the worker under test.
fn serve(scheduler: impl WorkerService) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            Server::builder()
                .add_service(WorkerServiceServer::new(scheduler))
                .serve_with_incoming(incoming)
                .await
        })
    });
    url
}

#[test]
fn w3_a_job_that_takes_every_thread_keeps_no_heartbeat_from_going_out() {
    let (heartbeats, mut heard) = mpsc::unbounded_channel();
    let (results, mut reported) = mpsc::unbounded_channel();
    let url = serve(Patient { heartbeats, results });
    let (tell, told) = std::sync::mpsc::channel();
    let mut registry = Registry::default();
    registry.add(Stubborn(Arc::new(Mutex::new(told))));
    let stopping = CancellationToken::new();

    // One thread for jobs, and the job takes it.
    let jobs = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (running, _shown) = {
        let _entered = jobs.enter();
        let scheduler = scheduler(url);
        let agent = Agent::new(profile("stubborn"), 1);
        link::start(agent, scheduler, registry, Duration::ZERO, stopping.clone()).unwrap()
    };
    let mut with_the_job = 0;
    while with_the_job < 3 {
        with_the_job += heard.blocking_recv().unwrap();
    }
    assert!(reported.try_recv().is_err(), "it is still at it");
    tell.send(()).unwrap();
    assert_eq!(reported.blocking_recv(), Some(1));
    stopping.cancel();
    running.blocking_recv().unwrap();
}

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Answers every connection with `bytes`, and closes it.
async fn speaks(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(bytes).await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    port
}

#[tokio::test]
async fn a_worker_that_is_cut_off_says_why_and_what_may_be_mixed_up() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    // An alert of TLS, and the settings of HTTP/2.
    let (tls, plain) = (speaks(b"\x15\x03\x03\x00\x02\x02\x46").await, speaks(b"\0\0\0\x04\0\0\0\0\0").await);
    for (url, why) in [
        (format!("http://127.0.0.1:{nobody}"), "Connection refused"),
        (format!("http://127.0.0.1:{tls}"), "scheduler.url is https://"),
        (format!("https://127.0.0.1:{plain}"), "scheduler.url is http://"),
    ] {
        let stopping = CancellationToken::new();
        let agent = Agent::new(profile("noop"), 1);
        let (running, mut shown) =
            link::start(agent, scheduler(url), Registry::default(), Duration::ZERO, stopping.clone())
                .unwrap();
        let status = shown.wait_for(|link| link.outage.is_some()).await.unwrap().clone();
        let outage = status.outage.unwrap();
        assert!(!status.connected && outage.contains(why), "{outage}");
        stopping.cancel();
        running.await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_is_refused_for_good_is_not_ready_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Notify::new());
    let server = Server::builder().add_service(WorkerServiceServer::new(Refusing(asked.clone())));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let (stopping, stopped) = (CancellationToken::new(), CancellationToken::new());
    let scheduler = scheduler(url);
    let agent = Agent::new(profile("noop"), 1);
    let (running, mut shown) =
        link::start(agent, scheduler, Registry::default(), Duration::ZERO, stopping.clone()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let number = port.local_addr().unwrap().port();
    tokio::spawn(http::serve(
        Listener::new(port, Protocol::Http1, None, Bounds::default()),
        Some(shown.clone()),
        Metrics::new(1).unwrap(),
        http::Guard::default(),
        stopping.clone(),
        stopped.clone(),
    ));

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
