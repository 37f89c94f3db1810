//! Dates as people write them.
//!
//! `2026-03-04`, `04.03.2026`, `4 March 2026`, `March 4, 2026`, `2026. március 4.`, `04-Mar-26`. A form
//! such as `03/04/2026` has two readings and is returned with both; `Order` says which one holds, if the
//! document gives evidence for it. Years outside 1990 to 2100 (Buddhist, Hijri) are no dates here.

use std::collections::HashMap;
use std::sync::OnceLock;

use chrono::NaiveDate;

use super::fold::{self, Word};
use crate::read::words::months::{AMBIGUOUS, MONTHS};

/// Which comes first where the year comes last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    DayFirst,
    MonthFirst,
    #[default]
    Unknown,
}

/// A date in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub start: usize,
    pub end: usize,
    day_first: Option<NaiveDate>,
    month_first: Option<NaiveDate>,
    /// Two digits of the year at the end: could also be the year first.
    pub short_year: bool,
}

impl Found {
    /// The date, if it has one reading.
    #[must_use]
    pub fn value(&self, order: Order) -> Option<NaiveDate> {
        match (self.day_first, self.month_first, order) {
            (Some(a), Some(b), _) if a == b => Some(a),
            (Some(a), None, _) => Some(a),
            (None, Some(b), _) => Some(b),
            (Some(a), Some(_), Order::DayFirst) => Some(a),
            (Some(_), Some(b), Order::MonthFirst) => Some(b),
            _ => None,
        }
    }

    /// Both readings, where they differ: day first, month first.
    #[must_use]
    pub fn readings(&self) -> Option<(NaiveDate, NaiveDate)> {
        match (self.day_first, self.month_first) {
            (Some(a), Some(b)) if a != b => Some((a, b)),
            _ => None,
        }
    }

    /// What this date says about the order in its document.
    #[must_use]
    pub fn votes(&self) -> Order {
        match (self.day_first, self.month_first) {
            (Some(_), None) => Order::DayFirst,
            (None, Some(_)) => Order::MonthFirst,
            _ => Order::Unknown,
        }
    }
}

/// All dates of a text, in order.
#[must_use]
pub fn scan(text: &str) -> Vec<Found> {
    let mut out = numeric(text);
    for found in named(text) {
        if !out.iter().any(|o| o.start < found.end && found.start < o.end) {
            out.push(found);
        }
    }
    out.sort_by_key(|f| f.start);
    out
}

/// A machine's date: `2026-03-04`, with or without a time, or `20260304`.
#[must_use]
pub fn machine(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    let iso = text.get(..10).and_then(|t| NaiveDate::parse_from_str(t, "%Y-%m-%d").ok());
    let plain = || {
        let digits = text.get(..8)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
        NaiveDate::parse_from_str(digits, "%Y%m%d").ok()
    };
    iso.or_else(plain).filter(|d| in_range(*d))
}

fn in_range(date: NaiveDate) -> bool {
    use chrono::Datelike;
    (1990..=2100).contains(&date.year())
}

fn ymd(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day).filter(|d| in_range(*d))
}

fn full_year(digits: &str) -> Option<u32> {
    let year: u32 = digits.parse().ok()?;
    match digits.len() {
        4 => Some(year),
        2 => Some(2000 + year),
        _ => None,
    }
}

/// Three groups of digits with the same separator.
fn numeric(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        if !bytes.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
            continue;
        }
        let run = digits_at(bytes, i);
        let touches = text.get(..i).and_then(|t| t.chars().next_back()).is_some_and(joined_before);
        let found = if touches { None } else { numeric_at(text, i) };
        match found {
            Some(found) => {
                i = found.end;
                out.push(found);
            }
            None => i += run,
        }
    }
    out
}

fn joined_before(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '/' | '-' | '.' | ',')
}

fn digits_at(bytes: &[u8], from: usize) -> usize {
    bytes.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count().max(1)
}

fn numeric_at(text: &str, from: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let (a, next) = group(text, from)?;
    let (separator, next) = separator(bytes, next)?;
    let (b, next) = group(text, next)?;
    let (again, next) = self::separator(bytes, next)?;
    let (c, end) = group(text, next)?;
    if separator != again || b.len() > 2 {
        return None;
    }
    let after = text.get(end..)?;
    let next = after.chars().next();
    let then = after.chars().nth(1);
    // `T10:15` and `00:00` may follow; more digits or groups make it something else
    if next.is_some_and(|n| n.is_alphanumeric() && n != 'T')
        || (matches!(next, Some('/' | '-')) || next == Some('.') && separator == b'.')
            && then.is_some_and(|t| t.is_ascii_digit())
    {
        return None;
    }
    let second: u32 = b.parse().ok()?;
    if a.len() == 4 {
        let date = ymd(a.parse().ok()?, second, c.parse().ok().filter(|_| c.len() <= 2)?)?;
        return Some(Found {
            start: from,
            end,
            day_first: Some(date),
            month_first: Some(date),
            short_year: false,
        });
    }
    if a.len() > 2 || !(c.len() == 4 || c.len() == 2 && b.len() == 2) {
        return None;
    }
    let first: u32 = a.parse().ok()?;
    let year = full_year(c)?;
    let day_first = ymd(year, second, first);
    // points are the mark of countries that put the day first
    let month_first =
        if separator == b'.' && day_first.is_some() { day_first } else { ymd(year, first, second) };
    if day_first.is_none() && (month_first.is_none() || separator == b'.') {
        return None;
    }
    Some(Found { start: from, end, day_first, month_first, short_year: c.len() == 2 })
}

fn group(text: &str, from: usize) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    if !bytes.get(from)?.is_ascii_digit() {
        return None;
    }
    let end = from + digits_at(bytes, from);
    let digits = text.get(from..end)?;
    (digits.len() <= 4).then_some((digits, end))
}

/// A separator with at most one space on either side (`11. 03. 2026`).
fn separator(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    let space = |at: usize| usize::from(bytes.get(at) == Some(&b' '));
    at += space(at);
    let separator = *bytes.get(at)?;
    if !matches!(separator, b'.' | b'/' | b'-') {
        return None;
    }
    at += 1;
    at += space(at);
    Some((separator, at))
}

/// The month that a word names; abbreviations of at least three letters count if only one month has them.
fn month_of(key: &str) -> Option<u32> {
    static INDEX: OnceLock<HashMap<&'static str, Option<u32>>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut index: HashMap<&'static str, Option<u32>> = HashMap::new();
        let names =
            || (1u32..).zip(MONTHS).flat_map(|(month, names)| names.split(' ').map(move |n| (n, month)));
        for (name, month) in names() {
            let prefixes = name.char_indices().skip(3).filter_map(|(at, _)| name.get(..at));
            for prefix in prefixes {
                index.entry(prefix).and_modify(|m| *m = m.filter(|m| *m == month)).or_insert(Some(month));
            }
        }
        // a name written out beats any abbreviation
        names().for_each(|(name, month)| {
            index.insert(name, Some(month));
        });
        AMBIGUOUS.iter().for_each(|name| {
            index.insert(name, None);
        });
        index
    });
    index.get(key).copied().flatten()
}

/// Dates with the month as a word.
fn named(text: &str) -> Vec<Found> {
    let words = split_glued(text);
    let mut out = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let Some(month) = month_of(&word.key) else { continue };
        if let Some(found) = around(&words, i, month) {
            out.push(found);
        }
    }
    out
}

/// Words, with `27FEB` and `9MAR2026` and `04-Mar-26` taken apart into digits and letters.
fn split_glued(text: &str) -> Vec<Word> {
    let mut out = Vec::new();
    for word in fold::words(text) {
        let raw = text.get(word.start..word.end).unwrap_or_default();
        let mixed = raw.chars().any(|c| c.is_ascii_digit()) && raw.chars().any(char::is_alphabetic);
        if !mixed {
            out.push(word);
            continue;
        }
        let mut from = 0;
        let mut previous: Option<bool> = None;
        for (at, c) in raw.char_indices().chain([(raw.len(), '\0')]) {
            let class = if c.is_ascii_digit() {
                Some(true)
            } else if c.is_alphabetic() {
                Some(false)
            } else {
                None
            };
            if class != previous || c == '\0' {
                if previous.is_some() {
                    let key = fold::fold(raw.get(from..at).unwrap_or_default());
                    out.push(Word { key, start: word.start + from, end: word.start + at });
                }
                from = at;
                previous = class;
            }
        }
    }
    out
}

/// The day and the year around a month's name.
fn around(words: &[Word], at: usize, month: u32) -> Option<Found> {
    let get = |i: Option<usize>| i.and_then(|i| words.get(i));
    let month_word = words.get(at)?;
    let before = |n: usize| get(at.checked_sub(n));
    let after = |n: usize| get(Some(at + n));
    let small = |w: Option<&Word>| w.and_then(|w| day_of(&w.key));
    let is_filler = |w: Option<&Word>| {
        w.is_some_and(|w| {
            matches!(w.key.as_str(), "de" | "del" | "of" | "d" | "i" | "den" | "ta" | "г" | "p")
        })
    };
    // 12 de febrero de 2026, 3rd of March 2026, 9. marca 2026
    let skipped = (1..=2).take_while(|n| is_filler(before(*n)) || is_ordinal(before(*n))).count();
    let day_at = Some(skipped + 1).filter(|n| small(before(*n)).is_some());
    let year_after = |n: usize| {
        let n = if is_filler(after(n)) { n + 1 } else { n };
        after(n).and_then(|w| year_of(&w.key).map(|y| (y, w.end)))
    };
    if let Some(back) = day_at {
        let word = before(back)?;
        if let Some((year, end)) = year_after(1) {
            return exact(ymd(year, month, day_of(&word.key)?)?, word.start, end);
        }
    }
    // March 4, 2026
    if let Some(day_word) = after(1)
        && let Some(day) = day_of(&day_word.key)
    {
        let skip = usize::from(is_ordinal(after(2)));
        if let Some((year, end)) = year_after(2 + skip) {
            return exact(ymd(year, month, day)?, month_word.start, end);
        }
        // 2026. március 4.
        if let Some(year_word) = before(1)
            && let Some(year) = year_of(&year_word.key).filter(|_| year_word.key.len() == 4)
        {
            return exact(ymd(year, month, day)?, year_word.start, day_word.end);
        }
    }
    None
}

fn exact(date: NaiveDate, start: usize, end: usize) -> Option<Found> {
    Some(Found { start, end, day_first: Some(date), month_first: Some(date), short_year: false })
}

fn day_of(key: &str) -> Option<u32> {
    (key.len() <= 2).then(|| key.parse().ok()).flatten().filter(|day| (1..=31).contains(day))
}

fn is_ordinal(word: Option<&Word>) -> bool {
    word.is_some_and(|w| matches!(w.key.as_str(), "st" | "nd" | "rd" | "th" | "er" | "o" | "a" | "re" | "e"))
}

fn year_of(key: &str) -> Option<u32> {
    let digits = key.bytes().all(|b| b.is_ascii_digit());
    (digits && matches!(key.len(), 2 | 4))
        .then(|| full_year(key))
        .flatten()
        .filter(|year| (1990..=2100).contains(year))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str, order: Order) -> Option<String> {
        scan(text).first().and_then(|f| f.value(order)).map(|d| d.to_string())
    }

    #[test]
    fn unmistakable_forms() {
        for (text, value) in [
            ("2026-03-04", "2026-03-04"),
            ("2026-02-02T10:15:00-07:00", "2026-02-02"),
            ("2026/3/4", "2026-03-04"),
            ("2026. 03. 18.", "2026-03-18"),
            ("04.03.2026", "2026-03-04"),
            ("4. 3. 2026", "2026-03-04"),
            ("19.01.26", "2026-01-19"),
            ("25/12/2018", "2018-12-25"),
            ("12/25/2018", "2018-12-25"),
            ("4 March 2026", "2026-03-04"),
            ("March 4, 2026", "2026-03-04"),
            ("Feb 6, 2026", "2026-02-06"),
            ("March 4th, 2026", "2026-03-04"),
            ("3rd of March 2026", "2026-03-03"),
            ("28 février 2026", "2026-02-28"),
            ("1er mars 2026", "2026-03-01"),
            ("12 de febrero de 2026", "2026-02-12"),
            ("9 marca 2026", "2026-03-09"),
            ("19. Januar 2026", "2026-01-19"),
            ("2026. március 18.", "2026-03-18"),
            ("04-Mar-26", "2026-03-04"),
            ("27FEB 2018", "2018-02-27"),
            ("14 Απριλίου 2026", "2026-04-14"),
            ("14 април 2026 г.", "2026-04-14"),
            ("5. lokakuuta 2026", "2026-10-05"),
            ("1. prosince 2026", "2026-12-01"),
            ("3 de março de 2026", "2026-03-03"),
        ] {
            assert_eq!(one(text, Order::Unknown).as_deref(), Some(value), "{text}");
        }
    }

    #[test]
    fn two_readings_need_an_order() {
        assert_eq!(one("03/04/2026", Order::Unknown), None);
        assert_eq!(one("03/04/2026", Order::DayFirst).as_deref(), Some("2026-04-03"));
        assert_eq!(one("03/04/2026", Order::MonthFirst).as_deref(), Some("2026-03-04"));
        assert_eq!(one("03/03/2026", Order::Unknown).as_deref(), Some("2026-03-03"));
    }

    #[test]
    fn not_dates() {
        for text in [
            "31.02.2026",
            "12.34.5678",
            "1.2.3.4",
            "01/02/03/04",
            "2569-03-04",
            "1447/09/01",
            "FV/2026/03/018",
            "192.168.10.20",
            "13/13/2026",
        ] {
            assert_eq!(one(text, Order::DayFirst), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_day_reads_back(days in 0i64..20_000) {
            let date = NaiveDate::from_ymd_opt(1995, 1, 1).and_then(|d| d.checked_add_signed(chrono::TimeDelta::days(days)));
            let date = date.unwrap_or_default();
            for form in ["%Y-%m-%d", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%Y"] {
                prop_assert_eq!(one(&date.format(form).to_string(), Order::Unknown), Some(date.to_string()));
            }
            prop_assert_eq!(one(&date.format("%d/%m/%Y").to_string(), Order::DayFirst), Some(date.to_string()));
            prop_assert_eq!(one(&date.format("%m/%d/%Y").to_string(), Order::MonthFirst), Some(date.to_string()));
        }

        #[test]
        fn scanning_never_fails(text in "\\PC{0,60}") {
            for found in scan(&text) {
                prop_assert!(text.get(found.start..found.end).is_some());
            }
        }
    }
}
