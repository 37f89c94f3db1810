//! When a server says that it may be asked again.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Longer waits are not believed.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// From the header, in seconds or as a date, or from the text that Gmail writes besides ("Retry after TIME"). A time
/// that has passed means at once.
pub fn after(headers: &HeaderMap, message: &str, now: i64) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    let from_header = header.and_then(|text| match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => DateTime::parse_from_rfc2822(text).ok().map(|date| until(date.timestamp_millis(), now)),
    });
    let from_text = || {
        let (_, text) = message.split_once("Retry after ")?;
        let word = text.split_whitespace().next()?.trim_end_matches('.');
        DateTime::parse_from_rfc3339(word).ok().map(|date| until(date.timestamp_millis(), now))
    };
    from_header.or_else(from_text).map(|wait| wait.min(LONGEST))
}

fn until(millis: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis.saturating_sub(now)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-05-01T12:00:00Z
    const NOW: i64 = 1_777_636_800_000;

    #[test]
    fn both_forms_of_the_header_and_the_text() {
        let asked = |header: Option<&str>, message: &str| {
            let mut headers = HeaderMap::new();
            header.map(|value| headers.insert(RETRY_AFTER, value.parse().unwrap()));
            after(&headers, message, NOW).map(|wait| wait.as_secs())
        };
        assert_eq!(asked(Some("120"), ""), Some(120));
        assert_eq!(asked(Some("Fri, 01 May 2026 12:01:30 GMT"), ""), Some(90));
        assert_eq!(asked(Some("Fri, 01 May 2026 11:00:00 GMT"), ""), Some(0), "it has passed");
        assert_eq!(asked(Some("864000"), ""), Some(24 * 3600), "ten days");
        assert_eq!(asked(Some("99999999999999999999"), ""), None);
        assert_eq!(asked(Some("soon"), ""), None);
        let text = "User-rate limit exceeded.  Retry after 2026-05-01T12:00:10.000Z";
        assert_eq!(asked(None, text), Some(10));
        assert_eq!(asked(Some("5"), text), Some(5));
        assert_eq!(asked(None, "Retry after lunch"), None);
    }
}
