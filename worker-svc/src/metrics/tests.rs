//! The page itself is scraped in tests/metrics.rs, across real processes.

use futures_util::future::BoxFuture;
use sync_core::reader::{self, Death, Reader, Reading};

use super::*;
use crate::kind::Kind;

/// One row of the table in docs/metrics.md for each metric of this service.
#[test]
fn what_is_declared_is_documented_and_the_reverse() {
    let page = include_str!("../../../docs/metrics.md");
    let section = page.split("## worker-svc").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows: Vec<String> = section
        .expect("a section")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split(" | ").take(3).collect::<Vec<_>>().join(" | "))
        .collect();
    let declared: Vec<String> = ALL.iter().copied().flatten().map(Metric::to_string).collect();
    assert_eq!(rows, declared);
}

/// Answers as it is told.
struct Reads(std::sync::Mutex<Vec<Result<Reading, reader::Error>>>);

impl Reader for Reads {
    fn read(&self, _raw: bytes::Bytes) -> BoxFuture<'_, Result<Reading, reader::Error>> {
        let next = self.0.lock().expect("its own").pop().expect("an answer");
        Box::pin(std::future::ready(next))
    }
}

#[tokio::test]
async fn deaths_of_readers_are_counted_by_their_cause() {
    let metrics = Metrics::new(4).expect("metrics");
    let answers = vec![
        Err(reader::Error::Died(Death::Memory)),
        Err(reader::Error::Died(Death::Signal(11))),
        Err(reader::Error::Refused("no mail".into())),
    ];
    let reader = CountedReader::new(Reads(answers.into()), &metrics);
    for _ in 0..3 {
        assert!(reader.read(bytes::Bytes::new()).await.is_err());
    }
    let page = metrics.render(None);
    for line in [
        "docket_reader_deaths_total{cause=\"memory\"} 1",
        "docket_reader_deaths_total{cause=\"signal\"} 1",
        "docket_reader_deaths_total{cause=\"time\"} 0",
        "docket_readings_total{outcome=\"died\"} 2",
        "docket_readings_total{outcome=\"refused\"} 1",
        "docket_worker_slots 4",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_dropped_was_abandoned() {
    let metrics = Metrics::new(4).expect("metrics");
    let kind = CountedKind::new(crate::kind::noop::Noop, &metrics);
    let context = || crate::kind::Context { cancelled: CancellationToken::new(), progress: Arc::new(|_| {}) };
    kind.run(Default::default(), context()).await;
    drop(kind.run(Default::default(), context()));
    let page = metrics.render(None);
    for line in [
        "docket_worker_attempts_total{kind=\"noop\",class=\"success\"} 1",
        "docket_worker_attempts_total{kind=\"noop\",class=\"abandoned\"} 1",
        "docket_worker_running_attempts{kind=\"noop\"} 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n{page}");
    }
}
