//! A bounded number of children, each used for many messages.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::frame::{Answer, Refusal};
use super::process::Process;
use super::{Bounds, Death, Error, Reader, Reading};

/// How a child is started.
#[derive(Clone, Debug)]
pub struct Command {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// Hands each message to a child of its own for that time. Dropping a `read` kills its child; dropping the
/// pool kills all.
pub struct Pool {
    command: Command,
    bounds: Bounds,
    slots: Semaphore,
    idle: Mutex<Vec<Process>>,
    /// Bytes of documents' contents in this process. Apart from the budget for raw messages, so that nobody
    /// who holds the one can wait for another who holds the other.
    contents: Arc<Semaphore>,
    /// KiB that children may need together for the messages in them, by these messages' sizes. So large ones are read one
    /// after the other, however many children there are.
    memory: Semaphore,
}

/// What a child needs for each byte of a message: the mail, its parts decoded, and the documents' contents.
const MEMORY_PER_BYTE: u64 = 4;
/// And for any message.
const MEMORY_LEAST: u64 = 4 << 20;

impl Pool {
    /// `children` at a time, whose documents may take `content_budget` bytes in this process in total (at
    /// least those of one message). Together they need no more memory than `bounds` allow one of them, except for
    /// messages that take much more than their size.
    pub fn new(command: Command, children: usize, content_budget: u64, bounds: Bounds) -> Self {
        let budget = content_budget.max(bounds.content_bytes).div_ceil(1024);
        let budget = usize::try_from(budget).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            command,
            slots: Semaphore::new(children.max(1)),
            idle: Mutex::default(),
            contents: Arc::new(Semaphore::new(budget)),
            memory: Semaphore::new(kib(bounds.memory) as usize),
            bounds,
        }
    }

    /// Children that wait for work.
    pub fn idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn read_one(&self, raw: Bytes) -> Result<Reading, Error> {
        let closed = |_| Error::Unavailable(std::io::ErrorKind::Interrupted.into());
        let needed = (raw.len() as u64 * MEMORY_PER_BYTE).max(MEMORY_LEAST).min(self.bounds.memory);
        // Before the slot: whoever has one waits for nobody who waits for it.
        let _memory = self.memory.acquire_many(kib(needed)).await.map_err(closed)?;
        let _slot = self.slots.acquire().await.map_err(closed)?;
        let mut process = self.process().await.map_err(Error::Unavailable)?;
        let answer = process.ask(raw, &self.bounds).await?;
        let total: u64 = answer.sizes.iter().sum();
        let held = self.contents.clone().acquire_many_owned(kib(total)).await.map_err(closed)?;
        let contents = process.contents(&answer.sizes, &self.bounds).await?;
        if !answer.last {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        }
        reading(answer, contents, held)
    }

    async fn process(&self) -> std::io::Result<Process> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut process) = idle else {
                return Process::start(&self.command, &self.bounds).await;
            };
            // One that was killed from outside while it had nothing to do is no message's fault.
            if process.is_alive() {
                return Ok(process);
            }
        }
    }
}

/// Permits, since a semaphore counts in `u32`.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn reading(
    answer: Answer,
    contents: Vec<Vec<u8>>,
    held: tokio::sync::OwnedSemaphorePermit,
) -> Result<Reading, Error> {
    let mut message = match answer.result {
        Ok(message) => message,
        Err(Refusal::Reason(reason)) => return Err(Error::Refused(reason)),
        Err(Refusal::Panic) => return Err(Error::Died(Death::Panic)),
    };
    for (document, content) in message.documents.iter_mut().zip(contents) {
        document.content = content;
    }
    Ok(Reading { message, held: Some(held) })
}

impl Reader for Pool {
    fn read(&self, raw: Bytes) -> BoxFuture<'_, Result<Reading, Error>> {
        Box::pin(self.read_one(raw))
    }
}
