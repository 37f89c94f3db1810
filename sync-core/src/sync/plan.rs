//! What there is to do, in the order in which it will be committed: the source's pages, each followed by its
//! end, then the messages to try again that no page named.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::{Context, Failure, Point, permits};
use crate::source::{Item, MESSAGE_BYTES_MAX};

const RETRIES: u32 = 100;

pub enum Step {
    /// With the right to hold its bytes in memory. Taken here, in order: a message that waits for memory can
    /// only wait for messages before it, which will be done.
    Message {
        item: Item,
        held: OwnedSemaphorePermit,
        is_retry: bool,
    },
    PageEnd {
        next: String,
        named: u64,
        remaining: Option<u64>,
    },
    Failed(Failure),
}

pub struct Planner {
    context: Arc<Context>,
    queue: VecDeque<Item>,
    page_end: Option<Step>,
    stage: Stage,
    /// What is in the queue was tried by an earlier run and not named by a page.
    retrying: bool,
}

enum Stage {
    Changes { cursor: Option<String> },
    Retries { after: Option<String> },
    Done,
}

impl Planner {
    pub fn new(context: Arc<Context>) -> Self {
        let stage = Stage::Changes { cursor: context.claim.cursor.clone() };
        Self { context, queue: VecDeque::new(), page_end: None, stage, retrying: false }
    }

    pub async fn next(mut self) -> Option<(Step, Self)> {
        loop {
            if let Some(item) = self.queue.pop_front() {
                let step = self.message(item).await;
                return Some((step, self));
            }
            if let Some(step) = self.page_end.take() {
                return Some((step, self));
            }
            let more = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Changes { cursor } => self.changes(cursor).await,
                Stage::Retries { after } => self.retries(after).await,
                Stage::Done => return None,
            };
            if let Err(failure) = more {
                return Some((Step::Failed(failure), self));
            }
        }
    }

    async fn message(&self, item: Item) -> Step {
        let bytes = item.size.unwrap_or(MESSAGE_BYTES_MAX).min(MESSAGE_BYTES_MAX);
        match self.context.budget.clone().acquire_many_owned(permits(bytes)).await {
            Ok(held) => Step::Message { item, held, is_retry: self.retrying },
            Err(_closed) => Step::Failed(Failure::cancelled()),
        }
    }

    async fn changes(&mut self, cursor: Option<String>) -> Result<(), Failure> {
        let changes = self.context.source.changes(cursor.as_deref());
        let page = changes.instrument(tracing::debug_span!("changes")).await?;
        let named = page.items.len() as u64;
        let catalog = &self.context.archive.catalog;
        self.queue = catalog.unprocessed(&self.context.claim, page.items).await?.into();
        self.stage = match page.more {
            true => Stage::Changes { cursor: Some(page.next.clone()) },
            false => Stage::Retries { after: None },
        };
        self.page_end = Some(Step::PageEnd { next: page.next, named, remaining: page.remaining });
        self.context.reached(Point::Listed).await;
        Ok(())
    }

    async fn retries(&mut self, after: Option<String>) -> Result<(), Failure> {
        let catalog = &self.context.archive.catalog;
        let found = catalog.retries(&self.context.claim, after.as_deref(), RETRIES).await?;
        if let Some((last, _)) = found.last() {
            self.stage = Stage::Retries { after: Some(last.clone()) };
        }
        self.retrying = true;
        self.queue = found.into_iter().map(|(_, item)| item).collect();
        Ok(())
    }
}
