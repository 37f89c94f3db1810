//! What was acknowledged, as its receivers wrote it down.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use docket::schedule::v1 as pb;

#[derive(Default)]
pub struct Record(Mutex<Known>);

#[derive(Default)]
pub struct Known {
    /// Calls with a definite answer, by their name.
    pub acknowledged: BTreeMap<&'static str, u64>,
    /// Calls that were repeated because no answer came, or because nobody led.
    pub unanswered: u64,
    /// Answers of GetSchedule that were compared at once.
    pub read: u64,
    pub schedules: BTreeMap<String, Entry>,
    /// Runs that TriggerSchedule said are new, and of which schedule.
    pub triggered: BTreeMap<String, String>,
    /// Between the answer to Pause and the call of Resume, by uid: milliseconds.
    pub pauses: BTreeMap<String, Vec<(i64, i64)>>,
    /// What was sent as the result of a run.
    pub sent: BTreeMap<String, BTreeSet<String>>,
    /// Results with the receipt ACCEPTED, by run.
    pub accepted: BTreeMap<String, Vec<String>>,
    /// Receipts ACCEPTED by run and attempt, failures included.
    pub receipts: BTreeMap<(String, i32), u64>,
    pub other_receipts: BTreeMap<&'static str, u64>,
    pub violations: Vec<String>,
}

/// A schedule as its only writer knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// None = deleted, or not created yet.
    pub uid: Option<String>,
    pub etag: String,
    pub version: u64,
    pub paused: bool,
}

impl Record {
    pub fn open(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn violation(&self, what: String) {
        self.open().violations.push(what);
    }
}

impl Entry {
    /// As the API shows it. None = not there.
    pub fn of(schedule: Option<&pb::Schedule>) -> Self {
        let Some(schedule) = schedule else { return Self::default() };
        Self {
            uid: Some(schedule.uid.clone()),
            etag: schedule.etag.clone(),
            version: schedule.labels.get("version").and_then(|text| text.parse().ok()).unwrap_or(0),
            paused: schedule.state() == pb::ScheduleState::Paused,
        }
    }
}

pub fn millis(time: Option<prost_types::Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
