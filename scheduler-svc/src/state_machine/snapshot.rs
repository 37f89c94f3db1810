//! All of a schedule that decides what happens to it next: what an export gives and a restore takes.
//!
//! Not in it: history, and live runs. Their times are decided already, but for that of a run which waits behind
//! another one: it is named here, so that it runs after a restore.

use std::sync::Arc;

use super::{
    StateMachine,
    command::ListSchedules,
    definition::Definition,
    id::{ReplyTo, RunId, Uid},
    output::Answer,
    schedule::{Dirty, Past, Pause, Schedule, SlotKey, Span, Status},
};

/// Schedules that one page looks at.
const LOOKED_AT: usize = 5_000;

/// Fields as in [`Schedule`].
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub uid: Uid,
    pub definition: Arc<Definition>,
    pub generation: u32,
    pub revision: u32,
    pub created: i64,
    pub updated: i64,
    pub anchor: i64,
    pub status: Status,
    pub pause: Option<Pause>,
    pub quarantine: Option<Box<str>>,
    pub decided_through: i64,
    /// The nominal time of a run that waits behind a live one and is not decided yet.
    pub waiting: Option<i64>,
    pub last_manual: i64,
    pub runs: u64,
    pub failures: u32,
    pub catch_up: Option<i64>,
    pub backfill: Box<[Span]>,
    /// Live runs, which stay behind. A restore does not look at them.
    pub active: Vec<RunId>,
}

impl Snapshot {
    /// The first time that is not decided.
    pub fn next(&self) -> Option<i64> {
        let spent = self.definition.max_runs > 0 && self.runs >= self.definition.max_runs;
        self.definition.times(self.anchor).next(self.decided_through).filter(|_| !spent)
    }

    /// Whether nothing is left of it but the wait for its last run.
    pub fn is_over(&self) -> bool {
        let ended = self.status == Status::Ended || self.status == Status::Active && self.next().is_none();
        ended && self.definition.delete_when_ended && self.backfill.is_empty() && self.waiting.is_none()
    }

    /// A schedule without history and live runs. `acted`: see [`Schedule::acted`].
    pub(super) fn to_schedule(&self, definition: Arc<Definition>, acted: u64) -> Schedule {
        let mut schedule = Schedule {
            generation: self.generation,
            revision: self.revision,
            updated: self.updated,
            anchor: self.anchor,
            status: self.status,
            decided_through: self.decided_through,
            acted,
            dirty: Dirty { state: true, definition: true, listed: false },
            ..Schedule::new(self.uid, definition, self.created)
        };
        schedule.set_past(Past { runs: self.runs, failures: self.failures, ..Past::default() });
        schedule.set_rare(|rare| {
            rare.pause.clone_from(&self.pause);
            rare.quarantine.clone_from(&self.quarantine);
            rare.last_manual = self.last_manual;
            rare.catch_up = self.catch_up;
            rare.backfill.clone_from(&self.backfill);
        });
        derive(&mut schedule);
        schedule
    }
}

/// What follows from the rest of a restored schedule: its next time, and whether it has ended.
pub(super) fn derive(schedule: &mut Schedule) {
    let spent = schedule.definition.max_runs > 0 && schedule.past().runs >= schedule.definition.max_runs;
    schedule.next = schedule.times().next(schedule.decided_through).filter(|_| !spent);
    if schedule.next.is_none() && schedule.status == Status::Active {
        schedule.status = Status::Ended;
    }
}

impl StateMachine {
    pub(super) fn export(&mut self, to: ReplyTo, list: &ListSchedules) {
        let (slots, next) = self.matching(list, list.limit, LOOKED_AT);
        let snapshots = slots.into_iter().map(|slot| self.snapshot(slot));
        // One that only waits for its last run is as good as deleted.
        let snapshots = snapshots.filter(|snapshot| !snapshot.is_over()).collect();
        self.answer(to, Answer::Exported { snapshots, next });
    }

    pub(super) fn snapshot(&self, slot: SlotKey) -> Snapshot {
        let schedule = &self.schedules[slot];
        let undecided = self.behind(slot).map(|key| &self.runs[key]).filter(|run| !run.decided);
        Snapshot {
            uid: schedule.uid,
            definition: schedule.definition.clone(),
            generation: schedule.generation,
            revision: schedule.revision,
            created: schedule.created,
            updated: schedule.updated,
            anchor: schedule.anchor,
            status: schedule.status,
            pause: schedule.pause().cloned(),
            quarantine: schedule.rare().quarantine.clone(),
            decided_through: schedule.decided_through,
            waiting: undecided.map(|run| run.id.nominal),
            last_manual: schedule.rare().last_manual,
            runs: schedule.past().runs,
            failures: schedule.past().failures,
            catch_up: schedule.rare().catch_up,
            backfill: schedule.rare().backfill.clone(),
            active: self.active_runs(slot),
        }
    }
}
