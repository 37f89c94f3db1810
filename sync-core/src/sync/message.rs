//! One message: fetched, read, and its documents' bytes made durable. Nothing here touches the catalog.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::envelope;
use super::plan::Step;
use super::{Class, Context, Failure, Point, permits};
use crate::archive::commit::{Outcome, Processed};
use crate::document::MessageHead;
use crate::reader::{self, Reading};
use crate::source::{Fetched, Item, MESSAGE_BYTES_MAX};
use crate::text::clean;

/// A message whose reader died is tried once, and three times more by later runs.
const ATTEMPTS_MAX: i64 = 4;
const ADDRESS_MAX: usize = 320;
const TEXT_MAX: usize = 500;

pub enum Done {
    Message(Box<Processed>),
    /// Left for a later pass, or gone.
    NotNow,
    PageEnd {
        next: String,
        named: u64,
        remaining: Option<u64>,
    },
}

pub async fn carry_out(context: Arc<Context>, step: Step) -> Result<Done, Failure> {
    match step {
        Step::PageEnd { next, named, remaining } => Ok(Done::PageEnd { next, named, remaining }),
        Step::Failed(failure) => Err(failure),
        Step::Message { item, held, is_retry } => {
            let span = tracing::debug_span!("message", source_id = %clean(&item.id, 100));
            process(&context, item, held, is_retry).instrument(span).await
        }
    }
}

async fn process(
    context: &Context,
    mut item: Item,
    held: OwnedSemaphorePermit,
    is_retry: bool,
) -> Result<Done, Failure> {
    let (fetched, held) = fetch(context, &mut item, held).await?;
    context.reached(Point::Fetched).await;
    let (head, outcome, reason) = match fetched {
        Fetched::Message(raw) => read(context, raw, held).await?,
        Fetched::Received { raw, time } => {
            item.time = Some(time);
            read(context, raw, held).await?
        }
        Fetched::Larger => failed(ATTEMPTS_MAX, "the message is larger than the server said"),
        Fetched::TooLarge { size } => failed(0, format!("the message is too large: {} MiB", size >> 20)),
        Fetched::Unreadable(reason) => failed(ATTEMPTS_MAX, reason),
        Fetched::Gone if is_retry => failed(ATTEMPTS_MAX, "the message is no longer in the mailbox"),
        Fetched::NotReady | Fetched::Gone => return Ok(Done::NotNow),
    };
    Ok(Done::Message(Box::new(record(context, item, head, outcome, reason))))
}

type Processing = (MessageHead, Outcome, String);

/// Fetches once more with room for the largest message, if the source's guess was too small. Nothing is held while it
/// waits for that room, so nobody waits for this one.
async fn fetch(
    context: &Context,
    item: &mut Item,
    held: OwnedSemaphorePermit,
) -> Result<(Fetched, OwnedSemaphorePermit), Failure> {
    let fetched = context.source.fetch(item).instrument(tracing::debug_span!("fetch")).await?;
    if fetched != Fetched::Larger {
        return Ok((fetched, held));
    }
    drop(held);
    let room = context.budget.clone().acquire_many_owned(permits(MESSAGE_BYTES_MAX)).await;
    let held = room.map_err(|_closed| Failure::cancelled())?;
    item.size = None;
    Ok((context.source.fetch(item).await?, held))
}

async fn read(context: &Context, raw: Bytes, held: OwnedSemaphorePermit) -> Result<Processing, Failure> {
    let envelope = envelope::of(&raw);
    let span = tracing::debug_span!("read", bytes = raw.len());
    let read = context.reader.read(raw).instrument(span).await;
    drop(held);
    context.reached(Point::Read).await;
    file(context, read, envelope).await
}

fn failed(retry_below: i64, reason: impl Into<String>) -> Processing {
    (MessageHead::default(), Outcome::Failed { retry_below }, reason.into())
}

async fn file(
    context: &Context,
    read: Result<Reading, reader::Error>,
    envelope: MessageHead,
) -> Result<Processing, Failure> {
    let reading = match read {
        Ok(reading) => reading,
        Err(reader::Error::Refused(reason)) => {
            return Ok((envelope, Outcome::Failed { retry_below: 0 }, reason));
        }
        Err(reader::Error::Died(death)) => {
            tracing::warn!(%death, "reader died");
            return Ok((envelope, Outcome::Failed { retry_below: ATTEMPTS_MAX }, death.to_string()));
        }
        Err(error @ reader::Error::Unavailable(_)) => {
            return Err(Failure::new(Class::Transient, "reader-unavailable", error.to_string()));
        }
    };
    let spec = &context.claim.mailbox.spec;
    let mut filed = Vec::with_capacity(reading.message.documents.len());
    let mut parts = HashSet::new();
    for mut document in reading.message.documents {
        document.part = unique(&mut parts, document.part);
        let content = Bytes::from(std::mem::take(&mut document.content));
        let span = tracing::debug_span!("document", part = %document.part, bytes = content.len());
        let put = context.archive.blobs.put(&spec.namespace, &spec.owner, content).instrument(span).await?;
        context.reached(Point::BlobPut).await;
        filed.push((document, put));
    }
    Ok((reading.message.head, Outcome::Read(filed), reading.message.reason))
}

/// A document's id is made of its part, and an archive may hold two members of one name.
fn unique(parts: &mut HashSet<String>, part: String) -> String {
    let names = (2..).map(|n| format!("{part}#{n}"));
    let unique = std::iter::once(part.clone()).chain(names).find(|name| !parts.contains(name));
    let unique = unique.unwrap_or(part);
    parts.insert(unique.clone());
    unique
}

fn record(context: &Context, item: Item, head: MessageHead, outcome: Outcome, reason: String) -> Processed {
    let own_date = head.date.and_then(|seconds| seconds.checked_mul(1000));
    Processed {
        received_time: item.time.or(own_date).unwrap_or_else(|| (context.clock)()),
        source_id: item.id,
        locator: item.locator,
        message_id: head.message_id.map(|id| clean(&id, TEXT_MAX)),
        from: clean(&head.from, ADDRESS_MAX),
        subject: clean(&head.subject, TEXT_MAX),
        reason: clean(&reason, TEXT_MAX),
        outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_one_name_stay_apart() {
        let mut parts = HashSet::new();
        let named: Vec<_> = ["2/a", "2/a", "2/a#2", "2/a"].map(|it| unique(&mut parts, it.into())).into();
        assert_eq!(named, ["2/a", "2/a#2", "2/a#2#2", "2/a#3"]);
    }
}
