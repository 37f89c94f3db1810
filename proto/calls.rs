//! Tells of each call of a gRPC server how it ended, for metrics.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service},
};

/// The names of all codes, in the order of their numbers.
pub const CODES: [&str; 17] = [
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

/// A method of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// As in `docket.schedule.v1.RunService/GetRun`: the path of a call without its first character.
    pub name: String,
    /// Lasts as long as the caller likes.
    pub streams: bool,
    pub answers_in_a_stream: bool,
}

/// The methods whose package begins so.
pub fn methods(package: &str) -> Vec<Method> {
    // The crate's own constant: it can be read.
    let set = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap_or_default();
    let mut methods = Vec::new();
    for file in set.file.iter().filter(|file| file.package().starts_with(package)) {
        for service in &file.service {
            methods.extend(service.method.iter().map(|method| Method {
                name: format!("{}.{}/{}", file.package(), service.name(), method.name()),
                streams: method.server_streaming() || method.client_streaming(),
                answers_in_a_stream: method.server_streaming(),
            }));
        }
    }
    methods
}

/// Who is told. `method`: as [`Method::name`]; whatever else callers make up.
pub trait Told: Send + Sync + 'static {
    /// `CANCELLED` where the caller went away before it had a status.
    fn ended(&self, method: &str, code: Code, took: Duration);
}

/// Stands before all services.
#[derive(Clone)]
pub struct Calls(pub Arc<dyn Told>);

impl<S> tower_layer::Layer<S> for Calls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, told: self.0.clone() }
    }
}

#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    told: Arc<dyn Told>,
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
        let uri = request.uri().clone();
        let mut call = Call { told: self.told.clone(), uri, begin: Instant::now(), code: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (head, body) = answer.await?.into_parts();
            call.hear(&head.headers);
            Ok(Response::from_parts(head, Body::new(Answer { body, call })))
        })
    }
}

/// A call under way. It is told when it is dropped: by then its status is known, or nobody waits for it.
struct Call {
    told: Arc<dyn Told>,
    uri: http::Uri,
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
        let path = self.uri.path();
        let method = path.strip_prefix('/').unwrap_or(path);
        self.told.ended(method, self.code.unwrap_or(Code::Cancelled), self.begin.elapsed());
    }
}

/// The body of an answer, whose trailers hold the status.
struct Answer {
    body: Body,
    call: Call,
}

impl http_body::Body for Answer {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_the_contract() {
        let schedule = methods("docket.schedule.");
        let method =
            |name: &str, streams| Method { name: name.into(), streams, answers_in_a_stream: streams };
        let stream = method("docket.schedule.v1.WorkerService/StreamDueJobs", true);
        let unary = method("docket.schedule.v1.RunService/GetRun", false);
        assert!(schedule.contains(&stream) && schedule.contains(&unary));
        assert!(
            methods("docket.library.").iter().all(|method| method.name.starts_with("docket.library.v1."))
        );
    }

    #[test]
    fn codes_have_their_own_names() {
        for (number, name) in CODES.iter().enumerate() {
            let code = Code::from_i32(i32::try_from(number).expect("small"));
            assert_eq!(format!("{code:?}").to_uppercase(), name.replace('_', ""), "{number}");
        }
    }
}
