//! Messages of many bytes.

use sync_core::archive::MessageState;
use sync_core::source::MESSAGE_BYTES_MAX;

use super::world::{World, invoice, numbers};

/// Memory is set aside for a guess. What is larger is fetched once more with room for it, and what is too large is
/// recorded and left.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_fetched_alone_and_too_large_ones_are_recorded() {
    let world = World::new().await;
    let sizes = [1_000, (1 << 20) + 1, 5 << 20, 100, MESSAGE_BYTES_MAX as usize + 1];
    let deliver =
        |(n, size): (usize, usize)| world.deliver_as(n, &(invoice(n) + &"x".repeat(size)), &["INBOX"]);
    let ids: Vec<String> = sizes.into_iter().enumerate().map(deliver).collect();
    let outcome = world.run("run").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_failed), (4, 1));
    assert_eq!(world.documents().await, numbers(0..4));
    let messages = world.messages().await;
    let failed = messages.iter().find(|message| message.source_id == ids[4]).unwrap();
    assert_eq!((failed.state, failed.retry), (MessageState::Failed, false));
    assert!(failed.reason.contains("too large"), "{}", failed.reason);
}
