//! How the rest of the process talks to the shard.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Outbox;
use crate::{
    event_log::{self, EventLog},
    state_machine::{
        command::Command,
        id::SessionId,
        output::{Answer, Refusal, Reply},
    },
    store::{Health, Key, Store},
};

/// Talks to the shard, while this process has it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    seat: Arc<Seat>,
}

struct Seat {
    /// None while another process owns the shard, or none does.
    desk: RwLock<Option<Desk>>,
    store: Arc<dyn Store>,
    events: Arc<EventLog>,
}

/// One time of owning the shard.
#[derive(Clone)]
pub struct Desk {
    calls: mpsc::Sender<Call>,
    epoch: u64,
    over: CancellationToken,
    /// Whether the shard has stopped because its store failed.
    failed: Arc<AtomicBool>,
}

impl Desk {
    pub(super) fn new(calls: mpsc::Sender<Call>, epoch: u64, failed: Arc<AtomicBool>) -> Self {
        Self { calls, epoch, over: CancellationToken::new(), failed }
    }
}

fn gone(failed: &AtomicBool) -> CallError {
    if failed.load(Ordering::Acquire) { CallError::Failed } else { CallError::Stopped }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("store", &self.seat.store.kind()).finish()
    }
}

pub(super) struct Call {
    pub command: Command,
    pub reply: oneshot::Sender<Reply>,
    /// Past it nobody waits for the answer, and the command is not applied.
    pub deadline: Option<Instant>,
    pub session: Option<(SessionId, Outbox)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    Refused(Refusal),
    /// The queue is full.
    Overloaded,
    /// The deadline passed before the command was applied.
    TooLate,
    /// This process does not own the shard; nothing has happened.
    NotLeader,
    /// The shard has stopped; what was asked may or may not have happened.
    Stopped,
    /// As `Stopped`, because the store failed.
    Failed,
    Store(String),
}

impl Handle {
    /// Nobody sits there yet.
    pub fn vacant(store: Arc<dyn Store>, events: event_log::Bounds) -> Self {
        let events = Arc::new(EventLog::new(events, 0));
        Self { seat: Arc::new(Seat { desk: RwLock::new(None), store, events }) }
    }

    pub(super) fn take(&self, desk: Desk) {
        *self.seat.desk.write().unwrap_or_else(PoisonError::into_inner) = Some(desk);
    }

    /// Calls come to an end: the shard stops once it has committed what it was asked.
    pub fn vacate(&self) {
        if let Some(desk) = self.seat.desk.write().unwrap_or_else(PoisonError::into_inner).take() {
            desk.over.cancel();
        }
    }

    fn desk(&self) -> Result<Desk, CallError> {
        let desk = self.seat.desk.read().unwrap_or_else(PoisonError::into_inner);
        desk.clone().ok_or(CallError::NotLeader)
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.seat.store
    }

    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, command: Command, deadline: Option<Instant>) -> Result<Answer, CallError> {
        self.send(command, deadline, None).await
    }

    /// Opens a session whose messages go to `outbox`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn open(&self, command: Command, id: SessionId, outbox: Outbox) -> Result<Answer, CallError> {
        self.send(command, None, Some((id, outbox))).await
    }

    async fn send(
        &self,
        command: Command,
        deadline: Option<Instant>,
        session: Option<(SessionId, Outbox)>,
    ) -> Result<Answer, CallError> {
        let (reply, answer) = oneshot::channel();
        let Desk { calls, failed, .. } = self.desk()?;
        calls.try_send(Call { command, reply, deadline, session }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => gone(&failed),
        })?;
        // Not held while the answer is awaited: the shard ends when its last sender is gone.
        drop(calls);
        Pending { answer, deadline, failed }.answer().await
    }

    /// Waits until the queue has room, puts the command there, and resolves to the answer to come. For calls of many
    /// commands: they wait their turn, and keep their order though several are under way.
    ///
    /// # Errors
    /// [`CallError::NotLeader`] and [`CallError::Stopped`].
    pub async fn enqueue(&self, command: Command, deadline: Option<Instant>) -> Result<Pending, CallError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { command, reply, deadline, session: None };
        let Desk { calls, failed, .. } = self.desk()?;
        calls.send(call).await.map_err(|_| gone(&failed))?;
        Ok(Pending { answer, deadline, failed })
    }

    /// Tells the shard that a session's stream has ended; for drop guards, so nobody waits for the answer.
    pub fn close(&self, id: SessionId) {
        let (reply, _) = oneshot::channel();
        let call = Call { command: Command::CloseSession(id), reply, deadline: None, session: None };
        let Ok(Desk { calls, .. }) = self.desk() else { return };
        if let Err(mpsc::error::TrySendError::Full(call)) = calls.try_send(call) {
            tokio::spawn(async move { calls.send(call).await.is_ok() });
        }
    }

    /// Reads history.
    ///
    /// # Errors
    /// [`CallError::Store`] when the store does not answer.
    pub async fn read(&self, keys: Vec<Key>) -> Result<Vec<Option<Bytes>>, CallError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.seat.store.clone();
        let read =
            tokio::task::spawn_blocking(move || store.read(&keys)).await.map_err(|_| CallError::Stopped)?;
        read.map_err(|error| CallError::Store(error.to_string()))
    }

    /// What happened last, for those who watch.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.seat.events
    }

    /// Of this process's leadership; 0 without.
    pub fn epoch(&self) -> u64 {
        self.desk().map_or(0, |desk| desk.epoch)
    }

    /// Cancelled when this process's leadership is over.
    pub fn over(&self) -> CancellationToken {
        self.desk().map_or_else(|_| cancelled(), |desk| desk.over)
    }

    pub fn store_kind(&self) -> &'static str {
        self.seat.store.kind()
    }

    pub fn store_health(&self) -> Health {
        self.seat.store.health()
    }
}

/// An answer to come.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Reply>,
    deadline: Option<Instant>,
    failed: Arc<AtomicBool>,
}

impl Pending {
    /// # Errors
    /// See [`CallError`].
    pub async fn answer(self) -> Result<Answer, CallError> {
        match self.answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refusal)) => Err(CallError::Refused(refusal)),
            Err(_) if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                Err(CallError::TooLate)
            }
            Err(_) => Err(gone(&self.failed)),
        }
    }
}

fn cancelled() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}
