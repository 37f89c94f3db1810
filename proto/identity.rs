//! Who calls and what they may call.
//!
//! [`Gate`] stands before every handler of both services: it finds the caller's [`Identity`], looks the method up
//! in [`ACCESS`] and puts the identity into the request, where handlers read it with [`of`]. What is not in the
//! table is closed. A peer without credentials is accepted on loopback only, as [`Identity::local`].
//!
//! Absent so far: credentials themselves (tokens, client certificates). They end in the same [`Identity`].

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::{Status, body::Body, codegen::Service, transport::server::TcpConnectInfo};

use crate::errors::{Reason, status};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The back end of the SaaS: schedules, runs, mailboxes, documents.
    App,
    /// Runs jobs of its kinds.
    Worker,
    /// A person with grpcurl, or a tool of theirs.
    Operator,
}

/// A caller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    roles: Vec<Role>,
    namespaces: Scope,
    kinds: Scope,
}

/// What an identity is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Only(Vec<String>),
}

impl Scope {
    fn allows(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|allowed| allowed == name),
        }
    }
}

impl Identity {
    pub fn new(name: impl Into<String>, roles: Vec<Role>, namespaces: Scope, kinds: Scope) -> Self {
        Self(Arc::new(Inner { name: name.into(), roles, namespaces, kinds }))
    }

    /// A peer on loopback without credentials: everything.
    pub fn local() -> Self {
        Self::new("local", vec![Role::App, Role::Worker, Role::Operator], Scope::All, Scope::All)
    }

    /// For logs and as the actor of changes.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn has(&self, role: Role) -> bool {
        self.0.roles.contains(&role)
    }

    pub fn namespaces(&self) -> &Scope {
        &self.0.namespaces
    }

    /// The namespace that the request means, if the caller may use it.
    ///
    /// # Errors
    /// PERMISSION_DENIED, with the same text whether or not the namespace exists.
    pub fn namespace<'a>(&self, requested: &'a str) -> Result<&'a str, Status> {
        let namespace = if requested.is_empty() { crate::DEFAULT_NAMESPACE } else { requested };
        if self.0.namespaces.allows(namespace) {
            Ok(namespace)
        } else {
            Err(status(Reason::Forbidden, format!("{} may not use this namespace", self.0.name)))
        }
    }

    /// # Errors
    /// PERMISSION_DENIED when a worker asks for a kind that is not its own.
    pub fn kind(&self, kind: &str) -> Result<(), Status> {
        if self.0.kinds.allows(kind) {
            Ok(())
        } else {
            Err(status(Reason::Forbidden, format!("{} may not run jobs of kind {kind}", self.0.name)))
        }
    }
}

const ANY: &[Role] = &[Role::App, Role::Worker, Role::Operator];
const USERS: &[Role] = &[Role::App, Role::Operator];
const WORKERS: &[Role] = &[Role::Worker];
const OPERATORS: &[Role] = &[Role::Operator];

/// Role × RPC. A service, or one method of it; the longest match counts. A test holds it against the descriptors.
pub const ACCESS: &[(&str, &[Role])] = &[
    ("/docket.schedule.v1.ScheduleService/", USERS),
    ("/docket.schedule.v1.RunService/", USERS),
    ("/docket.schedule.v1.WorkerService/", WORKERS),
    ("/docket.schedule.v1.WorkerService/ListWorkers", USERS),
    ("/docket.schedule.v1.LimitService/", OPERATORS),
    ("/docket.schedule.v1.StatusService/", USERS),
    ("/docket.library.v1.MailboxService/", USERS),
    ("/docket.library.v1.DocumentService/", USERS),
    ("/grpc.health.v1.Health/", ANY),
    ("/grpc.reflection.v1.ServerReflection/", USERS),
    ("/grpc.reflection.v1alpha.ServerReflection/", USERS),
];

/// The roles that may call a method, by its path.
pub fn roles_for(path: &str) -> Option<&'static [Role]> {
    ACCESS
        .iter()
        .filter(|(prefix, _)| if prefix.ends_with('/') { path.starts_with(prefix) } else { path == *prefix })
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, roles)| *roles)
}

/// The caller of a request that came through the [`Gate`].
///
/// # Errors
/// INTERNAL when a service was mounted without the gate, so that a mistake closes rather than opens.
pub fn of<T>(request: &tonic::Request<T>) -> Result<Identity, Status> {
    let identity = request.extensions().get::<Identity>().cloned();
    identity.ok_or_else(|| status(Reason::Internal, "the request carries no identity"))
}

/// Finds the caller and checks the table, before any byte of the body is read.
#[derive(Clone, Debug, Default)]
pub struct Gate;

impl<S> tower_layer::Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner }
    }
}

#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
}

impl<S> Service<http::Request<Body>> for Gated<S>
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

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        match admit(peer.map(|address| address.ip()), request.uri().path()) {
            Ok(identity) => {
                request.extensions_mut().insert(identity);
                Box::pin(self.inner.call(request))
            }
            Err(refusal) => Box::pin(std::future::ready(Ok(refusal.into_http()))),
        }
    }
}

fn admit(peer: Option<IpAddr>, path: &str) -> Result<Identity, Status> {
    let loopback = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
    if !loopback {
        return Err(status(Reason::Unauthenticated, "credentials are required beyond loopback"));
    }
    let identity = Identity::local();
    match roles_for(path) {
        Some(roles) if roles.iter().any(|role| identity.has(*role)) => Ok(identity),
        Some(_) => {
            Err(status(Reason::Forbidden, format!("{} lacks the role for this call", identity.name())))
        }
        None => Err(status(Reason::UnknownMethod, "there is no such method; compare the contract's version")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use prost::Message as _;
    use tonic::Code;

    use super::*;

    #[test]
    fn every_rpc_of_the_contract_has_its_row() {
        let set = prost_types::FileDescriptorSet::decode(crate::DESCRIPTORS).expect("descriptors");
        let mut seen = 0;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(roles_for(&path).is_some(), "{path} is in no row of ACCESS");
                    seen += 1;
                }
            }
        }
        assert!(seen > 30, "the descriptors hold only {seen} methods");
    }

    #[test]
    fn a_worker_may_not_manage_and_an_app_may_not_work() {
        let allows = |path: &str, role| roles_for(path).is_some_and(|roles| roles.contains(&role));
        assert!(!allows("/docket.schedule.v1.ScheduleService/UpsertSchedule", Role::Worker));
        assert!(!allows("/docket.schedule.v1.WorkerService/Heartbeat", Role::App));
        assert!(allows("/docket.schedule.v1.WorkerService/ListWorkers", Role::App));
        assert!(!allows("/docket.schedule.v1.WorkerService/ListWorkers", Role::Worker));
        assert!(!allows("/docket.schedule.v1.LimitService/SetLimit", Role::App));
    }

    #[test]
    fn only_loopback_needs_no_credentials() {
        let path = "/docket.schedule.v1.StatusService/GetStatus";
        for ip in [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
            "::ffff:127.0.0.1".parse().unwrap(),
        ] {
            assert!(admit(Some(ip), path).is_ok(), "{ip}");
        }
        for ip in ["10.0.0.1", "192.168.1.4", "::", "8.8.8.8"] {
            let refusal = admit(Some(ip.parse().unwrap()), path).unwrap_err();
            assert_eq!(refusal.code(), Code::Unauthenticated, "{ip}");
        }
        assert_eq!(admit(None, path).unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn an_unknown_method_is_closed() {
        let refusal =
            admit(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), "/docket.schedule.v1.Secret/Open").unwrap_err();
        assert_eq!(refusal.code(), Code::Unimplemented);
    }

    #[test]
    fn a_limited_identity_stays_in_its_namespaces_and_kinds() {
        let identity = Identity::new(
            "shop",
            vec![Role::App],
            Scope::Only(vec!["shop".into()]),
            Scope::Only(vec!["document-sync".into()]),
        );
        assert_eq!(identity.namespace("shop").unwrap(), "shop");
        assert_eq!(identity.namespace("").unwrap_err().code(), Code::PermissionDenied);
        assert!(identity.kind("document-sync").is_ok());
        assert_eq!(identity.kind("noop").unwrap_err().code(), Code::PermissionDenied);
    }
}
