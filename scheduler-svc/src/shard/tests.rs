//! The real threads, on the memory store and on the embedded one.

use std::{sync::Barrier, time::Duration};

use super::*;
use crate::{
    event_log::{Cursor, Expired, Kind},
    metrics::{Metrics, ShardMetrics},
    state_machine::{
        command::{Caller, GetRun, OpenSession, Report, Reported, TriggerNow, Upsert},
        definition::ScheduleKey,
        id::{RunId, Uid},
        output::{Answer, Body, Event, Job, Receipt, Refusal, ScheduleChange},
        poison,
        tests::bench::{definition, every},
        view::RunView,
    },
    store::{
        Opened,
        embedded::EmbeddedStore,
        memory::{Fault, MemoryStore},
    },
};

struct Deaf;

impl Observer for Deaf {
    fn observe(&self, _: &Event) {}
}

fn key(id: &str) -> ScheduleKey {
    ScheduleKey::new("default", id)
}

fn upsert(id: &str) -> Command {
    let definition = definition(id, every(86_400_000));
    Command::Upsert(Box::new(Upsert {
        definition,
        uid: Uid(rand::random()),
        etag: None,
        create_only: false,
        request: None,
        validate_only: false,
        actor: "".into(),
    }))
}

async fn run_now(shard: &Handle, id: &str) -> RunId {
    let trigger = TriggerNow { key: key(id), request: None, actor: "".into() };
    match shard.call(Command::Trigger(trigger), None).await.expect("trigger") {
        Answer::Triggered { run, .. } => match *run {
            RunView::Live(live) => live.id,
            RunView::Final { id, .. } => id,
        },
        other => panic!("{other:?}"),
    }
}

fn hello(id: u64) -> Command {
    Command::OpenSession(Box::new(OpenSession {
        caller: Caller::default(),
        session: SessionId(id),
        worker_id: "w".into(),
        instance: format!("i{id}").as_str().into(),
        version: "".into(),
        slots: 4,
        kinds: vec!["sync".into()],
        namespaces: None,
        archive_id: None,
        held: Vec::new(),
        draining: false,
    }))
}

async fn connect(shard: &Handle, id: u64) -> Messages {
    let (sender, messages) = outbox(4);
    shard.open(hello(id), SessionId(id), sender).await.expect("open");
    messages
}

async fn job(messages: &mut Messages) -> Job {
    let Body::Jobs(mut jobs) = messages.recv().await.expect("a message").body else { panic!("jobs") };
    jobs.remove(0)
}

async fn succeed(shard: &Handle, job: &Job) -> Receipt {
    let outcome = Reported::Success { result: Bytes::new() };
    let report = Report {
        caller: Caller::default(),
        worker_id: None,
        id: Some(job.id),
        attempt: job.attempt,
        token: job.token,
        outcome,
        invalid: None,
    };
    match shard.call(Command::Report(vec![report]), None).await.expect("report") {
        Answer::Reported(mut receipts) => receipts.remove(0),
        other => panic!("{other:?}"),
    }
}

/// Saves, runs, is killed in the middle, and goes on.
async fn lives_through_a_restart(open: impl Fn() -> Arc<dyn Store>) {
    let Shard { handle, stopped, epoch, .. } = start(open(), Config::default(), Deaf).expect("start");
    handle.call(upsert("a"), None).await.expect("upsert");
    let mut messages = connect(&handle, 1).await;
    let first = run_now(&handle, "a").await;
    let sent = job(&mut messages).await;
    assert_eq!(sent.id, first);
    drop((handle, messages));
    assert_eq!(stopped.await, Ok(None), "it ends when nobody can call it");

    let Shard { handle, epoch: next, loaded, .. } = start(open(), Config::default(), Deaf).expect("start");
    assert!(next > epoch && loaded >= 3);
    assert_eq!(succeed(&handle, &sent).await, Receipt::Accepted { next_attempt: None });
    assert_eq!(succeed(&handle, &sent).await, Receipt::Repeated);
    let mut messages = connect(&handle, 2).await;
    let second = run_now(&handle, "a").await;
    let sent_again = job(&mut messages).await;
    assert!(sent_again.id == second && sent_again.token > sent.token);
}

#[tokio::test]
async fn a_shard_on_a_memory_store_lives_through_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    lives_through_a_restart(|| store.clone()).await;
}

#[tokio::test]
async fn a_shard_on_an_embedded_store_lives_through_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::new(folder.path()).expect("a store"));
    lives_through_a_restart(|| store.clone()).await;
}

#[tokio::test]
async fn p2_lost_answers_of_the_store_are_not_seen_by_callers() {
    let store = Arc::new(MemoryStore::default());
    let shard = start(store.clone(), Config::default(), Deaf).expect("start");
    store.inject([Fault::LostBefore, Fault::LostAfter]);
    shard.handle.call(upsert("a"), None).await.expect("upsert");
    let hot = store.open().expect("open").hot;
    assert_eq!(hot.len(), 3, "the store's own record, definition and state");
}

#[tokio::test]
async fn commits_are_counted_by_whether_the_store_has_answered() {
    let store = Arc::new(MemoryStore::default());
    let metrics = Metrics::new().expect("metrics");
    let shard = start(store.clone(), Config::default(), ShardMetrics::new(metrics.clone())).expect("start");
    store.inject([Fault::LostBefore, Fault::LostAfter]);
    shard.handle.call(upsert("a"), None).await.expect("upsert");
    // Counted before the caller is answered.
    let page = metrics.render();
    let value = |series: &str| page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    assert_eq!(value("docket_store_commits_total{outcome=\"unknown\"}"), Some("2"), "{page}");
    let done = value("docket_store_commits_total{outcome=\"done\"}");
    assert!(done.is_some_and(|done| done != "0"), "{page}");
    assert_eq!(value("docket_store_commit_duration_seconds_count"), done);
    assert_eq!(value("docket_schedule_changes_total{change=\"created\"}"), Some("1"));
}

#[tokio::test]
async fn a_fenced_shard_stops_and_tells_its_callers_nothing() {
    let store = Arc::new(MemoryStore::default());
    let shard = start(store.clone(), Config::default(), Deaf).expect("start");
    let mut messages = connect(&shard.handle, 1).await;
    store.open().expect("another owner");
    assert_eq!(shard.handle.call(upsert("a"), None).await.err(), Some(CallError::Stopped));
    assert_eq!(shard.stopped.await, Ok(Some(Halt::Fenced)));
    assert!(messages.recv().await.is_none(), "streams end");
    assert_eq!(shard.handle.call(upsert("a"), None).await.err(), Some(CallError::Stopped));
}

/// A store whose commits fail for good, or panic.
struct Broken {
    store: MemoryStore,
    panics: bool,
}

impl Store for Broken {
    fn kind(&self) -> &'static str {
        "broken"
    }

    fn open(&self) -> Result<Opened, StoreError> {
        self.store.open()
    }

    fn commit(&self, _: u64, _: u64, _: Batch) -> Result<(), StoreError> {
        assert!(!self.panics, "on purpose");
        Err(StoreError::Fatal("the disk is full".into()))
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.store.read(keys)
    }
}

#[tokio::test]
async fn p2_a_store_that_fails_or_panics_ends_the_shard_and_callers_are_told() {
    for panics in [false, true] {
        let store = Arc::new(Broken { store: MemoryStore::default(), panics });
        let shard = start(store, Config::default(), Deaf).expect("start");
        assert_eq!(shard.handle.call(upsert("a"), None).await.err(), Some(CallError::Failed));
        let Ok(Some(Halt::Failed(why))) = shard.stopped.await else { panic!("no reason") };
        assert!(why.contains(if panics { "panicked" } else { "the disk is full" }), "{why}");
        assert_eq!(shard.handle.call(upsert("a"), None).await.err(), Some(CallError::Failed));
    }
}

/// A store whose commits wait at a barrier.
struct Slow {
    store: MemoryStore,
    gate: Barrier,
}

impl Store for Slow {
    fn kind(&self) -> &'static str {
        "slow"
    }

    fn open(&self) -> Result<Opened, StoreError> {
        self.store.open()
    }

    fn commit(&self, epoch: u64, seq: u64, batch: Batch) -> Result<(), StoreError> {
        self.gate.wait();
        self.store.commit(epoch, seq, batch)
    }

    fn read(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.store.read(keys)
    }
}

#[tokio::test]
async fn p1_replies_and_reads_wait_for_a_slow_commit() {
    let slow = Arc::new(Slow { store: MemoryStore::default(), gate: Barrier::new(2) });
    let shard = start(slow.clone(), Config::default(), Deaf).expect("start");
    let mut write = Box::pin(shard.handle.call(upsert("a"), None));
    assert!(futures_util::poll!(&mut write).is_pending());
    let get = GetRun {
        namespace: "default".into(),
        id: RunId { uid: Uid(1), trigger: crate::state_machine::id::Trigger::Manual, nominal: 1 },
        wait: false,
    };
    let mut read = Box::pin(shard.handle.call(Command::GetRun(get), None));
    assert!(futures_util::poll!(&mut read).is_pending());
    let open = slow.clone();
    tokio::task::spawn_blocking(move || open.gate.wait()).await.expect("the gate opens");
    write.await.expect("written");
    assert_eq!(read.await.err(), Some(CallError::Refused(Refusal::RunNotFound)));
}

#[tokio::test]
async fn p3_a_call_past_its_deadline_is_dropped_before_it_is_applied() {
    let shard = start(Arc::new(MemoryStore::default()), Config::default(), Deaf).expect("start");
    let past = Instant::now().checked_sub(Duration::from_secs(1)).expect("a second ago");
    assert_eq!(shard.handle.call(upsert("a"), Some(past)).await.err(), Some(CallError::TooLate));
    let get = Command::GetSchedule(key("a"));
    let refused = shard.handle.call(get, None).await.err();
    assert_eq!(refused, Some(CallError::Refused(Refusal::ScheduleNotFound)));
}

#[tokio::test]
async fn a_stream_that_breaks_is_heard_of() {
    let shard = start(Arc::new(MemoryStore::default()), Config::default(), Deaf).expect("start");
    let messages = connect(&shard.handle, 1).await;
    drop(messages);
    shard.handle.close(SessionId(1));
    let list = Command::ListWorkers { namespace: "default".into() };
    let Answer::Workers(workers) = shard.handle.call(list, None).await.expect("list") else {
        panic!("workers")
    };
    assert!(!workers[0].connected);
}

/// What the log says happened to schedules after a cursor.
fn told(shard: &Handle, cursor: Cursor) -> Result<Vec<(Kind, String)>, Expired> {
    let slice = shard.events().after(cursor)?;
    Ok(slice.iter().map(|(_, entry)| (entry.kind, entry.definition().key.id.to_string())).collect())
}

#[tokio::test]
async fn p1_an_event_is_told_after_its_commit_and_before_its_answer() {
    let slow = Arc::new(Slow { store: MemoryStore::default(), gate: Barrier::new(2) });
    let shard = start(slow.clone(), Config::default(), Deaf).expect("start").handle;
    let begin = shard.events().now();
    let mut write = Box::pin(shard.call(upsert("a"), None));
    assert!(futures_util::poll!(&mut write).is_pending());
    // The commit waits at the gate, so whatever the log holds now was said too early.
    let open = slow.clone();
    let before = told(&shard, begin);
    tokio::task::spawn_blocking(move || open.gate.wait()).await.expect("the gate opens");
    write.await.expect("written");
    assert_eq!(before, Ok(vec![]));
    assert_eq!(told(&shard, begin), Ok(vec![(Kind::Schedule(ScheduleChange::Created), "a".into())]));
}

/// Poisons the shard's thread when it sees a schedule named `trap`.
struct Trapper;

impl Observer for Trapper {
    fn observe(&self, event: &Event) {
        if let Event::Schedule { view, .. } = event
            && &*view.definition.key.id == "trap"
        {
            poison::arm(poison::At::Command, "bad");
        }
    }
}

/// The machine is loaded anew, so nobody can say that nothing was missed: cursors are void, and watchers hear of it.
#[tokio::test]
async fn p4_after_a_panic_the_log_begins_anew() {
    let shard = start(Arc::new(MemoryStore::default()), Config::default(), Trapper).expect("start").handle;
    shard.call(upsert("trap"), None).await.expect("upsert");
    let mut watcher = shard.events().watch().expect("a place");
    let before = shard.events().now();
    watcher.listen();
    let refused = shard.call(upsert("bad"), None).await.err();
    assert_eq!(refused, Some(CallError::Refused(Refusal::Poisonous)));
    watcher.rung().await;
    assert_eq!(told(&shard, before), Err(Expired));
    let begin = shard.events().now();
    shard.call(upsert("good"), None).await.expect("upsert");
    assert_eq!(told(&shard, begin), Ok(vec![(Kind::Schedule(ScheduleChange::Created), "good".into())]));
}
