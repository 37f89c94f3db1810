//! Setting aside what cannot be processed, so that one bad input stops neither this process nor the next (rule P4).

use super::{
    StateMachine,
    failure::{Class, Failure},
    id::Uid,
    output::ScheduleChange,
    run::{Phase, RunKey},
    schedule::{SlotKey, Status},
    timer::{ElapsedTimer, WallTimer},
};
use crate::planted::{Bug, planted};

/// Of the reason that is kept.
const REASON_BYTES: usize = 256;

/// What the machine is busy with; if it panics, this is the culprit.
#[derive(Clone, Copy, Debug)]
pub enum Handling {
    Nothing,
    Wall(WallTimer),
    Elapsed(ElapsedTimer),
    HandOut(RunKey),
}

impl StateMachine {
    /// The schedule whose timer or run the machine was busy with. For a machine that has panicked.
    pub fn culprit(&self) -> Option<Uid> {
        let run = |key: RunKey| self.runs.get(key).map(|run| run.id.uid);
        match self.handling {
            Handling::Wall(WallTimer::Due(slot) | WallTimer::Resume(slot)) => {
                self.schedules.get(slot).map(|schedule| schedule.uid)
            }
            Handling::Elapsed(
                ElapsedTimer::Backoff(key) | ElapsedTimer::Attempt(key) | ElapsedTimer::Queue(key),
            )
            | Handling::HandOut(key) => run(key),
            Handling::Elapsed(_) | Handling::Nothing => None,
        }
    }

    pub(super) fn set_aside(&mut self, uid: Uid, why: &str) {
        if let Some(slot) = self.slot_of(uid) {
            if matches!(self.schedules[slot].status, Status::Quarantined | Status::Deleted) {
                self.end_leases_of(slot, why);
            }
            self.set_aside_slot(slot, why);
        }
        let neighbour =
            self.schedules.iter().find(|(_, it)| it.status == Status::Active).map(|(slot, _)| slot);
        if let Some(neighbour) = neighbour.filter(|_| planted(Bug::PoisonTakesNeighbour)) {
            self.set_aside_slot(neighbour, why);
        }
    }

    /// It fires nothing any more, and still the machine panics over it: then it does over what is left, a lease.
    fn end_leases_of(&mut self, slot: SlotKey, why: &str) {
        for key in self.schedules[slot].past().live.clone() {
            if self.runs[key].lease().is_some() {
                self.attempt_over(
                    key,
                    Failure::new(Class::Cancelled, "CANCELLED", why),
                    &Default::default(),
                    false,
                );
            }
        }
        self.remove_if_over(slot);
    }

    /// A person has decided to go on without what cannot be read; else it would set the schedule aside at each load.
    pub(super) fn drop_unreadable(&mut self, uid: Uid) {
        for name in self.unreadable_of.remove(&uid).unwrap_or_default() {
            if !planted(Bug::UnreadableKept) {
                self.delete(&name);
            }
        }
    }

    /// A lease of what was set aside ends with the process; a late report of its attempt is still welcome. For a run
    /// that was just loaded.
    pub(super) fn set_aside_lease(&mut self, key: RunKey) {
        let why = "its schedule was set aside, and the scheduler started anew";
        let run = &mut self.runs[key];
        run.lost_token = run.lease().map_or(run.lost_token, |lease| lease.token);
        self.end_attempt(key, Some(&Failure::new(Class::Lost, "SET_ASIDE", why)));
    }

    /// Nothing of it fires or is handed out until it is saved again.
    pub(super) fn set_aside_slot(&mut self, slot: SlotKey, why: &str) {
        let schedule = &mut self.schedules[slot];
        if matches!(schedule.status, Status::Quarantined | Status::Deleted) {
            return;
        }
        let end = (0..=REASON_BYTES.min(why.len())).rfind(|end| why.is_char_boundary(*end)).unwrap_or(0);
        schedule.status = Status::Quarantined;
        schedule.set_rare(|rare| rare.quarantine = Some(why[..end].into()));
        schedule.set_rare(|rare| rare.pause = None);
        schedule.revision += 1;
        for key in schedule.past().live.clone() {
            if matches!(self.runs[key].phase, Phase::Ready(_) | Phase::Backoff { .. }) {
                self.leave_phase(key);
                self.make_ready(key);
            }
        }
        self.touch(slot);
        if !planted(Bug::SetAsideFires) {
            self.arm(slot);
        }
        let actor = self.own_name();
        self.emit_schedule(slot, ScheduleChange::Quarantined, &actor);
    }
}
