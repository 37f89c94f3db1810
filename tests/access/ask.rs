//! Calls of any RPC, as bytes that are made from its descriptor.

use std::{
    collections::HashMap,
    future::poll_fn,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use docket::errors::{Reason, reason_of};
use http_body::Body as _;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service as _, http},
    transport::Channel,
};

use crate::harness::Service;

/// A method, and what a request of it may name.
pub struct Rpc {
    pub path: String,
    pub names_a_namespace: bool,
    /// As a field of the request itself.
    pub namespace_at_the_top: bool,
    pub names_kinds: bool,
    input: String,
    messages: HashMap<String, DescriptorProto>,
}

pub fn rpcs() -> Vec<Rpc> {
    let set = FileDescriptorSet::decode(docket::DESCRIPTORS).expect("descriptors");
    let messages: HashMap<_, _> = set
        .file
        .iter()
        .flat_map(|file| {
            file.message_type.iter().map(|one| (format!(".{}.{}", file.package(), one.name()), one.clone()))
        })
        .collect();
    let mut rpcs = Vec::new();
    for file in set.file.iter().filter(|file| file.package().starts_with("docket.")) {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                rpcs.push(Rpc::new(path, method.input_type(), &messages));
            }
        }
    }
    assert!(rpcs.len() > 30);
    rpcs
}

/// How deep a namespace may stand.
const DEPTH: usize = 3;

impl Rpc {
    fn new(path: String, input: &str, messages: &HashMap<String, DescriptorProto>) -> Self {
        let mut rpc = Self {
            path,
            names_a_namespace: false,
            namespace_at_the_top: false,
            names_kinds: false,
            input: input.into(),
            messages: messages.clone(),
        };
        rpc.names_a_namespace = rpc.request("here", "").windows(4).any(|bytes| bytes == b"here");
        rpc.names_kinds = rpc.request("", "here").windows(4).any(|bytes| bytes == b"here");
        rpc.namespace_at_the_top = messages[input].field.iter().any(|field| field.name() == "namespace");
        rpc
    }

    /// A request in which each field `namespace`, `namespaces` and `kinds` is set, and nothing else.
    pub fn request(&self, namespace: &str, kind: &str) -> Vec<u8> {
        self.message(&self.input, namespace, kind, DEPTH)
    }

    fn message(&self, name: &str, namespace: &str, kind: &str, depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(message) = self.messages.get(name) else { return bytes };
        for field in &message.field {
            let (number, repeated) = (field.number(), field.label() == Label::Repeated);
            match (field.r#type(), field.name()) {
                (Type::String, "namespace") => put(&mut bytes, number, namespace.as_bytes()),
                (Type::String, "namespaces") => put(&mut bytes, number, namespace.as_bytes()),
                (Type::String, "kinds") if name.ends_with("StreamDueJobsRequest") => {
                    put(&mut bytes, number, kind.as_bytes());
                }
                (Type::Message, _) if depth > 0 && !repeated => {
                    let inner = self.message(field.type_name(), namespace, kind, depth - 1);
                    if !inner.is_empty() {
                        put(&mut bytes, number, &inner);
                    }
                }
                _ => {}
            }
        }
        bytes
    }
}

/// A field of bytes, if there are any.
fn put(message: &mut Vec<u8>, number: i32, bytes: &[u8]) {
    if !bytes.is_empty() {
        prost::encoding::encode_key(number as u32, prost::encoding::WireType::LengthDelimited, message);
        prost::encoding::encode_varint(bytes.len() as u64, message);
        message.extend(bytes);
    }
}

/// What a call came to. Streams that go on are not waited for.
#[derive(Debug)]
pub struct Answer {
    pub reason: Option<Reason>,
    pub message: String,
    /// The first message.
    pub body: Vec<u8>,
}

pub struct Ask(Channel);

impl Ask {
    pub async fn connect(service: &Service) -> Self {
        Self(service.channel().expect("a channel"))
    }

    pub async fn send(&self, path: &str, message: Vec<u8>, authorization: Option<&str>) -> Answer {
        let length = u32::try_from(message.len()).expect("a length").to_be_bytes();
        let body = [&[0][..], &length, &message].concat();
        let mut request =
            http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let body = Body::new(http_body_util::Full::new(tonic::codegen::Bytes::from(body)));
        let mut channel = self.0.clone();
        poll_fn(|context| channel.poll_ready(context)).await.expect("a connection");
        let response = channel.call(request.body(body).expect("a request")).await.expect("an answer");
        match Status::from_header_map(response.headers()) {
            Some(status) => Answer::of(&status, Vec::new()),
            None => Answer::read(response.into_body()).await,
        }
    }
}

impl Answer {
    fn of(status: &Status, body: Vec<u8>) -> Self {
        let reason =
            if status.code() == Code::Ok { None } else { reason_of(status).or(Some(Reason::Internal)) };
        Self { reason, message: status.message().into(), body }
    }

    /// Up to the first message, or to the status if there is none.
    async fn read(mut body: Body) -> Self {
        let mut read = Vec::new();
        loop {
            let frame = poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await;
            match frame {
                Some(Ok(frame)) if frame.is_data() => read.extend(frame.into_data().expect("data")),
                Some(Ok(frame)) => {
                    let trailers = frame.into_trailers().expect("trailers");
                    let status = Status::from_header_map(&trailers).expect("a status");
                    return Self::of(&status, read.split_off(read.len().min(5)));
                }
                Some(Err(status)) => return Self::of(&status, Vec::new()),
                None => return Self { reason: None, message: String::new(), body: read },
            }
            let length =
                read.get(1..5).map(|length| u32::from_be_bytes(length.try_into().expect("four bytes")));
            if length.is_some_and(|length| read.len() >= 5 + length as usize) {
                return Self { reason: None, message: String::new(), body: read.split_off(5) };
            }
        }
    }
}

/// The code that a GET is answered with.
pub fn http_status(address: SocketAddr, path: &str, authorization: &str) -> u16 {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let authorization =
        if authorization.is_empty() { String::new() } else { format!("authorization: {authorization}\r\n") };
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{authorization}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code")
}
