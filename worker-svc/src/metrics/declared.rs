//! Every metric of this service: what it is called, counted in and about. docs/metrics.md lists the same.

use metrics::Unit;

#[derive(Clone, Copy, Debug)]
pub enum Sort {
    /// Only grows while the process lives.
    Counter,
    Gauge,
    /// Upper bounds of its buckets; +Inf comes by itself.
    Histogram(&'static [f64]),
}

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub sort: Sort,
    pub unit: Option<Unit>,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// From a job that does nothing to the longest timeout.
const WORK: &[f64] = &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0];
const CALL: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// From a mail of text to the bound on one message.
const READING: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// From no wait to as long as Gmail's minute.
const WAIT: &[f64] = &[0.001, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];

macro_rules! declare {
    ($($constant:ident: $sort:expr, $unit:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(pub const $constant: Metric =
            Metric { name: $name, sort: $sort, unit: $unit, labels: &[$($label),*], help: $help };)*

        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

use Sort::{Counter, Gauge, Histogram};

const COUNT: Option<Unit> = Some(Unit::Count);
const SECONDS: Option<Unit> = Some(Unit::Seconds);
const BYTES: Option<Unit> = Some(Unit::Bytes);

declare! {
    // Jobs.
    SLOTS: Gauge, COUNT, "docket_worker_slots", [], "Jobs that this process runs at once; 0 in a library.";
    CONNECTED: Gauge, None, "docket_worker_connected", [], "1 while the scheduler is heard.";
    HELD: Gauge, COUNT, "docket_worker_held_attempts", [],
        "Attempts that are held: they run, or their outcome has no receipt yet.";
    RUNNING: Gauge, COUNT, "docket_worker_running_attempts", ["kind"], "Attempts that run.";
    ATTEMPTS: Counter, COUNT, "docket_worker_attempts_total", ["kind", "class"],
        "Attempts that ended, by the class of their failure; success for those without, abandoned for those that panicked or did not stop when asked.";
    ATTEMPT_DURATION: Histogram(WORK), SECONDS, "docket_worker_attempt_duration_seconds", ["kind"],
        "How long attempts ran.";

    // What syncs bring.
    MESSAGES: Counter, COUNT, "docket_messages_total", ["provider", "outcome"],
        "Messages that were not known before, by whether they could be read.";
    DOCUMENTS: Counter, COUNT, "docket_documents_total", ["provider", "outcome"],
        "Documents that were filed as new, and exact duplicates that were dropped.";
    COMMIT_DURATION: Histogram(CALL), SECONDS, "docket_archive_commit_duration_seconds", [],
        "How long the archive's database took to commit a batch of a sync.";

    // Providers.
    SOURCE_CALLS: Counter, COUNT, "docket_source_calls_total", ["provider", "call", "outcome"],
        "What sources were asked for, by how it ended: ok, or the class of the fault (throttled, reauthorize, …).";
    SOURCE_DURATION: Histogram(CALL), SECONDS, "docket_source_call_duration_seconds", ["provider", "call"],
        "How long sources took, their own waits and retries included.";
    TOKENS: Counter, COUNT, "docket_token_refreshes_total", ["outcome"],
        "Access tokens that were asked for, by how it ended.";
    QUOTA_WAIT: Histogram(WAIT), SECONDS, "docket_gmail_quota_wait_seconds", [],
        "How long calls to Gmail had to wait for their units of the quota; 0 for most.";

    // Readers.
    READINGS: Counter, COUNT, "docket_readings_total", ["outcome"],
        "Messages that were given to a reader child: read, refused, died, or no child could be started.";
    READING_DURATION: Histogram(READING), SECONDS, "docket_reading_duration_seconds", [],
        "How long reader children took, the wait for a free one included.";
    READER_DEATHS: Counter, COUNT, "docket_reader_deaths_total", ["cause"],
        "Reader children that ended over a message: by a limit, a crash, or killed for garbage.";

    // Calls.
    CALLS: Counter, COUNT, "docket_grpc_calls_total", ["method", "code"],
        "Calls that ended, by their status. CANCELLED where the caller went away.";
    CALL_DURATION: Histogram(CALL), SECONDS, "docket_grpc_call_duration_seconds", ["method"],
        "How long calls took. Streams are left out.";

    // The process.
    START: Gauge, SECONDS, "process_start_time_seconds", [], "When the process started, since the Unix epoch.";
    CPU: Counter, SECONDS, "process_cpu_seconds_total", [], "Processor time, of user and system.";
    RESIDENT: Gauge, BYTES, "process_resident_memory_bytes", [], "Resident memory, without reader children.";
    OPEN_FDS: Gauge, COUNT, "process_open_fds", [], "Open file descriptors.";
    BUILD: Gauge, None, "docket_build_info", ["version"], "Always 1; the version is in its label.";
}
