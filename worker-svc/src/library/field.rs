//! Checks of single fields. Each error names the field as the client wrote it, and says what would be right.

use chrono::NaiveDate;
use docket::errors::Violation;
use prost_types::Timestamp;

type Checked<T> = Result<T, Violation>;

const ID_MAX: usize = 128;
/// 2100-01-01, in Unix seconds.
const HORIZON: i64 = 4_102_444_800;

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
pub fn optional_id(field: &str, value: &str) -> Checked<Option<String>> {
    if value.is_empty() { Ok(None) } else { id(field, value).map(|id| Some(id.to_owned())) }
}

/// Text for people: bounded, one line, without characters that drive a terminal.
pub fn text(field: &str, value: &str, max: usize) -> Checked<String> {
    if value.chars().count() > max {
        return Err(Violation::new(field, format!("must be at most {max} characters")));
    }
    if sync_core::text::clean(value, usize::MAX) != value {
        let remedy = "must not begin or end with a space, nor hold control or direction characters";
        return Err(Violation::new(field, remedy));
    }
    Ok(value.to_owned())
}

pub fn optional_text(field: &str, value: &str, max: usize) -> Checked<Option<String>> {
    text(field, value, max).map(|text| Some(text).filter(|text| !text.is_empty()))
}

pub fn count(field: &str, length: usize, max: usize) -> Checked<()> {
    if length > max {
        return Err(Violation::new(field, format!("has {length} entries; at most {max} are allowed")));
    }
    Ok(())
}

/// Unix milliseconds, between 1970 and 2100.
pub fn time(field: &str, value: Option<&Timestamp>) -> Checked<Option<i64>> {
    let Some(value) = value else { return Ok(None) };
    let in_range = (0..HORIZON).contains(&value.seconds) && (0..1_000_000_000).contains(&value.nanos);
    if !in_range {
        return Err(Violation::new(
            field,
            "must be between 1970-01-01 and 2100-01-01, as in 2026-11-24T02:00:00Z",
        ));
    }
    Ok(Some(value.seconds * 1000 + i64::from(value.nanos) / 1_000_000))
}

/// An ISO 8601 date, or nothing.
pub fn date(field: &str, value: &str) -> Checked<Option<String>> {
    if value.is_empty() {
        return Ok(None);
    }
    // Parsing alone is lenient about signs and spaces.
    let parsed = NaiveDate::parse_from_str(value, "%Y-%m-%d");
    if !parsed.is_ok_and(|date| date.format("%Y-%m-%d").to_string() == value) {
        return Err(Violation::new(field, "must be a date of the calendar, as in 2026-05-03"));
    }
    Ok(Some(value.to_owned()))
}

/// Refuses a range that holds nothing; `low` may equal `high` when both are in it.
pub fn range<T: PartialOrd>(
    field: &str,
    low: Option<&T>,
    high: Option<&T>,
    is_inclusive: bool,
) -> Checked<()> {
    match (low, high) {
        (Some(low), Some(high)) if low > high || (low == high && !is_inclusive) => {
            Err(Violation::new(field, "must not lie before the beginning of the range; exchange the two"))
        }
        _ => Ok(()),
    }
}

/// Values of an enum, each known.
pub fn any_of<P, R>(field: &str, values: &[i32], convert: impl Fn(P) -> Option<R>) -> Checked<Vec<R>>
where
    P: TryFrom<i32>,
{
    const MAX: usize = 16;
    count(field, values.len(), MAX)?;
    let one = |(at, value): (usize, &i32)| {
        let known = P::try_from(*value).ok().and_then(&convert);
        known.ok_or_else(|| {
            Violation::new(
                format!("{field}[{at}]"),
                "must be one of the named values; leave the list empty for all",
            )
        })
    };
    values.iter().enumerate().map(one).collect()
}

/// Default 100, at most 1 000.
pub fn page_size(value: i32) -> Checked<u32> {
    match u32::try_from(value) {
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
            assert_eq!(id("mailbox_id", good), Ok(good));
        }
        for bad in ["", "a/b", "../x", "ä", "a b", "a\0", "a\u{202e}", &"x".repeat(129)] {
            assert!(id("mailbox_id", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date("f", "2028-02-29"), Ok(Some("2028-02-29".into())));
        for bad in ["2026-02-30", "2026-5-3", "20260503", "today", "+026-05-03", " 2026-05-3", "2026-05-03T"]
        {
            assert!(date("f", bad).is_err(), "{bad}");
        }
        let ok = Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 };
        assert_eq!(time("f", Some(&ok)), Ok(Some(1_700_000_000_005)));
        for (seconds, nanos) in [(-1, 0), (HORIZON, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert!(time("f", Some(&Timestamp { seconds, nanos })).is_err());
        }
        assert!(range("f", Some(&1), Some(&1), true).is_ok());
        assert!(range("f", Some(&1), Some(&1), false).is_err());
        assert!(range("f", Some(&2), Some(&1), true).is_err());
    }

    #[test]
    fn text_is_bounded_and_clean() {
        assert_eq!(text("f", "Müller & Söhne", 14), Ok("Müller & Söhne".into()));
        for bad in ["Müller & Söhne!", "a\nb", "a\u{202e}b", " a"] {
            assert!(text("f", bad, 14).is_err(), "{bad}");
        }
    }
}
