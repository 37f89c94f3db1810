//! The page itself is scraped in tests/metrics.rs, across real processes.

use super::*;
use crate::{
    shard::Observer as _,
    state_machine::view::{Backlog, WaitKind},
};

/// One row of the table in docs/metrics.md for each metric of this service.
#[test]
fn what_is_declared_is_documented_and_the_reverse() {
    let page = include_str!("../../../docs/metrics.md");
    let section = page.split("## scheduler-svc").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows: Vec<String> = section
        .expect("a section")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split(" | ").take(3).collect::<Vec<_>>().join(" | "))
        .collect();
    let declared: Vec<String> = ALL.iter().copied().flatten().map(Metric::to_string).collect();
    assert_eq!(rows, declared);
}

#[test]
fn kinds_beyond_the_bound_are_one() {
    let metrics = Metrics::new().expect("metrics");
    for n in 0..KINDS_MAX + 20 {
        metrics.kind(&format!("kind-{n}").into()).counts.count_discarded();
    }
    let page = metrics.render();
    let lines: Vec<&str> =
        page.lines().filter(|line| line.starts_with("docket_runs_discarded_total{")).collect();
    assert_eq!(lines.len(), KINDS_MAX + 1);
    assert!(lines.contains(&"docket_runs_discarded_total{kind=\"other\"} 20"), "{lines:?}");
}

/// What waits of one kind, for the same reason.
fn waiting(kind: &str, runs: u64, oldest_due: i64) -> ((Arc<str>, WaitKind), Backlog) {
    ((kind.into(), WaitKind::NoSlot), Backlog { runs, oldest_due })
}

fn assert_shows(metrics: &Metrics, lines: &[&str]) {
    let page = metrics.render();
    for line in lines {
        assert!(page.lines().any(|other| other == *line), "{line}\n{page}");
    }
}

#[test]
fn what_waits_is_shown_by_kind_and_is_gone_with_the_leadership() {
    let metrics = Metrics::new().expect("metrics");
    let shard = ShardMetrics::new(metrics.clone());
    let look = Look { now: Now { wall: 100_000, elapsed: 0 }, in_flight: None };
    let there = Present {
        schedules: 7,
        leases: [("mail".into(), 3)].into(),
        backlog: [waiting("mail", 2, 40_000), waiting("late", 1, 99_000)].into(),
        ..Present::default()
    };
    shard.looked(&look, &there);
    assert_shows(
        &metrics,
        &[
            "docket_schedules 7",
            "docket_leases{kind=\"mail\"} 3",
            "docket_backlog_runs{kind=\"mail\",cause=\"no_slot\"} 2",
            "docket_backlog_age_seconds{kind=\"mail\",cause=\"no_slot\"} 60",
            "docket_backlog_age_seconds{kind=\"late\",cause=\"no_slot\"} 1",
            "docket_backlog_runs{kind=\"mail\",cause=\"limit\"} 0",
        ],
    );
    shard.looked(&look, &Present { backlog: [waiting("late", 5, 98_000)].into(), ..Present::default() });
    assert_shows(
        &metrics,
        &[
            "docket_backlog_runs{kind=\"mail\",cause=\"no_slot\"} 0",
            "docket_backlog_runs{kind=\"late\",cause=\"no_slot\"} 5",
            "docket_backlog_age_seconds{kind=\"late\",cause=\"no_slot\"} 2",
        ],
    );
    drop(shard);
    assert_shows(
        &metrics,
        &[
            "docket_schedules 0",
            "docket_leases{kind=\"mail\"} 0",
            "docket_backlog_runs{kind=\"late\",cause=\"no_slot\"} 0",
            "docket_backlog_age_seconds{kind=\"late\",cause=\"no_slot\"} 0",
        ],
    );
}

#[test]
fn kinds_that_share_a_label_add_up() {
    let metrics = Metrics::new().expect("metrics");
    let shard = ShardMetrics::new(metrics.clone());
    let look = Look { now: Now { wall: 100_000, elapsed: 0 }, in_flight: None };
    for n in 0..KINDS_MAX {
        metrics.kind(&format!("kind-{n}").into());
    }
    let backlog = [waiting("x", 2, 90_000), waiting("y", 3, 70_000)].into();
    shard.looked(&look, &Present { backlog, ..Present::default() });
    assert_shows(
        &metrics,
        &[
            "docket_backlog_runs{kind=\"other\",cause=\"no_slot\"} 5",
            "docket_backlog_age_seconds{kind=\"other\",cause=\"no_slot\"} 30",
        ],
    );
}
