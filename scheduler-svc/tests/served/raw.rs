//! Calls as bytes, for requests that a generated client would never send.

use std::{convert::Infallible, future::poll_fn};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tonic::{
    Status,
    codegen::{Service as _, http},
    transport::Channel,
};

use crate::served::Served;

/// One message of a gRPC body: compression flag, length, bytes.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a length").to_be_bytes();
    [&[flag][..], &length, message].concat().into()
}

/// A message of so many bytes that every server can read: one field that it does not know.
pub fn padded(length: usize) -> Vec<u8> {
    let content = length - 5;
    let mut message = vec![15 << 3 | 2];
    message.extend((0..4).map(|n| (content >> (7 * n)) as u8 & 0x7f | if n < 3 { 0x80 } else { 0 }));
    message.resize(length, 0);
    message
}

pub async fn send(
    served: &Served,
    path: &str,
    headers: &[(&'static str, &str)],
    pieces: Vec<Bytes>,
    never_ends: bool,
) -> Option<Status> {
    send_on(served.channel.clone(), path, headers, pieces, never_ends).await
}

/// The status, if the answer is nothing else.
pub async fn send_on(
    mut channel: Channel,
    path: &str,
    headers: &[(&'static str, &str)],
    pieces: Vec<Bytes>,
    never_ends: bool,
) -> Option<Status> {
    let pieces = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
    let rest = if never_ends { stream::pending().left_stream() } else { stream::empty().right_stream() };
    let body = tonic::body::Body::new(axum::body::Body::from_stream(pieces.chain(rest)));
    let mut request =
        http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).expect("a request");
    poll_fn(|context| channel.poll_ready(context)).await.expect("a connection");
    let response = channel.call(request).await.expect("an answer");
    Status::from_header_map(response.headers())
}
