//! What holds of all timings, drawn at random.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Cron, CronSource, Fold, Gap, Interner, Times, Timing, expression::Expression};

const DAY: i64 = 86_400_000;

fn item(low: u32, high: u32) -> impl Strategy<Value = String> {
    let value = low..=high;
    prop_oneof![
        4 => value.clone().prop_map(|value| value.to_string()),
        2 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), 1..=high).prop_map(|(from, step)| format!("{from}/{step}")),
        1 => (1..=high).prop_map(|step| format!("*/{step}")),
    ]
}

fn field(low: u32, high: u32, items: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let list = prop::collection::vec(prop_oneof![item(low, high).boxed(), items], 1..4);
    prop_oneof![2 => Just("*".to_owned()), 3 => list.prop_map(|items| items.join(","))]
}

fn plain(low: u32, high: u32) -> impl Strategy<Value = String> {
    field(low, high, item(low, high).boxed())
}

fn expression() -> impl Strategy<Value = String> {
    let month_day =
        prop_oneof![Just("L".to_owned()), Just("LW".into()), (1..=31_u32).prop_map(|day| format!("{day}W"))];
    let week_day = prop_oneof![
        (0..=7_u32).prop_map(|day| format!("{day}L")),
        (0..=7_u32, 1..=5_u32).prop_map(|(day, nth)| format!("{day}#{nth}"))
    ];
    let days = (field(1, 31, month_day.boxed()), plain(1, 12), field(0, 7, week_day.boxed()));
    let seconds = prop_oneof![3 => Just(String::new()), 1 => plain(0, 59).prop_map(|text| text + " ")];
    (seconds, plain(0, 59), plain(0, 23), days)
        .prop_map(|(second, minute, hour, (day, month, week))| {
            format!("{second}{minute} {hour} {day} {month} {week}")
        })
        .prop_filter("never fires", |text| {
            text.len() <= 256 && Expression::parse(text).is_ok_and(|one| one.next(0).is_some())
        })
}

fn cron() -> impl Strategy<Value = Timing> {
    let zones =
        ["UTC", "Europe/Berlin", "Pacific/Apia", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Gaza"];
    let gap = prop_oneof![Just(Gap::NextValid), Just(Gap::Shift), Just(Gap::Skip)];
    let fold = prop_oneof![Just(Fold::First), Just(Fold::Last), Just(Fold::Both)];
    let expressions = prop::collection::vec(expression(), 1..4);
    (expressions, prop::sample::select(zones.to_vec()), gap, fold).prop_map(
        |(expressions, zone, gap, fold)| {
            let source = CronSource { expressions, time_zone: zone.into(), gap, fold };
            Timing::Cron(Arc::new(Cron::new(source).expect("valid")))
        },
    )
}

fn timing() -> impl Strategy<Value = Timing> {
    prop_oneof![
        4 => cron(),
        1 => (1_000..400 * DAY).prop_map(|interval| Timing::Every { interval, anchor: None }),
        1 => instant().prop_map(Timing::At),
    ]
}

fn instant() -> impl Strategy<Value = i64> {
    // The years around a change are as likely as all others together.
    prop_oneof![0..130 * 365 * DAY, 1_300_000_000_000..1_330_000_000_000_i64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn next_is_later_and_the_first(timing in timing(), anchor in instant(), after in instant()) {
        let times = Times { timing: &timing, anchor, start: None, end: None };
        if let Some(next) = times.next(after) {
            prop_assert!(next > after);
            prop_assert!(times.names(next));
            prop_assert_eq!(times.next(next - 1), Some(next));
            prop_assert_eq!(times.next(after + (next - after) / 2), Some(next), "nothing between");
        }
    }

    #[test]
    fn latest_and_count_agree_with_walking(
        timing in timing(), anchor in instant(), after in instant(), span in 0..40 * DAY,
        start in prop::option::of(0..20 * DAY), length in prop::option::of(1..20 * DAY),
    ) {
        let start = start.map(|start| after + start);
        let end = length.map(|length| start.unwrap_or(after) + length);
        let times = Times { timing: &timing, anchor, start, end };
        let walk = std::iter::successors(times.next(after), |at| times.next(*at));
        let walked: Vec<i64> = walk.take_while(|at| *at <= after + span).take(3_000).collect();
        // Beyond that many, look only as far as the walk went.
        let through = if walked.len() == 3_000 { walked[2_999] } else { after + span };
        prop_assert_eq!(times.latest(after, through), walked.last().copied());
        prop_assert_eq!(times.count(after, through), Some(walked.len() as u64));
        prop_assert!(walked.iter().all(|at| start.is_none_or(|start| *at >= start)));
        prop_assert!(walked.iter().all(|at| end.is_none_or(|end| *at < end)));
    }

    #[test]
    fn the_normal_form_means_the_same(text in expression()) {
        let one = Expression::parse(&text).expect("valid");
        let normal = one.to_string();
        let again = Expression::parse(&normal);
        prop_assert_eq!(again.as_ref(), Ok(&one), "{} became {}", text, normal);
        prop_assert_eq!(again.expect("valid").to_string(), normal);
    }

    #[test]
    fn an_interval_keeps_its_phase(interval in 1_000..366 * DAY, anchor in instant(), after in instant()) {
        let timing = Timing::Every { interval, anchor: None };
        let next = Times { timing: &timing, anchor, start: None, end: None }.next(after).expect("a time");
        prop_assert_eq!((next - anchor).rem_euclid(interval), 0);
        prop_assert!(next >= anchor && next - after.max(anchor - 1) <= interval);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[0-9*,/?LWlw#@A-Za-z -]{0,40}|\\PC{0,30}") {
        if let Err(error) = Expression::parse(&text) {
            prop_assert!(!error.is_empty());
        }
    }
}

#[test]
fn a_schedule_keeps_a_few_words_of_timing() {
    assert!(size_of::<Timing>() <= 24, "{}", size_of::<Timing>());
    let text = |second: u32| {
        let source = CronSource {
            expressions: vec![format!("{second} 0 2 * * *")],
            time_zone: "Europe/Berlin".into(),
            gap: Gap::default(),
            fold: Fold::default(),
        };
        Timing::Cron(Arc::new(Cron::new(source).expect("valid")))
    };
    let mut interner = Interner::default();
    let schedules: Vec<Timing> = (0..10_000).map(|n| interner.intern(text(n % 60))).collect();
    let distinct: std::collections::HashSet<*const Cron> = schedules
        .iter()
        .map(|timing| match timing {
            Timing::Cron(cron) => Arc::as_ptr(cron),
            Timing::Every { .. } | Timing::At(_) => unreachable!("cron stays cron"),
        })
        .collect();
    assert_eq!(distinct.len(), 60, "10 000 schedules with 60 texts keep 60 timings");
}
