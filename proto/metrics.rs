//! What both services need to count things for Prometheus: how a metric is declared, the registry that makes handles and
//! holds their values, and the metrics that every process has, of its calls ([`calls`]) and of itself ([`process`]).

pub mod calls;
pub mod process;

use std::fmt;

pub use metrics::Unit;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
pub use metrics_exporter_prometheus::BuildError;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

/// The value of a label for what lies beyond its bounded set.
pub const OTHER: &str = "other";

/// Seconds: from a call in memory to one that waits.
pub const CALL_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

pub const COUNT: Option<Unit> = Some(Unit::Count);
pub const SECONDS: Option<Unit> = Some(Unit::Seconds);
pub const BYTES: Option<Unit> = Some(Unit::Bytes);

#[derive(Clone, Copy, Debug, PartialEq)]
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

/// Declares metrics as constants, and the constant `ALL` of all that are declared in one place.
#[macro_export]
macro_rules! declare_metrics {
    ($($constant:ident: $sort:expr, $unit:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(pub const $constant: $crate::metrics::Metric = $crate::metrics::Metric {
            name: $name,
            sort: $sort,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        };)*

        pub const ALL: &[$crate::metrics::Metric] = &[$($constant),*];
    };
}

impl Metric {
    /// By the conventions of Prometheus for names and units.
    fn is_well_named(&self) -> bool {
        let base = self.name.trim_end_matches("_total");
        let unit = match self.unit {
            Some(Unit::Seconds) => base.ends_with("_seconds"),
            Some(Unit::Bytes) => base.ends_with("_bytes"),
            _ => true,
        };
        unit && (base.starts_with("docket_") || base.starts_with("process_"))
            && (self.sort == Sort::Counter) == self.name.ends_with("_total")
            && self.help.ends_with('.')
    }
}

/// As its row in the tables of docs/metrics.md begins.
impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = match self.sort {
            Sort::Counter => "counter",
            Sort::Gauge => "gauge",
            Sort::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        write!(formatter, "| `{}` | {sort} | {}", self.name, labels.join(", "))
    }
}

/// Makes handles, and holds their values.
pub struct Registry {
    recorder: PrometheusRecorder,
}

impl Registry {
    /// # Errors
    /// When a histogram is declared without buckets.
    pub fn new(declared: &[&[Metric]]) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for metric in declared.iter().copied().flatten() {
            debug_assert!(metric.is_well_named(), "{}", metric.name);
            if let Sort::Histogram(buckets) = metric.sort {
                debug_assert!(buckets.is_sorted(), "{}", metric.name);
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets)?;
            }
        }
        let recorder = builder.build_recorder();
        for metric in declared.iter().copied().flatten() {
            let (name, help) = (metric.name.into(), metric.help.into());
            match metric.sort {
                Sort::Counter => recorder.describe_counter(name, metric.unit, help),
                Sort::Gauge => recorder.describe_gauge(name, metric.unit, help),
                Sort::Histogram(_) => recorder.describe_histogram(name, metric.unit, help),
            }
        }
        Ok(Self { recorder })
    }

    /// `labels`, here and below: their values, in the order in which they are declared.
    pub fn counter(&self, metric: &Metric, labels: &[&str]) -> Counter {
        debug_assert!(metric.sort == Sort::Counter, "{}", metric.name);
        self.recorder.register_counter(&key(metric, labels), &METADATA)
    }

    pub fn gauge(&self, metric: &Metric, labels: &[&str]) -> Gauge {
        debug_assert!(metric.sort == Sort::Gauge, "{}", metric.name);
        self.recorder.register_gauge(&key(metric, labels), &METADATA)
    }

    pub fn histogram(&self, metric: &Metric, labels: &[&str]) -> Histogram {
        debug_assert!(matches!(metric.sort, Sort::Histogram(_)), "{}", metric.name);
        self.recorder.register_histogram(&key(metric, labels), &METADATA)
    }

    /// The page.
    pub fn render(&self) -> String {
        self.recorder.handle().render()
    }

    /// Takes up what histograms were told. Called every few seconds, since they keep each value until then.
    pub fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }
}

const METADATA: Metadata<'static> = Metadata::new("docket", Level::INFO, None);

fn key(metric: &Metric, labels: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
    let labels = metric.labels.iter().zip(labels).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    declare_metrics! {
        SENT: Sort::Counter, COUNT, "docket_sent_total", ["kind", "outcome"], "What was sent.";
        WAIT: Sort::Histogram(&[0.5, 1.0]), SECONDS, "docket_wait_seconds", [], "How long it waited.";
    }

    #[test]
    fn what_is_counted_is_on_the_page() {
        let registry = Registry::new(&[ALL]).expect("buckets");
        registry.counter(&SENT, &["mail", "ok"]).increment(3);
        registry.histogram(&WAIT, &[]).record(0.7);
        registry.upkeep();
        let page = registry.render();
        for line in [
            "# HELP docket_sent_total What was sent.",
            "docket_sent_total{kind=\"mail\",outcome=\"ok\"} 3",
            "docket_wait_seconds_bucket{le=\"0.5\"} 0",
            "docket_wait_seconds_bucket{le=\"1\"} 1",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}\n{page}");
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        assert!(SENT.is_well_named() && WAIT.is_well_named());
        let named = |name| Metric { name, ..SENT }.is_well_named();
        assert!(!named("sent_total") && !named("docket_sent"));
        let in_seconds = |name| Metric { name, ..WAIT }.is_well_named();
        assert!(!in_seconds("docket_wait") && !in_seconds("docket_wait_seconds_total"));
        assert_eq!(SENT.to_string(), "| `docket_sent_total` | counter | `kind`, `outcome`");
    }
}
