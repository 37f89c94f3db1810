//! How long the next time takes, beside the goals: 1 µs for common patterns, 1 ms for the oddest.
//!
//! Each figure is the best of several rounds of the mean over instants that differ, so that no answer is learnt by
//! the branch predictor; `near a change` asks from the minutes around Berlin's clock changes.

#![allow(clippy::print_stdout)]

use std::{hint::black_box, time::Instant};

use scheduler_svc::state_machine::timing::{Cron, CronSource, Fold, Gap};

const NOW: i64 = 1_795_392_000;
const COMMON_GOAL: f64 = 1.0;
const ODD_GOAL: f64 = 1_000.0;

const COMMON: &[&str] =
    &["*/5 * * * *", "0 2 * * *", "0 9 * * 1-5", "0 0 1 * *", "*/15 * * * * *", "@hourly"];

/// Expression, zone, gap policy: rare days, and a time that only a gap would name.
const ODD: &[(&str, &str, Gap)] = &[
    ("0 0 29 2 *", "", Gap::NextValid),
    ("0 0 * 2 1#5", "Europe/Berlin", Gap::NextValid),
    ("30 2 * 3 7L", "Europe/Berlin", Gap::Skip),
    ("0 12 30 12 5#5,5L", "Pacific/Apia", Gap::Skip),
    ("59 59 23 31W 12 *", "Africa/Casablanca", Gap::Shift),
    ("0 0 1W,15W,LW 1 1#1,2#2,3#3,4#4", "Asia/Gaza", Gap::Shift),
];

fn main() {
    println!("next time of a cron timing (µs)                            mean    goal");
    let year: Vec<i64> = (0..4_096).map(|n| NOW + n * 7_703).collect();
    // 2026-03-29 and 2026-10-25, both at 01:00 UTC.
    let near: Vec<i64> = [1_774_746_000_i64, 1_792_890_000]
        .iter()
        .flat_map(|change| (-60..60).map(move |minute| change + minute * 97))
        .collect();
    for text in COMMON {
        let cron = compile(text, "Europe/Berlin", Gap::NextValid);
        show(&format!("{text}, Europe/Berlin"), mean(&cron, &year), COMMON_GOAL);
        show(&format!("{text}, near a change"), mean(&cron, &near), COMMON_GOAL);
    }
    let starts: Vec<i64> = (0..64).map(|n| n * 64_000_000).collect();
    for (text, zone, gap) in ODD {
        let cron = compile(text, zone, *gap);
        show(&format!("{text}, {zone} {gap:?}"), mean(&cron, &starts), ODD_GOAL);
    }
}

fn compile(text: &str, zone: &str, gap: Gap) -> Cron {
    let (expressions, time_zone) = (vec![text.into()], zone.into());
    Cron::new(CronSource { expressions, time_zone, gap, fold: Fold::First }).expect(text)
}

/// Microseconds.
fn mean(cron: &Cron, instants: &[i64]) -> f64 {
    let round = || {
        let start = Instant::now();
        for at in instants {
            black_box(cron.next(black_box(*at)));
        }
        start.elapsed().as_secs_f64() * 1e6 / instants.len() as f64
    };
    (0..20).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn show(what: &str, micros: f64, goal: f64) {
    let verdict = if micros <= goal { "met" } else { "missed" };
    println!("  {what:52} {micros:8.3} {goal:7.0}  {verdict}");
}
