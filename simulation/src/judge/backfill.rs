//! Backfills: each time that was accepted gets one run, and none that has a run of its own.

use std::collections::BTreeSet;

use scheduler_svc::state_machine::{
    id::{RunId, Trigger},
    schedule::Status,
};

use super::{
    Compared, Verdict,
    decisions::{Around, Decisions},
    durable::Changes,
    holds,
};

pub fn judge(
    changes: &Changes,
    around: &Around<'_>,
    decisions: &Decisions,
    compared: &mut Compared,
) -> Verdict {
    for id in around.made.iter().filter(|id| id.trigger == Trigger::Backfill) {
        if around.before.contains(id) {
            continue;
        }
        compared.backfilled += 1;
        let scheduled = RunId { trigger: Trigger::Scheduled, ..*id };
        // History reaches as far as it does. The end of this very run is not its past.
        let known = around.after.runs.contains_key(&scheduled) || around.after.has_ended(scheduled);
        holds("a backfill leaves alone what has a run", !known, || format!("{id} beside {scheduled}"))?;
    }
    for (uid, before, after) in &changes.schedules {
        let (Some(before), Some(after)) = (before, after) else { continue };
        let same = before.generation == after.generation && after.status != Status::Deleted;
        if !same || before.rare().backfill.is_empty() {
            continue;
        }
        let times = |spans: &[scheduler_svc::state_machine::schedule::Span]| -> BTreeSet<i64> {
            let named = spans.iter().map(|span| decisions.named(*uid, span.from - 1, span.to - 1));
            named.flatten().collect()
        };
        let (wanted, left) = (times(&before.rare().backfill), times(&after.rare().backfill));
        let lost = wanted.difference(&left).find(|nominal| {
            !around.made.contains(&RunId { uid: *uid, trigger: Trigger::Backfill, nominal: **nominal })
        });
        holds("each time of a backfill gets a run", lost.is_none(), || format!("{uid}: none for {lost:?}"))?;
    }
    Ok(())
}
