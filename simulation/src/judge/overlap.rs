//! What a new run may do while others of its schedule are live (docs/concepts.md, "Overlap").

use std::collections::BTreeSet;

use scheduler_svc::state_machine::{
    definition::Overlap,
    id::{RunId, Uid},
    run::{Phase, Run},
};

use super::{
    Verdict, broken,
    durable::{Changes, Durable},
    holds,
};

/// `cap`: live runs of one schedule under overlap ALLOW.
pub fn judge(changes: &Changes, after: &Durable, cap: usize) -> Verdict {
    let mut touched: BTreeSet<Uid> = BTreeSet::new();
    for (id, before, now) in &changes.runs {
        let Some(now) = now else { continue };
        let was_behind = before.as_ref().is_some_and(is_behind);
        let new = before.is_none();
        if (new || was_behind) && !is_behind(now) {
            begins(changes, after, *id, cap)?;
        } else if new {
            waits(changes, after, *id)?;
        }
        touched.insert(id.uid);
    }
    for uid in touched {
        let behind = after.live(uid).filter(|run| is_behind(run)).count();
        holds("at most one run waits behind the live ones", behind <= 1, || format!("{uid}: {behind}"))?;
    }
    Ok(())
}

fn is_behind(run: &Run) -> bool {
    matches!(run.phase, Phase::Behind)
}

/// The policies that held within a commit.
fn policies(changes: &Changes, after: &Durable, uid: Uid) -> Option<[Overlap; 2]> {
    let now = after.schedules.get(&uid)?;
    let before = changes.schedules.iter().find(|(other, ..)| *other == uid);
    let before = before.and_then(|(_, before, _)| before.as_ref()).unwrap_or(now);
    Some([before.definition.overlap, now.definition.overlap])
}

/// A run may be handed out from now on.
fn begins(changes: &Changes, after: &Durable, id: RunId, cap: usize) -> Verdict {
    let Some(policies) = policies(changes, after, id.uid) else {
        return broken("a run belongs to a schedule", id.to_string());
    };
    let live = after.live(id.uid).filter(|run| !is_behind(run)).count();
    let most = if policies.contains(&Overlap::Allow) { cap } else { 1 };
    holds("overlap is kept", live <= most, || format!("{id}: {live} live runs of {most}, {policies:?}"))
}

/// A run waits behind others.
fn waits(changes: &Changes, after: &Durable, id: RunId) -> Verdict {
    let Some(policies) = policies(changes, after, id.uid) else {
        return broken("a run belongs to a schedule", id.to_string());
    };
    let may = policies.iter().any(|it| matches!(it, Overlap::BufferOne | Overlap::CancelRunning));
    holds("overlap is kept", may, || format!("{id} waits behind others under {policies:?}"))?;
    if policies != [Overlap::CancelRunning; 2] {
        return Ok(());
    }
    let untold = after
        .live(id.uid)
        .find(|run| matches!(run.phase, Phase::Running(_) | Phase::Ready(_) | Phase::Backoff { .. }));
    holds("CANCEL_RUNNING tells the live run to stop", untold.is_none(), || {
        format!("{id} waits, and {:?} goes on", untold.map(|run| run.id))
    })
}
