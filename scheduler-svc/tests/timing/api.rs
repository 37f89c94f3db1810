//! Clock changes through the API: each policy in a preview, with its note.

use docket::schedule::v1::{self as pb, FoldPolicy, GapPolicy};

use crate::served::{Served, schedule};

const BERLIN: &str = "Europe/Berlin";

fn seconds(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).expect(text).timestamp()
}

/// The next times of a daily 02:30 in Berlin with these policies, and their notes.
async fn preview(
    served: &mut Served,
    gap: GapPolicy,
    fold: FoldPolicy,
    after: &str,
) -> (Vec<String>, Vec<String>) {
    let cron = pb::Cron {
        expressions: vec!["30 2 * * *".into()],
        time_zone: BERLIN.into(),
        gap: gap.into(),
        fold: fold.into(),
    };
    let asked = pb::PreviewScheduleRequest {
        schedule: Some(schedule("a", pb::schedule::Timing::Cron(cron))),
        after: Some(prost_types::Timestamp { seconds: seconds(after), nanos: 0 }),
        count: 2,
    };
    let answer = served.schedules.preview_schedule(asked).await.expect("a preview").into_inner();
    let time = |time: &prost_types::Timestamp| {
        let instant = chrono::DateTime::from_timestamp(time.seconds, 0).expect("in range");
        instant.format("%m-%dT%H:%MZ").to_string()
    };
    let notes = answer.notes.iter().map(|note| {
        assert!(answer.fire_times.contains(note.fire_time.as_ref().expect("a time")));
        note.text.clone()
    });
    (answer.fire_times.iter().map(time).collect(), notes.collect())
}

#[tokio::test]
async fn a_preview_shows_what_each_gap_policy_does() {
    let mut served = Served::start().await;
    let missing = "2026-03-29 02:30 does not exist in Europe/Berlin";
    for (gap, times, note) in [
        (GapPolicy::Unspecified, ["03-29T01:00Z", "03-30T00:30Z"], "fires at 03:00"),
        (GapPolicy::NextValid, ["03-29T01:00Z", "03-30T00:30Z"], "fires at 03:00"),
        (GapPolicy::Shift, ["03-29T01:30Z", "03-30T00:30Z"], "fires at 03:30"),
        (GapPolicy::Skip, ["03-30T00:30Z", "03-31T00:30Z"], "it was skipped before this"),
    ] {
        let after = "2026-03-28T12:00:00Z";
        let (found, notes) = preview(&mut served, gap, FoldPolicy::Unspecified, after).await;
        assert_eq!(found, times, "{gap:?}");
        assert_eq!(notes, [format!("{missing}; {note}")], "{gap:?}");
    }
}

#[tokio::test]
async fn a_preview_shows_what_each_fold_policy_does() {
    let mut served = Served::start().await;
    let which = |word: &str| format!("2026-10-25 02:30 comes twice in Europe/Berlin; this is the {word}");
    let (first, last, next_day) = ("10-25T00:30Z", "10-25T01:30Z", "10-26T01:30Z");
    for (fold, times, notes) in [
        (FoldPolicy::Unspecified, [first, next_day], vec![which("first")]),
        (FoldPolicy::First, [first, next_day], vec![which("first")]),
        (FoldPolicy::Last, [last, next_day], vec![which("second")]),
        (FoldPolicy::Both, [first, last], vec![which("first"), which("second")]),
    ] {
        let after = "2026-10-24T12:00:00Z";
        let (found, told) = preview(&mut served, GapPolicy::Unspecified, fold, after).await;
        assert_eq!(found, times, "{fold:?}");
        assert_eq!(told, notes, "{fold:?}");
    }
}

#[tokio::test]
async fn an_upsert_warns_of_a_zone_that_is_seldom_meant() {
    let mut served = Served::start().await;
    let timing = crate::served::cron(&["@daily", "0 0 * * *"], "EST");
    let warnings = served.upsert(schedule("a", timing)).await.expect("accepted").warnings;
    let has = |code: &str, text: &str| {
        warnings.iter().any(|warning| warning.code == code && warning.message.contains(text))
    };
    assert!(has("NO_WORKER", "takes kind sync"), "{warnings:?}");
    assert!(has("SELDOM_ZONE", "write America/New_York"), "{warnings:?}");
    assert!(has("REPEATED_EXPRESSION", "the same times as expressions[0]"), "{warnings:?}");
    assert_eq!(warnings.len(), 3);
}
