//! Statuses that the gRPC library makes before a handler is asked: given a reason here, and the code that says what a
//! client may do next.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tonic::{Code, Status, body::Body, codegen::Service};

use super::{Reason, status};

const MESSAGE_BYTES: usize = 200;

/// Stands before all services.
#[derive(Clone, Debug, Default)]
pub struct Reasons;

impl<S> tower_layer::Layer<S> for Reasons {
    type Service = Reasoned<S>;

    fn layer(&self, inner: S) -> Reasoned<S> {
        Reasoned { inner }
    }
}

#[derive(Clone, Debug)]
pub struct Reasoned<S> {
    inner: S,
}

impl<S> Service<http::Request<Body>> for Reasoned<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map(explained) })
    }
}

/// A status stands in the headers of a response only if nothing else is answered.
fn explained(mut response: http::Response<Body>) -> http::Response<Body> {
    let made = Status::from_header_map(response.headers()).filter(|status| status.details().is_empty());
    let Some(better) = made.as_ref().and_then(reasoned) else { return response };
    // Headers beside the status stay: they say which encodings are taken.
    for name in [Status::GRPC_STATUS, Status::GRPC_MESSAGE] {
        response.headers_mut().remove(name);
    }
    let (parts, body) = better.into_http::<Body>().into_parts();
    response.headers_mut().extend(parts.headers);
    *response.body_mut() = body;
    response
}

fn reasoned(made: &Status) -> Option<Status> {
    match made.code() {
        Code::OutOfRange => {
            Some(status(Reason::MessageTooLarge, format!("{}; send less at a time", made.message())))
        }
        Code::Internal => Some(status(
            Reason::MalformedMessage,
            format!(
                "the request does not decode: {} (strings are UTF-8, nesting is at most 100)",
                end_of(made)
            ),
        )),
        Code::Unimplemented if made.message().is_empty() => {
            Some(status(Reason::UnknownMethod, "there is no such method; compare the contract's version"))
        }
        Code::Unimplemented => {
            Some(status(Reason::UnknownMethod, format!("{}; send it without", made.message())))
        }
        _ => None,
    }
}

/// The decoder names every level that it was in, innermost first. All of them may not fit into the headers.
fn end_of(made: &Status) -> &str {
    let message = made.message();
    &message[message.ceil_char_boundary(message.len().saturating_sub(MESSAGE_BYTES))..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::reason_of;

    fn explain(made: Status) -> Status {
        Status::from_header_map(explained(made.into_http()).headers()).expect("a status")
    }

    #[test]
    fn what_the_library_refuses_has_code_and_reason() {
        for (made, reason) in [
            (Status::out_of_range("found 5 bytes"), Reason::MessageTooLarge),
            (Status::internal("invalid wire type"), Reason::MalformedMessage),
            (Status::unimplemented(""), Reason::UnknownMethod),
            (Status::unimplemented("Content is compressed"), Reason::UnknownMethod),
        ] {
            let text = made.message().to_owned();
            let explained = explain(made);
            assert_eq!((explained.code(), reason_of(&explained)), (reason.code(), Some(reason)));
            assert!(explained.message().contains(&text));
        }
    }

    #[test]
    fn what_has_a_reason_keeps_it() {
        let ours = explain(status(Reason::Internal, "a fault"));
        assert_eq!((ours.code(), reason_of(&ours)), (Code::Internal, Some(Reason::Internal)));
        assert_eq!(explain(Status::cancelled("gone")).code(), Code::Cancelled);
        assert!(explained(http::Response::new(Body::empty())).headers().is_empty());
    }
}
