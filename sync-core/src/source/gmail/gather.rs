//! Messages that are wanted at the same time travel in one request.
//!
//! Nobody waits for company: who finds the line free takes all that wait by then. While that request is under way,
//! others gather. A message alone, or one that failed in a batch, is asked for by itself, where it is decoded as it
//! comes in.

use std::sync::{Mutex, PoisonError};

use reqwest::StatusCode;
use tokio::sync::{Semaphore, oneshot};

use super::api::{Api, Got};
use super::batch::{self, CALLS_MAX};
use super::error::Error;
use super::raw;

/// Requests for messages under way; the run's pace may allow fewer.
const LINES: usize = 3;
/// Around each message in a batch: headers, labels, a snippet.
const AROUND: usize = 16 << 10;

pub struct Gatherer {
    waiting: Mutex<Vec<Waiting>>,
    lines: Semaphore,
}

struct Waiting {
    id: String,
    max: usize,
    answer: oneshot::Sender<Option<Outcome>>,
}

/// What a batch said about a message.
pub enum Outcome {
    Got(Got),
    Gone,
}

impl Gatherer {
    pub fn new() -> Self {
        Self { waiting: Mutex::default(), lines: Semaphore::new(LINES) }
    }

    /// A message of at most `max` bytes.
    pub async fn get(&self, api: &Api, id: &str, max: usize) -> Result<Got, Error> {
        let (answer, mut answered) = oneshot::channel();
        self.lock().push(Waiting { id: id.to_owned(), max, answer });
        // Both may be dropped at any time: an answer that nobody waits for is lost with the run.
        let said = tokio::select! {
            biased;
            said = &mut answered => said.ok().flatten(),
            line = self.lines.acquire() => match self.take(id) {
                // Under way already, with another one's request.
                None => {
                    drop(line);
                    answered.await.ok().flatten()
                }
                Some(taken) if taken.len() == 1 => return api.message(id, max).await,
                Some(taken) => {
                    self.ask(api, taken).await?;
                    drop(line);
                    answered.try_recv().ok().flatten()
                }
            },
        };
        match said {
            Some(Outcome::Got(got)) => Ok(got),
            Some(Outcome::Gone) => Err(Error::NotFound),
            None => api.message(id, max).await,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The own one and others, as many as one batch may hold; `None` if the own one does not wait any more.
    fn take(&self, own: &str) -> Option<Vec<Waiting>> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|one| one.id == own)?;
        waiting.swap(0, at);
        let count = waiting.len().min(CALLS_MAX);
        Some(waiting.drain(..count).collect())
    }

    /// Answers all of `taken`. Those that the batch says nothing useful about have to ask by themselves.
    async fn ask(&self, api: &Api, taken: Vec<Waiting>) -> Result<(), Error> {
        let ids: Vec<String> = taken.iter().map(|one| one.id.clone()).collect();
        let max = taken.iter().map(|one| one.max / 3 * 4 + AROUND).sum();
        let asked = api.messages(&ids, max).await;
        let mut taken: Vec<Option<Waiting>> = taken.into_iter().map(Some).collect();
        let (content_type, body) = match asked {
            Ok(answer) => answer,
            // By itself, each finds out what it means for it.
            Err(Error::Passing(_) | Error::NotFound | Error::BadRequest) => return Ok(()),
            Err(error) => return Err(error),
        };
        let parts = batch::decode(&content_type, &body);
        if parts
            .iter()
            .any(|part| [StatusCode::TOO_MANY_REQUESTS, StatusCode::FORBIDDEN].contains(&part.status))
        {
            api.pace.slow_down();
        }
        for part in parts {
            let Some(waiting) = taken.get_mut(part.index).and_then(Option::take) else { continue };
            let _ = waiting.answer.send(outcome(&part, waiting.max));
        }
        Ok(())
    }
}

fn outcome(part: &batch::Part<'_>, max: usize) -> Option<Outcome> {
    match part.status {
        StatusCode::OK => match raw::decode(part.body, max) {
            Ok(message) => Some(Outcome::Got(Got::Message(message))),
            Err(raw::Error::Larger) => Some(Outcome::Got(Got::Larger)),
            Err(raw::Error::Unreadable) => None,
        },
        StatusCode::NOT_FOUND => Some(Outcome::Gone),
        _ => None,
    }
}
