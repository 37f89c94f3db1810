//! What was read and not yet committed.
//!
//! Syncing to disk is dear, so several messages share a transaction. The cursor joins a batch once all
//! messages of its page have; a cursor that says nothing new is not worth a transaction of its own.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Settings;
use crate::archive::claim::Claim;
use crate::archive::commit::{Batch, Processed};

/// Fields and flags of so many documents make a transaction long enough.
const DOCUMENTS_MAX: usize = 500;

pub struct Pending {
    batch: Batch,
    documents: usize,
    /// When the first of the batch came.
    since: Option<Instant>,
    committed_cursor: Option<String>,
    messages_max: usize,
    wait: Duration,
}

impl Pending {
    pub fn new(claim: &Claim, settings: &Settings) -> Self {
        Self {
            batch: Batch::default(),
            documents: 0,
            since: None,
            committed_cursor: claim.cursor.clone(),
            messages_max: settings.batch_messages.max(1),
            wait: settings.batch_wait,
        }
    }

    pub fn push(&mut self, message: Processed) {
        if let crate::archive::commit::Outcome::Read(documents) = &message.outcome {
            self.documents += documents.len();
        }
        self.batch.messages.push(message);
        self.since.get_or_insert_with(Instant::now);
    }

    pub fn page_end(&mut self, next: String) {
        self.batch.cursor = Some(next);
        self.since.get_or_insert_with(Instant::now);
    }

    pub fn is_full(&self) -> bool {
        self.batch.messages.len() >= self.messages_max || self.documents >= DOCUMENTS_MAX
    }

    /// Ends when the batch has waited long enough; never, if there is none.
    pub async fn due(&self) {
        match self.since {
            Some(since) => sleep_until(since + self.wait).await,
            None => pending().await,
        }
    }

    /// The batch, if committing it changes anything.
    pub fn take(&mut self) -> Option<Batch> {
        self.since = None;
        self.documents = 0;
        let mut batch = std::mem::take(&mut self.batch);
        if batch.cursor == self.committed_cursor {
            batch.cursor = None;
        }
        if batch.messages.is_empty() && batch.cursor.is_none() {
            return None;
        }
        if batch.cursor.is_some() {
            self.committed_cursor.clone_from(&batch.cursor);
        }
        Some(batch)
    }
}
