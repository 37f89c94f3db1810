//! A scheduler on a memory store and a free port, with clients.

use std::sync::Arc;

use docket::{
    identity::Gate,
    schedule::v1::{
        self as pb, run_service_client::RunServiceClient, schedule_service_client::ScheduleServiceClient,
        status_service_client::StatusServiceClient, worker_service_client::WorkerServiceClient,
    },
};
use scheduler_svc::{
    grpc::{self, Services},
    metrics::Metrics,
    shard::{self, Options},
    state_machine::{Config, output::Event},
    store::memory::MemoryStore,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

pub struct Served {
    pub url: String,
    pub channel: Channel,
    pub schedules: ScheduleServiceClient<Channel>,
    pub runs: RunServiceClient<Channel>,
    pub workers: WorkerServiceClient<Channel>,
    pub status: StatusServiceClient<Channel>,
    stopping: CancellationToken,
}

struct Deaf;

impl shard::Observer for Deaf {
    fn observe(&self, _: &Event) {}
}

impl Served {
    pub async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub async fn start_with(options: impl Into<Options>) -> Self {
        let options = options.into();
        let config = options.machine;
        let shard = shard::start(Arc::new(MemoryStore::default()), options, Deaf).expect("a shard");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stopping = CancellationToken::new();
        let services = Services {
            gate: Gate::default(),
            tls: None,
            bounds: Default::default(),
            trust: None,
            metrics: Metrics::new().expect("metrics"),
            shard: shard.handle,
            default_spread: 0,
            lease: config.lease,
            heartbeat: config.heartbeat,
            max_batch: config.max_batch,
            traces: 1.0,
            start_time: 0,
            advertise: "".into(),
            leadership: scheduler_svc::cluster::Leadership::alone(shard.epoch),
            stopping: stopping.clone(),
        };
        tokio::spawn(grpc::serve(listener, services));
        let url = format!("http://{address}");
        let endpoint = Channel::from_shared(url.clone()).expect("a URL");
        let channel = endpoint.connect().await.expect("a connection");
        Self {
            url,
            schedules: ScheduleServiceClient::new(channel.clone()),
            runs: RunServiceClient::new(channel.clone()),
            workers: WorkerServiceClient::new(channel.clone()),
            status: StatusServiceClient::new(channel.clone()),
            channel,
            stopping,
        }
    }

    /// Streams end; calls that are under way may finish.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    pub async fn upsert(&mut self, schedule: pb::Schedule) -> Result<pb::UpsertScheduleResponse, Status> {
        let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
        Ok(self.schedules.upsert_schedule(request).await?.into_inner())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn schedule(id: &str, timing: pb::schedule::Timing) -> pb::Schedule {
    pb::Schedule {
        schedule_id: id.into(),
        timing: Some(timing),
        task: Some(pb::Task { kind: "sync".into(), ..Default::default() }),
        ..Default::default()
    }
}

pub fn every(seconds: i64) -> pb::schedule::Timing {
    let interval = Some(prost_types::Duration { seconds, nanos: 0 });
    pb::schedule::Timing::Every(pb::Every { interval, anchor: None })
}

pub fn cron(expressions: &[&str], time_zone: &str) -> pb::schedule::Timing {
    pb::schedule::Timing::Cron(pb::Cron {
        expressions: expressions.iter().map(|one| (*one).into()).collect(),
        time_zone: time_zone.into(),
        ..Default::default()
    })
}

pub fn hello() -> pb::StreamDueJobsRequest {
    pb::StreamDueJobsRequest {
        worker_id: "w".into(),
        instance: "i".into(),
        kinds: vec!["sync".into()],
        ..Default::default()
    }
}
