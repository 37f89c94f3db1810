//! One cron expression, compiled to bit masks: parsed once, then walked in wall time.
//!
//! Wall time here is "seconds since 1970-01-01 00:00 on the wall clock", with no zone. Mapping wall time to
//! instants is `cron`'s business.
//!
//! Dialect (docs/timing.md): 5 fields, or 6 with leading seconds; `* , - /`, names, `@hourly` …; `?` as `*` in a
//! day field; `5/15` runs to the end of the field; Sunday is 0 and 7; `L`, `LW`, `15W`, `5L`, `2#1`. When day of
//! month and day of week are both restricted (neither `*`, `?` nor `*/1`), a day that meets either matches.

use chrono::{Datelike as _, NaiveDate};

use super::{parse, steps};

/// No wall time at or after it is looked at: the zone tables end here.
pub const HORIZON: i64 = 4_102_444_800; // 2100-01-01

pub(super) const DAY: i64 = 86_400;
const EVERY_HOUR: u32 = (1 << 24) - 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expression {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u32,
    /// Bit 1 = January.
    pub(super) months: u16,
    pub(super) days: Days,
}

/// The two day fields. Bits are day numbers, or weekdays from Sunday = 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Days {
    pub(super) of_month: u32,
    /// `15W`: the weekday (Monday to Friday) nearest to that day, within the month.
    pub(super) nearest: u32,
    /// `L`
    pub(super) last: bool,
    /// `LW`
    pub(super) last_workday: bool,
    pub(super) of_week: u8,
    /// `5L`: the last such weekday of the month.
    pub(super) last_of_week: u8,
    /// `2#1`: bit 7 × (n − 1) + weekday.
    pub(super) nth: u64,
    pub(super) month_restricted: bool,
    pub(super) week_restricted: bool,
}

impl Expression {
    /// # Errors
    /// What is wrong with it and what would be right, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::expression(text)
    }

    /// Whether it runs in each hour, and so follows elapsed time through clock changes.
    pub fn is_every_hour(&self) -> bool {
        self.hours == EVERY_HOUR
    }

    /// The first matching wall time at or after `from`.
    pub fn next(&self, from: i64) -> Option<i64> {
        let (day, time) = (from.div_euclid(DAY), from.rem_euclid(DAY));
        let first = self.next_day(day)?;
        if first > day {
            return Some(first * DAY + self.first_time());
        }
        match self.next_time(time) {
            Some(time) => Some(day * DAY + time),
            None => Some(self.next_day(day + 1)? * DAY + self.first_time()),
        }
    }

    /// How many matching wall times are in `[from, to)`, without walking them.
    pub fn count(&self, from: i64, to: i64) -> u64 {
        let (first, last) = (from.div_euclid(DAY), to.div_euclid(DAY));
        let before = |day: i64, time: i64| {
            if self.next_day(day) == Some(day) { self.count_before(time) } else { 0 }
        };
        let whole = self.days_between(first, last) * self.count_before(DAY);
        whole + before(last, to.rem_euclid(DAY)) - before(first, from.rem_euclid(DAY))
    }

    /// Matching times of a matching day before `time`.
    fn count_before(&self, time: i64) -> u64 {
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let below = |mask: u64, bit: i64| u64::from((mask & ((1 << bit) - 1)).count_ones());
        let has = |mask: u64, bit: i64| mask >> bit & 1;
        let (hours, seconds) = (u64::from(self.hours), u64::from(self.seconds.count_ones()));
        let in_minute = has(self.minutes, minute) * below(self.seconds, second);
        let in_hour = has(hours, hour) * (below(self.minutes, minute) * seconds + in_minute);
        below(hours, hour) * u64::from(self.minutes.count_ones()) * seconds + in_hour
    }

    /// Matching days in `[first, last)`.
    fn days_between(&self, first: i64, last: i64) -> u64 {
        let (mut day, mut days) = (first, 0);
        while let Some(date) = date(day).filter(|_| day < last) {
            let (year, month, from) = (date.year(), date.month(), i64::from(date.day()));
            let end = (from + last - day).min(i64::from(shape(year, month).0) + 1);
            if self.months & (1 << month) != 0 {
                let span = ((1u64 << end) - (1u64 << from)) as u32;
                days += u64::from((self.days.in_month(year, month) & span).count_ones());
            }
            day += end - from;
        }
        days
    }

    fn first_time(&self) -> i64 {
        i64::from(self.hours.trailing_zeros()) * 3600
            + i64::from(self.minutes.trailing_zeros()) * 60
            + i64::from(self.seconds.trailing_zeros())
    }

    /// The first matching second of a day at or after `time`.
    fn next_time(&self, time: i64) -> Option<i64> {
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let this_hour = self.hours & (1 << hour) != 0;
        if this_hour
            && self.minutes & (1 << minute) != 0
            && let Some(second) = bit_from(self.seconds, second)
        {
            return Some(hour * 3600 + minute * 60 + second);
        }
        let first_second = i64::from(self.seconds.trailing_zeros());
        if this_hour && let Some(minute) = bit_from(self.minutes, minute + 1) {
            return Some(hour * 3600 + minute * 60 + first_second);
        }
        let hour = bit_from(u64::from(self.hours), hour + 1)?;
        Some(hour * 3600 + i64::from(self.minutes.trailing_zeros()) * 60 + first_second)
    }

    /// The first matching day at or after `day`, in days since 1970-01-01.
    fn next_day(&self, day: i64) -> Option<i64> {
        let date = date(day)?;
        let (mut year, mut month, mut first) = (date.year(), date.month(), date.day());
        while year < 2100 {
            let Some(named) = bit_from(self.months.into(), month.into()) else {
                (year, month, first) = (year + 1, 1, 1);
                continue;
            };
            steps::take();
            if named as u32 != month {
                (month, first) = (named as u32, 1);
            }
            let matching = self.days.in_month(year, month) >> first << first;
            if matching != 0 {
                let date = NaiveDate::from_ymd_opt(year, month, matching.trailing_zeros())?;
                return Some(date.to_epoch_days().into());
            }
            (month, first) = (month + 1, 1);
        }
        None
    }
}

impl Days {
    /// The matching days of one month; bit 1 is the first.
    fn in_month(&self, year: i32, month: u32) -> u32 {
        let (length, first_weekday) = shape(year, month);
        let valid = ((1u64 << (length + 1)) - 2) as u32;
        match (self.month_restricted, self.week_restricted) {
            (false, false) => valid,
            (true, false) => self.by_month(length, first_weekday) & valid,
            (false, true) => self.by_week(length, first_weekday) & valid,
            (true, true) => {
                (self.by_month(length, first_weekday) | self.by_week(length, first_weekday)) & valid
            }
        }
    }

    fn by_month(&self, length: u32, first_weekday: u32) -> u32 {
        let mut days = self.of_month;
        if self.last {
            days |= 1 << length;
        }
        if self.last_workday {
            days |= 1 << nearest_workday(length, length, first_weekday);
        }
        let mut nearest = self.nearest;
        while nearest != 0 {
            let day = nearest.trailing_zeros();
            nearest &= nearest - 1;
            if day <= length {
                days |= 1 << nearest_workday(day, length, first_weekday);
            }
        }
        days
    }

    fn by_week(&self, length: u32, first_weekday: u32) -> u32 {
        // Weekdays repeated through six weeks from a Sunday; the month begins on one of the first seven.
        let weeks = u64::from(self.of_week) * (1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28 | 1 << 35);
        let mut days = (weeks >> first_weekday << 1) as u32;
        if self.last_of_week == 0 && self.nth == 0 {
            return days;
        }
        for weekday in 0..7 {
            let first = 1 + (weekday + 7 - first_weekday) % 7;
            if self.last_of_week & (1 << weekday) != 0 {
                days |= 1 << (first + (length - first) / 7 * 7);
            }
            for week in 0..5 {
                let day = first + 7 * week;
                if self.nth & (1 << (7 * week + weekday)) != 0 && day <= length {
                    days |= 1 << day;
                }
            }
        }
        days
    }
}

/// Never leaves the month: the first being a Saturday gives Monday the third, the last being a Sunday gives Friday.
fn nearest_workday(day: u32, length: u32, first_weekday: u32) -> u32 {
    match (first_weekday + day - 1) % 7 {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == length => day - 2,
        0 => day + 1,
        _ => day,
    }
}

/// Length of a month, and the weekday of its first day from Sunday = 0.
fn shape(year: i32, month: u32) -> (u32, u32) {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let first =
        NaiveDate::from_ymd_opt(year, month, 1).map_or(0, |date| date.weekday().num_days_from_sunday());
    (length, first)
}

fn date(day: i64) -> Option<NaiveDate> {
    NaiveDate::from_epoch_days(i32::try_from(day).ok()?)
}

/// The lowest set bit at or above `from`.
fn bit_from(mask: u64, from: i64) -> Option<i64> {
    let rest = mask.checked_shr(u32::try_from(from).ok()?)?;
    (rest != 0).then(|| from + i64::from(rest.trailing_zeros()))
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDateTime;

    use super::*;

    fn wall(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").expect(text).and_utc().timestamp()
    }

    fn check(expression: &str, from: &str, expected: &[&str]) {
        let compiled = Expression::parse(expression).expect(expression);
        let mut at = wall(from);
        for want in expected {
            let found = compiled.next(at).expect(expression);
            assert_eq!(found, wall(want), "{expression} from {from}: {want}");
            at = found + 1;
        }
    }

    #[test]
    fn times_of_day_carry_over() {
        check("*/15 8-9 * * *", "2026-01-31 09:40:00", &["2026-01-31 09:45:00", "2026-02-01 08:00:00"]);
        check("30 0 12 * * *", "2026-01-31 12:00:30", &["2026-01-31 12:00:30", "2026-02-01 12:00:30"]);
        check(
            "5/20 * * * *",
            "2026-01-01 00:00:00",
            &["2026-01-01 00:05:00", "2026-01-01 00:25:00", "2026-01-01 00:45:00"],
        );
    }

    #[test]
    fn either_day_field_matches_when_both_are_restricted() {
        check(
            "0 0 13 * 5",
            "2026-11-01 00:00:00",
            &["2026-11-06 00:00:00", "2026-11-13 00:00:00", "2026-11-20 00:00:00"],
        );
        check("0 0 13 * ?", "2026-11-01 00:00:00", &["2026-11-13 00:00:00", "2026-12-13 00:00:00"]);
    }

    #[test]
    fn special_days() {
        check("0 0 L * *", "2028-02-01 00:00:00", &["2028-02-29 00:00:00", "2028-03-31 00:00:00"]);
        check("0 0 LW * *", "2026-02-01 00:00:00", &["2026-02-27 00:00:00", "2026-03-31 00:00:00"]);
        check("0 0 1W * *", "2026-08-01 00:00:00", &["2026-08-03 00:00:00", "2026-09-01 00:00:00"]);
        check("0 0 15W * *", "2026-11-01 00:00:00", &["2026-11-16 00:00:00", "2026-12-15 00:00:00"]);
        check("0 0 * * 5L", "2026-11-01 00:00:00", &["2026-11-27 00:00:00", "2026-12-25 00:00:00"]);
        check("0 0 * * MON#1", "2026-11-01 00:00:00", &["2026-11-02 00:00:00", "2026-12-07 00:00:00"]);
        check("0 0 * * 1#5", "2026-11-01 00:00:00", &["2026-11-30 00:00:00", "2027-03-29 00:00:00"]);
        check("0 0 29 2 *", "2026-01-01 00:00:00", &["2028-02-29 00:00:00", "2032-02-29 00:00:00"]);
    }

    #[test]
    fn counting_agrees_with_walking() {
        let (from, to) = (wall("2026-01-30 07:31:12"), wall("2026-04-02 19:02:03"));
        for text in [
            "*/7 3-5 * * *",
            "10 20 * * * *",
            "0 0 L * *",
            "15 6 * 2,4 1-5",
            "59 59 23 * * *",
            "0 0 13 * 5",
            "* * * * *",
        ] {
            let expression = Expression::parse(text).expect(text);
            for (from, to) in [(from, to), (from, from), (from, from + 3_000), (to - 90_000, to)] {
                let walk = std::iter::successors(expression.next(from), |at| expression.next(at + 1));
                let walked = walk.take_while(|at| *at < to).count() as u64;
                assert_eq!(expression.count(from, to), walked, "{text} from {from} to {to}");
            }
        }
    }

    #[test]
    fn what_never_comes_is_none() {
        for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
            assert_eq!(
                Expression::parse(expression).expect(expression).next(wall("2026-01-01 00:00:00")),
                None
            );
        }
    }

    #[test]
    fn an_expression_stays_small() {
        assert!(size_of::<Expression>() <= 64, "{}", size_of::<Expression>());
    }
}
