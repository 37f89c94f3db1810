//! Every metric that only this service has: what it is called, counted in and about. docs/metrics.md lists the same.

use docket::metrics::{
    CALL_BUCKETS, COUNT, SECONDS,
    Sort::{Counter, Gauge, Histogram},
};

/// From a job that does nothing to the longest timeout.
const WORK: &[f64] = &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0];
/// From a mail of text to the bound on one message.
const READING: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// From no wait to as long as Gmail's minute.
const WAIT: &[f64] = &[0.001, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];

docket::declare_metrics! {
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
    COMMIT_DURATION: Histogram(CALL_BUCKETS), SECONDS, "docket_archive_commit_duration_seconds", [],
        "How long the archive's database took to commit a batch of a sync.";
    COMMITS: Counter, COUNT, "docket_archive_commits_total", ["outcome"],
        "Batches of syncs, by whether the archive's database took them: refused where the mailbox is another attempt's by now, or disconnected.";

    // Providers.
    SOURCE_CALLS: Counter, COUNT, "docket_source_calls_total", ["provider", "call", "outcome"],
        "What sources were asked for, by how it ended: ok, or the class of the fault (throttled, reauthorize, …).";
    SOURCE_DURATION: Histogram(CALL_BUCKETS), SECONDS, "docket_source_call_duration_seconds", ["provider", "call"],
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
}
