//! Who calls and what they may call.
//!
//! ```text
//!   connection ──► listener: TLS, limits ──► gate: who is it, may it call this? ──► handler: this namespace, this kind?
//! ```
//!
//! - [`Gate`] stands before every handler of both services: it finds the caller's [`Identity`], looks the method up in
//!   [`access::ACCESS`] and puts the identity into the request, where handlers read it with [`of`]. What is not in the
//!   table is closed.
//! - Identities come from one file ([`tokens`]), which is read again while the service runs. Without one, a peer on
//!   loopback is [`Identity::local`], and nobody else is served.
//! - Which namespace a request means stands in its body, so handlers ask [`Identity::namespace`], before anything else.
//! - [`audit`] tells who changed what, and who was refused.
//!
//! Absent on purpose: users and passwords. An app signs its own users in, and calls in its own name.

pub mod access;
pub mod audit;
pub mod bearer;
pub mod exposure;
mod gate;
mod rates;
mod settings;
pub mod tls;
pub mod tokens;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tonic::Status;

pub use access::roles_for;
pub use gate::{CLIENT, CertificateName, Gate, Gated, PASSED_ON};
pub use settings::Settings;

use crate::errors::{Reason, retry, status};
use rates::Rates;

/// Longest text of a caller's that the audit log shows.
const SHOWN_BYTES: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The back end of the SaaS: schedules, runs, mailboxes, documents.
    App,
    /// Runs jobs of its kinds.
    Worker,
    /// A person with grpcurl, or a tool of theirs.
    Operator,
    /// Another scheduler, which passes calls on to the leader.
    Scheduler,
    /// Reads `/metrics`.
    Metrics,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::App, Self::Worker, Self::Operator, Self::Scheduler, Self::Metrics];

    /// As in the tokens file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Worker => "worker",
            Self::Operator => "operator",
            Self::Scheduler => "scheduler",
            Self::Metrics => "metrics",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A caller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    who: Arc<Inner>,
    /// What the call turned out to be about; shared with the audit log.
    subject: Option<Arc<Mutex<Subject>>>,
    /// How many calls it may make; None = as many as it likes.
    rates: Option<Arc<Rates>>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    roles: Vec<Role>,
    namespaces: Scope,
    kinds: Scope,
}

/// What a call is about, as its handler says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub namespace: String,
    pub id: String,
}

/// What an identity is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Only(Vec<String>),
}

impl Scope {
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|allowed| allowed == name),
        }
    }
}

impl Identity {
    pub fn new(name: impl Into<String>, roles: Vec<Role>, namespaces: Scope, kinds: Scope) -> Self {
        Self {
            who: Arc::new(Inner { name: name.into(), roles, namespaces, kinds }),
            subject: None,
            rates: None,
        }
    }

    /// A peer on loopback where no credentials are asked for: everything.
    pub fn local() -> Self {
        Self::new("local", vec![Role::App, Role::Worker, Role::Operator], Scope::All, Scope::All)
    }

    /// A peer of anywhere where no credentials are asked for: everything.
    fn anonymous() -> Self {
        Self::new("anonymous", vec![Role::App, Role::Worker, Role::Operator], Scope::All, Scope::All)
    }

    /// The same caller, in a call of which [`Identity::subject`] will tell.
    fn noting(self) -> Self {
        Self { subject: Some(Arc::default()), ..self }
    }

    fn within(self, rates: Option<Arc<Rates>>) -> Self {
        Self { rates, ..self }
    }

    /// For logs and as the actor of changes.
    pub fn name(&self) -> &str {
        &self.who.name
    }

    pub fn has(&self, role: Role) -> bool {
        self.who.roles.contains(&role)
    }

    pub fn namespaces(&self) -> &Scope {
        &self.who.namespaces
    }

    pub fn kinds(&self) -> &Scope {
        &self.who.kinds
    }

    /// The namespace that the request means, if the caller may use it.
    ///
    /// # Errors
    /// PERMISSION_DENIED, with the same text whether or not the namespace exists; RESOURCE_EXHAUSTED when the caller has
    /// made more calls in it than it may.
    pub fn namespace<'a>(&self, requested: &'a str) -> Result<&'a str, Status> {
        let namespace = if requested.is_empty() { crate::DEFAULT_NAMESPACE } else { requested };
        self.note(|subject| subject.namespace = shown(namespace));
        if !self.who.namespaces.allows(namespace) {
            return Err(status(Reason::Forbidden, format!("{} may not use this namespace", self.who.name)));
        }
        let taken = self.rates.as_ref().map(|rates| rates.take(self.name(), namespace, Instant::now()));
        match taken {
            None | Some(Ok(())) => Ok(namespace),
            Some(Err(after)) => Err(retry(
                Reason::TooManyCalls,
                "more calls than auth.calls_per_second lets this caller make in this namespace",
                after,
            )),
        }
    }

    /// # Errors
    /// PERMISSION_DENIED when a worker asks for a kind that is not its own.
    pub fn kind(&self, kind: &str) -> Result<(), Status> {
        if self.who.kinds.allows(kind) {
            Ok(())
        } else {
            Err(status(Reason::Forbidden, format!("{} may not run jobs of this kind", self.who.name)))
        }
    }

    /// Handlers of changes name what they are about to change, for the audit log.
    pub fn about(&self, id: &str) {
        self.note(|subject| subject.id = shown(id));
    }

    /// What the handler has said so far.
    pub fn subject(&self) -> Subject {
        let noted = self.subject.as_ref();
        noted.map(|noted| noted.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    fn note(&self, note: impl FnOnce(&mut Subject)) {
        if let Some(noted) = &self.subject {
            note(&mut noted.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Text of a caller's: bounded, without control characters and without marks that reverse the direction of text.
fn shown(text: &str) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len().min(SHOWN_BYTES));
    for c in text.chars().filter(|c| !is_unsafe(*c)) {
        if shown.len() + c.len_utf8() > SHOWN_BYTES {
            break;
        }
        shown.push(c);
    }
    shown
}

/// The caller of a request that came through the [`Gate`].
///
/// # Errors
/// INTERNAL when a service was mounted without the gate, so that a mistake closes rather than opens.
pub fn of<T>(request: &tonic::Request<T>) -> Result<Identity, Status> {
    let identity = request.extensions().get::<Identity>().cloned();
    identity.ok_or_else(|| status(Reason::Internal, "the request carries no identity"))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

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

    #[test]
    fn what_a_call_is_about_is_bounded_and_clean() {
        let identity = Identity::local().noting();
        let (namespace, id) = ("a\r\nb\u{1b}[31m", "x".repeat(1_000));
        identity.namespace(namespace).unwrap();
        identity.clone().about(&id);
        let subject = identity.subject();
        assert_eq!((subject.namespace.as_str(), subject.id.len()), ("ab[31m", SHOWN_BYTES));
    }

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Some(role));
        }
        assert_eq!(Role::parse("root"), None);
    }
}
