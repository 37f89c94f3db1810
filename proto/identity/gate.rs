//! Finds the caller and checks the table, before any byte of the body is read.

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service},
};

use super::{
    Identity, Role, Scope, access,
    audit::{Call, Log, Whence},
    rates::Rates,
    tokens::Tokens,
};
use crate::{
    errors::{Reason, status},
    listener::Peer,
};

/// Whose certificate a standby has seen, of a call that it passes on. Believed of the role scheduler only.
pub const PASSED_ON: &str = "docket-certificate";
/// The address of the client whose call a standby passes on. Believed like [`PASSED_ON`].
pub const CLIENT: &str = "docket-client";

/// The name by which a caller was known, where it was that of a certificate: a standby passes it on.
#[derive(Clone, Debug)]
pub struct CertificateName(pub String);

/// Where a call comes from, as the connection says.
#[derive(Clone, Copy, Debug, Default)]
struct From<'a> {
    ip: Option<IpAddr>,
    names: &'a [String],
}

impl<'a> From<'a> {
    fn peer(peer: Option<&'a Peer>) -> Self {
        let names = peer.map_or(&[][..], |peer| &peer.names);
        Self { ip: peer.map(|peer| peer.address.ip()), names }
    }
}

/// The same for every cause: nobody learns whether a token was once good.
const NOT_KNOWN: &str = "a valid token or client certificate is required";

/// Stands before all services. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    admission: Admission,
    rates: Option<Arc<Rates>>,
    log: Log,
}

/// Who is let in.
#[derive(Clone, Debug, Default)]
enum Admission {
    /// Peers on loopback, as [`Identity::local`].
    #[default]
    Loopback,
    /// Whoever reaches the port, as everything.
    Anyone,
    /// Who proves to be of the file.
    Known(Tokens),
}

impl Gate {
    /// Lets in whoever reaches the port.
    pub fn open() -> Self {
        Self { admission: Admission::Anyone, ..Self::default() }
    }

    /// Lets in who proves to be of the file, and tells the audit log of what they change.
    pub fn known(tokens: Tokens) -> Self {
        Self { admission: Admission::Known(tokens), ..Self::default() }
    }

    /// Each caller may make so many calls a second in a namespace; 0 = as many as it likes.
    #[must_use]
    pub fn with_rates(self, per_second: u32, burst: u32) -> Self {
        Self { rates: Rates::new(per_second, burst).map(Arc::new), ..self }
    }

    /// Follows changes of the tokens file, if there is one. Never ends.
    pub async fn keep(self) {
        match self.admission {
            Admission::Known(tokens) => tokens.keep().await,
            Admission::Loopback | Admission::Anyone => std::future::pending().await,
        }
    }

    /// Whether a peer may read `/metrics`, which have no other guard.
    pub fn shows_metrics(&self, peer: &Peer, headers: &HeaderMap) -> bool {
        let known = self.identify(From::peer(Some(peer)), headers);
        known.is_ok_and(|(identity, _)| identity.has(Role::Operator) || identity.has(Role::Metrics))
    }

    fn admit(&self, from: From<'_>, headers: &HeaderMap, path: &str) -> Result<Known, Refusal> {
        let Some(roles) = access::roles_for(path) else {
            // Who may know that there is no such method is asked as well: else the table could be read out.
            let (identity, _) =
                self.identify(from, headers).map_err(|status| Refusal { status, name: None })?;
            let unknown =
                status(Reason::UnknownMethod, "there is no such method; compare the contract's version");
            return Err(Refusal { status: unknown, name: Some(identity) });
        };
        if access::needs_no_credentials(path) {
            let nothing = Scope::Only(Vec::new());
            return Ok((Identity::new("probe", Vec::new(), nothing.clone(), nothing), None));
        }
        let (identity, certificate) =
            self.identify(from, headers).map_err(|status| Refusal { status, name: None })?;
        if roles.iter().any(|role| identity.has(*role)) {
            return Ok((identity.within(self.rates.clone()), certificate));
        }
        let lacks = status(Reason::Forbidden, format!("{} lacks the role for this call", identity.name()));
        Err(Refusal { status: lacks, name: Some(identity) })
    }

    fn identify(&self, from: From<'_>, headers: &HeaderMap) -> Result<Known, Status> {
        let unauthenticated = |why| Err(status(Reason::Unauthenticated, why));
        match &self.admission {
            Admission::Loopback if from.ip.is_some_and(|ip| ip.to_canonical().is_loopback()) => {
                Ok((Identity::local(), None))
            }
            Admission::Loopback => unauthenticated("credentials are required beyond loopback"),
            Admission::Anyone => Ok((Identity::anonymous(), None)),
            Admission::Known(tokens) => {
                // A token that is not good is not made good by a certificate.
                let known = if headers.contains_key(AUTHORIZATION) {
                    bearer(headers).and_then(|token| Some((tokens.by_token(token)?, None)))
                } else {
                    by_certificate(tokens, from.names, headers)
                };
                known.map_or_else(|| unauthenticated(NOT_KNOWN), Ok)
            }
        }
    }

    /// For the audit log: a standby's word counts, and nobody else's.
    fn whence(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Whence {
        let connection = Whence { peer: peer.map(|peer| peer.address), via: None };
        let Admission::Known(tokens) = &self.admission else { return connection };
        let told = || headers.get(CLIENT)?.to_str().ok()?.parse().ok();
        let is_scheduler = |peer: &Peer| {
            tokens.by_certificate(&peer.names).is_some_and(|(_, identity)| identity.has(Role::Scheduler))
        };
        match told() {
            Some(client) if peer.is_some_and(is_scheduler) => {
                Whence { peer: Some(client), via: connection.peer }
            }
            Some(_) | None => connection,
        }
    }

    /// Without a file everybody has one name, and a line per change would tell nothing.
    fn audits(&self, path: &str) -> bool {
        matches!(self.admission, Admission::Known(_)) && access::is_audited(path)
    }
}

/// Who is let in, with the name of the certificate that it was known by.
type Known = (Identity, Option<CertificateName>);

fn by_certificate(tokens: &Tokens, names: &[String], headers: &HeaderMap) -> Option<Known> {
    let (mut name, mut identity) = tokens.by_certificate(names)?;
    if identity.has(Role::Scheduler)
        && let Some(other) = headers.get(PASSED_ON)
    {
        (name, identity) = tokens.by_certificate(&[other.to_str().ok()?.to_owned()])?;
    }
    Some((identity, Some(CertificateName(name))))
}

/// Of the one `authorization` header; of several, none counts.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (all.next()?.to_str().ok()?, all.next());
    let (scheme, token) = first.split_once(' ')?;
    (second.is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

struct Refusal {
    status: Status,
    /// Who was refused, where that is known.
    name: Option<Identity>,
}

impl<S> tower_layer::Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
    gate: Gate,
}

impl<S> Service<Request<Body>> for Gated<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Option<Peer>>().cloned().flatten();
        let path = request.uri().path();
        let call = Call::new(&request, self.gate.whence(peer.as_ref(), request.headers()));
        let log = self.gate.log.clone();
        match self.gate.admit(From::peer(peer.as_ref()), request.headers(), path) {
            Ok((identity, certificate)) => {
                let audited = self.gate.audits(path);
                let identity = if audited { identity.noting() } else { identity };
                request.extensions_mut().insert(identity.clone());
                if let Some(certificate) = certificate {
                    request.extensions_mut().insert(certificate);
                }
                let answer = self.inner.call(request);
                Box::pin(async move { Ok(log.follow(call, identity, audited, answer.await?)) })
            }
            Err(Refusal { status, name }) => {
                log.refused(&call, name.as_ref(), status.code());
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tonic::Code;

    use super::*;

    const STATUS: &str = "/docket.schedule.v1.StatusService/GetStatus";

    fn code(gate: &Gate, peer: Option<IpAddr>, path: &str) -> Code {
        let from = From { ip: peer, names: &[] };
        gate.admit(from, &HeaderMap::new(), path).map_or_else(|refusal| refusal.status.code(), |_| Code::Ok)
    }

    #[test]
    fn only_loopback_needs_no_credentials() {
        let gate = Gate::default();
        for ip in [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            "::ffff:127.0.0.1".parse().unwrap(),
        ] {
            assert_eq!(code(&gate, Some(ip), STATUS), Code::Ok, "{ip}");
        }
        for ip in ["10.0.0.1", "192.168.1.4", "::", "8.8.8.8"] {
            assert_eq!(code(&gate, ip.parse().ok(), STATUS), Code::Unauthenticated, "{ip}");
        }
        assert_eq!(code(&gate, None, STATUS), Code::Unauthenticated);
        assert_eq!(code(&Gate::open(), "8.8.8.8".parse().ok(), STATUS), Code::Ok);
    }

    #[test]
    fn an_unknown_method_is_closed() {
        let loopback = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(code(&Gate::default(), loopback, "/docket.schedule.v1.Secret/Open"), Code::Unimplemented);
        assert_eq!(code(&Gate::default(), None, "/docket.schedule.v1.Secret/Open"), Code::Unauthenticated);
    }

    #[test]
    fn health_is_asked_by_anybody() {
        for gate in [Gate::default(), Gate::open()] {
            assert_eq!(code(&gate, "10.0.0.1".parse().ok(), "/grpc.health.v1.Health/Check"), Code::Ok);
        }
    }

    #[test]
    fn only_another_scheduler_speaks_for_others() {
        let entry = |name: &str, role: &str| {
            format!(
                "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\nnamespaces = [\"*\"]\n\
                 certificate = \"spiffe://x/{name}\"\n"
            )
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = [entry("standby", "scheduler"), entry("shop", "app"), entry("other", "operator")].concat();
        std::fs::write(file.path(), text).unwrap();
        let gate = Gate::known(Tokens::open(file.path()).unwrap());
        let known = |shown: &str, passed_on: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = passed_on {
                headers.insert(PASSED_ON, format!("spiffe://x/{name}").parse().unwrap());
            }
            let names = [format!("spiffe://x/{shown}")];
            let known = gate.admit(From { ip: None, names: &names }, &headers, STATUS);
            known.map(|(identity, _)| identity.name().to_owned()).ok()
        };
        assert_eq!(known("shop", None).as_deref(), Some("shop"));
        assert_eq!(known("shop", Some("other")).as_deref(), Some("shop"), "not believed");
        assert_eq!(known("standby", Some("shop")).as_deref(), Some("shop"));
        assert_eq!(known("standby", Some("nobody")), None);
        assert_eq!(known("standby", None), None, "it calls nothing in its own name");
        assert_eq!(known("nobody", Some("shop")), None);
    }

    #[test]
    fn only_another_scheduler_says_whose_call_it_passes_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let entry = |name: &str, role: &str| {
            format!(
                "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\nnamespaces = [\"*\"]\n\
                 certificate = \"spiffe://x/{name}\"\n"
            )
        };
        std::fs::write(file.path(), entry("standby", "scheduler") + &entry("shop", "app")).unwrap();
        let gate = Gate::known(Tokens::open(file.path()).unwrap());
        let (connection, client) = ("10.0.0.2:7310".parse().unwrap(), "[2001:db8::7]:4711".parse().unwrap());
        let whence = |gate: &Gate, name: &str, told: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CLIENT, told.parse().unwrap());
            let names = [format!("spiffe://x/{name}")].into();
            let peer = Peer { address: connection, streams_until: std::time::Instant::now(), names };
            let Whence { peer, via } = gate.whence(Some(&peer), &headers);
            (peer.unwrap(), via)
        };
        assert_eq!(whence(&gate, "standby", "[2001:db8::7]:4711"), (client, Some(connection)));
        for (gate, name, told) in [
            (&gate, "shop", "[2001:db8::7]:4711"),
            (&gate, "nobody", "[2001:db8::7]:4711"),
            (&gate, "standby", "somewhere"),
            (&Gate::open(), "standby", "[2001:db8::7]:4711"),
        ] {
            assert_eq!(whence(gate, name, told), (connection, None), "{name} {told}");
        }
    }

    #[test]
    fn one_header_counts_and_no_more() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, http::HeaderValue::from_static(value));
            }
            headers
        };
        assert_eq!(bearer(&headers(&["Bearer a"])), Some("a"));
        assert_eq!(bearer(&headers(&["bearer  a "])), Some("a"));
        for none in [&[][..], &["Bearer"], &["Basic a"], &["a"], &["Bearer a", "Bearer a"]] {
            assert_eq!(bearer(&headers(none)), None, "{none:?}");
        }
    }
}
