//! What must hold once the faults are over and time has passed.

use scheduler_svc::state_machine::{definition::Misfire, id::RunId, schedule::Status};

use super::{Judge, Verdict, holds};

impl Judge {
    /// Runs that were live when the faults ended have ended, except those that a pause holds.
    pub fn all_ended(&self, then: &[RunId]) -> Verdict {
        for id in then {
            let Some(run) = self.durable.runs.get(id) else { continue };
            let paused = self
                .durable
                .schedules
                .get(&id.uid)
                .is_some_and(|schedule| matches!(schedule.status, Status::Paused | Status::Quarantined));
            let held = paused && run.lease().is_none() || self.durable.is_set_aside(id.uid);
            holds("every run ends", held, || format!("{id} is still live: {run:?}"))?;
        }
        Ok(())
    }

    /// `wall`: the leader's clock. Whatever is due has been decided.
    pub fn all_decided(&self, wall: i64) -> Verdict {
        for (uid, schedule) in &self.durable.schedules {
            let next = self.decisions.line(*uid).and_then(super::decisions::Line::next_to_come);
            // Missed times that run one after another wait for the one that is live.
            let all = matches!(schedule.definition.misfire, Misfire::All { .. });
            if all && self.durable.live(*uid).next().is_some() {
                continue;
            }
            let due = next.map(|next| next + schedule.definition.spread_offset());
            // It may have been saved, or let go on, only just now.
            let since = due.map(|due| due.max(schedule.updated));
            let late = schedule.status == Status::Active && since.is_some_and(|since| since + 5_000 < wall);
            holds("each nominal time has exactly one decision", !late, || {
                format!("{uid}: {next:?} was due at {due:?}, it is {wall}")
            })?;
        }
        Ok(())
    }

    /// Deleted schedules are gone once their last run has ended.
    pub fn all_removed(&self) -> Verdict {
        for schedule in self.durable.schedules.values() {
            let left = schedule.status == Status::Deleted && self.durable.live(schedule.uid).next().is_none();
            holds("a deleted schedule leaves nothing behind", !left, || schedule.uid.to_string())?;
        }
        Ok(())
    }
}
