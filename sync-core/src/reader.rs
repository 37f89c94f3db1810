//! Reads messages in child processes.
//!
//! Parsers meet hostile bytes: they may use up memory, never end, overflow the stack or be taken over. So
//! they run in a child that has no file, socket or memory to spare, and can only hurt itself. The program
//! executes itself again (`worker-svc read-mail` calls [`serve`]); [`Pool`] starts children, hands them one
//! message at a time and replaces those that die. A death is the message's failure, with the reason.
//!
//! Absent so far: a system call filter (seccomp). Limits other than CPU and wall time are Linux's.

mod child;
mod death;
mod frame;
mod limits;
mod pool;
mod process;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub use child::serve;
pub use death::Death;
pub use pool::{Command, Pool};

use crate::document::{Limits, ReadMessage};

/// What a child may use. The defaults are those of protocols.md.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// Address space beyond what the program itself maps at its start, so that the bound means the same for
    /// a debug build and a stripped one. A mail of 50 MiB with one attachment needs about 170 MiB.
    pub memory: u64,
    /// CPU time per message, in seconds.
    pub cpu_seconds: u64,
    /// Wall time per message; the parent enforces it.
    pub wall: Duration,
    /// A child ends after this many messages …
    pub messages: u32,
    /// … or once its memory in use has ever been this high.
    pub recycle_memory: u64,
    /// Documents of one message, together.
    pub content_bytes: u64,
    pub limits: Limits,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            cpu_seconds: 10,
            wall: Duration::from_secs(20),
            messages: 500,
            recycle_memory: 128 << 20,
            content_bytes: 64 << 20,
            limits: Limits::default(),
        }
    }
}

/// A message as a reader saw it.
#[derive(Debug)]
pub struct Reading {
    pub message: ReadMessage,
    /// Holds the memory of the documents' contents against the pool's budget until it is dropped.
    pub held: Option<tokio::sync::OwnedSemaphorePermit>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader says why nothing of the message can be read; it would say so again.
    #[error("{0}")]
    Refused(String),
    /// The child died of the message.
    #[error("{0}")]
    Died(#[from] Death),
    /// No child can be started: nothing that the message has to do with.
    #[error("no reader process can be started: {0}")]
    Unavailable(std::io::Error),
}

/// Turns a message's bytes into documents. [`Pool`] does it in production.
pub trait Reader: Send + Sync {
    fn read(&self, raw: Bytes) -> BoxFuture<'_, Result<Reading, Error>>;
}
