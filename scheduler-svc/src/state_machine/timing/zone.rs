//! Time zones as sorted tables of transitions, built once per zone from chrono-tz.
//!
//! chrono-tz answers "which offset at this instant"; the evaluator needs "until when". The table is found by
//! sampling and bisection. Samples are 6 days apart: between 1970 and 2100 no zone keeps an offset for less than
//! the 7 days of Brazil's short summer of 2000 (`tests/timing` compares all zones with chrono-tz day by day).

use std::{
    collections::HashMap,
    fmt,
    sync::{LazyLock, Mutex, PoisonError},
};

use chrono::{Offset as _, TimeZone as _};
use chrono_tz::Tz;

use super::expression::{DAY, HORIZON};

const SAMPLE: i64 = 6 * DAY;

/// A zone and its transitions from 1970 to the horizon.
pub struct Zone {
    name: &'static str,
    /// Sorted. Each starts where the one before it ends; the first starts at `i64::MIN`.
    segments: Vec<Segment>,
}

/// Its name tells all of it.
impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A stretch of time with one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first instant, in Unix seconds.
    pub start: i64,
    /// Wall time − instant, in seconds.
    pub offset: i64,
}

impl Zone {
    /// By IANA name; empty means UTC. None when there is no such zone.
    pub fn find(name: &str) -> Option<&'static Self> {
        static ZONES: LazyLock<Mutex<HashMap<Tz, &'static Zone>>> = LazyLock::new(Mutex::default);
        let tz = if name.is_empty() { Tz::UTC } else { name.parse::<Tz>().ok()? };
        let mut zones = ZONES.lock().unwrap_or_else(PoisonError::into_inner);
        // Leaked on purpose: there are some 600 zones, and every schedule points at one.
        Some(zones.entry(tz).or_insert_with(|| Box::leak(Box::new(Self::build(tz)))))
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The index of the segment that holds an instant.
    pub fn index_at(&self, instant: i64) -> usize {
        self.segments.partition_point(|segment| segment.start <= instant) - 1
    }

    pub fn segment(&self, index: usize) -> Option<Segment> {
        self.segments.get(index).copied()
    }

    pub fn offset_at(&self, instant: i64) -> i64 {
        self.segments[self.index_at(instant)].offset
    }

    fn build(tz: Tz) -> Self {
        let mut segments = vec![Segment { start: i64::MIN, offset: offset(tz, 0) }];
        let mut from = 0;
        while from < HORIZON {
            let to = from + SAMPLE;
            let (before, after) = (segments[segments.len() - 1].offset, offset(tz, to));
            if before != after {
                segments.push(Segment { start: bisect(tz, from, to, before), offset: after });
            }
            from = to;
        }
        Self { name: tz.name(), segments }
    }
}

/// What to write instead of a name that [`Zone::find`] does not know.
pub fn remedy(name: &str) -> String {
    let wanted = name.trim();
    let same = |tz: &&Tz| tz.name().eq_ignore_ascii_case(wanted);
    if let Some(tz) = chrono_tz::TZ_VARIANTS.iter().find(same) {
        return format!("is written {}", tz.name());
    }
    let offset = wanted.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    if offset.starts_with(['+', '-']) {
        return "is an offset, not an IANA zone; write a place such as Europe/Berlin, or for a fixed offset \
                Etc/GMT-2, which is UTC+2"
            .into();
    }
    let version = chrono_tz::IANA_TZDB_VERSION;
    format!("is no IANA zone (tz database {version}); write for instance Europe/Berlin")
}

/// What is meant most often, of a zone that exists and is seldom meant.
pub fn seldom_meant(name: &str) -> Option<&'static str> {
    match name {
        "EST" => Some("America/New_York"),
        "MST" => Some("America/Denver"),
        _ => None,
    }
}

/// The first instant in `(from, to]` whose offset is not `before`.
fn bisect(tz: Tz, mut from: i64, mut to: i64, before: i64) -> i64 {
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        if offset(tz, middle) == before { from = middle } else { to = middle }
    }
    to
}

fn offset(tz: Tz, instant: i64) -> i64 {
    let naive = chrono::DateTime::from_timestamp(instant, 0).unwrap_or_default().naive_utc();
    tz.offset_from_utc_datetime(&naive).fix().local_minus_utc().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_later_stretch_goes_back_below_an_earlier_one() {
        for name in ["Europe/Berlin", "Asia/Gaza", "Antarctica/Troll", "Africa/Casablanca", "America/Noronha"]
        {
            let zone = Zone::find(name).expect(name);
            let least = |pair: &[Segment]| pair[1].start + pair[0].offset.min(pair[1].offset);
            assert!(zone.segments.windows(2).map(least).is_sorted(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_gets_its_remedy() {
        for (name, remedy_part) in [
            ("europe/berlin", "is written Europe/Berlin"),
            (" Europe/Berlin", "is written Europe/Berlin"),
            ("+25:00", "is an offset"),
            ("UTC+2", "Etc/GMT-2"),
            ("US/Pacific-New", "is no IANA zone (tz database"),
            ("Mars/Olympus", "write for instance Europe/Berlin"),
        ] {
            assert!(Zone::find(name).is_none(), "{name}");
            assert!(remedy(name).contains(remedy_part), "{name}: {}", remedy(name));
        }
        assert_eq!(seldom_meant("EST"), Some("America/New_York"));
        assert_eq!(seldom_meant("Europe/Berlin"), None);
    }

    #[test]
    fn names() {
        assert_eq!(Zone::find("").expect("UTC").name(), "UTC");
        assert!(Zone::find("Europe/Berlin").is_some());
        for name in ["Mars/Olympus", "+25:00", "europe/berlin", "Europe/Berlin "] {
            assert!(Zone::find(name).is_none(), "{name}");
        }
    }
}
