//! Streams and records that are wrong.

use docket::errors::{Reason, reason_of};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

fn names_field(status: &Status, field: &str) {
    assert_eq!((status.code(), reason_of(status)), (Code::InvalidArgument, Some(Reason::InvalidField)));
    let bad = status.get_details_bad_request().expect("BadRequest");
    assert_eq!(bad.field_violations[0].field, field, "{}", status.message());
}

#[tokio::test]
async fn the_first_message_holds_the_options_and_no_other() {
    let mut served = Served::start().await;
    let with = |options, ids: &[&str]| pb::ImportSchedulesRequest {
        options,
        schedules: ids.iter().map(|id| hourly(id)).collect(),
    };
    names_field(&served.send(vec![]).await.expect_err("none"), "options");
    names_field(&served.send(vec![with(None, &["a"])]).await.expect_err("none"), "options");
    for mode in [0, 99] {
        let options = pb::ImportOptions { mode, ..Default::default() };
        let status = served.send(vec![with(Some(options), &["a"])]).await.expect_err("no mode");
        names_field(&status, "options.mode");
    }
    let options = pb::ImportOptions { namespace: "a b".into(), ..upsert() };
    names_field(&served.import(options, &[]).await.expect_err("a blank"), "options.namespace");
    let options = pb::ImportOptions { missing_filter: Some(pb::ScheduleFilter::default()), ..upsert() };
    names_field(&served.import(options, &[]).await.expect_err("alone"), "options.missing_filter");
    let filter = pb::ScheduleFilter { states: vec![99], ..Default::default() };
    let options = pb::ImportOptions { delete_missing: true, missing_filter: Some(filter), ..upsert() };
    let status = served.import(options, &[hourly("a")]).await.expect_err("a state");
    names_field(&status, "options.missing_filter.states");
    assert!(served.ids().await.is_empty());

    let twice = vec![with(Some(upsert()), &["a"]), with(Some(upsert()), &["b"])];
    names_field(&served.send(twice).await.expect_err("twice"), "options");
    let answer = served.send(vec![with(Some(upsert()), &["c"])]).await.expect("imported");
    assert_eq!(counts(&answer), [1, 0, 0, 0, 0], "schedules may come with the options");
}

#[tokio::test]
async fn a_bad_schedule_is_named_and_the_others_go_on() {
    let mut served = Served::start().await;
    let mut elsewhere = hourly("elsewhere");
    elsewhere.schedule.as_mut().expect("it").namespace = "shop".into();
    let records = [
        hourly("a"),
        hourly("b/c"),
        pb::ScheduleRecord::default(),
        record(schedule("cron", cron(&["61 * * * *"], ""))),
        record(schedule("never", Timing::At(prost_types::Timestamp { seconds: 1_000, nanos: 0 }))),
        elsewhere,
        hourly(&"\u{202e}x".repeat(1_000)),
        hourly("z"),
    ];
    let answer = served.import(upsert(), &records).await.expect("imported");
    assert_eq!(counts(&answer), [2, 0, 0, 0, 6]);
    let mut errors: Vec<_> = answer.errors.iter().map(|e| (&*e.schedule_id, &*e.field, &*e.reason)).collect();
    errors.sort_unstable();
    let long = "x".repeat(128);
    let expected = [
        ("", "schedule", "INVALID_FIELD"),
        ("b/c", "schedule.schedule_id", "INVALID_FIELD"),
        ("cron", "schedule.cron.expressions[0]", "INVALID_FIELD"),
        ("elsewhere", "schedule.namespace", "INVALID_FIELD"),
        ("never", "schedule.timing", "NEVER_FIRES"),
        (&*long, "schedule.schedule_id", "INVALID_FIELD"),
    ];
    assert_eq!(errors, expected);
    let unnamed = answer.errors.iter().find(|error| error.schedule_id.is_empty()).expect("it");
    assert!(unnamed.message.ends_with("(number 3 in the stream)"), "{}", unnamed.message);
    assert_eq!(served.ids().await, ["a", "z"]);
    let shop = pb::ImportOptions { namespace: "shop".into(), ..upsert() };
    assert_eq!(served.import(shop, &records[5..6]).await.expect("imported").created, 1);
}

type Change = fn(&mut pb::ScheduleRecord);

fn of(record: &mut pb::ScheduleRecord) -> &mut pb::Schedule {
    record.schedule.as_mut().expect("a schedule")
}

fn hours(hours: i64) -> Option<prost_types::Timestamp> {
    let now = ahead(0);
    Some(prost_types::Timestamp { seconds: now.seconds + hours * 3600, ..now })
}

fn range(from: i64, to: i64) -> pb::BackfillRange {
    pb::BackfillRange { from: hours(from), to: hours(to) }
}

const BAD_RECORDS: &[(&str, Change)] = &[
    ("schedule.uid", |r| of(r).uid.clear()),
    ("schedule.uid", |r| of(r).uid = "0xabc".into()),
    ("schedule.uid", |r| of(r).uid = of(r).uid.to_uppercase() + "0"),
    ("schedule.generation", |r| of(r).generation = 0),
    ("schedule.generation", |r| of(r).generation = i64::MAX),
    ("schedule.state", |r| of(r).state = 0),
    ("schedule.state", |r| of(r).state = 99),
    ("schedule.pause", |r| of(r).state = pb::ScheduleState::Paused.into()),
    ("schedule.pause", |r| of(r).pause = Some(pb::Pause::default())),
    ("schedule.pause.reason", |r| {
        of(r).state = pb::ScheduleState::Paused.into();
        of(r).pause = Some(pb::Pause { time: hours(-1), ..Default::default() });
    }),
    ("schedule.pause.note", |r| {
        of(r).state = pb::ScheduleState::Paused.into();
        of(r).pause = Some(pb::Pause { reason: 1, note: "\u{1b}".into(), ..Default::default() });
    }),
    ("schedule.pause.time", |r| {
        of(r).state = pb::ScheduleState::Paused.into();
        of(r).pause = Some(pb::Pause { reason: 1, ..Default::default() });
    }),
    ("schedule.create_time", |r| of(r).create_time = None),
    ("schedule.update_time", |r| of(r).update_time = hours(-10_000_000)),
    ("schedule.every.interval", |r| of(r).timing = Some(every(0))),
    ("decided_through", |r| r.decided_through = None),
    ("decided_through", |r| r.decided_through = hours(2)),
    ("run_count", |r| r.run_count = -1),
    ("run_count", |r| r.run_count = i64::MAX),
    ("revision", |r| r.revision = 0),
    ("revision", |r| r.revision = u32::MAX.into()),
    ("anchor", |r| r.anchor = None),
    ("last_manual_time", |r| r.last_manual_time = hours(100)),
    ("failures", |r| r.failures = -1),
    ("catch_up_through", |r| r.catch_up_through = hours(100)),
    ("waiting_time", |r| r.waiting_time = hours(1)),
    ("waiting_time", |r| r.waiting_time = hours(-1)),
    ("backfill", |r| r.backfill = vec![pb::BackfillRange::default(); 65]),
    ("backfill[0].from", |r| r.backfill = vec![pb::BackfillRange::default()]),
    ("backfill[0].to", |r| r.backfill = vec![range(-2, 100)]),
    ("backfill[0]", |r| r.backfill = vec![range(-2, -2)]),
    ("backfill[1]", |r| r.backfill = vec![range(-3, -1), range(-2, -1)]),
    ("backfill[0]", |r| {
        r.anchor = hours(0);
        r.backfill = vec![range(-3, -2)];
    }),
];

#[tokio::test]
async fn each_bad_field_of_a_record_is_named() {
    let mut served = Served::start().await;
    served.upsert(schedule("a", every(3600))).await.expect("upsert");
    let good = served.export().await.remove(0);
    let mut other = Served::start().await;
    let mut bad: Vec<pb::ScheduleRecord> = BAD_RECORDS
        .iter()
        .map(|(_, change)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad
        })
        .collect();
    bad.push(good);
    let answer = other.import(restore(), &bad).await.expect("imported");
    for (error, (field, _)) in answer.errors.iter().zip(BAD_RECORDS) {
        assert_eq!((&*error.field, &*error.schedule_id, &*error.reason), (*field, "a", "INVALID_FIELD"));
    }
    assert_eq!(counts(&answer), [1, 0, 0, 0, BAD_RECORDS.len() as i64]);
}

#[tokio::test]
async fn a_record_that_meets_another_schedule_is_refused() {
    let mut served = Served::start().await;
    served.upsert(schedule("a", every(3600))).await.expect("upsert");
    let record = served.export().await.remove(0);
    let mut other = Served::start().await;
    other.upsert(schedule("a", every(3600))).await.expect("upsert");
    let answer = other.import(restore(), std::slice::from_ref(&record)).await.expect("imported");
    let error = &answer.errors[0];
    assert_eq!((counts(&answer), &*error.reason), ([0, 0, 0, 0, 1], "SCHEDULE_CONFLICT"));
    assert!(error.message.contains("delete it first"), "{}", error.message);
    let mut renamed = record;
    renamed.schedule.as_mut().expect("it").schedule_id = "b".into();
    let answer = served.import(restore(), &[renamed]).await.expect("imported");
    assert_eq!(answer.errors[0].reason, "SCHEDULE_CONFLICT");
}
