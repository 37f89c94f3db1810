//! HTTP/2 as bytes, for connections that no library would make.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Of a service that answers to anybody on loopback.
pub const STATUS: &str = "/docket.schedule.v1.StatusService/GetStatus";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block in which nothing is indexed.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}

pub fn call(path: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// From another address than honest clients, so that it is another peer.
pub async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into())?;
    socket.connect(to).await
}

/// A connection on which HTTP/2 has begun. `settings`: what it says of itself.
pub async fn begin(to: SocketAddr, settings: &[u8]) -> io::Result<TcpStream> {
    let mut stream = connect(to).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await?;
    Ok(stream)
}

/// Sends the same bytes until the peer has had enough, or `times` over. Nothing is read. Returns how often.
pub async fn pour(stream: &mut TcpStream, bytes: &[u8], times: usize) -> usize {
    for n in 0..times {
        let sent = tokio::time::timeout(std::time::Duration::from_secs(5), stream.write_all(bytes)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return n;
        }
    }
    times
}

/// Reads until the peer closes.
pub async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
