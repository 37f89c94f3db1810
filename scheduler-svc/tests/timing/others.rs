//! The crates `cron` and `croner`, where their dialects mean the same as ours, in UTC over decades.
//!
//! Out of the comparison on purpose: `cron` counts Sunday as 1 (names are compared instead), requires both day fields
//! where we take either, and knows no `L W #`; both treat clock changes by rules of their own.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds};
use scheduler_svc::state_machine::timing::{Fold, Gap};

use crate::{
    YEAR_2000, YEAR_2041, compile,
    naive::wall,
    pattern::{DOCKET, Dialect, Item, MonthDay, Pattern, WeekDay, pattern},
    random::Random,
    seed, setting,
};

/// Times of each expression that are compared.
const TIMES: usize = 4;

fn instant(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("in range")
}

fn ours(text: &str, from: i64) -> Option<Vec<i64>> {
    let cron = compile(text, "", Gap::NextValid, Fold::First).ok()?;
    Some(std::iter::successors(cron.next(from), |at| cron.next(*at)).take(TIMES).collect())
}

/// Draws expressions until `cases` were compared; `theirs` gives None where the dialects part.
fn compare(name: &str, cases: u64, dialect: Dialect, theirs: impl Fn(&Pattern, i64) -> Option<Vec<i64>>) {
    let mut random = Random::new(seed());
    let (mut compared, mut drawn, mut times) = (0, 0, 0);
    while compared < cases {
        drawn += 1;
        assert!(drawn < cases * 4, "{name} takes too few of them: {compared} of {drawn}");
        let from = YEAR_2000 + (random.next() % (YEAR_2041 - YEAR_2000) as u64) as i64;
        let pattern = pattern(&mut random, dialect, wall(from));
        let text = pattern.text();
        let Some(ours) = ours(&text, from) else { continue };
        let Some(theirs) = theirs(&pattern, from) else { continue };
        assert_eq!(ours, theirs, "{name}: `{text}` from {}", instant(from));
        (compared, times) = (compared + 1, times + ours.len());
    }
    println!("{name}: {compared} expressions, {times} times compared, {} left out", drawn - compared);
}

#[test]
fn the_calendar_agrees_with_cron() {
    let dialect = Dialect { special_days: false, both_days: false, ..DOCKET };
    compare("cron", setting("DOCKET_TIMING_CASES", 2) * 2_000, dialect, |pattern, from| {
        let named = Pattern { names: true, ..pattern.clone() }.text();
        let week = named.rsplit(' ').next().unwrap_or_default();
        // No number for Sunday, and no range over the end of the week.
        if week.contains('7') || week.contains("-SUN") {
            return None;
        }
        let text = if pattern.second.is_some() { named } else { format!("0 {named}") };
        // It refuses a step from a name.
        let schedule = cron::Schedule::from_str(&text).ok()?;
        Some(schedule.after(&instant(from)).take(TIMES).map(|time| time.timestamp()).collect())
    });
}

#[test]
fn the_calendar_agrees_with_croner() {
    let parser = CronParser::builder().seconds(Seconds::Optional).sloppy_ranges(true).build();
    compare("croner", setting("DOCKET_TIMING_CASES", 2) * 2_000, DOCKET, |pattern, from| {
        // To croner, whose week has eight days here, `1/3` reaches Sunday as 7.
        if pattern.week_day.iter().flatten().any(|day| matches!(day, WeekDay::Plain(Item::From(..)))) {
            return None;
        }
        // In croner `LW` takes the place of an `L` beside it.
        let days = || pattern.month_day.iter().flatten();
        if days().any(|day| matches!(day, MonthDay::LastWorkday))
            && days().any(|day| matches!(day, MonthDay::Last))
        {
            return None;
        }
        let text = pattern.text();
        let cron = parser.parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        Some(cron.iter_after(instant(from)).take(TIMES).map(|time| time.timestamp()).collect())
    });
}
