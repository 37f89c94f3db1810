//! An app that knows state by events alone (rule R8). After each step its picture must be the machine's.

use std::collections::BTreeMap;

use crate::state_machine::{
    StateMachine,
    id::{RunId, Uid},
    output::{Event, Output, ScheduleChange},
    schedule::Status,
    view::{LiveRun, RunState, ScheduleView},
};

/// Schedules that a picture is compared with; more take too long after each step.
const COMPARED_MAX: usize = 50;

#[derive(Default)]
pub struct Mirror {
    schedules: BTreeMap<Uid, String>,
    runs: BTreeMap<RunId, String>,
}

impl Mirror {
    /// Read anew.
    pub fn of(machine: &StateMachine) -> Self {
        let listed = machine.schedules.iter().filter(|(_, schedule)| schedule.status != Status::Deleted);
        Self {
            schedules: listed.map(|(slot, schedule)| (schedule.uid, shown(&machine.view(slot)))).collect(),
            runs: machine
                .runs
                .iter()
                .map(|(key, run)| (run.id, shown_run(&machine.told_view(key))))
                .collect(),
        }
    }

    /// Each change is told once: what is created was not there, what changes was and is another now.
    pub fn hear(&mut self, output: &Output) {
        for event in &output.events {
            match event {
                Event::Schedule { change, view, .. } => self.schedule(*change, view),
                Event::Created { run, .. } => {
                    let former = self.runs.insert(run.id, shown_run(run));
                    assert_eq!(former, None, "created twice: {event:?}");
                }
                Event::Started { run, .. } | Event::Retrying { run, .. } => {
                    let former = self.runs.insert(run.id, shown_run(run)).expect("a run");
                    assert_ne!(former, shown_run(run), "nothing has changed: {event:?}");
                }
                Event::Finished { finished, .. } | Event::Discarded { finished, .. } => {
                    self.runs.remove(&finished.id).expect("a run ends once");
                }
                _ => {}
            }
        }
    }

    fn schedule(&mut self, change: ScheduleChange, view: &ScheduleView) {
        let former = match change {
            ScheduleChange::Deleted => self.schedules.remove(&view.uid),
            _ => self.schedules.insert(view.uid, shown(view)),
        };
        assert_eq!(former.is_none(), change == ScheduleChange::Created, "{change:?} of {former:?}");
        assert_ne!(former, Some(shown(view)), "{change:?}: nothing has changed");
    }

    pub fn compare(&self, machine: &StateMachine) {
        if machine.schedules.len() <= COMPARED_MAX {
            let now = Self::of(machine);
            assert_eq!(self.schedules, now.schedules);
            assert_eq!(self.runs, now.runs);
        }
    }
}

/// What no run moves.
fn shown(view: &ScheduleView) -> String {
    let ScheduleView { definition, etag, generation, status, pause, quarantine, updated, .. } = view;
    format!("{status:?} {etag} {generation} {updated} {pause:?} {quarantine:?} {definition:?}")
}

/// Without what the worker says by heartbeat, and without the wait, which changes by itself. That a run is told to stop
/// is no event.
fn shown_run(run: &LiveRun) -> String {
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
        ..
    } = run;
    let queued = matches!(run.state, RunState::Queued(_));
    format!(
        "{id} {generation} {due} {queued} {attempt} {attempts:?} {worker_id:?} {attempt_start:?} {first_start:?} \
         {failure:?}"
    )
}
