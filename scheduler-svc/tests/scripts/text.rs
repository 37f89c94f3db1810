//! Times and spans as scripts write them, both ways. All times are UTC.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, Utc};

pub const DAY: i64 = 86_400_000;

fn utc(at: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at).unwrap_or_default()
}

/// `2026-03-02 Mon`
pub fn date(at: i64) -> String {
    utc(at).format("%Y-%m-%d %a").to_string()
}

/// `09:00:00`, with milliseconds where there are any.
pub fn seconds(at: i64) -> String {
    utc(at).format(if at.rem_euclid(1_000) == 0 { "%H:%M:%S" } else { "%H:%M:%S%.3f" }).to_string()
}

/// `09:00`, as precise as needed; with the date before it if that is not the one of `today`.
pub fn time(at: i64, today: i64) -> String {
    if is_day(at, today) { clock(at) } else { dated(at, today) }
}

/// `09:00–11:00`; with dates at both ends unless all of it is today.
pub fn range(first: i64, last: i64, today: i64) -> String {
    if is_day(first, today) && is_day(last, today) {
        return format!("{}–{}", clock(first), clock(last));
    }
    format!("{}–{}", dated(first, today), dated(last, first))
}

fn is_day(at: i64, today: i64) -> bool {
    at.div_euclid(DAY) == today.div_euclid(DAY)
}

fn clock(at: i64) -> String {
    if at.rem_euclid(60_000) == 0 { utc(at).format("%H:%M").to_string() } else { seconds(at) }
}

/// With its year if that is another one.
fn dated(at: i64, today: i64) -> String {
    let is_year = utc(at).format("%Y").to_string() == utc(today).format("%Y").to_string();
    let date = utc(at).format(if is_year { "%m-%d" } else { "%Y-%m-%d" });
    format!("{date}T{}", clock(at))
}

/// The wall clock of a zone: `10:00`, with its date if that is another one than in UTC.
pub fn local(at: i64, zone: &str) -> Option<String> {
    let zone: chrono_tz::Tz = zone.parse().ok()?;
    let local = utc(at).with_timezone(&zone);
    let seconds = if at.rem_euclid(60_000) == 0 { "" } else { ":%S" };
    let date = if local.date_naive() == utc(at).date_naive() { "" } else { "%m-%dT" };
    Some(local.format(&format!("{date}%H:%M{seconds} %Z")).to_string())
}

/// `90s`, `1h30m`, `3d`, `500ms`, in milliseconds.
pub fn parse_span(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no duration such as 90s or 1h30m");
    let (mut total, mut rest) = (0, text);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|char: char| char.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => DAY,
            _ => return Err(wrong()),
        };
        total += number.parse::<i64>().map_err(|_| wrong())? * factor;
        rest = after;
    }
    Ok(total)
}

/// `1h30m`
pub fn span(millis: i64) -> String {
    let mut rest = millis;
    let mut text = String::new();
    for (factor, unit) in [(DAY, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
        if rest >= factor {
            text += &format!("{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// `09:00` (of today), `2026-03-02T09:00`, each with seconds if wanted.
pub fn parse_time(text: &str, today: i64) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no time such as 09:00 or 2026-03-02T09:00");
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| wrong())?, clock),
        None => (utc(today).date_naive(), text),
    };
    let clock = NaiveTime::parse_from_str(clock, "%H:%M")
        .or_else(|_| NaiveTime::parse_from_str(clock, "%H:%M:%S%.f"))
        .map_err(|_| wrong())?;
    Ok(NaiveDateTime::new(date, clock).and_utc().timestamp_millis())
}

/// As [`parse_time`], but a time without a date is the next one of that name.
pub fn parse_coming(text: &str, now: i64) -> Result<i64, String> {
    let at = parse_time(text, now)?;
    if at > now || text.contains(['T', ' ']) {
        return Ok(at);
    }
    Ok((utc(at) + Days::new(1)).timestamp_millis())
}
