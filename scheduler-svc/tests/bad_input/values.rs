//! Ids, times, numbers, request ids and page tokens that nobody means.

use docket::{errors::Reason, schedule::v1 as pb};
use pb::ReceiptStatus;
use prost_types::{Duration, Struct, Timestamp, Value, value::Kind};

use super::*;

#[tokio::test]
async fn n09_ids_that_are_none_are_refused_everywhere() {
    let mut served = Served::start().await;
    let (welcome, mut stream) = connect(&mut served, "w", 1).await;
    let job = jobs_for(&mut served, &mut stream, 1).await.remove(0);
    let elsewhere =
        pb::GetRunRequest { namespace: "shop".into(), run_id: job.run_id.clone(), ..Default::default() };
    refused(&served.runs.get_run(elsewhere).await.expect_err("other"), Reason::RunNotFound);
    let elsewhere = pb::DeleteScheduleRequest {
        namespace: "shop".into(),
        schedule_id: "mb-0".into(),
        ..Default::default()
    };
    let deleted = served.schedules.delete_schedule(elsewhere).await;
    assert!(deleted.is_err_and(|status| reason_of(&status) == Some(Reason::ScheduleNotFound)));
    let huge = "x".repeat(1 << 20);
    for bad in ["", &huge, "a\0b", "../x", "a\u{202e}b", "a\u{0}", "%00", "ａ", "a b", "\u{1b}[2J"] {
        let get = pb::GetScheduleRequest { schedule_id: bad.into(), ..Default::default() };
        refused(&served.schedules.get_schedule(get).await.expect_err("id"), Reason::InvalidField);
        let get = pb::GetRunRequest { run_id: bad.into(), ..Default::default() };
        refused(&served.runs.get_run(get).await.expect_err("id"), Reason::InvalidField);
        let trigger = pb::TriggerScheduleRequest { schedule_id: bad.into(), ..Default::default() };
        refused(&served.schedules.trigger_schedule(trigger).await.expect_err("id"), Reason::InvalidField);
        let hello = pb::StreamDueJobsRequest { worker_id: bad.into(), ..hello() };
        refused(&served.workers.stream_due_jobs(hello).await.expect_err("id"), Reason::InvalidField);
        let beat = pb::HeartbeatRequest {
            session_id: welcome.session_id.clone(),
            received: 1,
            held: vec![pb::HeldRun { run_id: bad.into(), ..Default::default() }],
            ..Default::default()
        };
        let answer = served.workers.heartbeat(beat).await.expect("heard").into_inner();
        assert_eq!((answer.orders.len(), answer.orders[0].action()), (1, pb::OrderAction::Drop));
        assert!(answer.orders[0].run_id.len() <= 128);
        let beat = pb::HeartbeatRequest { session_id: bad.into(), ..Default::default() };
        assert!(served.workers.heartbeat(beat).await.expect("heard").into_inner().reopen);
        let receipts =
            report(&mut served, bad, vec![pb::Report { run_id: bad.into(), ..success(&job) }]).await;
        assert_eq!(receipts, [ReceiptStatus::Forgotten]);
    }
    // A surrogate without its other half, as bytes of field 2 (schedule_id).
    let lone = Bytes::from_static(&[0x12, 0x03, 0xed, 0xa0, 0x80]);
    let path = "/docket.schedule.v1.ScheduleService/GetSchedule";
    let status = send(&served, path, &[], vec![frame(0, &lone)], false).await.expect("refused");
    refused(&status, Reason::MalformedMessage);
    assert_eq!(report(&mut served, "w", vec![success(&job)]).await, [ReceiptStatus::Accepted]);
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn field_refused(status: &Status, field: &str) {
    refused(status, Reason::InvalidField);
    assert!(status.message().starts_with(field), "{field}: {}", status.message());
}

#[tokio::test]
async fn n10_values_that_no_one_means_are_refused_by_field() {
    let mut served = Served::start().await;
    let (year_1, year_9999) = (-62_135_596_800, 253_402_300_799);
    for seconds in [year_1, year_9999, i64::MIN, i64::MAX] {
        let mut bad = schedule("a", every(60));
        bad.start_time = time(seconds);
        field_refused(&served.upsert(bad.clone()).await.expect_err("start"), "schedule.start_time");
        (bad.start_time, bad.end_time) = (None, time(seconds));
        field_refused(&served.upsert(bad.clone()).await.expect_err("end"), "schedule.end_time");
        bad.end_time = None;
        bad.timing = Some(pb::schedule::Timing::At(Timestamp { seconds, nanos: -1 }));
        field_refused(&served.upsert(bad.clone()).await.expect_err("at"), "schedule.at");
        let until =
            pb::PauseScheduleRequest { schedule_id: "a".into(), until: time(seconds), ..Default::default() };
        field_refused(&served.schedules.pause_schedule(until).await.expect_err("until"), "until");
        let preview = pb::PreviewScheduleRequest {
            schedule: Some(schedule("a", every(60))),
            after: time(seconds),
            count: 1,
        };
        field_refused(&served.schedules.preview_schedule(preview).await.expect_err("after"), "after");
    }
    for span in [Duration { seconds: -1, nanos: 0 }, Duration { seconds: i64::MIN, nanos: i32::MIN }] {
        let mut bad = schedule("a", every(60));
        bad.spread = Some(span);
        field_refused(&served.upsert(bad).await.expect_err("spread"), "schedule.spread");
        let mut bad = schedule("a", every(60));
        bad.task.as_mut().expect("a task").timeout = Some(span);
        field_refused(&served.upsert(bad).await.expect_err("timeout"), "schedule.task.timeout");
    }
    let list = |inner| Kind::ListValue(prost_types::ListValue { values: vec![Value { kind: inner }] });
    for kind in [
        Some(Kind::NumberValue(f64::NAN)),
        Some(Kind::NumberValue(f64::NEG_INFINITY)),
        Some(list(Some(Kind::NumberValue(f64::INFINITY)))),
        Some(list(None)),
        None,
    ] {
        let mut bad = schedule("a", every(60));
        let args = Struct { fields: [("x".to_owned(), Value { kind })].into() };
        bad.task.as_mut().expect("a task").args = Some(args);
        field_refused(&served.upsert(bad).await.expect_err("args"), "schedule.task.args");
    }
    let mut deep = Value { kind: Some(Kind::BoolValue(true)) };
    for _ in 0..200 {
        deep = Value { kind: Some(list(deep.kind)) };
    }
    let mut bad = schedule("a", every(60));
    bad.task.as_mut().expect("a task").args = Some(Struct { fields: [("x".to_owned(), deep)].into() });
    refused(&served.upsert(bad).await.expect_err("too deep"), Reason::MalformedMessage);
    still_serves(&mut served).await;
}

#[tokio::test]
async fn n10_a_report_that_says_nothing_sensible_ends_its_attempt_with_the_reason() {
    let mut served = Served::start().await;
    let (_, mut stream) = connect(&mut served, "w", 8).await;
    let taken = jobs_for(&mut served, &mut stream, 5).await;
    let failed = |class, retry_after| {
        let failure = pb::Failure { class, retry_after, ..Default::default() };
        Some(pb::report::Outcome::Failure(failure))
    };
    let nan = Struct { fields: [("n".to_owned(), Value { kind: Some(Kind::NumberValue(f64::NAN)) })].into() };
    let negative = Some(Duration { seconds: -5, nanos: 0 });
    let outcomes = [
        (None, "outcome"),
        (failed(99, None), "failure.class"),
        (failed(0, None), "failure.class"),
        (failed(pb::FailureClass::Transient.into(), negative), "failure.retry_after"),
        (Some(pb::report::Outcome::Success(pb::Success { result: Some(nan) })), "result"),
    ];
    for (job, (outcome, field)) in taken.iter().zip(outcomes) {
        let reports = vec![pb::Report { outcome, ..success(job) }];
        let request = pb::ReportResultsRequest { reports, ..Default::default() };
        let receipt =
            served.workers.report_results(request).await.expect("receipts").into_inner().receipts.remove(0);
        assert_eq!(receipt.status(), ReceiptStatus::Invalid, "{field}");
        assert!(receipt.reason.starts_with(field), "{field}: {}", receipt.reason);
        let run = state_of(&mut served, &job.run_id).await;
        let failure = run.failure.clone().expect("a failure");
        assert_eq!((run.state(), failure.code.as_str()), (pb::RunState::Failed, "INVALID_REPORT"));
    }
}

#[tokio::test]
async fn n12_a_request_id_with_another_body_is_refused_by_every_call() {
    let mut served = Served::start().await;
    for id in ["a", "b"] {
        served.upsert(schedule(id, every(3600))).await.expect("upsert");
    }
    macro_rules! reused {
        ($call:ident, $request:ident) => {{
            let request = |id: &str| pb::$request {
                schedule_id: id.into(),
                request_id: stringify!($call).into(),
                ..Default::default()
            };
            served.schedules.$call(request("a")).await.expect("the first");
            served.schedules.$call(request("a")).await.expect("the same again");
            let other = served.schedules.$call(request("b")).await.expect_err("another body");
            refused(&other, Reason::RequestIdReused);
        }};
    }
    reused!(trigger_schedule, TriggerScheduleRequest);
    reused!(pause_schedule, PauseScheduleRequest);
    reused!(resume_schedule, ResumeScheduleRequest);
    reused!(delete_schedule, DeleteScheduleRequest);
    let other_call = pb::PauseScheduleRequest {
        schedule_id: "b".into(),
        request_id: "resume_schedule".into(),
        ..Default::default()
    };
    let status = served.schedules.pause_schedule(other_call).await.expect_err("another call");
    refused(&status, Reason::RequestIdReused);
}

#[tokio::test]
async fn n13_a_page_token_that_was_tampered_with_is_refused() {
    let mut served = Served::start().await;
    for n in 0..3 {
        served.upsert(schedule(&format!("mb-{n}"), every(3600))).await.expect("upsert");
    }
    let list = pb::ListSchedulesRequest { page_size: 1, ..Default::default() };
    let token =
        served.schedules.list_schedules(list.clone()).await.expect("a page").into_inner().next_page_token;
    let mut bad: Vec<String> = (1..token.len()).map(|end| token[..end].to_owned()).collect();
    let flip = |index: usize| {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).expect("ASCII")
    };
    bad.extend((0..token.len().min(16)).map(flip));
    bad.extend(["\0".to_owned(), "é".repeat(9), "zz".repeat(20), "0".repeat(1 << 20)]);
    for page_token in bad {
        let status = served
            .schedules
            .list_schedules(pb::ListSchedulesRequest { page_token: page_token.clone(), ..list.clone() });
        match status.await {
            Err(status) => refused(&status, Reason::InvalidPageToken),
            // The position itself is no secret: cut short it is another place of the same list.
            Ok(page) => {
                assert!(page.into_inner().schedules.iter().all(|one| one.schedule_id.starts_with("mb-")))
            }
        }
    }
    let other_filter = pb::ListSchedulesRequest {
        filter: Some(pb::ScheduleFilter { labels: [("k".into(), "v".into())].into(), ..Default::default() }),
        page_token: token,
        ..list
    };
    let status = served.schedules.list_schedules(other_filter).await.expect_err("another filter");
    refused(&status, Reason::InvalidPageToken);
}
