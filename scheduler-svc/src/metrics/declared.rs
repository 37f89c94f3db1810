//! Every metric that only this service has: what it is called, counted in and about. docs/metrics.md lists the same.

use docket::metrics::{
    BYTES, COUNT, SECONDS,
    Sort::{Counter, Gauge, Histogram},
};

/// From a timer's millisecond to an hour of being late.
const LATENESS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];
/// From a job that does nothing to the longest timeout.
const WORK: &[f64] = &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0];
/// From memory to a disk that is stuck.
const COMMIT: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const WRITES: &[f64] = &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0];

docket::declare_metrics! {
    // Runs, from the shard's events.
    FIRES: Counter, COUNT, "docket_fires_total", ["kind", "trigger"],
        "Runs whose time was decided as fired, by what asked for them.";
    LATENESS_OF_FIRES: Histogram(LATENESS), SECONDS, "docket_fire_lateness_seconds", [],
        "How long after its due time (nominal time and spread) a scheduled run was fired.";
    DISPATCH: Histogram(LATENESS), SECONDS, "docket_run_dispatch_seconds", ["kind"],
        "From the due time of a run to its first attempt; backfills left out.";
    RUNS: Counter, COUNT, "docket_runs_total", ["kind", "outcome"], "Runs that are final.";
    RUN_DURATION: Histogram(WORK), SECONDS, "docket_run_duration_seconds", ["kind"],
        "From the first attempt of a run to its end, waits between attempts included.";
    RUNS_DISCARDED: Counter, COUNT, "docket_runs_discarded_total", ["kind"],
        "Runs behind another one that never began, since their time was decided otherwise.";
    ATTEMPTS: Counter, COUNT, "docket_attempts_total", ["kind", "class"],
        "Attempts that ended, by the class of their failure; success for those without.";
    ATTEMPT_DURATION: Histogram(WORK), SECONDS, "docket_attempt_duration_seconds", ["kind"],
        "From the assignment of an attempt to its end.";
    RETRIES: Counter, COUNT, "docket_retries_total", ["kind", "class"],
        "Attempts that ended without success and are followed by another one.";
    LEASES_LOST: Counter, COUNT, "docket_leases_lost_total", ["cause"],
        "Leases that ended without a report: the worker was lost, or the job was not delivered.";
    SCHEDULE_CHANGES: Counter, COUNT, "docket_schedule_changes_total", ["change"], "Changes of schedules.";
    GATE_CLOSINGS: Counter, COUNT, "docket_gate_closings_total", [], "Limits that throttling has closed.";
    GATE_REOPENINGS: Counter, COUNT, "docket_gate_reopenings_total", [],
        "Closed limits that opened again, by slow start.";
    SESSIONS_OPENED: Counter, COUNT, "docket_sessions_opened_total", [], "Sessions of workers that began.";
    SESSIONS_ENDED: Counter, COUNT, "docket_sessions_ended_total", [], "Sessions of workers that ended.";

    // What is there now, from the leader. A standby shows 0.
    BACKLOG: Gauge, COUNT, "docket_backlog_runs", ["kind", "cause"],
        "Live runs that wait, by what they wait for.";
    BACKLOG_AGE: Gauge, SECONDS, "docket_backlog_age_seconds", ["kind", "cause"],
        "How long ago the oldest run that waits was due. Runs with limits are counted as waiting for them.";
    LEASES: Gauge, COUNT, "docket_leases", ["kind"], "Leases that live: attempts that workers have.";
    SCHEDULES: Gauge, COUNT, "docket_schedules", [], "Schedules of all namespaces, in whatever state.";
    GATES_CLOSED: Gauge, COUNT, "docket_gates_closed", [], "Limits that are closed by throttling now.";
    SESSIONS: Gauge, COUNT, "docket_sessions", [], "Sessions of workers that are connected.";
    SLOTS: Gauge, COUNT, "docket_slots", [], "Slots of the workers that are connected.";
    HISTORY: Gauge, BYTES, "docket_history_bytes", [], "What all history takes, as history.bytes_max counts it.";
    EVENTS: Gauge, COUNT, "docket_event_log_events", [], "Events that are kept for those who watch.";
    WATCHERS: Gauge, COUNT, "docket_watchers", [], "Streams of WatchEvents.";

    // The store and who leads.
    COMMIT_DURATION: Histogram(COMMIT), SECONDS, "docket_store_commit_duration_seconds", [],
        "How long the store took to make a batch durable.";
    COMMIT_WRITES: Histogram(WRITES), COUNT, "docket_store_commit_writes", [], "Records that one batch wrote.";
    COMMITS: Counter, COUNT, "docket_store_commits_total", ["outcome"],
        "Commits, by whether the store said that they are durable.";
    AWAY: Gauge, None, "docket_store_away", [], "1 while the store does not take writes.";
    LEADER: Gauge, None, "docket_leader", [], "1 while this process leads.";
    EPOCH: Gauge, None, "docket_epoch", [], "Epoch of this process's leadership; 0 without.";

    // The watchdog.
    OVERDUE: Gauge, SECONDS, "docket_watchdog_overdue_seconds", ["what"],
        "How long something is overdue: the earliest due time, the commit in flight, or a sign of life of the shard.";
    ALARM: Gauge, None, "docket_watchdog_alarm", [],
        "1 while something is overdue by more than telemetry.overdue_alarm_ms.";
}
