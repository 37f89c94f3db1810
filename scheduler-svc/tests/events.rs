//! `ListEvents` and `WatchEvents` as an app meets them (rule R8).

#[path = "events/app.rs"]
mod app;
#[path = "events/mirror.rs"]
mod mirror;
#[allow(dead_code, reason = "shared with the other tests of the surface")]
mod served;

use std::time::Duration;

use app::{labelled, list, refused, start, types, watch};
use docket::{errors::Reason, schedule::v1 as pb};
use pb::EventType as T;
use served::{Served, every, hello, schedule};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

#[tokio::test]
async fn events_tell_what_is_after_the_change_and_who_changed_it() {
    let mut served = Served::start().await;
    served.upsert(labelled("a", "red")).await.expect("upsert");
    served.pause("a", "holiday").await;
    served.resume("a").await;
    let run = served.trigger("a").await;
    served.cancel(&run.run_id).await;
    served.delete("a").await;
    let listed = list(&served, pb::ListEventsRequest::default()).await.expect("list");
    assert_eq!(
        types(&listed.events),
        [
            T::ScheduleCreated,
            T::SchedulePaused,
            T::ScheduleResumed,
            T::RunCreated,
            T::RunFinished,
            T::ScheduleDeleted
        ]
    );
    assert!(!listed.more);
    assert!(listed.events.iter().all(|event| event.namespace == "default" && event.time.is_some()));
    let paused = listed.events[1].schedule.as_ref().expect("a schedule");
    assert_eq!(paused.state(), pb::ScheduleState::Paused);
    assert_eq!(paused.pause.as_ref().expect("a pause").note, "holiday");
    let created = listed.events[3].run.as_ref().expect("a run");
    assert_eq!((&created.run_id, created.state()), (&run.run_id, pb::RunState::Queued));
    assert_eq!((created.labels["team"].as_str(), &created.task), ("red", &run.task));
    let finished = listed.events[4].run.as_ref().expect("a run");
    assert_eq!(finished.state(), pb::RunState::Cancelled);
    assert!(finished.failure.as_ref().expect("a reason").message.contains("cancelled by local"));
    let actors: Vec<&str> = listed.events.iter().map(|event| event.actor.as_str()).collect();
    assert_eq!(actors, ["local", "local", "local", "local", "docket", "local"]);
    assert_eq!(listed.next_cursor, listed.events[5].cursor);
}

#[tokio::test]
async fn a_run_on_a_worker_is_told_with_its_attempt() {
    let mut served = Served::start().await;
    let mut jobs = served.workers.stream_due_jobs(hello()).await.expect("a stream").into_inner();
    served.upsert(schedule("a", every(3600))).await.expect("upsert");
    let mut stream = watch(&served, pb::WatchEventsRequest::default()).await.expect("watch");
    let run = served.trigger("a").await;
    jobs.message().await.expect("a stream").expect("the welcome");
    let events = app::events(&mut stream, 2).await;
    assert_eq!(types(&events), [T::RunCreated, T::RunStarted]);
    let started = events[1].run.as_ref().expect("a run");
    assert_eq!((&started.run_id, started.state()), (&run.run_id, pb::RunState::Running));
    assert_eq!((started.attempt, started.worker_id.as_str()), (1, "w"));
    assert_eq!((started.attempts.len(), started.start_time.is_some()), (1, true));
}

#[tokio::test]
async fn a_watcher_goes_on_from_any_cursor() {
    let mut served = Served::start().await;
    served.upsert(schedule("before", every(3600))).await.expect("upsert");
    let mut stream = watch(&served, pb::WatchEventsRequest::default()).await.expect("watch");
    let first = stream.message().await.expect("a stream").expect("a message");
    assert!(first.events.is_empty() && !first.reset && !first.cursor.is_empty());
    for id in ["a", "b", "c"] {
        served.upsert(schedule(id, every(3600))).await.expect("upsert");
    }
    let seen = app::events(&mut stream, 3).await;
    assert_eq!(app::ids(&seen), ["a", "b", "c"], "from the first message on");
    drop(stream);
    for (cursor, rest) in [(&first.cursor, &["a", "b", "c"][..]), (&seen[0].cursor, &["b", "c"])] {
        let request = pb::WatchEventsRequest { cursor: cursor.clone(), ..Default::default() };
        let mut stream = watch(&served, request).await.expect("watch");
        let begin = stream.message().await.expect("a stream").expect("a message");
        assert_eq!((&begin.cursor, begin.reset), (cursor, false));
        assert_eq!(app::ids(&app::events(&mut stream, rest.len()).await), rest);
        let request = pb::ListEventsRequest { cursor: cursor.clone(), ..Default::default() };
        assert_eq!(app::ids(&list(&served, request).await.expect("list").events), rest);
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    let mut served = Served::start().await;
    for n in 0..7 {
        served.upsert(schedule(&format!("s{n}"), every(3600))).await.expect("upsert");
    }
    let mut request = pb::ListEventsRequest { page_size: 3, ..Default::default() };
    let mut sizes = Vec::new();
    loop {
        let page = list(&served, request.clone()).await.expect("list");
        sizes.push(page.events.len());
        request.cursor = page.next_cursor;
        if !page.more {
            break;
        }
    }
    assert_eq!(sizes, [3, 3, 1]);
    let page = list(&served, request.clone()).await.expect("list");
    assert_eq!((page.events.len(), &page.next_cursor), (0, &request.cursor), "to go on later");
}

#[tokio::test]
async fn filters_meet_all_that_is_set() {
    let mut served = Served::start().await;
    served.upsert(labelled("a", "red")).await.expect("upsert");
    served.upsert(labelled("b", "blue")).await.expect("upsert");
    let run = served.trigger("a").await.run_id;
    served.trigger("b").await;
    let team = |team: &str| [("team".to_owned(), team.to_owned())].into();
    let of = |filter| pb::ListEventsRequest { filter: Some(filter), ..Default::default() };
    let created = vec![T::RunCreated.into()];
    for (filter, expected) in [
        (pb::EventFilter::default(), "a b a b"),
        (pb::EventFilter { schedule_id: "a".into(), ..Default::default() }, "a a"),
        (pb::EventFilter { types: created.clone(), ..Default::default() }, "a b"),
        (pb::EventFilter { labels: team("blue"), ..Default::default() }, "b b"),
        (pb::EventFilter { run_ids: vec![run.clone()], ..Default::default() }, "a"),
        (pb::EventFilter { types: created, labels: team("red"), ..Default::default() }, "a"),
        (pb::EventFilter { run_ids: vec![run], labels: team("blue"), ..Default::default() }, ""),
    ] {
        let page = list(&served, of(filter.clone())).await.expect("list");
        assert_eq!(app::ids(&page.events).join(" "), expected, "{filter:?}");
        assert!(!page.next_cursor.is_empty());
    }
}

#[tokio::test]
async fn each_bad_field_is_named() {
    let served = Served::start().await;
    let id = "0-00000000000000000000000000000abc-m1".to_owned();
    let filter = |filter| pb::ListEventsRequest { filter: Some(filter), ..Default::default() };
    let long = [("k".repeat(1_000), String::new())].into();
    for (field, bad) in [
        ("namespace", pb::ListEventsRequest { namespace: "a b".into(), ..Default::default() }),
        ("page_size", pb::ListEventsRequest { page_size: -1, ..Default::default() }),
        ("cursor", pb::ListEventsRequest { cursor: "later".into(), ..Default::default() }),
        ("filter.types[0]", filter(pb::EventFilter { types: vec![0], ..Default::default() })),
        ("filter.types[1]", filter(pb::EventFilter { types: vec![1, 99], ..Default::default() })),
        ("filter.schedule_id", filter(pb::EventFilter { schedule_id: "a/b".into(), ..Default::default() })),
        ("filter.run_ids[0]", filter(pb::EventFilter { run_ids: vec!["x".into()], ..Default::default() })),
        ("filter.run_ids", filter(pb::EventFilter { run_ids: vec![id; 101], ..Default::default() })),
        ("filter.labels", filter(pb::EventFilter { labels: long, ..Default::default() })),
    ] {
        let status = list(&served, bad.clone()).await.expect_err(field);
        refused(&status, Reason::InvalidField);
        let named = status.get_details_bad_request().expect("BadRequest").field_violations;
        assert_eq!(named[0].field, field);
        if field != "page_size" {
            let pb::ListEventsRequest { namespace, filter, cursor, .. } = bad;
            let same = pb::WatchEventsRequest { namespace, filter, cursor };
            refused(&watch(&served, same).await.expect_err(field), Reason::InvalidField);
        }
    }
}

#[tokio::test]
async fn r8_a_cursor_that_is_not_kept_is_out_of_range_or_resets() {
    let (mut served, other) = (start(16, 9).await, Served::start().await);
    let begin = list(&served, pb::ListEventsRequest::default()).await.expect("list").next_cursor;
    let foreign = list(&other, pb::ListEventsRequest::default()).await.expect("list").next_cursor;
    for n in 0..17 {
        served.upsert(schedule(&format!("s{n}"), every(3600))).await.expect("upsert");
    }
    for cursor in [begin, foreign] {
        let request = pb::ListEventsRequest { cursor: cursor.clone(), ..Default::default() };
        let status = list(&served, request).await.expect_err("not kept");
        assert_eq!(status.code(), Code::OutOfRange);
        refused(&status, Reason::CursorExpired);
        let request = pb::WatchEventsRequest { cursor, ..Default::default() };
        let mut stream = watch(&served, request).await.expect("watch");
        let first = stream.message().await.expect("a stream").expect("a message");
        assert!(first.reset && first.events.is_empty());
        served.pause("s0", "n").await;
        let events = app::events(&mut stream, 1).await;
        assert_eq!(types(&events), [T::SchedulePaused], "from now on");
        served.resume("s0").await;
        assert_eq!(types(&app::events(&mut stream, 1).await), [T::ScheduleResumed]);
    }
    let oldest = list(&served, pb::ListEventsRequest::default()).await.expect("what is kept");
    assert!((8..=16).contains(&oldest.events.len()), "{}", oldest.events.len());
}

#[tokio::test]
async fn w10_a_watcher_that_does_not_read_is_reset_and_slows_nobody() {
    let mut served = start(20, 1).await;
    let stingy = app::stingy(&served.url).await;
    let mut stream = app::watch_on(stingy, pb::WatchEventsRequest::default()).await.expect("watch");
    // More than its window, one message on the way and the ring can hold.
    for n in 0..100 {
        let mut large = schedule("a", every(3600 + n));
        large.task.as_mut().expect("a task").payload = vec![0; 15 << 10].into();
        served.upsert(large).await.expect("the scheduler goes on");
    }
    let mut seen = 0;
    let reset = loop {
        let message = stream.message().await.expect("a stream").expect("a message");
        seen += message.events.len();
        if message.reset {
            break message;
        }
    };
    assert!(seen < 80, "{seen}");
    served.upsert(schedule("b", every(3600))).await.expect("upsert");
    assert_eq!(app::ids(&app::events(&mut stream, 1).await), ["b"]);
    let request = pb::ListEventsRequest { cursor: reset.cursor, ..Default::default() };
    assert_eq!(app::ids(&list(&served, request).await.expect("list").events), ["b"], "its cursor is good");
}

#[tokio::test]
async fn another_namespace_sees_nothing() {
    let mut served = Served::start().await;
    let request = pb::WatchEventsRequest { namespace: "other".into(), ..Default::default() };
    let mut stream = watch(&served, request).await.expect("watch");
    served.upsert(schedule("mine", every(3600))).await.expect("upsert");
    served.trigger("mine").await;
    let theirs = pb::Schedule { namespace: "other".into(), ..schedule("theirs", every(3600)) };
    served.upsert(theirs).await.expect("upsert");
    assert_eq!(app::ids(&app::events(&mut stream, 1).await), ["theirs"]);
    let request = pb::ListEventsRequest { namespace: "other".into(), ..Default::default() };
    assert_eq!(app::ids(&list(&served, request).await.expect("list").events), ["theirs"]);
}

#[tokio::test]
async fn a_filter_that_matches_little_is_looked_through_in_bounded_steps() {
    let mut served = Served::start().await;
    for n in 0..500 {
        served.upsert(labelled(&format!("s{n}"), "red")).await.expect("upsert");
    }
    let filter = Some(pb::EventFilter { schedule_id: "none".into(), ..Default::default() });
    let request = pb::WatchEventsRequest { filter: filter.clone(), ..Default::default() };
    let mut stream = watch(&served, request).await.expect("watch");
    let first = stream.message().await.expect("a stream").expect("a message");
    for n in 0..21 {
        served.pause_all("red", &format!("note {n}")).await;
    }
    let request = pb::ListEventsRequest { filter, ..Default::default() };
    let page = list(&served, request.clone()).await.expect("list");
    assert_eq!((page.events.len(), page.more), (0, true));
    let rest = pb::ListEventsRequest { cursor: page.next_cursor, ..request };
    assert!(!list(&served, rest).await.expect("list").more);
    let moved = stream.message().await.expect("a stream").expect("a message");
    assert!(moved.events.is_empty() && !moved.reset && moved.cursor > first.cursor);
}

#[tokio::test]
async fn pages_are_far_below_the_bound_of_a_message() {
    let mut served = Served::start().await;
    for n in 0..60 {
        let mut large = schedule(&format!("s{n}"), every(3600));
        large.task.as_mut().expect("a task").payload = vec![0; 15 << 10].into();
        served.upsert(large).await.expect("upsert");
    }
    let request = pb::ListEventsRequest { page_size: 1_000, ..Default::default() };
    let page = list(&served, request).await.expect("list");
    assert!(page.more && (10..=20).contains(&page.events.len()), "{}", page.events.len());
}

#[tokio::test]
async fn streams_end_when_the_scheduler_stops() {
    let served = Served::start().await;
    let mut stream = watch(&served, pb::WatchEventsRequest::default()).await.expect("watch");
    stream.message().await.expect("a stream").expect("the first message");
    served.stop();
    refused(&stream.message().await.expect_err("the end"), Reason::NotServing);
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline() {
    let served = Served::start().await;
    let mut request = Request::new(pb::WatchEventsRequest::default());
    request.metadata_mut().insert("grpc-timeout", "300m".parse().expect("a value"));
    let mut runs = served.runs.clone();
    let mut stream = runs.watch_events(request).await.expect("watch").into_inner();
    stream.message().await.expect("a stream").expect("the first message");
    refused(&stream.message().await.expect_err("the end"), Reason::DeadlineExceeded);
}

#[tokio::test]
async fn watchers_are_bounded_and_make_room_when_they_go() {
    let served = start(100, 2).await;
    let request = pb::WatchEventsRequest::default;
    let mut first = watch(&served, request()).await.expect("watch");
    let _second = watch(&served, request()).await.expect("watch");
    let status = watch(&served, request()).await.expect_err("as many as may");
    assert_eq!(status.code(), Code::ResourceExhausted);
    refused(&status, Reason::TooManyWatchers);
    first.message().await.expect("a stream").expect("the first message");
    drop(first);
    // That a stream is gone is heard when the server reads the connection again.
    let comes_free = async { while watch(&served, request()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), comes_free).await.expect("a place comes free");
}
