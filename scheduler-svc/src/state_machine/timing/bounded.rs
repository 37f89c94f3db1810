//! No question takes long, however odd: steps are counted, each a month or a stretch of a zone that is looked at.
//!
//! A step takes some 10 ns to 30 ns, so that the bound below stands for a tenth of a millisecond.

use std::sync::Arc;

use super::{Cron, CronSource, Fold, Gap, Times, Timing, steps};

const NEXT_MAX: u64 = 4_000;
/// `latest` asks `next` some forty times.
const LATEST_MAX: u64 = 45 * NEXT_MAX;

const ODD: &[&str] = &[
    "0 0 29 2 *",
    "0 0 29 2 1#5",
    "0 0 * 2 1#5",
    "0 0 * 2 7#5",
    "0 0 31 * *",
    "0 0 31W 4,12 *",
    "30 2 * 3 7L",
    "0 3 * 10 0L",
    "0 12 30 12 *",
    "30 2 29 3 *",
    "59 59 23 31 12 *",
    "* * * 29 2 *",
    "* * * * * *",
    "0 0 1W,15W,LW 1 1#1,2#2,3#3",
];

const ZONES: &[&str] =
    &["UTC", "Europe/Berlin", "Pacific/Apia", "Africa/Casablanca", "Asia/Gaza", "Antarctica/Troll"];

fn cron(text: &str, zone: &str, gap: Gap, fold: Fold) -> Cron {
    let source = CronSource { expressions: vec![text.into()], time_zone: zone.into(), gap, fold };
    Cron::new(source).expect(text)
}

#[test]
fn next_takes_few_steps_from_anywhere_to_the_horizon() {
    let mut most = (0, String::new());
    for text in ODD {
        for zone in ZONES {
            for (gap, fold) in
                [(Gap::NextValid, Fold::First), (Gap::Shift, Fold::Last), (Gap::Skip, Fold::Both)]
            {
                let cron = cron(text, zone, gap, fold);
                for from in
                    [i64::MIN, -1, 0, 951_782_400, 1_325_100_000, 1_774_746_000, 3_900_000_000, i64::MAX - 1]
                {
                    let (_, taken) = steps::of(|| cron.next(from));
                    most = most.max((taken, format!("`{text}` in {zone} with {gap:?} from {from}")));
                }
            }
        }
    }
    assert!(most.0 <= NEXT_MAX, "{most:?}");
    assert!(most.0 > 10, "steps are counted");
}

#[test]
fn a_time_that_only_gaps_have_is_searched_once_through() {
    // Since 1996 the last Sunday of March has no 02:30 in Berlin.
    let cron = cron("30 2 * 3 7L", "Europe/Berlin", Gap::Skip, Fold::First);
    let (next, taken) = steps::of(|| cron.next(1_774_000_000));
    assert_eq!(next, None);
    assert!(taken <= NEXT_MAX, "{taken}");
}

#[test]
fn a_day_that_a_zone_never_had_is_passed_over() {
    // Apia went from 29 to 31 December 2011.
    let cron = cron("0 12 30 12 *", "Pacific/Apia", Gap::Skip, Fold::First);
    let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect(text).timestamp();
    let (next, taken) = steps::of(|| cron.next(at("2011-01-01T00:00:00-11:00")));
    assert_eq!(next, Some(at("2012-12-30T12:00:00+14:00")));
    assert!(taken <= 100, "{taken}");
}

#[test]
fn latest_and_bounds_stay_bounded() {
    for text in ODD {
        let timing = Timing::Cron(Arc::new(cron(text, "Europe/Berlin", Gap::Skip, Fold::Last)));
        for (start, end) in
            [(None, None), (Some(4_000_000_000_000), None), (Some(5), Some(6)), (None, Some(1))]
        {
            let times = Times { timing: &timing, anchor: 0, start, end };
            let (_, taken) = steps::of(|| times.latest(0, 4_102_444_799_000));
            assert!(taken <= LATEST_MAX, "latest of `{text}` took {taken}");
            let (_, taken) = steps::of(|| times.next(0));
            assert!(taken <= NEXT_MAX, "next of `{text}` took {taken}");
        }
    }
}

#[test]
fn counting_is_bounded_by_its_most() {
    for text in ODD {
        let cron = cron(text, "Europe/Berlin", Gap::Shift, Fold::Both);
        let (_, taken) = steps::of(|| cron.count(0, 4_102_444_799, 10_000));
        assert!(taken <= 150_000, "count of `{text}` took {taken}");
    }
}

#[test]
fn what_can_never_fire_is_refused_with_the_reason() {
    for text in ["0 0 30 2 *", "0 0 31 4 *", "0 0 31 2,4,6,9,11 ?", "0 0 31W 4 *", "0 0 30W 2 *"] {
        let source = CronSource {
            expressions: vec![text.into()],
            time_zone: String::new(),
            gap: Gap::default(),
            fold: Fold::default(),
        };
        let (refused, taken) = steps::of(|| Cron::new(source));
        let error = format!("{:?}", refused.expect_err(text));
        assert!(error.contains("can never fire"), "{text}: {error}");
        assert!(taken <= NEXT_MAX, "{text} took {taken}");
    }
}
