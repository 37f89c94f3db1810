use std::{sync::Arc, time::Duration};

use docket::{library::v1 as pb, schedule::v1 as schedule};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use prost_types::value::Kind as ValueKind;
use schedule::FailureClass;
use sync_core::{
    archive::{Mailbox, claim::Claim},
    source::{Class, Fault, Fetched, Item, Page, Source},
    sync::Sources,
};
use worker_svc::kind::{Kind as _, Outcome, Progress};

use super::world::{World, context, counts, job, job_of, mailbox, synced, watching};

#[track_caller]
fn failed(outcome: Outcome) -> (FailureClass, schedule::Failure, [u64; 4]) {
    let Outcome::Failure { failure, partial, .. } = outcome else { panic!("{outcome:?}") };
    (failure.class(), failure, partial.map_or([0; 4], |partial| counts(&partial)))
}

#[tokio::test]
async fn it_counts_and_reports_progress() {
    let world = World::new().await;
    world.mail("mb/a.eml", &["DOC invoice|Acme|1|2026-05-03|9.00"]);
    world.mail("mb/b.eml", &["DOC invoice|Acme|1|2026-05-03|9.00"]);
    world.mail("mb/c.eml", &["BAD"]);
    world.connect(mailbox("mb", "alice")).await.unwrap();
    let kind = world.kind();
    assert_eq!((kind.name(), kind.is_guarded()), ("document-sync", true));
    let (context, seen) = watching();
    assert_eq!(synced(kind.run(job("mb", "run-1"), context.clone()).await), [1, 1, 3, 1]);
    let last = seen.lock().unwrap().last().cloned().unwrap();
    assert!(matches!(last, Progress { done: 3, total: 3, .. }), "{last:?}");
    assert_eq!(synced(kind.run(job("mb", "run-2"), context).await), [0; 4]);
    let shown = pb::GetMailboxRequest { mailbox_id: "mb".into(), ..Default::default() };
    let shown = world.mailboxes.clone().get_mailbox(shown).await.unwrap().into_inner().mailbox.unwrap();
    assert_eq!((shown.messages, shown.documents, shown.duplicates), (3, 1, 1));
    assert!(shown.last_sync_time.is_some());
}

#[tokio::test]
async fn wrong_arguments_are_permanent() {
    let world = World::new().await;
    let text = |text: &str| Some(ValueKind::StringValue(text.into()));
    let wrong = [None, text(""), text("../x"), text("a\nb"), Some(ValueKind::NumberValue(7.0))];
    for mailbox_id in wrong {
        let outcome = world.kind().run(job_of(mailbox_id, "run"), context()).await;
        let (class, failure, _) = failed(outcome);
        assert_eq!((class, failure.code.as_str()), (FailureClass::Permanent, "INVALID_ARGS"));
        assert!(failure.message.contains("args.mailbox_id"));
    }
    let bare = schedule::DueJob { task: None, ..job("mb", "run") };
    assert_eq!(failed(world.kind().run(bare, context()).await).0, FailureClass::Permanent);
    let (class, failure, _) = failed(world.sync("unknown", "run").await);
    assert_eq!((class, failure.code.as_str()), (FailureClass::Permanent, "MAILBOX_NOT_FOUND"));
}

#[tokio::test]
async fn a_mailbox_belongs_to_the_namespace_of_the_job() {
    let world = World::new().await;
    world.mail("mb/a.eml", &["DOC invoice|Acme|1|2026-05-03|9.00"]);
    world.connect(pb::Mailbox { namespace: "shop".into(), ..mailbox("mb", "alice") }).await.unwrap();
    assert_eq!(failed(world.sync("mb", "run").await).1.code, "MAILBOX_NOT_FOUND");
    let shop = schedule::DueJob { namespace: "shop".into(), ..job("mb", "run") };
    assert_eq!(synced(world.kind().run(shop, context()).await), [1, 0, 1, 0]);
    assert!(world.list(Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn cancelled_superseded_and_disconnected_end_as_such() {
    let world = World::new().await;
    world.mail("mb/a.eml", &["hello"]);
    world.connect(mailbox("mb", "alice")).await.unwrap();
    let stopped = context();
    stopped.cancelled.cancel();
    let (class, failure, _) = failed(world.kind().run(job("mb", "run"), stopped).await);
    assert_eq!((class, failure.code.as_str()), (FailureClass::Cancelled, "CANCELLED"));
    let later = schedule::DueJob { attempt: 2, ..job("mb", "run") };
    synced(world.kind().run(later, context()).await);
    let (class, failure, _) = failed(world.sync("mb", "run").await);
    assert_eq!((class, failure.code.as_str()), (FailureClass::Superseded, "SUPERSEDED"));
    let off = pb::DisconnectMailboxRequest { mailbox_id: "mb".into(), ..Default::default() };
    world.mailboxes.clone().disconnect_mailbox(off).await.unwrap();
    let (class, failure, _) = failed(world.sync("mb", "run-2").await);
    assert_eq!((class, failure.code.as_str()), (FailureClass::Permanent, "MAILBOX_DISCONNECTED"));
}

/// A source that names one mail and then fails.
#[derive(Clone)]
struct Breaks(Fault);

impl Source for Breaks {
    fn changes<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, Fault>> {
        let item = Item { id: "1".into(), locator: String::new(), time: None, size: None };
        let page = Page { items: vec![item], next: "1".into(), more: true, remaining: None };
        ready(if cursor.is_none() { Ok(page) } else { Err(self.0.clone()) }).boxed()
    }

    fn fetch<'a>(&'a self, _: &'a Item) -> BoxFuture<'a, Result<Fetched, Fault>> {
        let mail = b"Subject: x\n\nDOC invoice|Acme|1|2026-05-03|9.00\n";
        ready(Ok(Fetched::Message(mail.to_vec().into()))).boxed()
    }
}

impl Sources for Breaks {
    fn open<'a>(
        &'a self,
        _: &'a Mailbox,
        _: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, Fault>> {
        ready(Ok(Box::new(self.clone()) as Box<dyn Source>)).boxed()
    }
}

#[tokio::test]
async fn a_sources_failure_keeps_its_class_and_the_work_before_it() {
    let throttled = |key: &str| Fault {
        class: Class::Throttled { retry_after: Some(Duration::from_secs(90)), key: Some(key.into()) },
        code: "rate-limit",
        message: "slow\u{1b} down".into(),
    };
    let cases = [
        (Fault::transient("unreachable", "try later"), FailureClass::Transient, ""),
        (throttled("gmail"), FailureClass::Throttled, "gmail"),
        (throttled("not-of-this-run"), FailureClass::Throttled, ""),
        (Fault::permanent("gone", "gone"), FailureClass::Permanent, ""),
        (Fault::reauthorize("consent-revoked", "sign in again"), FailureClass::Reauthorize, ""),
    ];
    for (fault, expected, limit) in cases {
        let world = World::new().await;
        world.mail("mb/a.eml", &[]);
        world.connect(mailbox("mb", "alice")).await.unwrap();
        let job = schedule::DueJob { limits: vec!["gmail".into()], ..job("mb", "run") };
        let outcome = world.kind_of(Arc::new(Breaks(fault.clone()))).run(job, context()).await;
        let (class, failure, partial) = failed(outcome);
        assert_eq!((class, partial, failure.limit.as_str()), (expected, [1, 0, 1, 0], limit));
        assert!(
            failure.code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
            "{}",
            failure.code
        );
        assert!(!failure.message.contains('\u{1b}'));
        let waits = matches!(fault.class, Class::Throttled { .. });
        assert_eq!(failure.retry_after.map(|after| after.seconds), waits.then_some(90));
        let shown = pb::GetMailboxRequest { mailbox_id: "mb".into(), ..Default::default() };
        let shown = world.mailboxes.clone().get_mailbox(shown).await.unwrap().into_inner().mailbox.unwrap();
        let state = if expected == FailureClass::Reauthorize {
            pb::MailboxState::Reauthorize
        } else {
            pb::MailboxState::Connected
        };
        assert_eq!(shown.state(), state);
    }
}
