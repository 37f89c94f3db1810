//! Checks of single fields. Each error names the field as the client wrote it, and says what would be right.

use docket::errors::Violation;
use prost_types::{Duration, Struct, Timestamp, Value, value::Kind};

use super::text::is_clean;
use crate::state_machine::timing::expression::HORIZON;

type Checked<T> = Result<T, Violation>;

const ID_MAX: usize = 128;

/// 1–128 of `[A-Za-z0-9._:@-]`.
pub fn id<'a>(field: &str, value: &'a str) -> Checked<&'a str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    if value.is_empty() || value.len() > ID_MAX || !value.bytes().all(allowed) {
        let remedy = format!("must be 1 to {ID_MAX} characters of A-Z a-z 0-9 . _ : @ -");
        return Err(Violation::new(field, remedy));
    }
    Ok(value)
}

/// An id, or nothing.
pub fn optional_id<'a>(field: &str, value: &'a str) -> Checked<&'a str> {
    if value.is_empty() { Ok(value) } else { id(field, value) }
}

/// Text for people: bounded, one line, without control characters.
pub fn note(field: &str, value: &str, max: usize) -> Checked<Box<str>> {
    if value.len() > max {
        return Err(Violation::new(field, format!("must be at most {max} bytes")));
    }
    if !is_clean(value) {
        return Err(Violation::new(field, "must not hold control or direction characters"));
    }
    Ok(value.into())
}

pub fn bytes(field: &str, length: usize, max: usize) -> Checked<()> {
    if length > max {
        return Err(Violation::new(field, format!("is {length} bytes; at most {max} are allowed")));
    }
    Ok(())
}

pub fn count(field: &str, length: usize, max: usize) -> Checked<()> {
    if length > max {
        return Err(Violation::new(field, format!("has {length} entries; at most {max} are allowed")));
    }
    Ok(())
}

/// What JSON can say: a number that is not finite, or a value that is none, would make every answer that holds it
/// unreadable to clients that speak JSON. As deep as messages may nest.
pub fn json(field: &str, value: &Struct) -> Checked<()> {
    fn is_json(value: &Value) -> bool {
        match &value.kind {
            None => false,
            Some(Kind::NumberValue(number)) => number.is_finite(),
            Some(Kind::ListValue(list)) => list.values.iter().all(is_json),
            Some(Kind::StructValue(fields)) => fields.fields.values().all(is_json),
            Some(Kind::NullValue(_) | Kind::BoolValue(_) | Kind::StringValue(_)) => true,
        }
    }
    match value.fields.iter().find(|(_, value)| !is_json(value)) {
        Some((name, _)) => {
            let name = super::text::clean(name, 64);
            Err(Violation::new(
                field,
                format!("`{name}` holds a value that JSON has no word for, such as NaN"),
            ))
        }
        None => Ok(()),
    }
}

/// `low` to `high`; 0 means `default`.
pub fn number(field: &str, value: i32, low: u32, high: u32, default: u32) -> Checked<u32> {
    match u32::try_from(value) {
        Ok(0) => Ok(default),
        Ok(value) if (low..=high).contains(&value) => Ok(value),
        _ => Err(Violation::new(field, format!("must be {low} to {high}, or 0 for the default {default}"))),
    }
}

/// Milliseconds from `low` to `high`; absent means `default`.
pub fn millis(field: &str, value: Option<&Duration>, low: i64, high: i64, default: i64) -> Checked<i64> {
    let Some(value) = value else { return Ok(default) };
    let bounds =
        || Violation::new(field, format!("must be {} to {}, in whole milliseconds", span(low), span(high)));
    let whole = value.nanos % 1_000_000 == 0 && value.nanos.abs() < 1_000_000_000;
    let mixed = (value.seconds > 0 && value.nanos < 0) || (value.seconds < 0 && value.nanos > 0);
    let millis =
        value.seconds.checked_mul(1000).and_then(|ms| ms.checked_add((value.nanos / 1_000_000).into()));
    millis.filter(|millis| whole && !mixed && (low..=high).contains(millis)).ok_or_else(bounds)
}

fn span(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let unit = UNITS.iter().find(|(unit, _)| millis >= *unit && millis % unit == 0);
    unit.map_or_else(|| format!("{millis} ms"), |(unit, name)| format!("{} {name}", millis / unit))
}

/// Wall milliseconds, between 1970 and 2100.
pub fn time(field: &str, value: &Timestamp) -> Checked<i64> {
    let in_range = (0..HORIZON).contains(&value.seconds) && (0..1_000_000_000).contains(&value.nanos);
    if !in_range {
        return Err(Violation::new(
            field,
            "must be between 1970-01-01 and 2100-01-01, as in 2026-11-24T02:00:00Z",
        ));
    }
    Ok(value.seconds * 1000 + i64::from(value.nanos) / 1_000_000)
}

pub fn optional_time(field: &str, value: Option<&Timestamp>) -> Checked<Option<i64>> {
    value.map(|value| time(field, value)).transpose()
}

/// Default 100, at most 1 000.
pub fn page_size(value: i32) -> Checked<usize> {
    match usize::try_from(value) {
        Ok(0) => Ok(100),
        Ok(size) => Ok(size.min(1_000)),
        Err(_) => Err(Violation::new("page_size", "must be 0 (for 100) to 1 000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["a", "mb-123", "user@example.com", "A.b_c:d-9", &"x".repeat(128)] {
            assert_eq!(id("schedule_id", good), Ok(good));
        }
        for bad in ["", "a/b", "../x", "ä", "a b", "a\0", "a\u{202e}", &"x".repeat(129)] {
            assert!(id("schedule_id", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_bounded_and_whole() {
        let check = |seconds, nanos| millis("f", Some(&Duration { seconds, nanos }), 1_000, 86_400_000, 5);
        assert_eq!(millis("f", None, 1_000, 86_400_000, 5), Ok(5));
        assert_eq!(check(1, 500_000_000), Ok(1_500));
        for (seconds, nanos) in
            [(0, 999_000_000), (-1, 0), (i64::MAX, 0), (86_401, 0), (1, 1), (2, -500_000_000), (1, i32::MAX)]
        {
            let error = check(seconds, nanos).expect_err("out of bounds");
            assert_eq!(error.message, "must be 1 s to 1 d, in whole milliseconds");
        }
    }

    #[test]
    fn times_stay_between_1970_and_2100() {
        assert_eq!(time("f", &Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }), Ok(1_700_000_000_005));
        for (seconds, nanos) in
            [(-62_135_596_800, 0), (253_402_300_799, 0), (HORIZON, 0), (0, -1), (i64::MAX, 0)]
        {
            assert!(time("f", &Timestamp { seconds, nanos }).is_err());
        }
    }
}
