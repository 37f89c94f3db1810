//! Calls of the gRPC server, by method and status.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use metrics::{Counter, Histogram};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service},
};

use super::{OTHER, Registry, declared};

/// In the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The methods of the contract, by their path. All others, which anybody may make up, are one.
pub struct Calls {
    methods: HashMap<Box<str>, Arc<Method>>,
    other: Arc<Method>,
}

struct Method {
    codes: [Counter; CODES.len()],
    /// None for streams, which last as long as the caller likes.
    duration: Option<Histogram>,
}

impl Calls {
    pub(super) fn new(registry: &Registry) -> Self {
        // The crate's own constant: it can be read.
        let set = FileDescriptorSet::decode(docket::DESCRIPTORS).unwrap_or_default();
        let mut methods = HashMap::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    let streams = method.server_streaming() || method.client_streaming();
                    methods
                        .insert(format!("/{name}").into(), Arc::new(Method::new(registry, &name, streams)));
                }
            }
        }
        Self { methods, other: Arc::new(Method::new(registry, OTHER, true)) }
    }

    fn method(&self, path: &str) -> Arc<Method> {
        self.methods.get(path).unwrap_or(&self.other).clone()
    }
}

impl Method {
    fn new(registry: &Registry, name: &str, streams: bool) -> Self {
        Self {
            codes: CODES.map(|code| registry.counter(&declared::CALLS, &[name, code])),
            duration: (!streams).then(|| registry.histogram(&declared::CALL_DURATION, &[name])),
        }
    }
}

#[derive(Clone)]
pub struct Layer(pub(super) Arc<Calls>);

impl<S> tower_layer::Layer<S> for Layer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, calls: self.0.clone() }
    }
}

#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = self.calls.method(request.uri().path());
        let mut call = Call { method, begin: Instant::now(), code: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (head, body) = answer.await?.into_parts();
            call.hear(&head.headers);
            Ok(Response::from_parts(head, Body::new(Answer { body, call })))
        })
    }
}

/// A call under way. It is counted when it is dropped: by then its status is known, or nobody waits for it.
struct Call {
    method: Arc<Method>,
    begin: Instant,
    code: Option<Code>,
}

impl Call {
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = Some(status.code());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        self.method.codes[code as usize].increment(1);
        if let Some(duration) = &self.method.duration {
            duration.record(self.begin.elapsed().as_secs_f64());
        }
    }
}

/// The body of an answer, whose trailers hold the status.
struct Answer {
    body: Body,
    call: Call,
}

impl http_body::Body for Answer {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref()) {
            self.call.hear(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
