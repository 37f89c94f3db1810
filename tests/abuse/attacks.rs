//! What connections that mean harm do. Each gives back those that are still open.

use std::net::SocketAddr;

use futures_util::future::join_all;
use tokio::net::TcpStream;

use super::frames::*;

/// Bodies of calls: a length beyond all bounds, a promise of compression, no prefix, no protobuf, too short.
const BODIES: [&[u8]; 5] = [
    &[0, 255, 255, 255, 255, 0, 0, 0, 0],
    &[1, 0, 0, 0, 1, 0],
    &[9; 100],
    &[0, 0, 0, 0, 4, 255, 255, 255, 255],
    &[0, 0],
];

async fn each<F: Future<Output = Option<TcpStream>>>(count: usize, one: impl Fn() -> F) -> Vec<TcpStream> {
    join_all((0..count).map(|_| one())).await.into_iter().flatten().collect()
}

/// Calls that are reset at once.
pub async fn rapid_reset(to: SocketAddr) -> Vec<TcpStream> {
    each(20, || async {
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
    .await
}

/// A header list of 100 MB.
pub async fn continuation_flood(to: SocketAddr) -> Vec<TcpStream> {
    each(20, || async {
        let mut stream = begin(to, &[]).await.ok()?;
        pour(&mut stream, &frame(HEADERS, 0, 1, &call(STATUS)), 1).await;
        let more = frame(CONTINUATION, 0, 1, &block(&[("x", "y".repeat(100).as_str()); 100]));
        let sent = pour(&mut stream, &more, 10_000).await;
        assert!(sent < 10_000, "all of it was taken");
        Some(stream)
    })
    .await
}

pub async fn ping_flood(to: SocketAddr) -> Vec<TcpStream> {
    flood(to, &frame(PING, 0, 0, &[0; 8])).await
}

pub async fn settings_flood(to: SocketAddr) -> Vec<TcpStream> {
    flood(to, &frame(SETTINGS, 0, 0, &[])).await
}

/// Nothing is read, so answers pile up until the peer stops to read as well.
async fn flood(to: SocketAddr, frame: &[u8]) -> Vec<TcpStream> {
    let many = frame.repeat(1_000);
    each(10, || async {
        let mut stream = begin(to, &[]).await.ok()?;
        pour(&mut stream, &many, 100).await;
        Some(stream)
    })
    .await
}

/// 100 calls on each of 100 connections that say no more.
pub async fn idle_streams(to: SocketAddr) -> Vec<TcpStream> {
    each(100, || async {
        let mut stream = begin(to, &[]).await.ok()?;
        for n in 0..100 {
            pour(&mut stream, &frame(HEADERS, END_HEADERS, 2 * n + 1, &call(STATUS)), 1).await;
        }
        Some(stream)
    })
    .await
}

/// Calls whose answers have no window to come through.
pub async fn slow_readers(to: SocketAddr) -> Vec<TcpStream> {
    each(20, || async {
        // SETTINGS_INITIAL_WINDOW_SIZE = 0
        let mut stream = begin(to, &[0, 4, 0, 0, 0, 0]).await.ok()?;
        for n in 0..100 {
            pour(&mut stream, &frame(HEADERS, END_HEADERS, 2 * n + 1, &call(STATUS)), 1).await;
            pour(&mut stream, &frame(DATA, END_STREAM, 2 * n + 1, &[0; 5]), 1).await;
        }
        Some(stream)
    })
    .await
}

pub async fn endless_headers(to: SocketAddr) -> Vec<TcpStream> {
    each(60, || async {
        let mut stream = begin(to, &[]).await.ok()?;
        pour(&mut stream, &frame(HEADERS, 0, 1, &call(STATUS)), 1).await;
        Some(stream)
    })
    .await
}

pub async fn malformed_messages(to: SocketAddr) -> Vec<TcpStream> {
    each(20, || async {
        let mut stream = begin(to, &[]).await.ok()?;
        for (n, body) in (0..).zip(BODIES) {
            pour(&mut stream, &frame(HEADERS, END_HEADERS, 2 * n + 1, &call(STATUS)), 1).await;
            pour(&mut stream, &frame(DATA, END_STREAM, 2 * n + 1, body), 1).await;
        }
        Some(stream)
    })
    .await
}

/// Bytes that are no HTTP/2.
pub async fn noise(to: SocketAddr) -> Vec<TcpStream> {
    each(60, || async {
        let mut stream = begin(to, &[]).await.ok()?;
        pour(&mut stream, &[0xff; 8192], 10).await;
        until_closed(&mut stream).await;
        Some(stream)
    })
    .await
}

/// 200 at once.
pub async fn connections(to: SocketAddr) -> Vec<TcpStream> {
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        held.extend(connect(to).await.ok());
    }
    held
}
