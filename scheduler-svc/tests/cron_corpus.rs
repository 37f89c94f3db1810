//! Our evaluator against vectors of other implementations: it agrees with all of them, except where it means to.

use std::collections::BTreeSet;

use chrono::DateTime;
use scheduler_svc::state_machine::timing::{Cron, CronError, CronSource, Fold, Gap};
use serde_json::Value;

const VECTORS: &str = include_str!("data/cron-vectors.jsonl");

/// Where Docket differs on purpose (docs/timing.md).
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "dev-088",
        "croner leaves the repeated hour out of `* * * * *`; an expression with every hour follows elapsed time",
    ),
    (
        "dev-100",
        "day fields are ORed when both are restricted, as in Unix cron; croner can be told to AND them",
    ),
    ("dev-102", "the same"),
    ("dev-124", "no year field: end_time bounds a schedule"),
    ("dev-125", "the same"),
    ("dev-151", "`5/5` runs from 5 to the end of the field, as in robfig and Quartz; croner refuses it"),
    ("dev-152", "the same, as one of several items"),
];

fn seconds(text: &Value) -> i64 {
    DateTime::parse_from_rfc3339(text.as_str().expect("a time")).expect("a time").timestamp()
}

/// The policies that the source of a vector has built in.
fn policies(vector: &Value) -> (Gap, Fold) {
    let policy = vector["dst_policy"].as_str().unwrap_or_default();
    let gap = if policy.contains("gap: not run") {
        Gap::Skip
    } else if policy.contains("by the width of the gap") {
        Gap::Shift
    } else {
        Gap::NextValid
    };
    let fold = if policy.contains("at both instants") { Fold::Both } else { Fold::First };
    (gap, fold)
}

fn compile(vector: &Value) -> Result<Cron, CronError> {
    let (gap, fold) = policies(vector);
    let text = |name: &str| vector[name].as_str().unwrap_or_default().to_owned();
    let time_zone = match text("tz").as_str() {
        "UTC" => String::new(),
        // We take IANA names only; this one has had that offset throughout.
        "+05:30" => "Asia/Kolkata".into(),
        zone => zone.into(),
    };
    Cron::new(CronSource { expressions: vec![text("expr")], time_zone, gap, fold })
}

/// What we say, and what the vector says.
fn compare(vector: &Value) -> (String, String) {
    if vector["valid"] == false {
        return (format!("valid: {}", compile(vector).is_ok()), "valid: false".into());
    }
    if vector["expected"].as_array().is_some_and(Vec::is_empty) {
        return (format!("ever: {}", compile(vector).is_ok()), "ever: false".into());
    }
    let cron = match compile(vector) {
        Ok(cron) => cron,
        Err(error) => return (format!("{error:?}"), "valid: true".into()),
    };
    if let Some(matches) = vector["matches"].as_bool() {
        let at = seconds(&vector["at"]);
        return (format!("matches: {}", cron.next(at - 1) == Some(at)), format!("matches: {matches}"));
    }
    let expected: Vec<i64> = vector["expected"].as_array().expect("times").iter().map(seconds).collect();
    let from = seconds(&vector["from"]);
    let found: Vec<i64> =
        std::iter::successors(cron.next(from), |at| cron.next(*at)).take(expected.len()).collect();
    (format!("{found:?}"), format!("{expected:?}"))
}

#[test]
fn every_vector_agrees_except_where_we_differ_on_purpose() {
    let mut differing = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for line in VECTORS.lines() {
        let vector: Value = serde_json::from_str(line).expect("JSON");
        let id = vector["id"].as_str().expect("an id").to_owned();
        let (ours, theirs) = compare(&vector);
        compared += 1;
        let deliberate = DIFFERENCES.iter().any(|(known, _)| *known == id);
        if ours != theirs && !deliberate {
            wrong.push(format!("{line}\n ours: {ours}\n want: {theirs}"));
        }
        if ours != theirs {
            differing.insert(id);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<String> = DIFFERENCES.iter().map(|(id, _)| (*id).into()).collect();
    assert_eq!(differing, listed, "a difference that is none any more");
    assert_eq!(compared, 198);
}
