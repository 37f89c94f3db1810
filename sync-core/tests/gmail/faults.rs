//! What goes wrong at Gmail, and what becomes of the run.

use std::time::Duration;

use sync_core::archive::{MailboxState, MessageState};
use sync_core::source::gmail::PROJECT;
use sync_core::sync::Class;

use super::fake::world::{Quota, Then};
use super::world::{World, numbers};

fn status(status: u16) -> Then {
    Then { status: Some(status), ..Then::default() }
}

fn reason(code: u16, reason: &str) -> Then {
    Then { reason: Some(reason.into()), ..status(code) }
}

fn throttled(retry_after: Option<u64>, key: Option<&str>) -> Class {
    Class::Throttled { retry_after: retry_after.map(Duration::from_secs), key: key.map(str::to_owned) }
}

/// However a call fails: the class, the code, and whether the user is asked.
#[tokio::test]
async fn each_refusal_ends_the_run_as_what_it_is() {
    let after = |seconds: &str, then: Then| Then { retry_after: Some(seconds.into()), ..then };
    let table = [
        (status(503), Class::Transient, "gmail-unavailable"),
        (status(200), Class::Transient, "gmail-unreadable"),
        (
            Then { body: Some("{\"historyId\":".into()), ..Then::default() },
            Class::Transient,
            "gmail-unreadable",
        ),
        (Then { body: Some("[]".into()), ..Then::default() }, Class::Transient, "gmail-unreadable"),
        (Then { body: Some("{}".into()), ..Then::default() }, Class::Transient, "gmail-unreadable"),
        (Then { body: Some("x".repeat(9 << 20)), ..Then::default() }, Class::Transient, "gmail-unreadable"),
        (reason(403, "userRateLimitExceeded"), throttled(None, None), "gmail-user-limit"),
        (after("60", reason(429, "userRateLimitExceeded")), throttled(Some(60), None), "gmail-user-limit"),
        (reason(403, "rateLimitExceeded"), throttled(None, Some(PROJECT)), "gmail-project-limit"),
        (reason(403, "dailyLimitExceeded"), throttled(Some(3600), Some(PROJECT)), "gmail-daily-limit"),
        (after("864000", status(429)), throttled(Some(24 * 3600), None), "gmail-user-limit"),
        (reason(403, "domainPolicy"), Class::Permanent, "gmail-domain-policy"),
    ];
    for (then, class, code) in table {
        let world = World::new().await;
        world.deliver(0);
        world.order("list", 10, then.clone());
        let failure = world.run("run").await.unwrap_err();
        assert_eq!((failure.class, failure.code), (class, code), "{:?}", then.reason);
        assert_eq!(world.mailbox().await.state, MailboxState::Connected, "{code}");
        // It passes, and nothing was lost.
        world.with(|fake| fake.faults.clear());
        world.run("next").await.unwrap();
        assert_eq!(world.documents().await, numbers(0..1), "{code}");
    }
}

/// What passes by itself is waited for, within the run.
#[tokio::test]
async fn short_troubles_do_not_end_the_run() {
    let once = |call: &str| -> [(String, Then); 6] {
        let cut = Then { cut: Some(20), ..Then::default() };
        let slow = Then { delay_ms: 30, ..Then::default() };
        let past = Then { retry_after: Some("Thu, 01 Jan 2026 00:00:00 GMT".into()), ..status(429) };
        let troubles = [status(500), status(200), cut, slow, past, reason(403, "rateLimitExceeded")];
        troubles.map(|then| (call.to_owned(), then))
    };
    for (call, then) in ["profile", "list", "history", "get", "part", "batch"].into_iter().flat_map(once) {
        let world = World::new().await;
        (0..6).for_each(|n| drop(world.deliver(n)));
        world.order(&call, 1, then.clone());
        let outcome = world.run("run").await;
        assert_eq!(outcome.map(|it| it.documents_new).ok(), Some(6), "{call} {then:?}");
        assert_eq!(world.documents().await, numbers(0..6), "{call} {then:?}");
    }
}

/// Parts of a batch fail by themselves, each in another way; all messages are filed, and those that came are not
/// fetched again.
#[tokio::test]
async fn a_batch_that_fails_in_parts_files_everything() {
    let world = World::new().await;
    let ids: Vec<String> = (0..20).map(|n| world.deliver(n)).collect();
    let hang = Then { hang: true, ..Then::default() };
    let cut = Then { body: Some("{\"id\": \"x\", \"raw\": \"RnJ".into()), ..Then::default() };
    let troubles = [
        reason(429, "userRateLimitExceeded"),
        status(500),
        status(200),
        cut,
        hang,
        reason(403, "rateLimitExceeded"),
    ];
    let orders = 10 * 10;
    // Every other one.
    for (id, then) in ids.iter().step_by(2).zip(troubles.iter().chain(&troubles).cloned()) {
        world.order_for("part", id, 10, then);
    }
    world.run("run").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..20));
    let calls = world.calls();
    let left: u32 = world.with(|fake| fake.faults.iter().map(|fault| fault.times).sum());
    let failed = u64::from(orders - left);
    assert!(failed >= 1 && calls["batch"] >= 1, "{calls:?}");
    assert_eq!(calls["get"] + calls["part"], 20 + failed, "only what failed is fetched again: {calls:?}");
}

/// A message that Gmail cannot give is recorded, the others are filed, and a later run gets it.
#[tokio::test]
async fn one_message_that_cannot_be_fetched_blocks_nothing() {
    let world = World::new().await;
    let ids: Vec<String> = (0..5).map(|n| world.deliver(n)).collect();
    for call in ["get", "part"] {
        world.order_for(call, &ids[1], 100, status(500));
    }
    let outcome = world.run("run").await.unwrap();
    assert_eq!((outcome.documents_new, outcome.messages_failed), (4, 1));
    let messages = world.messages().await;
    let failed = messages.iter().find(|message| message.source_id == ids[1]).unwrap();
    assert_eq!((failed.state, failed.retry), (MessageState::Failed, true));
    assert!(failed.reason.contains("Gmail answered 500"), "{}", failed.reason);
    world.with(|fake| fake.faults.clear());
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..5));
}

/// A Gmail that is down altogether is not the messages' fault.
#[tokio::test]
async fn an_outage_records_no_message_as_failed() {
    let world = World::new().await;
    (0..5).for_each(|n| drop(world.deliver(n)));
    world.run_until_listed_then_down().await;
    assert!(world.messages().await.is_empty());
    world.with(|fake| fake.faults.clear());
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..5));
}

impl World {
    async fn run_until_listed_then_down(&self) {
        for call in ["get", "part", "batch"] {
            self.order(call, 1000, status(503));
        }
        // The first is asked at the beginning.
        self.order("profile", 1, Then::default());
        self.order("profile", 1000, status(503));
        let failure = self.run("run").await.unwrap_err();
        assert_eq!((failure.class, failure.code), (Class::Transient, "gmail-unavailable"));
    }
}

/// Gmail's own count decides, whatever this process believes of the quota.
#[tokio::test]
async fn a_quota_that_is_used_up_is_told_with_its_key() {
    for (quota, key) in [
        (Quota { user: 105, ..Quota::default() }, None),
        (Quota { project: 105, ..Quota::default() }, Some(PROJECT)),
    ] {
        let world = World::new().await;
        (0..20).for_each(|n| drop(world.deliver(n)));
        world.with(|fake| fake.quota = quota.clone());
        let failure = world.run("run").await.unwrap_err();
        assert_eq!(failure.class, throttled(None, key));
        let filed = world.documents().await.len();
        assert!(filed <= 4, "five calls for messages are more than is left: {filed}");
        world.with(|fake| fake.quota = Quota { user: 100_000, project: 100_000, ..Quota::default() });
        world.run("next").await.unwrap();
        assert_eq!(world.documents().await, numbers(0..20));
    }
}

/// An answer that never comes does not hold up a run that is cancelled.
#[tokio::test]
async fn a_run_that_waits_can_be_cancelled() {
    let world = World::new().await;
    world.deliver(0);
    world.order("get", 1, Then { hang: true, ..Then::default() });
    let cancel = tokio_util::sync::CancellationToken::new();
    let (syncer, job) = (world.syncer(), super::support::world::job("run", 1));
    let (ended, ()) = tokio::join!(syncer.run(&job, |_| {}, cancel.clone()), async {
        while !world.with(|fake| fake.stats.calls.contains_key("get")) {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(ended.unwrap_err().class, Class::Cancelled);
}
