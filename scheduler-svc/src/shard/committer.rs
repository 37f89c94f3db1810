//! The threads that wait for the store, so that the pump never does.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::store::{Batch, Snapshot, Store, StoreError};

/// Between two tries of a commit whose outcome is unknown.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// What the committer is asked for.
pub enum Commit {
    Batch { epoch: u64, seq: u64, batch: Batch },
    Everything { epoch: u64, seq: u64, snapshot: Arc<Snapshot> },
}
pub type Outcome = Result<(), StoreError>;

pub fn start_committer(
    store: Arc<dyn Store>,
) -> std::io::Result<(std::sync::mpsc::Sender<Commit>, mpsc::UnboundedReceiver<Outcome>)> {
    let (commits, todo) = std::sync::mpsc::channel::<Commit>();
    let (done, outcomes) = mpsc::unbounded_channel();
    thread::Builder::new().name("committer".into()).spawn(move || {
        let mut away: Option<Instant> = None;
        for work in todo {
            let caught = catch_unwind(AssertUnwindSafe(|| match work {
                Commit::Batch { epoch, seq, batch } => store.commit(epoch, seq, batch),
                Commit::Everything { epoch, seq, snapshot } => store.restore(epoch, seq, snapshot),
            }));
            let outcome = caught.unwrap_or_else(|_| {
                Err(StoreError::Fatal("it panicked in a commit; the lines above tell where".into()))
            });
            tell(&outcome, &mut away);
            if matches!(outcome, Err(StoreError::Unknown(_))) {
                thread::sleep(COMMIT_PAUSE);
            }
            if done.send(outcome).is_err() {
                break;
            }
        }
    })?;
    Ok((commits, outcomes))
}

/// Epoch and sequence through which everything is to be secured.
pub type Question = (u64, u64);
pub type Secured = Result<u64, StoreError>;

pub fn start_securer(
    store: Arc<dyn Store>,
) -> std::io::Result<(std::sync::mpsc::Sender<Question>, mpsc::UnboundedReceiver<Secured>)> {
    let (questions, todo) = std::sync::mpsc::channel::<Question>();
    let (done, secured) = mpsc::unbounded_channel();
    if store.secures() {
        thread::Builder::new().name("securer".into()).spawn(move || {
            for (epoch, seq) in todo {
                let caught = catch_unwind(AssertUnwindSafe(|| store.secure(epoch, seq)));
                let outcome = caught.unwrap_or_else(|_| {
                    Err(StoreError::Fatal("it panicked while it secured; the lines above tell where".into()))
                });
                if outcome.is_err() {
                    thread::sleep(COMMIT_PAUSE);
                }
                if done.send(outcome).is_err() {
                    break;
                }
            }
        })?;
    }
    Ok((questions, secured))
}

/// Says once that the store is away, and once that it is back.
fn tell(outcome: &Outcome, away: &mut Option<Instant>) {
    match (outcome, *away) {
        (Err(StoreError::Unknown(why)), None) => {
            tracing::error!(%why, "the store does not answer; nothing is acknowledged until it does");
            *away = Some(Instant::now());
        }
        (Ok(()), Some(since)) => {
            tracing::info!(for_ms = since.elapsed().as_millis() as u64, "the store answers again");
            *away = None;
        }
        (Ok(()) | Err(_), _) => {}
    }
}
