//! Live runs come back: to their queue, their backoff, or under a lease that waits for its worker.

use bytes::Bytes;

use super::{LoadError, definitions::Definitions, parts, readable};
use crate::{
    planted::{Bug, planted},
    record,
    state_machine::{
        StateMachine,
        failure::THROTTLED_MAX,
        id::RunId,
        run::{Phase, Run, RunKey},
        schedule::Status,
        timer::ElapsedTimer,
    },
    store::key::Name,
};

impl StateMachine {
    /// Those that can be read, with their due times.
    pub(super) fn load_runs(
        &mut self,
        runs: Vec<(RunId, Bytes)>,
        definitions: &Definitions,
    ) -> Vec<(i64, RunKey)> {
        let (read, _) = parts::map(runs, |near: &mut usize, (id, value)| {
            let of = |generation| definitions.get(id.uid, generation, near);
            (id, readable(&Name::Run(id), || record::read_run(id, value, of)))
        });
        read.filter_map(|(id, run)| self.load_run(id, run)).collect()
    }

    fn load_run(&mut self, id: RunId, run: Result<Run, LoadError>) -> Option<(i64, RunKey)> {
        let run = run.map_err(|error| self.unreadable.push(error)).ok();
        let slot = self.slot_of(id.uid);
        let (Some(mut run), Some(slot)) = (run, slot) else {
            if let Some(slot) = slot {
                self.unreadable_of.entry(id.uid).or_default().push(Name::Run(id));
                // Whether that run has happened is not known, so the schedule waits for a person.
                if !planted(Bug::UnreadableRunPassedOver) {
                    self.set_aside_slot(slot, "the record of one of its runs could not be read");
                }
            } else {
                self.unreadable.push(LoadError::new(&Name::Run(id), "a run without its schedule"));
            }
            return None;
        };
        run.schedule = slot;
        let due = run.due;
        let run_key = self.runs.insert(run);
        self.schedules[slot].past_mut().live.push(run_key);
        Some((due, run_key))
    }

    /// Puts a loaded run where its phase says: queue, backoff, or under a lease that waits for its worker.
    pub(super) fn restore_run(&mut self, key: RunKey) {
        let (wall, elapsed) = (self.now.wall, self.now.elapsed);
        let arrival = self.queue.arrival();
        let definition = self.runs[key].definition.clone();
        self.gates.enter(key, &definition);
        if self.runs[key].lease().is_some() {
            self.gates.hold(key);
        }
        let run = &mut self.runs[key];
        if planted(Bug::OrphansDroppedAtLoad) && run.lease().is_some() {
            run.phase = Phase::Ready(None);
        }
        run.arrival = arrival;
        let timeout = i64::from(run.definition.task.timeout);
        if self.schedules[run.schedule].status == Status::Quarantined
            && matches!(run.phase, Phase::Ready(_) | Phase::Backoff { .. })
        {
            // It waits until the schedule is saved again.
            run.phase = Phase::Ready(None);
            return;
        }
        match &mut run.phase {
            Phase::Behind => {}
            Phase::Ready(_) => self.make_ready(key),
            Phase::Backoff { until, timer } => {
                // A backoff begins with the end of an attempt.
                let span = run.attempts.last().map_or(THROTTLED_MAX, |last| *until - last.end);
                let wait = (*until - wall).clamp(0, span.clamp(0, THROTTLED_MAX));
                *timer = elapsed + wait.unsigned_abs();
                let timer = *timer;
                self.timers.set(timer, ElapsedTimer::Backoff(key));
            }
            Phase::Running(lease) | Phase::Cancelling { lease, .. } => {
                let left = (lease.start + timeout - wall).clamp(0, timeout);
                lease.timer = elapsed + left.unsigned_abs() + self.config.lease;
                let timer = lease.timer;
                self.has_orphans = true;
                self.next_token = self.next_token.max(lease.token);
                self.timers.set(timer, ElapsedTimer::Attempt(key));
            }
        }
    }

    /// Whether the lease of a loaded run ends now: whatever the machine has panicked over, it is not met again. One that
    /// is to stop goes on to do so, else its cancellation would be forgotten.
    pub(super) fn is_to_let_go(&self, key: RunKey) -> bool {
        let run = &self.runs[key];
        let aside = self.schedules[run.schedule].status == Status::Quarantined;
        aside && matches!(run.phase, Phase::Running(_))
    }
}
