//! A forecast beside a naive one that walks every time of every schedule.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Bounds, Drain, Drains, Forecast, Range, TooMuch};
use crate::state_machine::{
    definition::Definition,
    forecast::{Coming, Page},
    gate::limit::Limit,
    tests::bench,
    timing::{Cron, CronSource, Fold, Gap, Interner, Timing},
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const NOW: i64 = 1_774_700_000_000;

fn definition(id: &str, timing: Timing, spread: u32) -> Definition {
    bench::with(bench::definition(id, timing), |definition| definition.spread = spread)
}

fn coming(definition: Definition, anchor: i64, decided_through: i64) -> Option<Coming> {
    let next = definition.times(anchor).next(decided_through)?;
    Some(Coming { definition: Arc::new(definition), anchor, next, paused_until: None, left: None })
}

fn page(schedules: Vec<Coming>) -> Page {
    Page { schedules, next: None, runtimes: Vec::new() }
}

fn steps(range: Range, bounds: Bounds, schedules: &[Coming]) -> Result<Vec<u64>, TooMuch> {
    let mut forecast = Forecast::new(range, bounds, Drains::default());
    for schedules in schedules.chunks(7) {
        forecast.add(&page(schedules.to_vec()))?;
    }
    forecast.finish().map(|(steps, _)| steps)
}

/// Due times in the range, one by one.
fn walk(range: Range, coming: &Coming) -> Vec<i64> {
    let definition = &coming.definition;
    let (times, offset) = (definition.times(coming.anchor), definition.spread_offset());
    let walk = std::iter::successors(Some(coming.next), |at| times.next(*at)).map(|nominal| nominal + offset);
    walk.take_while(|due| *due < range.from + i64::from(range.horizon))
        .filter(|due| *due >= range.from && coming.paused_until.is_none_or(|until| *due > until))
        .take(coming.left.map_or(usize::MAX, |left| left as usize))
        .map(|due| due - range.from)
        .collect()
}

fn walked(range: Range, schedules: &[Coming]) -> Vec<u64> {
    let mut steps = vec![0; range.horizon.div_ceil(range.step) as usize];
    for due in schedules.iter().flat_map(|coming| walk(range, coming)) {
        steps[due as usize / range.step as usize] += 1;
    }
    steps
}

fn cron(text: &str) -> Timing {
    let (gap, fold) = (Gap::default(), Fold::default());
    let source = CronSource { expressions: vec![text.into()], time_zone: "Europe/Berlin".into(), gap, fold };
    Timing::Cron(Arc::new(Cron::new(source).expect(text)))
}

const EXPRESSIONS: &[&str] =
    &["0 2 * * *", "30 2 * * *", "*/5 * * * *", "7 */3 * * *", "*/20 * * * * *", "0 0 1 1 *"];

/// From 2026-03-28 on, so that Berlin's change of clocks is among the days.
fn schedules() -> impl Strategy<Value = Vec<Coming>> {
    let timing = prop_oneof![
        3 => prop::sample::select(EXPRESSIONS).prop_map(cron),
        2 => (1_000..20 * MINUTE).prop_map(|interval| Timing::Every { interval, anchor: None }),
        1 => (HOUR..3 * DAY).prop_map(|interval| Timing::Every { interval, anchor: None }),
        1 => (0..2 * DAY).prop_map(|after| Timing::At(NOW + after)),
    ];
    let spread = prop::sample::select(&[0, 0, 600_000, 86_400_000][..]);
    let bound = || prop::option::weighted(0.2, 0..2 * DAY);
    let schedule = (
        timing,
        spread,
        -2 * DAY..HOUR,
        (bound(), bound(), bound()),
        prop::option::weighted(0.2, 0..200_u64),
    );
    let schedule = schedule.prop_map(|(timing, spread, decided, (start, end, paused), left)| {
        (
            timing,
            spread,
            NOW + decided,
            (start.map(|at| NOW + at), end.map(|at| NOW + at), paused.map(|at| NOW + at)),
            left,
        )
    });
    prop::collection::vec(schedule, 1..20).prop_map(|all| {
        let mut interner = Interner::default();
        let numbered = all.into_iter().enumerate();
        let made = numbered.filter_map(|(n, (timing, spread, decided, (start, end, paused_until), left))| {
            let mut definition = definition(&format!("mb-{n}"), interner.intern(timing), spread);
            (definition.start, definition.end) = (start, end);
            Some(Coming { paused_until, left, ..coming(definition, decided, decided)? })
        });
        made.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_is_the_same_as_walking(
        schedules in schedules(), from in -HOUR..DAY, horizon in MINUTE..2 * DAY, step in 1_000..2 * HOUR,
    ) {
        let range = Range { from: NOW + from, horizon: horizon as u32, step: step as u32 };
        let found = steps(range, Bounds::default(), &schedules);
        prop_assert_eq!(found, Ok(walked(range, &schedules)));
    }
}

#[test]
fn equal_schedules_are_added_together_and_many_different_ones_are_rounded() {
    let mut interner = Interner::default();
    let mut minutely = |n: usize| {
        coming(definition(&format!("mb-{n}"), interner.intern(cron("* * * * *")), 600_000), NOW, NOW)
    };
    let schedules: Vec<Coming> = (0..1_500).filter_map(&mut minutely).collect();
    let range = Range { from: NOW, horizon: 4 * HOUR as u32, step: MINUTE as u32 };
    let exact = walked(range, &schedules);
    assert_eq!(steps(range, Bounds::default(), &schedules), Ok(exact.clone()));
    // 600 seconds × 240 minutes, and some that begin at another minute.
    let rounded = Bounds { additions: 250_000, ..Bounds::default() };
    let rounded = steps(range, rounded, &schedules).expect("to seconds");
    assert_eq!(rounded.iter().sum::<u64>(), exact.iter().sum::<u64>());
    assert!(rounded.iter().zip(&exact).all(|(one, other)| one.abs_diff(*other) <= 75), "a second of 60");
    let none = Bounds { additions: 1_000, ..Bounds::default() };
    assert_eq!(steps(range, none, &schedules), Err(TooMuch));
}

#[test]
fn p3_too_many_different_times_are_refused() {
    let every_second = coming(definition("a", cron("* * * * * *"), 0), NOW, NOW).expect("a time");
    let range = Range { from: NOW, horizon: HOUR as u32, step: MINUTE as u32 };
    let bounds = Bounds { times: 3_000, ..Bounds::default() };
    assert_eq!(steps(range, bounds, &[every_second]), Err(TooMuch));
    let every = Timing::Every { interval: 1_000, anchor: None };
    let every_second = coming(definition("a", every, 0), NOW, NOW).expect("a time");
    let week = Range { horizon: 7 * DAY as u32, ..range };
    let none = Bounds { times: 0, additions: 10_080 };
    let expected = [vec![59], vec![60; 10_079]].concat();
    assert_eq!(steps(week, none, &[every_second]), Ok(expected), "intervals are arithmetic");
}

fn limit(max_running: Option<u32>, rate: u64, burst: u32) -> Limit {
    Limit { max_running, rate, burst }
}

fn drains(limits: &[(&str, Limit)], runtimes: &[(&str, i64)]) -> Vec<Drain> {
    let drains = Drains::new(limits.iter().map(|(key, limit)| ((*key).into(), *limit)).collect());
    let range = Range { from: NOW, horizon: DAY as u32, step: HOUR as u32 };
    let mut forecast = Forecast::new(range, Bounds::default(), drains);
    let hourly = |id: &str, limits: &[&str], every: i64| {
        let timing = Timing::Every { interval: every, anchor: None };
        let mut definition = definition(id, timing, 0);
        definition.limits = limits.iter().map(|key| (*key).into()).collect();
        coming(definition, NOW - 1, NOW - 1).expect("a time")
    };
    let schedules = vec![
        hourly("a", &["provider:x", "mailbox:a", "provider:x"], HOUR),
        hourly("b", &["provider:x", "mailbox:b"], 6 * HOUR),
        hourly("c", &["mailbox:vip-c", "unlimited"], 2 * HOUR),
    ];
    let runtimes = runtimes.iter().map(|(kind, millis)| ((*kind).into(), *millis)).collect();
    forecast.add(&Page { schedules, next: None, runtimes }).expect("little");
    forecast.finish().expect("little").1
}

#[test]
fn a_limit_is_judged_by_the_key_that_needs_longest() {
    let limits = [
        ("provider:x", limit(None, 1_000, 1)),
        ("mailbox:*", limit(Some(1), 0, 1)),
        ("mailbox:vip-*", limit(Some(2), 0, 1)),
        ("idle:*", limit(Some(1), 0, 1)),
    ];
    let drain = |limit: &str, key: &str, due, expected, keys| Drain {
        limit: limit.into(),
        key: key.into(),
        due,
        expected,
        keys,
    };
    assert_eq!(
        drains(&limits, &[("sync", 10_000)]),
        [
            // 28 starts, one of which is free: a thousandth of a start per second.
            drain("provider:x", "provider:x", 28, Some(27_000_000), 1),
            drain("mailbox:*", "mailbox:a", 24, Some(240_000), 2),
            drain("mailbox:vip-*", "mailbox:vip-c", 12, Some(60_000), 1),
        ]
    );
    let unknown = drains(&limits, &[("other", 10_000)]);
    assert_eq!(unknown[0].expected, Some(27_000_000), "a rate needs no measurement");
    assert_eq!(unknown[1], drain("mailbox:*", "mailbox:a", 24, None, 2));
    let closed = drains(&[("provider:x", limit(Some(0), 1_000, 1))], &[("sync", 10_000)]);
    assert_eq!(closed, [drain("provider:x", "provider:x", 28, None, 1)]);
}
