//! Random expressions as a structure that knows both its text and, by itself, what it means.
//!
//! Meaning is stated as plainly as possible and shares nothing with the parser or the masks under test.

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, Timelike as _};

use crate::random::Random;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
/// The name of 7 is good only where a range from Monday or later ends.
const WEEKDAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "7"];

#[derive(Clone, Debug)]
pub enum Item {
    Star,
    StarStep(u32),
    Value(u32),
    From(u32, u32),
    Range(u32, u32),
    RangeStep(u32, u32, u32),
}

#[derive(Clone, Debug)]
pub enum MonthDay {
    Plain(Item),
    Last,
    LastWorkday,
    Nearest(u32),
}

#[derive(Clone, Debug)]
pub enum WeekDay {
    Plain(Item),
    Last(u32),
    Nth(u32, u32),
}

/// None in a day field is `*` or `?`.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub second: Option<Vec<Item>>,
    pub minute: Vec<Item>,
    pub hour: Vec<Item>,
    pub month_day: Option<Vec<MonthDay>>,
    pub month: Vec<Item>,
    pub week_day: Option<Vec<WeekDay>>,
    pub question: bool,
    pub names: bool,
}

impl Item {
    /// `top` is the highest value that a star or an open step reaches.
    fn has(&self, value: u32, low: u32, top: u32) -> bool {
        match *self {
            Self::Star => true,
            Self::StarStep(step) => (value - low).is_multiple_of(step),
            Self::Value(one) => value == one,
            Self::From(from, step) => {
                value >= from && value <= top.max(from) && (value - from).is_multiple_of(step)
            }
            Self::Range(from, to) => (from..=to).contains(&value),
            Self::RangeStep(from, to, step) => {
                (from..=to).contains(&value) && (value - from).is_multiple_of(step)
            }
        }
    }

    fn text(&self, name: &dyn Fn(u32) -> String) -> String {
        match *self {
            Self::Star => "*".into(),
            Self::StarStep(step) => format!("*/{step}"),
            Self::Value(value) => name(value),
            Self::From(from, step) => format!("{}/{step}", name(from)),
            Self::Range(from, to) => format!("{}-{}", name(from), Self::end(from, to, name)),
            Self::RangeStep(from, to, step) => {
                format!("{}-{}/{step}", name(from), Self::end(from, to, name))
            }
        }
    }

    fn end(from: u32, to: u32, name: &dyn Fn(u32) -> String) -> String {
        let named = name(from) != from.to_string() && name(to) == "7";
        if named && from > 0 { "SUN".into() } else { name(to) }
    }
}

fn any(items: &[Item], value: u32, low: u32, top: u32) -> bool {
    items.iter().any(|item| item.has(value, low, top))
}

fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Sunday = 0.
fn weekday(date: NaiveDate) -> u32 {
    date.weekday().num_days_from_sunday()
}

fn is_workday(date: NaiveDate) -> bool {
    (1..=5).contains(&weekday(date))
}

fn days_of(date: NaiveDate) -> Vec<NaiveDate> {
    (1..=31).filter_map(|day| date.with_day(day)).collect()
}

impl MonthDay {
    fn has(&self, date: NaiveDate) -> bool {
        let month = days_of(date);
        let last = month[month.len() - 1];
        match self {
            Self::Plain(item) => item.has(date.day(), 1, 31),
            Self::Last => date == last,
            Self::LastWorkday => month.iter().rev().find(|day| is_workday(**day)) == Some(&date),
            Self::Nearest(day) => {
                let distance = |other: &&NaiveDate| (other.day().abs_diff(*day), other.day());
                *day <= last.day()
                    && month.iter().filter(|day| is_workday(**day)).min_by_key(distance) == Some(&date)
            }
        }
    }
}

impl WeekDay {
    fn has(&self, date: NaiveDate) -> bool {
        let same: Vec<NaiveDate> =
            days_of(date).into_iter().filter(|day| weekday(*day) == weekday(date)).collect();
        match self {
            Self::Plain(item) => {
                item.has(weekday(date), 0, 6) || (weekday(date) == 0 && item_reaches_seven(item))
            }
            Self::Last(day) => day % 7 == weekday(date) && same.last() == Some(&date),
            Self::Nth(day, nth) => day % 7 == weekday(date) && same.get(*nth as usize - 1) == Some(&date),
        }
    }
}

/// Sunday written as 7.
fn item_reaches_seven(item: &Item) -> bool {
    match item {
        Item::Value(_) | Item::From(7, _) | Item::Range(..) | Item::RangeStep(..) => item.has(7, 0, 6),
        Item::Star | Item::StarStep(_) | Item::From(..) => false,
    }
}

impl Pattern {
    pub fn is_every_hour(&self) -> bool {
        (0..24).all(|hour| any(&self.hour, hour, 0, 23))
    }

    pub fn has_date(&self, date: NaiveDate) -> bool {
        let by_month = self.month_day.as_ref().map(|items| items.iter().any(|item| item.has(date)));
        let by_week = self.week_day.as_ref().map(|items| items.iter().any(|item| item.has(date)));
        any(&self.month, date.month(), 1, 12)
            && match (by_month, by_week) {
                (None, None) => true,
                (Some(one), None) | (None, Some(one)) => one,
                (Some(one), Some(other)) => one || other,
            }
    }

    pub fn has_time(&self, wall: NaiveDateTime) -> bool {
        let second =
            self.second.as_ref().map_or(wall.second() == 0, |items| any(items, wall.second(), 0, 59));
        second && any(&self.minute, wall.minute(), 0, 59) && any(&self.hour, wall.hour(), 0, 23)
    }

    pub fn text(&self) -> String {
        let number = |value: u32| value.to_string();
        let month =
            |value: u32| if self.names { MONTHS[value as usize - 1].into() } else { value.to_string() };
        let week = |value: u32| if self.names { WEEKDAYS[value as usize].into() } else { value.to_string() };
        let plain = |items: &[Item]| list(items, |item| item.text(&number));
        let any_day = if self.question { "?" } else { "*" };
        let month_day = self.month_day.as_ref().map_or(any_day.into(), |items| {
            list(items, |item| match item {
                MonthDay::Plain(item) => item.text(&number),
                MonthDay::Last => "L".into(),
                MonthDay::LastWorkday => "LW".into(),
                MonthDay::Nearest(day) => format!("{day}W"),
            })
        });
        let week_day = self.week_day.as_ref().map_or(any_day.into(), |items| {
            list(items, |item| match item {
                WeekDay::Plain(item) => item.text(&week),
                WeekDay::Last(day) => format!("{}L", week(*day)),
                WeekDay::Nth(day, nth) => format!("{}#{nth}", week(*day)),
            })
        });
        let second = self.second.as_ref().map_or(String::new(), |items| format!("{} ", plain(items)));
        let months = list(&self.month, |item| item.text(&month));
        format!("{second}{} {} {month_day} {months} {week_day}", plain(&self.minute), plain(&self.hour))
    }
}

/// What kinds of expressions to draw: another implementation may not know all of the dialect.
#[derive(Clone, Copy)]
pub struct Dialect {
    pub seconds: u32,
    pub special_days: bool,
    pub both_days: bool,
    pub open_steps: bool,
    pub names: bool,
    pub weekdays: bool,
}

pub const DOCKET: Dialect = Dialect {
    seconds: 8,
    special_days: true,
    both_days: true,
    open_steps: true,
    names: true,
    weekdays: true,
};

/// An expression that has something to do with `near`: most of its fields hold the value there.
pub fn pattern(random: &mut Random, dialect: Dialect, near: NaiveDateTime) -> Pattern {
    let second = random.chance(dialect.seconds).then(|| items(random, dialect, 0, 59, 0, 5));
    let minute = items(random, dialect, 0, 59, near.minute(), 20);
    let hour = items(random, dialect, 0, 23, near.hour(), 25);
    let month = items(random, dialect, 1, 12, near.month(), 70);
    let (mut by_month, mut by_week) = (random.chance(35), dialect.weekdays && random.chance(35));
    if by_month && by_week && !dialect.both_days {
        (by_month, by_week) = (true, false);
    }
    let month_day = by_month.then(|| many(random, |random| month_day(random, dialect, near)));
    let week_day = by_week.then(|| many(random, |random| week_day(random, dialect, near)));
    let names = dialect.names && random.chance(30);
    Pattern { second, minute, hour, month_day, month, week_day, question: random.chance(30), names }
}

fn many<T>(random: &mut Random, one: impl Fn(&mut Random) -> T) -> Vec<T> {
    let count = if random.chance(70) { 1 } else { random.within(2, 3) };
    (0..count).map(|_| one(random)).collect()
}

fn items(random: &mut Random, dialect: Dialect, low: u32, high: u32, near: u32, star: u32) -> Vec<Item> {
    if random.chance(star) {
        return vec![Item::Star];
    }
    many(random, |random| item(random, dialect, low, high, near))
}

fn item(random: &mut Random, dialect: Dialect, low: u32, high: u32, near: u32) -> Item {
    let value = if random.chance(60) { near } else { random.within(low, high) };
    let (from, to) = (random.within(low, value), random.within(value, high));
    let longest = if random.chance(70) { 6 } else { 59 };
    let step = random.within(1, longest.min(high - low));
    match random.within(0, 9) {
        0..=3 => Item::Value(value),
        4 => Item::StarStep(step),
        5 if dialect.open_steps => Item::From(from, step),
        5..=7 => Item::Range(from, to),
        _ => Item::RangeStep(from, to, step),
    }
}

fn month_day(random: &mut Random, dialect: Dialect, near: NaiveDateTime) -> MonthDay {
    let day = if random.chance(50) { near.day() } else { random.within(1, 31) };
    match random.within(0, if dialect.special_days { 9 } else { 5 }) {
        0..=5 => match item(random, dialect, 1, 31, near.day()) {
            // As `*`, it would not restrict.
            Item::StarStep(1) => MonthDay::Plain(Item::Value(day)),
            item => MonthDay::Plain(item),
        },
        6 => MonthDay::Last,
        7 => MonthDay::LastWorkday,
        _ => MonthDay::Nearest(day),
    }
}

fn week_day(random: &mut Random, dialect: Dialect, near: NaiveDateTime) -> WeekDay {
    let near = weekday(near.date());
    let day = if random.chance(50) { near } else { random.within(0, 7) };
    match random.within(0, if dialect.special_days { 9 } else { 5 }) {
        0..=5 => match item(random, dialect, 0, 7, near) {
            Item::StarStep(1) => WeekDay::Plain(Item::Value(day)),
            item => WeekDay::Plain(item),
        },
        6 | 7 => WeekDay::Last(day),
        _ => WeekDay::Nth(day, random.within(1, 5)),
    }
}
