//! Amounts as people write them, to exact decimals.
//!
//! `1.234,56`, `1,234.56`, `1 234,56`, `1'234.56`, `1,23,456.00`, `٤٫٥٠`, `-12.00`, `12.00-`, `(12.00)`.
//! A form with two readings (`12.345`) is left open until a `Style` says what the point means here.
//! Never a float.

use rust_decimal::Decimal;

use super::currency::{self, Mark};

/// What separates the decimals in this document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    Comma,
    Point,
    #[default]
    Unknown,
}

/// A number in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Bytes, with sign and mark.
    pub start: usize,
    pub end: usize,
    /// Digits and separators only, ASCII.
    digits: String,
    negative: bool,
    pub mark: Option<Mark>,
    /// A rate, not an amount.
    pub percent: bool,
}

impl Amount {
    /// The value, if it has one reading.
    #[must_use]
    pub fn value(&self, style: Style) -> Option<Decimal> {
        let thousandths = matches!(self.mark, Some(Mark::Code(code)) if currency::has_three_decimals(code));
        let plain = normalise(&self.digits, style, thousandths)?;
        let value: Decimal = plain.parse().ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// Written with decimals or beside a currency: an amount of money and not a count or a year.
    #[must_use]
    pub fn is_money(&self) -> bool {
        !self.percent && (self.mark.is_some() || self.has_cents())
    }

    /// Ends in a separator and two digits (or three, for currencies counted in thousandths).
    #[must_use]
    pub fn has_cents(&self) -> bool {
        let Some(at) = self.digits.rfind(['.', ',']) else { return false };
        let decimals = self.digits.len() - at - 1;
        decimals == 2 || (decimals == 1 && self.mark.is_some())
    }

    fn votes(&self) -> Style {
        match self.digits.rfind(['.', ',']) {
            Some(at) if self.has_cents() => match self.digits.as_bytes().get(at) {
                Some(b',') => Style::Comma,
                _ => Style::Point,
            },
            _ => Style::Unknown,
        }
    }
}

/// What most of the unmistakable amounts use.
#[must_use]
pub fn style_of<'a>(amounts: impl Iterator<Item = &'a Amount>) -> Style {
    let (mut comma, mut point) = (0usize, 0usize);
    for amount in amounts.filter(|a| !a.percent) {
        match amount.votes() {
            Style::Comma => comma += 1,
            Style::Point => point += 1,
            Style::Unknown => {}
        }
    }
    match comma.cmp(&point) {
        std::cmp::Ordering::Greater => Style::Comma,
        std::cmp::Ordering::Less => Style::Point,
        std::cmp::Ordering::Equal => Style::Unknown,
    }
}

/// All numbers of a text that can be amounts: no dates, times, identifiers, phone numbers.
#[must_use]
pub fn scan(text: &str) -> Vec<Amount> {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(&(start, c)) = chars.get(i) {
        if digit(c).is_none() {
            i += 1;
            continue;
        }
        let (digits, stop) = take_digits(&chars, i);
        let end = chars.get(stop).map_or(text.len(), |(at, _)| *at);
        if let Some(amount) = finish(text, digits, start, end) {
            out.push(amount);
        }
        i = stop.max(i + 1);
    }
    out
}

fn digit(c: char) -> Option<char> {
    match c {
        '0'..='9' => Some(c),
        '٠'..='٩' => char::from_digit(c as u32 - '٠' as u32, 10),
        '۰'..='۹' => char::from_digit(c as u32 - '۰' as u32, 10),
        '０'..='９' => char::from_digit(c as u32 - '０' as u32, 10),
        _ => None,
    }
}

/// Collects digits and the separators between them. A space joins groups of three only.
fn take_digits(chars: &[(usize, char)], from: usize) -> (String, usize) {
    let at = |i: usize| chars.get(i).map(|(_, c)| *c);
    let is_digit = |i: usize| at(i).is_some_and(|c| digit(c).is_some());
    let group_of_three = |i: usize| is_digit(i) && is_digit(i + 1) && is_digit(i + 2) && !is_digit(i + 3);
    let mut out = String::new();
    let mut run = 0;
    let mut grouped = false;
    let mut i = from;
    while let Some(c) = at(i) {
        match c {
            c if digit(c).is_some() => {
                out.extend(digit(c));
                run += 1;
            }
            '.' | ',' | '٫' | '٬' if is_digit(i + 1) => {
                out.push(match c {
                    '٫' => '.',
                    '٬' => ',',
                    c => c,
                });
                run = 0;
            }
            // OCR and justified text: `12. 50`, `1, 250.00` are left alone; only tight groups join.
            '\'' | '’' | '\u{a0}' | '\u{202f}' | '\u{2009}' | ' '
                if (run == 3 || (!grouped && run < 3))
                    && group_of_three(i + 1)
                    && !out.contains(['.', ',']) =>
            {
                // a plain space may separate two numbers: only `1 234,56` and `1 234 Ft` join
                if c == ' ' && !joins_as_group(chars, i) {
                    break;
                }
                grouped = true;
                run = 0;
            }
            _ => break,
        }
        i += 1;
    }
    (out, i)
}

/// The groups of three after a plain space end in a decimal comma or beside a currency.
fn joins_as_group(chars: &[(usize, char)], space: usize) -> bool {
    let at = |i: usize| chars.get(i).map(|(_, c)| *c);
    let is_digit = |i: usize| at(i).is_some_and(|c| digit(c).is_some());
    let mut i = space;
    while at(i) == Some(' ') && (1..=3).all(|n| is_digit(i + n)) && !is_digit(i + 4) {
        i += 4;
    }
    let rest: String = chars.get(i..).unwrap_or_default().iter().take(8).map(|(_, c)| *c).collect();
    i > space && (rest.starts_with(',') || currency::mark_after(&rest).is_some())
}

/// Looks at what stands around the digits: sign, mark, percent, and whether it is an amount at all.
fn finish(text: &str, digits: String, start: usize, end: usize) -> Option<Amount> {
    if digits.len() > 18 {
        return None;
    }
    let before = text.get(..start)?;
    let after = text.get(end..)?;
    let mark_left = currency::mark_before(strip_sign(before).0);
    let mark_right = currency::mark_after(after.trim_start_matches(['-', '–', '—']).trim_start_matches(",-"));
    let previous = before.chars().next_back();
    if mark_left.is_none()
        && previous.is_some_and(|c| c.is_alphabetic() || matches!(c, '/' | ':' | '_' | '\\' | '#'))
    {
        return None;
    }
    if ends_in_joined_digits(before) {
        return None;
    }
    let next = after.chars().next();
    let then = after.chars().nth(1);
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    if mark_right.is_none() && next.is_some_and(|c| c.is_alphabetic() || c == '_' || c == '\\') {
        return None;
    }
    if matches!(next, Some('/' | ':' | '.' | ',')) && joins(then) || matches!(next, Some('-')) && joins(then)
    {
        return None;
    }
    let percent =
        after.trim_start().starts_with(['%', '٪']) || before.trim_end().ends_with('%') && next.is_none();
    let (unsigned, mut negative) = strip_sign(before);
    let mut from = start;
    if negative {
        from = unsigned.len();
    }
    if let Some((_, at)) = mark_left {
        from = from.min(at);
        negative |= strip_sign(text.get(..at)?).1;
    }
    negative |= matches!(next, Some('-' | '−')) && !joins(then) && !digits.ends_with(',');
    negative |= text.get(..from)?.trim_end().ends_with('(') && after.trim_start().starts_with(')');
    let to = mark_right.map_or(end, |(_, len)| text.len() - after.len() + after.len().min(len + gap(after)));
    let mark = mark_left.or(mark_right).map(|(m, _)| m);
    let negative = negative && !is_price_dash(after);
    Some(Amount { start: from, end: to.min(text.len()), digits, negative, mark, percent })
}

/// Bytes of a dash between the digits and the mark.
fn gap(after: &str) -> usize {
    after.len() - after.trim_start_matches(['-', '–', '—']).len()
}

/// `12,-` and `12.–`: whole units, not a negative amount.
fn is_price_dash(after: &str) -> bool {
    [",-", ".-", ",–", ".–", ",—", ".—"].iter().any(|dash| after.starts_with(dash))
}

/// Whether a minus sign (not a hyphen in an identifier) stands at the end.
fn strip_sign(before: &str) -> (&str, bool) {
    let trimmed = before.trim_end_matches([' ', '\u{a0}']);
    let Some(rest) = trimmed.strip_suffix(['-', '−', '–']) else { return (before, false) };
    let glued = before.len() == trimmed.len();
    let previous = rest.chars().next_back();
    let free =
        previous.is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ':' | '|' | '\t' | '€' | '£' | '$'));
    if free && (glued || previous.is_none()) { (rest, true) } else { (before, false) }
}

/// `2026-03`, `3.4.2026`, `07-352`: the digits are the tail of something longer.
fn ends_in_joined_digits(before: &str) -> bool {
    let mut chars = before.chars().rev();
    let Some(joint) = chars.next() else { return false };
    matches!(joint, '-' | '.' | ',' | '\'' | '’' | '–') && chars.next().is_some_and(|c| c.is_alphanumeric())
        || joint == '+'
}

/// Digits with separators to a plain decimal, if there is one reading.
fn normalise(digits: &str, style: Style, thousandths: bool) -> Option<String> {
    let dots = digits.matches('.').count();
    let commas = digits.matches(',').count();
    let decimal = match (dots, commas) {
        (0, 0) => None,
        (0, 1) | (1, 0) => single(digits, style, thousandths)?,
        (0, _) | (_, 0) => None,
        _ => digits.rfind(['.', ',']),
    };
    let (whole, decimals) = match decimal {
        Some(at) => (digits.get(..at)?, digits.get(at + 1..)?),
        None => (digits, ""),
    };
    if !groups_fit(whole) || decimals.contains(['.', ',']) {
        return None;
    }
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    Some(if decimals.is_empty() { whole } else { format!("{whole}.{decimals}") })
}

/// One separator: is it the decimal one? `None` outside if that cannot be told.
fn single(digits: &str, style: Style, thousandths: bool) -> Option<Option<usize>> {
    let at = digits.find(['.', ','])?;
    let decimals = digits.len() - at - 1;
    if decimals != 3 || at == 0 || at > 3 || digits.starts_with('0') {
        return Some(Some(at));
    }
    let is_comma = digits.as_bytes().get(at) == Some(&b',');
    match (style, is_comma) {
        _ if thousandths => Some(Some(at)),
        (Style::Comma, true) | (Style::Point, false) => Some(Some(at)),
        (Style::Comma, false) | (Style::Point, true) => Some(None),
        (Style::Unknown, _) => None,
    }
}

/// Thousands in groups of three, or the Indian 1,23,456.
fn groups_fit(whole: &str) -> bool {
    let groups: Vec<&str> = whole.split(['.', ',']).collect();
    if groups.len() == 1 {
        return true;
    }
    let same = whole.contains('.') != whole.contains(',');
    let first = groups.first().map_or(0, |g| g.len());
    let last = groups.last().map_or(0, |g| g.len());
    let middle = groups.get(1..groups.len() - 1).unwrap_or_default();
    let western = middle.iter().all(|g| g.len() == 3);
    let indian = middle.iter().all(|g| g.len() == 2);
    same && (1..=3).contains(&first) && last == 3 && (western || indian)
}

/// With at least two decimals, as amounts are shown and compared.
#[must_use]
pub fn show(value: Decimal) -> String {
    let mut value = value.normalize();
    if value.scale() < 2 {
        value.rescale(2);
    }
    // a negative zero is a zero
    if value.is_zero() { "0.00".into() } else { value.to_string() }
}

/// An amount in a machine's spelling (XML, mark-up): a point for decimals, nothing else.
#[must_use]
pub fn machine(text: &str) -> Option<Decimal> {
    let text = text.trim();
    if text.is_empty() || text.len() > 30 {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, style: Style) -> Vec<String> {
        scan(text).iter().filter_map(|a| a.value(style)).map(show).collect()
    }

    #[test]
    fn national_spellings() {
        for (text, value) in [
            ("1.234,56", "1234.56"),
            ("1,234.56", "1234.56"),
            ("1 234,56", "1234.56"),
            ("127 000 Ft", "127000.00"),
            ("1\u{a0}234,56", "1234.56"),
            ("1\u{202f}234\u{202f}567,80", "1234567.80"),
            ("1'234.56", "1234.56"),
            ("1’234.56", "1234.56"),
            ("1,23,456.00", "123456.00"),
            ("٤٢٫٥٠", "42.50"),
            ("-12.00", "-12.00"),
            ("€ -8,79", "-8.79"),
            ("-€8.79", "-8.79"),
            ("12.00-", "-12.00"),
            ("(12.00)", "-12.00"),
            ("EUR 15,13", "15.13"),
            ("21,99 zł", "21.99"),
            ("-0.00", "0.00"),
            ("12,- €", "12.00"),
            ("12.345 KWD", "12.345"),
            ("£1", "1.00"),
            ("1.234.567", "1234567.00"),
        ] {
            assert_eq!(read(text, Style::Unknown), [value], "{text}");
        }
    }

    #[test]
    fn a_form_with_two_readings_waits_for_a_style() {
        assert!(read("12.345", Style::Unknown).is_empty());
        assert_eq!(read("12.345", Style::Comma), ["12345.00"]);
        assert_eq!(read("12.345", Style::Point), ["12.345"]);
        assert_eq!(read("1,250", Style::Point), ["1250.00"]);
    }

    #[test]
    fn two_numbers_stay_two() {
        assert_eq!(read("2 17,80", Style::Unknown), ["2.00", "17.80"]);
        assert_eq!(read("1 80.91 80.91", Style::Unknown), ["1.00", "80.91", "80.91"]);
        assert_eq!(read("3 150.00", Style::Unknown), ["3.00", "150.00"]);
    }

    #[test]
    fn not_amounts() {
        for text in [
            "31.12.2026",
            "2026-03-01",
            "12:30",
            "FV/2026/03/018",
            "RE2026-00871",
            "1.2.3",
            "07-3523888",
            "A12",
        ] {
            let money: Vec<_> = scan(text)
                .into_iter()
                .filter(|a| a.is_money() && a.value(Style::Unknown).is_some())
                .collect();
            assert!(money.is_empty(), "{text}: {money:?}");
        }
        assert!(scan("19%").iter().all(|a| a.percent));
        assert!(scan("7,5 %").iter().all(|a| a.percent));
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_value_reads_back(cents in 0i64..10_000_000_000) {
            let value = Decimal::new(cents, 2);
            let plain = format!("{value:.2}");
            let (whole, decimals) = plain.split_once('.').unwrap_or((&plain, "00"));
            let grouped = |separator: &str| {
                let mut out = String::new();
                for (i, c) in whole.chars().enumerate() {
                    if i > 0 && (whole.len() - i) % 3 == 0 { out.push_str(separator); }
                    out.push(c);
                }
                out
            };
            for (group, point) in [("", "."), ("", ","), (",", "."), (".", ","), ("\u{a0}", ","), ("'", ".")] {
                let text = format!("Total {}{point}{decimals} EUR", grouped(group));
                prop_assert_eq!(read(&text, Style::Unknown), vec![show(value)], "{}", text);
            }
        }

        #[test]
        fn scanning_never_fails(text in "\\PC{0,60}") {
            for amount in scan(&text) {
                prop_assert!(amount.start <= amount.end && amount.end <= text.len());
                let _ = amount.value(Style::Comma);
            }
        }
    }
}
