//! How attempts and runs end: by a report under their lease, or for one of the scheduler's own reasons; results add up.

use prost::Message as _;
use prost_types::{Struct, value::Kind};
use scheduler_svc::state_machine::{
    failure::Class,
    id::RunId,
    run::{Attempt, Finished, Lease, Outcome, Run},
    schedule::{Schedule, Status},
};

use super::{
    Broken, Compared, Verdict, broken,
    durable::{Changes, Durable},
    holds,
    moments::Moment,
    runs::{Runs, Said},
    story::{INTERRUPTIONS_MAX, LOSSES_MAX, SET_ASIDE},
};

impl Runs {
    /// An attempt ended: by a report under its token, or by the scheduler for one of its own reasons.
    pub(super) fn ended(
        &mut self,
        moment: &Moment,
        id: RunId,
        lease: Option<&Lease>,
        entry: &Attempt,
    ) -> Verdict {
        let Some(failure) = &entry.failure else { return Ok(()) };
        self.known.entry(id).or_default().spend(failure);
        let own = matches!(
            &*failure.code,
            "WORKER_LOST" | "NOT_DELIVERED" | "ATTEMPT_TIMEOUT" | "CANCEL_TIMEOUT" | SET_ASIDE
        );
        let Some(lease) = lease else { return Ok(()) };
        if &*failure.code == "WORKER_LOST" {
            self.moments.lost(moment, id, &lease.instance, entry.end)?;
        }
        let said = self.reported.get(&lease.token);
        let reported = said.is_some_and(|all| all.iter().any(|said| fits(said, failure.class)));
        holds("an attempt fails as was reported", own || reported, || {
            format!("{id}: {entry:?}; reported under {}: {said:?}", lease.token)
        })
    }

    pub(super) fn finished(
        &mut self,
        moment: &Moment,
        changes: &Changes,
        before: Option<&Run>,
        finished: &Finished,
        after: &Durable,
        compared: &mut Compared,
    ) -> Verdict {
        let id = finished.id;
        if before.is_none() {
            self.made(id, compared)?;
        }
        let story = self.known.entry(id).or_default();
        if std::mem::replace(&mut story.ended, true) {
            return broken("a run ends once", format!("{id} ended again"));
        }
        story.ended_at = self.now;
        let accepted = self.accepted_by(changes, before, finished);
        let accepted = accepted.filter(|token| *token != before.map_or(0, |before| before.last_token));
        if let Some(token) = accepted {
            self.accept(id, token, compared)?;
        }
        let entries = ended_attempts(before, finished.attempt, false, &finished.attempts)?;
        for entry in entries {
            compared.attempts += 1;
            let by = before.filter(|before| before.attempt == entry.attempt).and_then(Run::lease);
            self.ended(moment, id, by, entry)?;
        }
        let late = accepted.is_some() && is_late(before, entries);
        if let Some(failure) = finished.failure.as_deref().filter(|_| late) {
            self.known.entry(id).or_default().spend(failure);
        }
        self.adds_up(finished)?;
        // A batch may hold the pause and the resume that follows it.
        let revision =
            |schedule: &Option<Schedule>| schedule.as_ref().map_or(0, |schedule| schedule.revision);
        // So may the change that let a schedule begin again that had ended.
        let ended = |schedule: &Option<Schedule>| {
            schedule.as_ref().is_some_and(|schedule| schedule.status == Status::Ended)
        };
        let acted = changes.schedules.iter().any(|(uid, was, now)| {
            *uid == id.uid && revision(now) > revision(was) + if ended(was) { 0 } else { 1 }
        });
        let schedule = after.schedules.get(&id.uid).filter(|_| !acted);
        self.known[&id].pauses(finished, before, schedule)?;
        self.end_fits(before, finished, accepted)
    }

    /// The token of the report that ended a run. A schedule knows that of the last of its runs only; where a commit
    /// ends several, it is the one under which such an end was reported.
    fn accepted_by(&self, changes: &Changes, before: Option<&Run>, finished: &Finished) -> Option<u64> {
        let id = finished.id;
        let known = changes.schedules.iter().find(|(uid, ..)| *uid == id.uid).and_then(|(_, was, now)| {
            let last = now.as_ref()?.past().last_run?;
            was.as_ref().is_none_or(|was| was.past().last_run != Some(last)).then_some(last)
        });
        if let Some(last) = known.filter(|last| (last.trigger, last.nominal) == (id.trigger, id.nominal)) {
            return Some(last.token);
        }
        let before =
            before.filter(|_| changes.finished.iter().any(|it| it.id.uid == id.uid && it.id != id))?;
        let token = before.lease().map_or(before.lost_token, |lease| lease.token);
        let attempt = finished.attempts.iter().find(|one| one.attempt == before.attempt);
        let attempt = attempt.filter(|_| before.lease().is_some());
        // One that was lost in the same commit, and reported late after that, ended as its run did.
        let lost = |attempt: &&Attempt| attempt.failure.as_ref().is_some_and(|it| it.class == Class::Lost);
        let attempt = attempt.filter(|attempt| !lost(attempt));
        let failure = attempt.map_or(&finished.failure, |attempt| &attempt.failure);
        let class = failure.as_ref().map(|failure| failure.class);
        let ends = |said: &Said| {
            said.id == id && if said.invalid { class == Some(Class::Permanent) } else { said.class == class }
        };
        self.reported.get(&token).is_some_and(|all| all.iter().any(ends)).then_some(token)
    }

    /// Each end has its reason.
    fn end_fits(&self, before: Option<&Run>, finished: &Finished, accepted: Option<u64>) -> Verdict {
        let id = finished.id;
        let said = accepted.and_then(|token| self.reported.get(&token)).map_or(&[][..], Vec::as_slice);
        let class = finished.failure.as_ref().map(|failure| failure.class);
        match finished.outcome {
            Outcome::Succeeded => {
                let reported = said.iter().any(|said| said.class.is_none() && !said.invalid);
                holds("a run succeeds only when that was reported", reported, || format!("{id}: {said:?}"))
            }
            Outcome::Cancelled => {
                holds("a cancelled run says why", class == Some(Class::Cancelled) || class.is_some(), || {
                    format!("{id}: {class:?}")
                })
            }
            Outcome::Failed => {
                let story = &self.known[&id];
                let max = before.map_or(u32::MAX, |before| before.definition.retry.max_attempts);
                let code = finished.failure.as_ref().map_or("", |failure| &*failure.code);
                let spent = match class {
                    Some(Class::Permanent | Class::Superseded | Class::Reauthorize) => true,
                    Some(Class::Timeout) if code == "QUEUE_TIMEOUT" => finished.attempt == 0,
                    Some(Class::Transient | Class::Timeout) => story.failures >= max,
                    Some(Class::Lost) => story.losses >= LOSSES_MAX,
                    Some(Class::Interrupted) => story.interruptions > INTERRUPTIONS_MAX,
                    Some(Class::Throttled | Class::Cancelled) | None => false,
                };
                holds("a run fails only when its attempts are spent", spent, || {
                    format!("{id} failed as {class:?} {code} with {story:?}, max_attempts {max}")
                })
            }
        }
    }

    /// The one thing that was reported under a token. None where a lying worker said several.
    fn only(&self, token: u64) -> Option<&Said> {
        match self.reported.get(&token).map(Vec::as_slice) {
            Some([only]) => Some(only),
            _ => None,
        }
    }

    /// What a failed attempt reported is kept for the next one.
    pub(super) fn results(&self, token: u64, run: &Run) -> Verdict {
        let Some(checkpoint) = self.only(token).and_then(|said| said.checkpoint.as_ref()) else {
            return Ok(());
        };
        let kept = run.checkpoint.as_deref() == Some(checkpoint);
        holds("an attempt is handed the last checkpoint", kept, || {
            format!("{}: reported {checkpoint:?}, stored {:?}", run.id, run.checkpoint)
        })
    }

    /// Results are per run: what its attempts reported adds up (W6).
    fn adds_up(&self, finished: &Finished) -> Verdict {
        let mut sum = 0.0;
        for token in &self.known[&finished.id].accepted {
            let Some(said) = self.only(*token) else { return Ok(()) };
            sum += said.done;
        }
        let result = Struct::decode(finished.result.clone()).unwrap_or_default();
        let done = result.fields.get("done").and_then(|value| value.kind.as_ref());
        let done = if let Some(Kind::NumberValue(number)) = done { *number } else { 0.0 };
        holds("W6 results of attempts add up", (sum - done).abs() < 0.5, || {
            let accepted = &self.known[&finished.id].accepted;
            format!("{}: reported {sum} under {accepted:?}, stored {done}", finished.id)
        })
    }
}

/// Whether an outcome that was taken is that of an attempt that had been counted as lost: before this commit, or in it.
pub fn is_late(before: Option<&Run>, ended: &[Attempt]) -> bool {
    let last = ended.last().and_then(|last| last.failure.as_ref());
    let lost = last.is_some_and(|failure| failure.class == Class::Lost);
    lost || ended.is_empty() && before.is_some_and(|before| before.lease().is_none())
}

fn fits(said: &Said, class: Class) -> bool {
    if said.invalid { class == Class::Permanent } else { said.class == Some(class) }
}

/// Attempts that ended in a commit. They are numbered from 1, without gaps, and every one that began and is not
/// under way has ended.
pub fn ended_attempts<'a>(
    before: Option<&Run>,
    attempt: u32,
    under_way: bool,
    attempts: &'a [Attempt],
) -> Result<&'a [Attempt], Broken> {
    let ended_before = before.map_or(0, |before| before.attempt - u32::from(before.lease().is_some()));
    let ended_now = attempt - u32::from(under_way);
    let new = ended_now.saturating_sub(ended_before) as usize;
    let entries = &attempts[attempts.len().saturating_sub(new)..];
    let numbers: Vec<u32> = entries.iter().map(|entry| entry.attempt).collect();
    let expected: Vec<u32> = (ended_before + 1..=ended_now).collect();
    let expected = &expected[expected.len().saturating_sub(10)..];
    holds("no two live leases on a run", ended_now >= ended_before && numbers == expected, || {
        format!("attempts {expected:?} ended, the record says {attempts:?}")
    })?;
    Ok(entries)
}
