//! P4: one bad input stops nothing but itself.

use scheduler_svc::state_machine::schedule::Status;

use super::{Verdict, decisions::Around, durable::Changes, holds, runs::Runs, story::SET_ASIDE};

/// What is poisonous is set aside, and nothing else; nothing of it fires until it is saved again.
pub fn judge(changes: &Changes, around: &Around<'_>, runs: &Runs) -> Verdict {
    for (id, before, after) in &changes.runs {
        let leased = before.as_ref().filter(|before| before.lease().is_some());
        let last = after.as_ref().and_then(|after| after.attempts.last());
        let last = last.filter(|last| leased.is_some_and(|before| before.attempt == last.attempt));
        let new = last.is_some_and(|last| last.failure.as_ref().is_some_and(|it| &*it.code == SET_ASIDE));
        let changed = changes.schedules.iter().any(|(uid, ..)| *uid == id.uid);
        holds(
            "P4 only leases of what is set aside end with the process",
            !new || changed || around.after.is_set_aside(id.uid),
            || id.to_string(),
        )?;
    }
    for (uid, before, after) in &changes.schedules {
        let Some(after) = after else { continue };
        let was = before.as_ref().filter(|before| before.status == Status::Quarantined);
        let is = after.status == Status::Quarantined;
        let id = &after.definition.key.id;
        holds("P4 only what is poisonous is set aside", !is || runs.poisoned.contains(&**id), || {
            format!("{id} {uid}: {:?}", after.rare().quarantine)
        })?;
        let Some(was) = was.filter(|was| was.generation == after.generation) else { continue };
        holds(
            "P4 what is set aside waits until it is saved again",
            is || after.status == Status::Deleted,
            || format!("{id} {uid} became {:?} after {:?}", after.status, was.rare().quarantine),
        )?;
        let made = around.made.iter().find(|id| id.uid == *uid && !around.before.contains(id));
        holds("P4 nothing of what is set aside fires", made.is_none(), || format!("{made:?}"))?;
    }
    Ok(())
}
