//! The few connections of one run. None is held while nothing is asked of it, so listing and fetching never wait for
//! each other in a circle.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Logins;
use super::session::{Server, Session};
use crate::source::{Class, Fault};

pub struct Pool {
    server: Server,
    logins: Logins,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    idle: Vec<(Session, String)>,
    /// Idle or lent.
    open: usize,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Any,
    /// After one broke: those that are idle may be dead, too.
    New,
}

/// A connection in use. Dropping it closes it: whatever it was doing may be half done.
pub struct Lent {
    session: Session,
    folder: String,
    counted: Counted,
    _permit: OwnedSemaphorePermit,
}

/// One of the open connections, until this is dropped.
struct Counted {
    shared: Arc<Shared>,
    is_open: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.is_open {
            self.shared.state().open -= 1;
        }
    }
}

impl Pool {
    pub fn new(server: Server, logins: Logins) -> Self {
        let permits = Arc::new(Semaphore::new(server.limits.connections.max(1)));
        Self { server, logins, shared: Arc::default(), permits }
    }

    /// A connection, best one that has `folder` open.
    pub async fn take(&self, folder: &str, freshness: Freshness) -> Result<Lent, Fault> {
        loop {
            let permit = self.permits.clone().acquire_owned().await;
            let permit = permit.map_err(|_| Fault::transient("imap-closed", "the run has ended"))?;
            if freshness == Freshness::New {
                self.drop_idle();
            }
            if let Some(session) = self.idle(folder) {
                let counted = Counted { shared: self.shared.clone(), is_open: true };
                return Ok(lend(session, folder, counted, permit));
            }
            // Counted before it is there, so that others know that they are not the only one.
            let (counted, others) = self.count();
            match self.open().await {
                Ok(session) => return Ok(lend(session, folder, counted, permit)),
                // One more than the server wants: the run goes on with fewer.
                Err(fault) if others > 0 && !matches!(fault.class, Class::Reauthorize) => {
                    tracing::info!(%fault, connections = others, "no further connection to the mail server");
                    drop(counted);
                    permit.forget();
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// One more, and how many there are besides.
    fn count(&self) -> (Counted, usize) {
        let mut state = self.shared.state();
        state.open += 1;
        (Counted { shared: self.shared.clone(), is_open: true }, state.open - 1)
    }

    fn idle(&self, folder: &str) -> Option<Session> {
        let mut state = self.shared.state();
        let at = state.idle.iter().position(|(_, open)| open == folder);
        let at = at.or_else(|| state.idle.len().checked_sub(1))?;
        Some(state.idle.swap_remove(at).0)
    }

    fn drop_idle(&self) {
        let mut state = self.shared.state();
        state.open -= state.idle.len();
        state.idle.clear();
    }

    /// A refused login is tried once more: some servers refuse a good password now and then, and calling the user for
    /// that would be worse than one more try.
    async fn open(&self) -> Result<Session, Fault> {
        let refused = match self.try_open().await {
            Err(fault) if fault.class == Class::Reauthorize => fault,
            opened => return opened,
        };
        tracing::info!(%refused, "the mail server refused the login; once more");
        self.logins.forget().await;
        self.try_open().await
    }

    async fn try_open(&self) -> Result<Session, Fault> {
        let login = self.logins.get().await?;
        Session::open(&self.server, &login).await
    }

    pub async fn log_out(&self) {
        let idle = std::mem::take(&mut self.shared.state().idle);
        futures_util::future::join_all(idle.into_iter().map(|(session, _)| session.log_out())).await;
    }
}

fn lend(session: Session, folder: &str, counted: Counted, permit: OwnedSemaphorePermit) -> Lent {
    Lent { session, folder: folder.to_owned(), counted, _permit: permit }
}

impl Lent {
    pub fn give_back(self) {
        let Self { session, folder, mut counted, _permit } = self;
        // It stays open.
        counted.is_open = false;
        counted.shared.state().idle.push((session, folder));
    }
}

impl Deref for Lent {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}
