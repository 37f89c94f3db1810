//! Reloading from the writes gives the same state: what a user sees of the machine that wrote, and of one that was
//! loaded from what it wrote, is the same.

use std::collections::BTreeMap;

use scheduler_svc::{
    pipeline::Step,
    state_machine::{
        StateMachine,
        command::{Among, Command, ListRuns, ListSchedules},
        id::ReplyTo,
        output::{Answer, Reply},
        schedule::Status,
        view::{LiveRun, RunView, ScheduleView},
    },
};

use super::World;
use crate::{
    judge::{Broken, Verdict, holds},
    workload::NAMESPACE,
};

const SAME: &str = "reloading from the writes gives the same state";
const SCHEDULES: ReplyTo = ReplyTo(u64::MAX);
const RUNS: ReplyTo = ReplyTo(u64::MAX - 1);

pub(super) fn schedules_question() -> (ReplyTo, Command) {
    let schedules = ListSchedules {
        namespace: NAMESPACE.into(),
        after: None,
        prefix: "".into(),
        labels: BTreeMap::new(),
        states: Vec::new(),
        pause_reasons: Vec::new(),
        limit: 1_000,
    };
    (SCHEDULES, Command::ListSchedules(schedules))
}

fn questions() -> [(ReplyTo, Command); 2] {
    let runs = ListRuns {
        namespace: NAMESPACE.into(),
        schedule: None,
        after: None,
        labels: BTreeMap::new(),
        among: Among::ALL,
        limit: 1_000,
    };
    [schedules_question(), (RUNS, Command::ListRuns(runs))]
}

impl World {
    pub(crate) fn compare_reloaded(&mut self, index: usize) -> Verdict {
        let now = self.clock(index);
        let scheduler = &mut self.schedulers[index];
        if !scheduler.pipeline.is_idle() || scheduler.pipeline.halted().is_some() {
            return Ok(());
        }
        for (to, question) in questions() {
            scheduler.pipeline.apply(now, to, question);
        }
        let written = match scheduler.pipeline.step() {
            Step::Release(output) => shown(output.replies),
            Step::Commit { seq, batch } => {
                // A message of jobs was still to be handed out; another time.
                self.resume_commit(index, seq, batch);
                return Ok(());
            }
            Step::Wait(_) | Step::Reload | Step::Restore { .. } | Step::Secure { .. } => return Ok(()),
        };
        let hot = self.store.records.iter().filter(|(key, _)| !key.is_cold());
        let hot = hot.map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut loaded = StateMachine::load(self.config, self.store.epoch, now, hot)
            .map_err(|error| Broken { rule: "what was written can be loaded", how: error.to_string() })?;
        loaded.check().map_err(|how| Broken { rule: "invariants hold after a load", how })?;
        for (to, question) in questions() {
            loaded.apply(now, to, &question);
        }
        let loaded = shown(loaded.seal().replies);
        self.judge.compared.reloads += 1;
        for (one, other) in written.iter().zip(&loaded) {
            holds(SAME, one == other, || format!("written {one}\n loaded {other}"))?;
        }
        holds(SAME, written.len() == loaded.len(), || format!("{written:?}\n{loaded:?}"))
    }
}

/// What a user sees, but for what was set aside: its leases end with the process. And without what only lives in memory: progress, and why a run still waits.
fn shown(replies: Vec<(ReplyTo, Reply)>) -> Vec<String> {
    let mut shown = Vec::new();
    let active = |view: &ScheduleView| view.status != Status::Quarantined;
    for (to, reply) in replies {
        match reply {
            Ok(Answer::Schedules { schedules, .. }) if to == SCHEDULES => {
                shown.extend(schedules.into_iter().filter(active).map(schedule));
            }
            Ok(Answer::Runs { schedules, .. }) if to == RUNS => {
                let schedules = schedules.into_iter().filter(|(view, _)| active(view));
                shown.extend(schedules.flat_map(|(_, runs)| runs).map(run));
            }
            _ => {}
        }
    }
    shown.sort_unstable();
    shown
}

fn schedule(mut view: ScheduleView) -> String {
    view.active.sort_unstable();
    format!("{view:?}")
}

fn run(view: RunView) -> String {
    let RunView::Live(live) = view else { return "final".into() };
    let LiveRun {
        id,
        generation,
        due,
        attempt,
        attempts,
        worker_id,
        attempt_start,
        first_start,
        failure,
        has_checkpoint,
        state,
        ..
    } = *live;
    let state = format!("{state:?}");
    let state = state.split([' ', '(']).next().unwrap_or_default();
    format!(
        "{id} {generation} {due} {state} {attempt} {attempts:?} {worker_id:?} {attempt_start:?} {first_start:?} \
         {failure:?} {has_checkpoint}"
    )
}
