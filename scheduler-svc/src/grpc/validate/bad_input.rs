//! Odd and bad timings (inputs 19 to 27): each is taken for what it means, or refused naming field and remedy.

use docket::schedule::v1::{self as pb, schedule::Timing as PbTiming};
use prost_types::{Duration, Timestamp};

use super::{Definition, Timing, schedule};
use crate::state_machine::timing::Times;

fn with(timing: PbTiming) -> pb::Schedule {
    pb::Schedule {
        schedule_id: "a".into(),
        timing: Some(timing),
        task: Some(pb::Task { kind: "sync".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn cron(expression: &str, zone: &str) -> pb::Schedule {
    let (expressions, time_zone) = (vec![expression.into()], zone.into());
    with(PbTiming::Cron(pb::Cron { expressions, time_zone, ..Default::default() }))
}

fn every(seconds: i64, nanos: i32) -> pb::Schedule {
    with(PbTiming::Every(pb::Every { interval: Some(Duration { seconds, nanos }), anchor: None }))
}

fn accepted(asked: &pb::Schedule) -> Definition {
    schedule("default", asked, 0).unwrap_or_else(|error| panic!("{asked:?}: {error:?}"))
}

fn refused(asked: &pb::Schedule, field: &str, remedy: &str) {
    match schedule("default", asked, 0) {
        Err(violation) => {
            assert_eq!(violation.field, field, "{violation:?}");
            assert!(violation.message.contains(remedy), "{violation:?}");
        }
        Ok(definition) => panic!("{asked:?}: {definition:?}"),
    }
}

fn at(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).expect(text).timestamp_millis()
}

/// The times after `after`, as many as are expected.
fn fires(asked: &pb::Schedule, after: &str, expected: &[&str]) {
    let definition = accepted(asked);
    let times = definition.times(0);
    let found: Vec<i64> =
        std::iter::successors(times.next(at(after)), |at| times.next(*at)).take(expected.len()).collect();
    assert_eq!(found, expected.iter().map(|text| at(text)).collect::<Vec<_>>(), "{asked:?}");
}

const EXPRESSION: &str = "schedule.cron.expressions[0]";

/// Found by fuzzing.
#[test]
fn what_is_wrong_is_shown_without_control_characters() {
    let Err(violation) = schedule("default", &cron("0 0 15W FEB \u{5}\0I\u{202e}", ""), 0) else {
        panic!("refused")
    };
    assert!(violation.message.contains("`I` is not 0 to 7"), "{violation:?}");
    assert!(super::super::text::is_clean(&violation.message), "{violation:?}");
}

#[test]
fn bad_input_19_days_that_never_come() {
    for expression in ["0 0 30 2 *", "0 0 31 4 *"] {
        refused(&cron(expression, ""), EXPRESSION, "can never fire: it names a day that never comes");
    }
}

#[test]
fn bad_input_20_a_leap_day() {
    let leap = cron("0 0 29 2 *", "");
    fires(&leap, "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    let between = |start: &str, end: &str| pb::Schedule {
        start_time: Some(Timestamp { seconds: at(start) / 1000, nanos: 0 }),
        end_time: Some(Timestamp { seconds: at(end) / 1000, nanos: 0 }),
        ..leap.clone()
    };
    let none = between("2029-01-01T00:00:00Z", "2032-02-29T00:00:00Z");
    refused(&none, "schedule.end_time", "leaves the timing no time at all");
    accepted(&between("2029-01-01T00:00:00Z", "2032-02-29T00:00:01Z"));
}

#[test]
fn bad_input_21_values_at_the_edges() {
    fires(
        &cron("*/7 * * * *", ""),
        "2026-01-01T00:49:00Z",
        &["2026-01-01T00:56:00Z", "2026-01-01T01:00:00Z"],
    );
    fires(&cron("0 0 * * 7", ""), "2026-11-24T00:00:00Z", &["2026-11-29T00:00:00Z"]);
    fires(&cron("0 0 L * *", ""), "2026-11-24T00:00:00Z", &["2026-11-30T00:00:00Z"]);
    for (expression, remedy) in [
        ("60 * * * *", "minute: `60` is not 0 to 59"),
        ("1-0 * * * *", "runs backwards; write two ranges"),
        ("5/0 * * * *", "a step is a number from 1 to 60"),
        ("0 0 W * *", "as in 15W"),
        ("0 0 * * L", "as in 5L"),
        ("0 0 * * #6", "as in 2#1"),
        ("0 0 * * 2#6", "as in 2#1"),
        ("L * * * *", "minute: `L` is not 0 to 59"),
    ] {
        refused(&cron(expression, ""), EXPRESSION, remedy);
    }
}

#[test]
fn bad_input_22_both_day_fields() {
    let expected = ["2026-11-06T00:00:00Z", "2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"];
    fires(&cron("0 0 13 * FRI", ""), "2026-11-01T00:00:00Z", &expected);
}

#[test]
fn bad_input_23_missing_and_repeated_hours() {
    let berlin = |expression| cron(expression, "Europe/Berlin");
    fires(&berlin("30 2 * * *"), "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    let new_york = cron("30 1 * * *", "America/New_York");
    fires(&new_york, "2026-10-31T12:00:00Z", &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
    let half_an_hour = cron("15 2 * * *", "Australia/Lord_Howe");
    fires(&half_an_hour, "2026-10-03T00:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
}

#[test]
fn bad_input_24_zones_that_moved() {
    let apia = cron("0 12 * * *", "Pacific/Apia");
    let around = ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"];
    fires(&apia, "2011-12-29T12:00:00Z", &around);
    // Ramadan 2026: an hour back on 15 February, forth on 22 March.
    let casablanca = cron("0 9 * * *", "Africa/Casablanca");
    fires(&casablanca, "2026-02-14T00:00:00Z", &["2026-02-14T08:00:00Z", "2026-02-15T09:00:00Z"]);
    fires(&casablanca, "2026-03-21T00:00:00Z", &["2026-03-21T09:00:00Z", "2026-03-22T08:00:00Z"]);
    // Greenland moved to UTC-2 in 2023, from which its summer time counts since 2024.
    let nuuk = cron("0 9 * * *", "America/Nuuk");
    fires(&nuuk, "2023-03-24T13:00:00Z", &["2023-03-25T12:00:00Z", "2023-03-26T11:00:00Z"]);
    fires(&nuuk, "2023-10-28T12:00:00Z", &["2023-10-29T11:00:00Z"]);
    fires(&nuuk, "2024-07-01T00:00:00Z", &["2024-07-01T10:00:00Z"]);
}

#[test]
fn bad_input_25_zone_names() {
    let zone = "schedule.cron.time_zone";
    refused(&cron("@daily", "+25:00"), zone, "is an offset, not an IANA zone");
    refused(&cron("@daily", "europe/berlin"), zone, "is written Europe/Berlin");
    refused(&cron("@daily", "US/Pacific-New"), zone, "is no IANA zone");
    refused(&cron("@daily", "Europe/Berlin\0"), zone, "is no IANA zone");
    fires(&cron("@daily", ""), "2026-07-01T12:00:00Z", &["2026-07-02T00:00:00Z"]);
    // A zone by IANA's word, though seldom meant: taken, with a warning.
    let est = cron("@daily", "EST");
    fires(&est, "2026-07-01T12:00:00Z", &["2026-07-02T05:00:00Z"]);
    let Timing::Cron(timing) = accepted(&est).timing.clone() else { panic!("cron stays cron") };
    let [oddity] = &timing.oddities()[..] else { panic!("one oddity") };
    assert!(oddity.to_string().contains("write America/New_York"), "{oddity}");
}

#[test]
fn bad_input_26_leap_seconds_far_years_and_bounds() {
    refused(&cron("60 59 23 31 12 *", ""), EXPRESSION, "second: `60` is not 0 to 59");
    // Unix time has no leap second: the seconds around that of 2016 are named once each.
    let seconds = ["2016-12-31T23:59:59Z", "2017-01-01T00:00:00Z"];
    fires(&cron("* * * * * *", ""), "2016-12-31T23:59:58Z", &seconds);
    let over_2038 = ["2038-01-19T03:14:07Z", "2038-01-19T03:14:08Z"];
    fires(&cron("7,8 14 3 19 1 *", ""), "2037-12-31T00:00:00Z", &over_2038);
    let bound = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let late = at("2106-02-07T06:28:16Z") / 1000;
    let daily = cron("@daily", "");
    let far = pb::Schedule { start_time: bound(late), ..daily.clone() };
    refused(&far, "schedule.start_time", "between 1970-01-01 and 2100-01-01");
    refused(&with(PbTiming::At(Timestamp { seconds: late, nanos: 0 })), "schedule.at", "2100-01-01");
    let leap = Timestamp { seconds: at(seconds[0]) / 1000, nanos: 1_000_000_000 };
    refused(&with(PbTiming::At(leap)), "schedule.at", "as in 2026-11-24T02:00:00Z");
    let turned = pb::Schedule { start_time: bound(2_000_000_000), end_time: bound(1_999_999_999), ..daily };
    refused(&turned, "schedule.end_time", "must be later than start_time");
}

#[test]
fn bad_input_27_intervals() {
    let remedy = "must be 1 s to 366 d, in whole milliseconds";
    for (seconds, nanos) in [(0, 1), (i64::MAX, 0), (i64::MAX, 999_999_999), (0, 0), (-1, 0), (1, 1)] {
        refused(&every(seconds, nanos), "schedule.every.interval", remedy);
    }
    let year = accepted(&every(366 * 86_400, 0));
    let times = Times { timing: &year.timing, anchor: 0, start: None, end: None };
    assert_eq!(times.next(i64::MAX), None, "no overflow");
    assert_eq!(times.next(i64::MIN), Some(0), "nothing before the anchor");
}
