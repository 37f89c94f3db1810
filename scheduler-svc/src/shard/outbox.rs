//! What waits to be written to the stream of one session (rule W10).
//!
//! The machine gives a session no more jobs than it has slots, so a stream that is read never has more waiting than
//! that, and as many cancellations. A stream that is not read fills its outbox; then it is cut.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::mpsc;

use crate::state_machine::output::{Body, Message};

/// The shard's end.
#[derive(Debug)]
pub struct Outbox {
    messages: mpsc::UnboundedSender<Message>,
    room: Arc<Room>,
}

/// The stream's end.
#[derive(Debug)]
pub struct Messages {
    messages: mpsc::UnboundedReceiver<Message>,
    room: Arc<Room>,
}

/// Jobs and cancellations that wait, and how many may.
#[derive(Debug)]
struct Room {
    waiting: AtomicUsize,
    bound: AtomicUsize,
}

/// The stream is gone, or not read.
#[derive(Debug, PartialEq, Eq)]
pub struct Stuck;

/// An outbox for a session of so many slots.
pub fn outbox(slots: u32) -> (Outbox, Messages) {
    let (sender, messages) = mpsc::unbounded_channel();
    let room = Arc::new(Room { waiting: AtomicUsize::new(0), bound: AtomicUsize::new(bound(slots)) });
    (Outbox { messages: sender, room: room.clone() }, Messages { messages, room })
}

/// A job and its cancellation for each slot. A few more, since a slot is free before its cancellation was read.
fn bound(slots: u32) -> usize {
    2 * slots as usize + 16
}

impl Outbox {
    /// # Errors
    /// [`Stuck`] when the message is not taken.
    pub fn send(&self, message: Message) -> Result<(), Stuck> {
        let weight = weight(&message);
        let waiting = self.room.waiting.fetch_add(weight, Ordering::Relaxed) + weight;
        if waiting > self.room.bound.load(Ordering::Relaxed) {
            return Err(Stuck);
        }
        self.messages.send(message).map_err(|_| Stuck)
    }

    /// The session has so many slots now. It never shrinks: jobs of the slots before may be on their way.
    pub fn allow(&self, slots: u32) {
        self.room.bound.fetch_max(bound(slots), Ordering::Relaxed);
    }
}

impl Messages {
    pub async fn recv(&mut self) -> Option<Message> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// None once the session has ended and everything was read.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let received = self.messages.poll_recv(context);
        if let Poll::Ready(Some(message)) = &received {
            self.room.waiting.fetch_sub(weight(message), Ordering::Relaxed);
        }
        received
    }
}

fn weight(message: &Message) -> usize {
    match &message.body {
        Body::Jobs(jobs) => jobs.len(),
        Body::Cancel { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::id::RunId;

    fn cancel(sequence: u64) -> Message {
        let id = RunId::parse("0-00000000000000000000000000000abc-m1").expect("an id");
        Message { sequence, body: Body::Cancel { id, attempt: 1, reason: "".into() } }
    }

    #[tokio::test]
    async fn w10_an_outbox_that_is_not_read_is_full() {
        let (outbox, mut messages) = outbox(2);
        let fits = (0..100).take_while(|n| outbox.send(cancel(*n)).is_ok()).count();
        assert_eq!(fits, 20);
        drop(outbox);
        let mut read = 0;
        while messages.recv().await.is_some() {
            read += 1;
        }
        assert_eq!(read, 20, "what was taken is not lost");
    }

    #[tokio::test]
    async fn w10_an_outbox_that_is_read_never_is() {
        let (outbox, mut messages) = outbox(2);
        for n in 0..1_000 {
            assert_eq!(outbox.send(cancel(n)), Ok(()));
            messages.recv().await.expect("a message");
        }
        outbox.allow(10);
        outbox.allow(1);
        assert_eq!((0..100).take_while(|n| outbox.send(cancel(*n)).is_ok()).count(), 36);
    }
}
