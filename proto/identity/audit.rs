//! Who changed what, and who was refused: lines of the tracing target `audit`.
//!
//! One line per call that changes something or takes data away in bulk, when its outcome is known, with the RPC, the
//! caller, namespace and id as the handler understood them, the code, the peer and the trace. Every value is bounded
//! and clean; none is secret. Refused calls are told too, a bounded number per minute, so that a flood fills no disk;
//! what was left out is counted.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response, Uri};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::{Identity, shown};
use crate::{
    calls::{CODES, methods},
    trace::{TRACEPARENT, TraceParent},
};

/// Refused calls that are told of one peer, and of all, in one [`MINUTE`].
const PER_PEER: u32 = 10;
const IN_ALL: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);

/// Calls whose answer lasts: they are told when it begins.
static LASTING: LazyLock<HashSet<String>> = LazyLock::new(|| {
    methods("docket.")
        .into_iter()
        .filter(|method| method.answers_in_a_stream)
        .map(|method| method.name)
        .collect()
});

/// Where a call comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whence {
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// That of the standby which passed the call on.
    pub via: Option<SocketAddr>,
}

/// What is known of a call before it is answered.
pub struct Call {
    uri: Uri,
    whence: Whence,
    trace_id: Option<u128>,
}

impl Call {
    pub fn new(request: &Request<Body>, whence: Whence) -> Self {
        let trace = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let trace_id = trace.and_then(TraceParent::parse).map(|trace| trace.trace_id);
        Self { uri: request.uri().clone(), whence, trace_id }
    }

    fn rpc(&self) -> &str {
        self.uri.path().trim_start_matches('/')
    }

    fn tell(&self, identity: &Identity, code: Code) {
        let subject = identity.subject();
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        tracing::info!(
            target: "audit",
            rpc = shown(self.rpc()),
            caller = identity.name(),
            namespace = some(subject.namespace),
            id = some(subject.id),
            outcome = CODES[code as usize],
            peer = self.whence.peer.map(tracing::field::display),
            via = self.whence.via.map(tracing::field::display),
            trace_id = self.trace_id.map(|id| format!("{id:032x}")),
            "audit"
        );
    }
}

/// Where calls are told. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Log {
    refusals: Arc<Mutex<Refusals>>,
}

impl Log {
    /// Waits for the outcome of a call, where it is to be told.
    pub(super) fn follow(
        &self,
        call: Call,
        identity: Identity,
        audited: bool,
        answer: Response<Body>,
    ) -> Response<Body> {
        // A status stands in the headers only if nothing else is answered.
        let early = Status::from_header_map(answer.headers()).map(|status| status.code());
        if let Some(code @ (Code::PermissionDenied | Code::Unauthenticated)) = early {
            self.refused(&call, Some(&identity), code);
            return answer;
        }
        if !audited {
            return answer;
        }
        let lasts = LASTING.contains(call.rpc());
        match early.or(lasts.then_some(Code::Ok)) {
            Some(code) => {
                call.tell(&identity, code);
                answer
            }
            None => answer.map(|body| Body::new(Followed { body, call: Some((call, identity)) })),
        }
    }

    pub(super) fn refused(&self, call: &Call, identity: Option<&Identity>, code: Code) {
        let ip = call.whence.peer.map(|peer| peer.ip());
        let told = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).count(ip, Instant::now());
        let Told::Yes { left_out } = told else { return };
        let namespace = identity.map(|identity| identity.subject().namespace);
        tracing::warn!(
            target: "audit",
            rpc = shown(call.rpc()),
            caller = identity.map(Identity::name),
            namespace = namespace.filter(|namespace| !namespace.is_empty()),
            outcome = CODES[code as usize],
            peer = call.whence.peer.map(tracing::field::display),
            via = call.whence.via.map(tracing::field::display),
            trace_id = call.trace_id.map(|id| format!("{id:032x}")),
            left_out = Some(left_out).filter(|count| *count > 0),
            "audit: refused"
        );
    }
}

/// The refused calls of the current minute.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    told: u32,
    left_out: u64,
    peers: HashMap<Option<IpAddr>, u32>,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// `left_out`: of all peers, in the minute that has ended.
    Yes {
        left_out: u64,
    },
    No,
}

impl Refusals {
    fn count(&mut self, peer: Option<IpAddr>, now: Instant) -> Told {
        if self.since.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            let left_out = self.left_out;
            *self = Self { since: Some(now), ..Self::default() };
            self.note(peer);
            return Told::Yes { left_out };
        }
        let of_peer = self.peers.get(&peer).copied().unwrap_or(0);
        if self.told >= IN_ALL || of_peer >= PER_PEER {
            self.left_out += 1;
            return Told::No;
        }
        self.note(peer);
        Told::Yes { left_out: 0 }
    }

    /// At most [`IN_ALL`] peers are noted.
    fn note(&mut self, peer: Option<IpAddr>) {
        self.told += 1;
        *self.peers.entry(peer).or_default() += 1;
    }
}

/// The body of an answer whose trailers hold the outcome.
struct Followed {
    body: Body,
    call: Option<(Call, Identity)>,
}

impl Followed {
    fn hear(&mut self, trailers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(trailers)
            && let Some((call, identity)) = self.call.take()
        {
            call.tell(&identity, status.code());
        }
    }
}

/// Nobody waits for the outcome any more; what was asked may have been done.
impl Drop for Followed {
    fn drop(&mut self) {
        if let Some((call, identity)) = self.call.take() {
            call.tell(&identity, Code::Cancelled);
        }
    }
}

impl http_body::Body for Followed {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref()) {
            self.hear(trailers);
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

    fn ip(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn a_flood_of_refused_calls_is_counted_and_not_told() {
        let (mut refusals, begin) = (Refusals::default(), Instant::now());
        let told = |count: &Told| matches!(count, Told::Yes { .. });
        let of_one: Vec<_> = (0..1_000).map(|_| refusals.count(ip(1), begin)).collect();
        assert_eq!(of_one.iter().filter(|count| told(count)).count() as u32, PER_PEER);
        assert!(told(&refusals.count(ip(2), begin)), "another peer is told all the same");
        let of_all = (0..=255).flat_map(|n| [ip(n); 5]).map(|peer| refusals.count(peer, begin));
        assert_eq!(of_all.filter(told).count() as u32, IN_ALL - PER_PEER - 1);
        let next = refusals.count(ip(1), begin + MINUTE);
        assert_eq!(next, Told::Yes { left_out: 990 + 256 * 5 - u64::from(IN_ALL - PER_PEER - 1) });
    }
}
