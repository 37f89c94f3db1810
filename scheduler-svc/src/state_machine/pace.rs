//! How long runs take on workers, by kind: the mean of the last hundred or so. Not stored; a new process measures anew.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    definition::Definition,
    run::{Finished, Outcome},
};

/// Kinds that are measured, in all namespaces together.
const KINDS_MAX: usize = 1_000;
/// The weight of a run is at least one in so many.
const WINDOW: i64 = 100;

#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// By namespace and kind.
    means: BTreeMap<(Arc<str>, Arc<str>), Mean>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    /// Runs, up to the window.
    runs: i64,
    /// Microseconds, so that small steps are not lost.
    micros: i64,
}

impl Pace {
    /// A run is final. Attempts that failed kept a slot as well, so they count.
    pub fn note(&mut self, definition: &Definition, finished: &Finished) {
        if finished.attempts.is_empty() || finished.outcome == Outcome::Cancelled {
            return;
        }
        let spans = finished.attempts.iter().map(|attempt| attempt.end.saturating_sub(attempt.start).max(0));
        let micros = spans.sum::<i64>().saturating_mul(1_000);
        let name = (definition.key.namespace.clone(), definition.task.kind.clone());
        if self.means.len() >= KINDS_MAX && !self.means.contains_key(&name) {
            return;
        }
        let mean = self.means.entry(name).or_default();
        mean.runs = (mean.runs + 1).min(WINDOW);
        mean.micros += (micros - mean.micros) / mean.runs;
    }

    /// Mean milliseconds of the kinds of a namespace.
    pub fn of(&self, namespace: &Arc<str>) -> Vec<(Arc<str>, i64)> {
        let kinds = self.means.range((namespace.clone(), "".into())..);
        kinds
            .take_while(|((of, _), _)| of == namespace)
            .map(|((_, kind), mean)| (kind.clone(), mean.micros / 1_000))
            .collect()
    }
}
