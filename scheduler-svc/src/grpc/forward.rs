//! On a standby: passes calls on to the leader, byte for byte (rules S1, S2).
//!
//! The call has been authenticated here, and is again by the leader, with the caller's own token or the name of its
//! certificate. What a client put into `docket-*` metadata is dropped; the leader is told the client's address, for its
//! audit log, and under which epoch it is taken for the leader. It refuses when it is not, so that a call is passed on once
//! at the most. While nobody leads, calls wait a moment: a hand-over takes less.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use docket::{
    errors::{Reason, cause, status},
    identity::{
        CLIENT, CertificateName, PASSED_ON,
        tls::client::{Trust, channel},
    },
    listener,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::watch;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
    transport::{Channel, Endpoint},
};

use super::not_leader;
use crate::{cluster::Leadership, repeated::Repeated, store::Peer};

/// Under which epoch the receiver is taken for the leader.
const EXPECTED: &str = "docket-expected-epoch";
/// How long a call waits for somebody to lead.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections to the leader: unary calls never wait behind streams.
const UNARY: usize = 2;
const STREAMS: usize = 16;

const STREAMING: &[&str] = &[
    "/docket.schedule.v1.WorkerService/StreamDueJobs",
    "/docket.schedule.v1.RunService/WatchEvents",
    "/docket.schedule.v1.ScheduleService/ExportSchedules",
    "/docket.schedule.v1.ScheduleService/ImportSchedules",
];

/// Answered by each replica itself (rule S3).
fn is_local(path: &str) -> bool {
    path == "/docket.schedule.v1.StatusService/GetStatus" || path.starts_with("/grpc.")
}

#[derive(Clone)]
pub struct Forward {
    leadership: watch::Receiver<Leadership>,
    /// How the leader is known over TLS; None = it is called in the clear.
    trust: Option<Trust>,
    links: Arc<Mutex<Links>>,
    /// Connections are left for new ones at this age, before the leader ends them.
    age: Duration,
    trouble: Arc<Mutex<Repeated>>,
}

/// Connections to the leader that is known, and since when.
#[derive(Default)]
struct Links {
    leader: Peer,
    channels: HashMap<usize, (Channel, Instant)>,
    next: usize,
}

impl Forward {
    pub fn new(leadership: watch::Receiver<Leadership>, trust: Option<Trust>, age: Duration) -> Self {
        Self { leadership, trust, links: Arc::default(), age, trouble: Arc::default() }
    }
}

impl<S> tower_layer::Layer<S> for Forward {
    type Service = Forwarding<S>;

    fn layer(&self, inner: S) -> Forwarding<S> {
        Forwarding { inner, forward: self.clone() }
    }
}

#[derive(Clone)]
pub struct Forwarding<S> {
    inner: S,
    forward: Forward,
}

impl<S> Service<Request<Body>> for Forwarding<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let expected =
            request.headers().get(EXPECTED).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let now = self.forward.leadership.borrow().clone();
        let here = match (expected, &now) {
            _ if is_local(request.uri().path()) => true,
            (Some(expected), Leadership::Mine { epoch }) if *epoch == expected => true,
            (Some(_), _) => return Box::pin(std::future::ready(Ok(not_leader().into_http()))),
            (None, Leadership::Mine { .. }) => true,
            (None, Leadership::Theirs(_) | Leadership::Open) => false,
        };
        if here {
            return Box::pin(self.inner.call(request));
        }
        // The service that was polled ready is the one to be called.
        let other = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, other);
        let forward = self.forward.clone();
        Box::pin(async move {
            let begin = Instant::now();
            match forward.somebody().await {
                Some(Leadership::Mine { .. }) => inner.call(request).await,
                Some(Leadership::Theirs(peer)) => {
                    Ok(forward.pass_on(&peer, request, begin).await.unwrap_or_else(Status::into_http))
                }
                Some(Leadership::Open) | None => Ok(not_leader().into_http()),
            }
        })
    }
}

impl Forward {
    /// Who leads, as soon as somebody does.
    async fn somebody(&self) -> Option<Leadership> {
        let mut leadership = self.leadership.clone();
        let known = leadership.wait_for(|known| *known != Leadership::Open);
        Some(tokio::time::timeout(PATIENCE, known).await.ok()?.ok()?.clone())
    }

    async fn pass_on(
        &self,
        peer: &Peer,
        mut request: Request<Body>,
        begin: Instant,
    ) -> Result<Response<Body>, Status> {
        let mut channel = self.channel(peer, STREAMING.contains(&request.uri().path()))?;
        // Who came with a token has it with the call; a certificate stays with its connection.
        let certificate = request.extensions().get::<CertificateName>();
        let certificate = certificate.and_then(|CertificateName(name)| HeaderValue::from_str(name).ok());
        let client = request.extensions().get::<Option<listener::Peer>>().cloned().flatten();
        let client = client.and_then(|client| HeaderValue::try_from(client.address.to_string()).ok());
        let headers = request.headers_mut();
        strip(headers);
        headers.insert(EXPECTED, HeaderValue::from(peer.epoch));
        if let Some(name) = certificate {
            headers.insert(PASSED_ON, name);
        }
        if let Some(address) = client {
            headers.insert(CLIENT, address);
        }
        remaining(headers, begin.elapsed());
        let unreachable = |error: tonic::transport::Error| self.unreachable(peer, &error);
        std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(unreachable)?;
        let response = channel.call(request).await.map_err(unreachable)?;
        Ok(response.map(|body| self.until_replaced(peer, body)))
    }

    /// The caller is told, and the log now and then: whoever runs this replica would not know otherwise.
    fn unreachable(&self, peer: &Peer, error: &tonic::transport::Error) -> Status {
        let why = format!("the leader at {}: {}", peer.address, cause(error));
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = trouble.came(&why, Instant::now()) {
            tracing::warn!(why, times, "calls cannot be passed on");
        }
        status(Reason::NotLeader, why)
    }

    /// What comes from a leader is worth nothing once there is another one: its streams are cut.
    fn until_replaced(&self, peer: &Peer, body: Body) -> Body {
        let (mut leadership, epoch) = (self.leadership.clone(), peer.epoch);
        let replaced = Box::pin(async move {
            let newer = |known: &Leadership| match known {
                Leadership::Mine { epoch: newer } => *newer > epoch,
                Leadership::Theirs(peer) => peer.epoch > epoch,
                Leadership::Open => false,
            };
            if leadership.wait_for(newer).await.is_err() {
                // The process stops; the leader ends its streams itself.
                std::future::pending::<()>().await;
            }
        });
        Body::new(cut::Cut::new(body, replaced))
    }

    fn channel(&self, peer: &Peer, streaming: bool) -> Result<Channel, Status> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.leader != *peer {
            *links = Links { leader: peer.clone(), ..Links::default() };
        }
        links.next += 1;
        let place = if streaming { UNARY + links.next % STREAMS } else { links.next % UNARY };
        if let Some((channel, since)) = links.channels.get(&place)
            && since.elapsed() < self.age
        {
            return Ok(channel.clone());
        }
        let bad = |error: tonic::transport::Error| {
            status(Reason::NotLeader, format!("the leader names no address (cluster.advertise): {error}"))
        };
        let scheme = if self.trust.is_some() { "https" } else { "http" };
        let trust = self.trust.clone().unwrap_or_default();
        let set = |endpoint: Endpoint| {
            endpoint
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(5))
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
        };
        let channel = channel(&format!("{scheme}://{}", peer.address), &trust, set).map_err(bad)?;
        links.channels.insert(place, (channel.clone(), Instant::now()));
        Ok(channel)
    }
}

/// Nobody but a replica says anything in our own name.
fn strip(headers: &mut HeaderMap) {
    let ours: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("docket-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// The deadline is what remains of it.
fn remaining(headers: &mut HeaderMap, spent: Duration) {
    let Some(timeout) = headers.get("grpc-timeout").and_then(super::timeout) else { return };
    let left = timeout.saturating_sub(spent).as_millis().min(99_999_999);
    if let Ok(value) = HeaderValue::from_str(&format!("{left}m")) {
        headers.insert("grpc-timeout", value);
    }
}

mod cut;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_foreign_metadata_is_stripped_and_the_deadline_shrinks() {
        let mut headers = HeaderMap::new();
        headers.insert("docket-identity", HeaderValue::from_static("root"));
        headers.insert("grpc-timeout", HeaderValue::from_static("3S"));
        headers.insert("traceparent", HeaderValue::from_static("x"));
        strip(&mut headers);
        remaining(&mut headers, Duration::from_millis(1_200));
        assert!(headers.get("docket-identity").is_none());
        assert_eq!(headers["grpc-timeout"], "1800m");
        assert_eq!(headers["traceparent"], "x");
    }

    #[tokio::test]
    async fn s1_a_call_that_cannot_be_passed_on_says_what_is_at_the_bottom_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let peer = Peer { address: address.as_str().into(), epoch: 1 };
        let leadership = watch::Sender::new(Leadership::Theirs(peer.clone())).subscribe();
        let forward = Forward::new(leadership, None, Duration::from_secs(60));
        let request = Request::new(Body::empty());
        let status = forward.pass_on(&peer, request, Instant::now()).await.expect_err("nobody listens");
        let expected = format!("the leader at {address}: Connection refused");
        assert!(status.message().starts_with(&expected), "{status:?}");
    }

    #[test]
    fn s3_each_replica_answers_for_itself() {
        assert!(is_local("/docket.schedule.v1.StatusService/GetStatus"));
        assert!(is_local("/grpc.health.v1.Health/Check"));
        assert!(!is_local("/docket.schedule.v1.StatusService/GetForecast"));
    }
}
