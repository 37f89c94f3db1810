//! Time zones as sorted tables of transitions, built once per zone from chrono-tz.
//!
//! chrono-tz answers "which offset at this instant"; the evaluator needs "until when". The table is found by
//! sampling and bisection. Samples are 6 hours apart: no zone has changed its offset and changed it back within
//! that time since 1970 (a test compares the table with chrono-tz at a finer step).

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use chrono::{Offset as _, TimeZone as _};
use chrono_tz::Tz;

use super::expression::HORIZON;

const SAMPLE: i64 = 6 * 3600;

/// A zone and its transitions from 1970 to the horizon.
#[derive(Debug)]
pub struct Zone {
    name: &'static str,
    /// Sorted. Each starts where the one before it ends; the first starts at `i64::MIN`.
    segments: Vec<Segment>,
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
    fn a_table_agrees_with_chrono_tz_at_a_finer_step() {
        for name in [
            "Europe/Berlin",
            "Africa/Casablanca",
            "Pacific/Apia",
            "Australia/Lord_Howe",
            "America/Nuuk",
            "Africa/Cairo",
        ] {
            let zone = Zone::find(name).expect(name);
            let tz: Tz = name.parse().expect(name);
            for instant in (0..HORIZON).step_by(3600 * 3 + 1801) {
                assert_eq!(zone.offset_at(instant), offset(tz, instant), "{name} at {instant}");
            }
        }
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
