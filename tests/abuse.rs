//! Connections that mean harm, at a real process: it stays up and small, and an honest client notices nothing.

#![allow(clippy::print_stdout)] // What an honest client waited is for people to read.

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
use frames::*;
use futures_util::future::join_all;
use harness::{Plan, Scheduler, Service};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What a scheduler with next to no schedules may take, while it is attacked.
const RSS_MAX_KIB: u64 = 400 << 10;
const CONNECTIONS: usize = 60;

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

    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.scheduler.pid())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
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
        let peak = self.peak_kib();
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

/// What is still open of so many connections.
async fn each<F: Future<Output = Option<TcpStream>>>(count: usize, attack: impl Fn() -> F) -> Vec<TcpStream> {
    join_all((0..count).map(|_| attack())).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection_and_nothing_else() {
    let world = World::start(&[]);
    world
        .withstands("rapid reset", |to| {
            each(20, move || async move {
                let mut stream = begin(to, &[]).await.ok()?;
                for n in 0..5_000u32 {
                    let id = 2 * n + 1;
                    let open = frame(HEADERS, END_HEADERS | END_STREAM, id, &call(STATUS));
                    let reset = frame(RST_STREAM, 0, id, &8u32.to_be_bytes());
                    if pour(&mut stream, &[open, reset].concat(), 1).await == 0 {
                        break;
                    }
                }
                Some(stream)
            })
        })
        .await;
    world
        .withstands("CONTINUATION flood", |to| {
            each(20, move || async move {
                let mut stream = begin(to, &[]).await.ok()?;
                pour(&mut stream, &frame(HEADERS, 0, 1, &call(STATUS)), 1).await;
                let more = frame(CONTINUATION, 0, 1, &block(&[("x", "y".repeat(100).as_str()); 100]));
                let sent = pour(&mut stream, &more, 10_000).await;
                assert!(sent < 10_000, "a header list of 100 MB was taken");
                Some(stream)
            })
        })
        .await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1_000);
    world.withstands("ping flood", |to| flood(to, pings.clone())).await;
    let settings = frame(SETTINGS, 0, 0, &[]).repeat(1_000);
    world.withstands("settings flood", |to| flood(to, settings.clone())).await;
}

/// Nothing is read, so answers pile up until the peer stops to read as well.
async fn flood(to: SocketAddr, bytes: Vec<u8>) -> Vec<TcpStream> {
    each(10, || async {
        let mut stream = begin(to, &[]).await.ok()?;
        pour(&mut stream, &bytes, 100).await;
        Some(stream)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_or_do_not_read_hold_no_memory() {
    let world = World::start(&[]);
    world
        .withstands("10 000 idle streams", |to| {
            each(100, move || async move {
                let mut stream = begin(to, &[]).await.ok()?;
                for n in 0..100 {
                    pour(&mut stream, &frame(HEADERS, END_HEADERS, 2 * n + 1, &call(STATUS)), 1).await;
                }
                Some(stream)
            })
        })
        .await;
    world
        .withstands("slow readers", |to| {
            each(20, move || async move {
                // SETTINGS_INITIAL_WINDOW_SIZE = 0
                let mut stream = begin(to, &[0, 4, 0, 0, 0, 0]).await.ok()?;
                for n in 0..100 {
                    pour(&mut stream, &frame(HEADERS, END_HEADERS, 2 * n + 1, &call(STATUS)), 1).await;
                    pour(&mut stream, &frame(DATA, END_STREAM, 2 * n + 1, &[0; 5]), 1).await;
                }
                Some(stream)
            })
        })
        .await;
    world
        .withstands("headers that do not end", |to| {
            each(CONNECTIONS, move || async move {
                let mut stream = begin(to, &[]).await.ok()?;
                pour(&mut stream, &frame(HEADERS, 0, 1, &call(STATUS)), 1).await;
                Some(stream)
            })
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_or_too_large_is_refused() {
    let world = World::start(&[]);
    let bodies: [Vec<u8>; 5] = [
        [&[0, 255, 255, 255, 255][..], &[0; 1000]].concat(),
        vec![1, 0, 0, 0, 1, 0],
        vec![9; 100],
        [&[0, 0, 0, 0, 4][..], &[255; 4]].concat(),
        vec![0, 0],
    ];
    world
        .withstands("malformed messages", |to| {
            let bodies = &bodies;
            each(20, move || async move {
                let mut stream = begin(to, &[]).await.ok()?;
                for (n, body) in (0..).zip(bodies.iter()) {
                    pour(&mut stream, &frame(HEADERS, END_HEADERS, 2 * n + 1, &call(STATUS)), 1).await;
                    pour(&mut stream, &frame(DATA, END_STREAM, 2 * n + 1, body), 1).await;
                }
                Some(stream)
            })
        })
        .await;
    world
        .withstands("bytes that are no HTTP/2", |to| {
            each(CONNECTIONS, move || async move {
                let mut stream = begin(to, &[]).await.ok()?;
                pour(&mut stream, &[0xff; 8192], 10).await;
                until_closed(&mut stream).await;
                Some(stream)
            })
        })
        .await;
}

/// A peer gets so many connections, and others get theirs; one on which nothing begins is closed.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_for_each_peer() {
    let world = World::start(&[("DOCKET_GRPC__CONNECTIONS_PER_PEER", 20)]);
    world
        .withstands("too many connections", |to| async move {
            let mut held: Vec<TcpStream> = Vec::new();
            for _ in 0..200 {
                held.extend(connect(to).await.ok());
            }
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
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = connect(http).await.expect("a connection");
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ").await;
        held.push(stream);
    }
    let mut ended = join_all(held.split_off(64).iter_mut().map(until_closed)).await;
    let mut probe = TcpStream::connect(http).await.expect("another peer");
    probe.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ended.extend(join_all(held.iter_mut().map(until_closed)).await);
    assert_eq!(ended.len(), 100);
}
