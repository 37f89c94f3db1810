//! Known changes of known zones, by policy.

use chrono::DateTime;

use super::*;

fn cron(expression: &str, zone: &str, gap: Gap, fold: Fold) -> Cron {
    let source = CronSource { expressions: vec![expression.into()], time_zone: zone.into(), gap, fold };
    Cron::new(source).expect(expression)
}

fn check(expression: &str, zone: &str, gap: Gap, fold: Fold, after: &str, expected: &[&str]) {
    let cron = cron(expression, zone, gap, fold);
    let mut at = DateTime::parse_from_rfc3339(after).expect(after).timestamp();
    for want in expected {
        let found = cron.next(at).expect(expression);
        let wanted = DateTime::parse_from_rfc3339(want).expect(want).timestamp();
        assert_eq!(found, wanted, "{expression} {zone} {gap:?} {fold:?} after {after}: {want}");
        at = found;
    }
}

const BERLIN: &str = "Europe/Berlin";

#[test]
fn a_gap_by_policy() {
    let after = "2026-03-28T12:00:00+01:00";
    let next_day = "2026-03-30T02:30:00+02:00";
    check("30 2 * * *", BERLIN, Gap::NextValid, Fold::First, after, &["2026-03-29T03:00:00+02:00", next_day]);
    check("30 2 * * *", BERLIN, Gap::Shift, Fold::First, after, &["2026-03-29T03:30:00+02:00", next_day]);
    check("30 2 * * *", BERLIN, Gap::Skip, Fold::First, after, &[next_day]);
}

#[test]
fn two_wall_times_of_one_instant_fire_once() {
    let after = "2026-03-29T01:45:00+01:00";
    check(
        "0,30 1-3 * * *",
        BERLIN,
        Gap::NextValid,
        Fold::First,
        after,
        &["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
    );
    check(
        "0,30 2-3 * * *",
        BERLIN,
        Gap::Shift,
        Fold::First,
        after,
        &["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00"],
    );
}

#[test]
fn a_fold_by_policy() {
    let after = "2026-10-25T00:00:00+02:00";
    let (first, last) = ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00");
    let next_day = "2026-10-26T02:30:00+01:00";
    check("30 2 * * *", BERLIN, Gap::NextValid, Fold::First, after, &[first, next_day]);
    check("30 2 * * *", BERLIN, Gap::NextValid, Fold::Last, after, &[last, next_day]);
    check("30 2 * * *", BERLIN, Gap::NextValid, Fold::Both, after, &[first, last, next_day]);
}

#[test]
fn every_hour_follows_elapsed_time() {
    check(
        "30 * * * *",
        BERLIN,
        Gap::NextValid,
        Fold::First,
        "2026-10-25T01:45:00+02:00",
        &["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"],
    );
    check(
        "30 * * * *",
        BERLIN,
        Gap::NextValid,
        Fold::First,
        "2026-03-29T01:00:00+01:00",
        &["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"],
    );
}

#[test]
fn odd_changes() {
    check(
        "0 0 * * *",
        "Africa/Cairo",
        Gap::NextValid,
        Fold::First,
        "2026-04-23T12:00:00+02:00",
        &["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"],
    );
    // The 30th of December 2011 does not exist in Apia: its 09:00 comes at the end of the gap, at midnight.
    check(
        "0 9 * * *",
        "Pacific/Apia",
        Gap::NextValid,
        Fold::First,
        "2011-12-29T09:00:00-10:00",
        &["2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"],
    );
    check(
        "15 2 * * *",
        "Australia/Lord_Howe",
        Gap::NextValid,
        Fold::First,
        "2026-10-03T12:00:00+10:30",
        &["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
    );
}

#[test]
fn notes_tell_a_person_what_a_clock_change_does() {
    let at = |text: &str| DateTime::parse_from_rfc3339(text).expect(text).timestamp();
    let daily = cron("30 2 * * *", BERLIN, Gap::NextValid, Fold::Both);
    assert_eq!(
        daily.note(0, at("2026-03-29T03:00:00+02:00")).as_deref(),
        Some("2026-03-29 02:30 does not exist in Europe/Berlin; fires at 03:00")
    );
    assert_eq!(
        daily.note(0, at("2026-10-25T02:30:00+02:00")).as_deref(),
        Some("2026-10-25 02:30 comes twice in Europe/Berlin; this is the first")
    );
    assert_eq!(
        daily.note(0, at("2026-10-25T02:30:00+01:00")).as_deref(),
        Some("2026-10-25 02:30 comes twice in Europe/Berlin; this is the second")
    );
    assert_eq!(daily.note(0, at("2026-06-01T02:30:00+02:00")), None);
}
