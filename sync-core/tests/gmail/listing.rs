//! What is listed, in which order, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, FutureExt};
use sync_core::archive::MailboxSpec;
use sync_core::sync::{Class, Outcome, Point, Probe};
use tokio::sync::Notify;

use super::fake::world::Then;
use super::support::world::{job, run};
use super::support::{NOW, mail};
use super::world::{ANNA, DAY, World, numbers};

/// Holds the run for ever at the `nth` commit.
struct Stop {
    nth: usize,
    commits: AtomicUsize,
    reached: Notify,
}

impl Stop {
    fn after(nth: usize) -> Arc<Self> {
        Arc::new(Self { nth, commits: AtomicUsize::new(0), reached: Notify::new() })
    }
}

impl Probe for Stop {
    fn reached(&self, point: Point) -> BoxFuture<'_, ()> {
        async move {
            if point == Point::AfterCommit && self.commits.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

impl World {
    /// A run that is killed after so many commits, if it has not ended by then.
    async fn run_and_kill(&self, attempt: u32, commits: usize, batch_messages: usize) {
        let stop = Stop::after(commits);
        let syncer = self.syncer_in_batches(batch_messages).with_probe(stop.clone());
        let job = job("run", attempt);
        tokio::select! {
            () = stop.reached.notified() => {}
            ended = run(&syncer, &job) => { ended.unwrap(); }
        }
    }
}

#[tokio::test]
async fn all_is_listed_once_and_then_only_what_changes() {
    let world = World::new().await;
    (0..120).for_each(|n| drop(world.deliver(n)));
    let first = world.run("first").await.unwrap();
    assert_eq!((first.documents_new, first.messages_read), (120, 120));
    assert_eq!(world.documents().await, numbers(0..120));
    let calls = world.calls();
    assert_eq!(
        (calls["list"], calls["history"], calls["profile"], calls["token"]),
        (3, 1, 1, 1),
        "{calls:?}"
    );
    let gets = |calls: &std::collections::BTreeMap<String, u64>| {
        calls.get("get").unwrap_or(&0) + calls.get("part").unwrap_or(&0)
    };
    assert_eq!(gets(&calls), 120, "one fetch for each message: {calls:?}");
    assert!(calls["batch"] >= 10, "what is wanted at once travels together: {calls:?}");

    assert_eq!(world.run("idle").await.unwrap(), Outcome::default());
    let calls = world.calls();
    assert_eq!((calls.get("list"), calls["history"], gets(&calls)), (None, 1, 0), "{calls:?}");

    (120..123).for_each(|n| drop(world.deliver(n)));
    assert_eq!(world.run("next").await.unwrap().documents_new, 3);
    let calls = world.calls();
    assert_eq!((calls.get("list"), calls["history"], gets(&calls)), (None, 1, 3), "{calls:?}");
    assert_eq!(world.documents().await, numbers(0..123));
}

/// The time of a message is when Gmail took it, whatever its header says.
#[tokio::test]
async fn a_message_has_gmails_time() {
    let world = World::new().await;
    let mail = mail("m", "INVOICE Acme|1|2026-01-01|1.00").replacen(
        '\n',
        "\nDate: Mon, 1 Jan 2001 00:00:00 +0000\n",
        1,
    );
    world.deliver_as(0, &mail, &["INBOX"]);
    world.run("run").await.unwrap();
    assert_eq!(world.messages().await[0].received_time, NOW - 1_000 * DAY);
}

/// Nothing is read twice, nothing is lost, and what is newest comes first.
#[tokio::test]
async fn a_first_sync_is_newest_first_and_goes_on_where_it_was_killed() {
    let world = World::new().await;
    (0..300).for_each(|n| drop(world.deliver(n)));
    world.run_and_kill(1, 10, 4).await;
    assert_eq!(world.documents().await, numbers(260..300), "the newest forty");
    // New mail comes while the first sync is not done.
    (300..305).for_each(|n| drop(world.deliver(n)));
    world.run_and_kill(2, 15, 4).await;
    world.calls();
    run(&world.syncer(), &job("run", 3)).await.unwrap();
    let calls = world.calls();
    assert_eq!(world.documents().await, numbers(0..305));
    assert_eq!(world.mailbox().await.duplicates, 0);
    assert!(calls["list"] <= 6, "pages that are done are not listed again: {calls:?}");
}

/// Every tenth mail is an invoice. Few messages are fetched twice, although the run is killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_sync_of_ten_thousand_survives_interruptions() {
    let mut world = World::new().await;
    world.settings.page = 500;
    for n in 0..10_000 {
        let text =
            if n % 10 == 0 { format!("INVOICE Acme {n}|{n:05}|2026-01-01|1.00") } else { String::new() };
        world.deliver_as(n, &mail(&format!("m{n}"), &text), &["INBOX"]);
    }
    for attempt in 1..=8 {
        world.run_and_kill(attempt, 20, 50).await;
    }
    let read = world.mailbox().await.messages;
    assert!((7_000..10_000).contains(&read), "each attempt brings it further: {read}");
    run(&world.syncer_in_batches(50), &job("run", 9)).await.unwrap();
    let invoices: Vec<String> = (0..10_000).step_by(10).map(|n| format!("{n:05}")).collect();
    assert_eq!(world.documents().await, invoices);
    let calls = world.calls();
    let gets = calls.get("get").unwrap_or(&0) + calls["part"];
    assert!((10_000..10_000 + 9 * 100).contains(&gets), "{calls:?}");
    assert!(calls["list"] < 20 + 2 * 9, "{calls:?}");
    let mailbox = world.mailbox().await;
    assert_eq!((mailbox.messages, mailbox.documents, mailbox.duplicates), (10_000, 1_000, 0));
}

#[tokio::test]
async fn since_bounds_the_list_and_what_is_imported_later() {
    let world = World::new().await;
    (0..10).for_each(|n| drop(world.deliver(n)));
    let since = Some(NOW - 1_000 * DAY + 5_000);
    world.connect(&MailboxSpec { since, ..world.spec() }).await;
    world.run("first").await.unwrap();
    assert_eq!(world.documents().await, numbers(5..10));
    // Two mails are imported; one of them is older.
    world.deliver(3);
    world.deliver(11);
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, [numbers(5..10), numbers(11..12)].concat());
}

#[tokio::test]
async fn spam_trash_drafts_and_sent_mail_are_left_alone() {
    let world = World::new().await;
    let deliver = |from: usize| {
        let labels: [&[&str]; 7] =
            [&["INBOX"], &[], &["SENT", "INBOX"], &["SENT"], &["SPAM"], &["TRASH"], &["DRAFT"]];
        let ids = labels
            .iter()
            .enumerate()
            .map(|(n, labels)| world.deliver_as(from + n, &super::world::invoice(from + n), labels));
        ids.collect::<Vec<_>>()
    };
    let ids = deliver(0);
    world.run("first").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..3));
    deliver(10);
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, [numbers(0..3), numbers(10..13)].concat());
    // The user takes one out of spam.
    world.with(|fake| fake.mailbox(ANNA).label(&ids[4], vec!["INBOX".into()]));
    world.run("rescued").await.unwrap();
    assert_eq!(world.documents().await, [numbers(0..3), numbers(4..5), numbers(10..13)].concat());
}

#[tokio::test]
async fn named_folders_are_labels() {
    let world = World::new().await;
    world.with(|fake| fake.mailbox(ANNA).labels = vec!["Bills".into()]);
    let first = world.deliver(0);
    world.deliver_as(1, &super::world::invoice(1), &["Bills"]);
    world.connect(&MailboxSpec { folders: vec!["bills".into()], ..world.spec() }).await;
    world.run("first").await.unwrap();
    assert_eq!(world.documents().await, numbers(1..2));
    world.deliver(2);
    world.with(|fake| fake.mailbox(ANNA).label(&first, vec!["Bills".into(), "INBOX".into()]));
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..2), "labelled later");
    world.connect(&MailboxSpec { folders: vec!["nowhere".into()], ..world.spec() }).await;
    let failure = world.run("wrong").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Permanent, "gmail-label-missing"));
}

/// The operator's query narrows increments as well, for five units instead of twenty a message; what search does not
/// know yet is fetched all the same.
#[tokio::test]
async fn an_increment_is_preselected_by_search() {
    let mut world = World::new().await;
    world.settings.query = "-category:social".into();
    world.deliver(0);
    world.deliver_as(1, &super::world::invoice(1), &["INBOX", "CATEGORY_SOCIAL"]);
    world.run("first").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..1));
    let (labels, now) = (vec!["INBOX".to_owned(), "CATEGORY_SOCIAL".to_owned()], NOW);
    for n in 2..6 {
        // All are of the category, and search knows but the first.
        let raw = super::world::invoice(n).into_bytes();
        world.with(|fake| fake.mailbox(ANNA).add(raw, now + n as i64, labels.clone(), n == 2));
    }
    let raw = super::world::invoice(6).into_bytes();
    world.with(|fake| fake.mailbox(ANNA).add(raw, now + 6, vec!["INBOX".into()], false));
    world.calls();
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, [numbers(0..1), numbers(2..3), numbers(6..7)].concat());
    let calls = world.calls();
    assert_eq!((calls["list"], calls["history"]), (2, 1), "{calls:?}");
}

#[tokio::test]
async fn a_history_that_is_too_old_leads_to_the_list_and_fetches_only_what_is_new() {
    let world = World::new().await;
    (0..60).for_each(|n| drop(world.deliver(n)));
    world.run("first").await.unwrap();
    (60..65).for_each(|n| drop(world.deliver(n)));
    world.with(|fake| fake.mailbox(ANNA).forget_history());
    world.calls();
    let outcome = world.run("after two weeks").await.unwrap();
    assert_eq!((outcome.messages_read, outcome.documents_new), (5, 5));
    let calls = world.calls();
    assert_eq!((calls["list"], calls["history"]), (2, 2), "{calls:?}");
    assert_eq!(calls.get("get").unwrap_or(&0) + calls.get("part").unwrap_or(&0), 5, "{calls:?}");
    world.deliver(65);
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..66));
}

/// A history that is always too old ends the run, not the worker.
#[tokio::test]
async fn a_history_that_is_never_known_ends_the_run() {
    let world = World::new().await;
    world.deliver(0);
    let gone = Then { status: Some(404), reason: Some("notFound".into()), ..Then::default() };
    world.order("history", 20, gone);
    let failure = world.run("run").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Transient, "gmail-pages"));
    assert_eq!(world.documents().await, numbers(0..1), "what was read stays");
}

#[tokio::test]
async fn a_page_without_records_is_no_end() {
    let world = World::new().await;
    world.run("first").await.unwrap();
    world.with(|fake| fake.gap = true);
    (0..3).for_each(|n| drop(world.deliver(n)));
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..3));
}

#[tokio::test]
async fn page_tokens_that_expired_begin_the_list_again() {
    let world = World::new().await;
    (0..200).for_each(|n| drop(world.deliver(n)));
    world.run_and_kill(1, 20, 4).await;
    let bad = Then { status: Some(400), reason: Some("invalidArgument".into()), ..Then::default() };
    world.order("list", 1, bad);
    run(&world.syncer(), &job("run", 2)).await.unwrap();
    assert_eq!(world.documents().await, numbers(0..200));
    assert_eq!(world.mailbox().await.duplicates, 0);
}

#[tokio::test]
async fn pages_that_lead_round_in_a_circle_end_the_run() {
    let world = World::new().await;
    (0..10).for_each(|n| drop(world.deliver(n)));
    world.with(|fake| fake.circle = true);
    let failure = world.run("run").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Transient, "gmail-pages"));
    assert_eq!(world.documents().await, numbers(0..10), "what was read stays");
}

#[tokio::test]
async fn a_message_that_vanished_is_passed_over() {
    let world = World::new().await;
    world.run("first").await.unwrap();
    let ids: Vec<String> = (0..5).map(|n| world.deliver(n)).collect();
    world.with(|fake| fake.mailbox(ANNA).remove(&ids[2]));
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, [numbers(0..2), numbers(3..5)].concat());
    assert_eq!(world.messages().await.len(), 4);
}
