//! Connections that mean harm, at a real process: it stays up and small, and an honest client notices nothing.

#![allow(clippy::print_stdout)] // What an honest client waited is for people to read.

#[path = "abuse/attacks.rs"]
mod attacks;
#[path = "abuse/frames.rs"]
mod frames;
mod harness;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use docket::schedule::v1 as pb;
use frames::{connect, until_closed};
use futures_util::future::join_all;
use harness::{Plan, Scheduler, Service};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What a scheduler with next to no schedules may take, while it is attacked.
const RSS_MAX_KIB: u64 = 400 << 10;

struct World {
    _folder: tempfile::TempDir,
    scheduler: Service,
}

impl World {
    fn start(settings: &[(&str, usize)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan::new("scheduler-svc", folder.path());
        let plan = settings.iter().fold(plan, |plan, (key, value)| plan.set(key, value));
        Self { scheduler: plan.start().expect("scheduler-svc"), _folder: folder }
    }

    /// An honest client makes one call after the other: before the attack, while it goes on, and while its connections
    /// stay. No call may fail.
    async fn withstands<F>(&self, name: &str, attack: impl Fn(SocketAddr) -> F)
    where
        F: Future<Output = Vec<TcpStream>>,
    {
        let mut before = self.calls_until(Arc::new(AtomicBool::new(true)), 200).await;
        let over = Arc::new(AtomicBool::new(false));
        let attacked = async {
            let held = attack(self.scheduler.grpc).await;
            self.calls_until(Arc::new(AtomicBool::new(true)), 20).await;
            drop(held);
            over.store(true, Ordering::Relaxed);
        };
        let (mut during, ()) = tokio::join!(self.calls_until(over.clone(), 20), attacked);
        let peak = self.scheduler.peak_kib();
        println!(
            "{name}: p99 {:?} before, {:?} under attack ({} calls); peak {} MiB",
            p99(&mut before),
            p99(&mut during),
            during.len(),
            peak >> 10
        );
        assert!(peak < RSS_MAX_KIB, "{name}: {peak} KiB");
    }

    async fn calls_until(&self, over: Arc<AtomicBool>, at_least: usize) -> Vec<Duration> {
        let mut client = Scheduler::connect(&self.scheduler).expect("clients").status;
        let mut took = Vec::new();
        while took.len() < at_least || !over.load(Ordering::Relaxed) {
            let begin = Instant::now();
            client.get_status(pb::GetStatusRequest::default()).await.expect("an honest call");
            took.push(begin.elapsed());
        }
        took
    }
}

fn p99(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection_and_nothing_else() {
    let world = World::start(&[]);
    world.withstands("rapid reset", attacks::rapid_reset).await;
    world.withstands("CONTINUATION flood", attacks::continuation_flood).await;
    world.withstands("PING flood", attacks::ping_flood).await;
    world.withstands("SETTINGS flood", attacks::settings_flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_or_do_not_read_hold_no_memory() {
    let world = World::start(&[]);
    world.withstands("10 000 idle streams", attacks::idle_streams).await;
    world.withstands("slow readers", attacks::slow_readers).await;
    world.withstands("headers that do not end", attacks::endless_headers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_or_too_large_is_refused() {
    let world = World::start(&[]);
    world.withstands("malformed messages", attacks::malformed_messages).await;
    world.withstands("bytes that are no HTTP/2", attacks::noise).await;
}

/// A peer gets so many connections, and others get theirs; one on which nothing begins is closed.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_for_each_peer() {
    let world = World::start(&[("DOCKET_GRPC__CONNECTIONS_PER_PEER", 20)]);
    world
        .withstands("too many connections", |to| async move {
            let mut held = attacks::connections(to).await;
            // Those beyond the bound at once, the others when they have had their time to begin.
            join_all(held.iter_mut().map(until_closed)).await;
            held
        })
        .await;
    let log = fs::read_to_string(&world.scheduler.log).expect("a log");
    assert!(log.contains("too many connections"), "{log}");
}

/// Of the HTTP port, a peer gets so many connections, each with its time for a request; probes from elsewhere are
/// answered all the while.
#[tokio::test(flavor = "multi_thread")]
async fn the_http_port_is_bounded_as_well() {
    let world = World::start(&[]);
    let http = world.scheduler.http;
    let begun = async || {
        let mut stream = connect(http).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").await?;
        std::io::Result::Ok(stream)
    };
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(begun().await.expect("a connection"));
    }
    // Closed at once: some before they could say anything.
    for _ in 0..36 {
        if let Ok(mut stream) = begun().await {
            until_closed(&mut stream).await;
        }
    }
    let is_open = |stream: &TcpStream| {
        stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert!(held.iter().all(is_open), "those within the bound have their time");
    let mut probe = TcpStream::connect(http).await.expect("another peer");
    probe.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    join_all(held.iter_mut().map(until_closed)).await;
}
