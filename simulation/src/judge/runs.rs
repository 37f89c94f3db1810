//! Runs: one id per occurrence, attempts in order under one lease at a time, budgets kept, ends that were reported.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::{Struct, value::Kind};
use scheduler_svc::state_machine::{
    definition::Overlap,
    failure::Class,
    id::{RunId, Uid},
    run::{Attempt, Finished, Lease, Outcome, Phase, Run},
    schedule::{Schedule, Status},
};

use super::{
    Compared, Verdict, broken,
    durable::{Changes, Durable},
    holds,
    moments::{Moment, Moments},
    story::{INTERRUPTIONS_MAX, LOSSES_MAX, Story},
};

/// Live runs of a schedule under overlap `allow`.
const LIVE_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct Runs {
    known: BTreeMap<RunId, Story>,
    /// Every lease that was ever durable, by token.
    pub leases: BTreeMap<u64, Leased>,
    /// Tokens whose outcome was taken.
    pub accepted: BTreeSet<u64>,
    /// What workers put into reports, by token.
    reported: BTreeMap<u64, Vec<Said>>,
    highest_token: u64,
    epoch: u64,
    /// True time.
    pub now: u64,
    pub moments: Moments,
    /// Highest token of earlier epochs.
    floor: u64,
}

#[derive(Clone, Debug)]
pub struct Leased {
    pub id: RunId,
    pub attempt: u32,
    pub instance: String,
    pub checkpoint: Option<Vec<u8>>,
}

/// The outcome in a report that was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub id: RunId,
    /// None = success.
    pub class: Option<Class>,
    /// What it adds to the run's result.
    pub done: f64,
    pub checkpoint: Option<Vec<u8>>,
    /// Wrong in itself: counts as a permanent failure.
    pub invalid: bool,
}

impl Runs {
    pub fn knows(&self, id: RunId) -> bool {
        self.known.contains_key(&id)
    }

    pub fn has_ended(&self, id: RunId) -> bool {
        self.known.get(&id).is_some_and(|story| story.ended)
    }

    /// Whether a run was live at some time since then.
    pub fn lived(&self, id: RunId, since: u64) -> bool {
        self.known.get(&id).is_some_and(|story| !story.ended || story.ended_at >= since)
    }

    pub fn reported(&mut self, token: u64, said: Said) {
        let all = self.reported.entry(token).or_default();
        if !all.contains(&said) {
            all.push(said);
        }
    }

    pub fn judge(
        &mut self,
        moment: &Moment,
        changes: &Changes,
        after: &Durable,
        compared: &mut Compared,
    ) -> Verdict {
        if moment.epoch > self.epoch {
            (self.epoch, self.floor) = (moment.epoch, self.highest_token);
        }
        for finished in &changes.finished {
            let before = changes.runs.iter().find(|(id, ..)| *id == finished.id);
            self.finished(
                moment,
                changes,
                before.and_then(|(_, before, _)| before.as_ref()),
                finished,
                after,
                compared,
            )?;
        }
        for (id, before, now) in &changes.runs {
            let schedule = changes.schedules.iter().find(|(uid, ..)| *uid == id.uid);
            let held = held(schedule, after, *id);
            match (before, now) {
                (None, Some(now)) => {
                    self.made(*id, compared)?;
                    self.moved(moment, None, now, held, after, compared)?;
                }
                (Some(before), Some(now)) => self.moved(moment, Some(before), now, held, after, compared)?,
                (Some(_), None) => {
                    let gone = schedule.is_some_and(|(_, _, after)| after.is_none());
                    let ended = self.has_ended(*id) || gone;
                    holds("nothing acknowledged is lost", ended, || format!("{id} vanished without an end"))?;
                    let story = self.known.entry(*id).or_default();
                    if !std::mem::replace(&mut story.ended, true) {
                        story.ended_at = self.now;
                    }
                }
                (None, None) => {}
            }
        }
        overlap(changes, after)
    }

    fn made(&mut self, id: RunId, compared: &mut Compared) -> Verdict {
        compared.runs += 1;
        let new = self.known.insert(id, Story::default()).is_none();
        holds("R1 no run id twice", new, || format!("{id} was made again"))
    }

    fn moved(
        &mut self,
        moment: &Moment,
        before: Option<&Run>,
        now: &Run,
        held: bool,
        after: &Durable,
        compared: &mut Compared,
    ) -> Verdict {
        let id = now.id;
        let lease_before = before.and_then(Run::lease);
        let began = now.attempt - before.map_or(0, |before| before.attempt);
        holds("R4 held runs are not assigned", began == 0 || !held, || {
            format!("{id} was assigned while its schedule was paused or deleted")
        })?;
        let accepted = now.last_token != before.map_or(0, |before| before.last_token);
        if accepted {
            self.accept(id, now.last_token, compared)?;
        }
        let entries = ended_attempts(before, now.attempt, now.lease().is_some(), &now.attempts)?;
        for entry in entries {
            compared.attempts += 1;
            let by = lease_before.filter(|_| entry.attempt == before.map_or(0, |before| before.attempt));
            self.ended(moment, id, by, entry)?;
        }
        if let Some(failure) = now.failure.as_deref().filter(|_| accepted && is_late(before, entries)) {
            self.known.entry(id).or_default().spend(failure);
        }
        let retry = now.definition.retry;
        if accepted {
            self.results(now.last_token, now)?;
        }
        let story = self.known.entry(id).or_default();
        story.backs_off(moment, now, entries, began)?;
        holds("attempts are bounded by max_attempts", story.failures < retry.max_attempts, || {
            format!("{id} goes on after {} failures of {}", story.failures, retry.max_attempts)
        })?;
        holds("W7 losses are bounded", story.losses < LOSSES_MAX, || {
            format!("{id} goes on after {} losses", story.losses)
        })?;
        if let Some(lease) = now.lease() {
            self.leased(now, lease, lease_before, after)?;
        }
        if began > 1 {
            return broken(
                "no two live leases on a run",
                format!("{id} began {began} attempts in one commit"),
            );
        }
        Ok(())
    }

    fn leased(&mut self, run: &Run, lease: &Lease, before: Option<&Lease>, after: &Durable) -> Verdict {
        let (id, token) = (run.id, lease.token);
        if before.is_some_and(|before| before.token == token) {
            let known = self.leases.get(&token);
            return holds(
                "no two live leases on a run",
                known.is_some_and(|known| known.attempt == run.attempt),
                || format!("{id}: the lease {token} moved to attempt {}", run.attempt),
            );
        }
        let new = !self.leases.contains_key(&token) && token > self.floor;
        holds("W6 lease tokens only grow", new, || {
            format!("{id}: token {token} after {}", self.highest_token)
        })?;
        self.highest_token = self.highest_token.max(token);
        if run.suspect {
            let other = after.runs.values().find(|other| {
                let theirs = other.lease().filter(|_| other.suspect && other.id != id);
                theirs.is_some_and(|theirs| theirs.instance == lease.instance)
            });
            holds("W7 one suspect per worker at a time", other.is_none(), || {
                format!("{id} joins {:?} on {}", other.map(|other| other.id), lease.instance)
            })?;
        }
        let leased = Leased {
            id,
            attempt: run.attempt,
            instance: lease.instance.to_string(),
            checkpoint: run.checkpoint.as_ref().map(|bytes| bytes.to_vec()),
        };
        self.leases.insert(token, leased);
        Ok(())
    }

    /// The outcome of an attempt was taken: somebody who held its token has sent one.
    fn accept(&mut self, id: RunId, token: u64, compared: &mut Compared) -> Verdict {
        compared.reports += 1;
        holds("one outcome is accepted per attempt", self.accepted.insert(token), || {
            format!("{id}: token {token} was accepted twice")
        })?;
        self.known.entry(id).or_default().accepted.push(token);
        let leased = self.leases.get(&token).is_some_and(|leased| leased.id == id);
        let said = self.reported.get(&token).is_some_and(|all| all.iter().any(|said| said.id == id));
        holds("W6 an accepted outcome was reported under its lease", leased && said, || {
            format!("{id}: token {token}, leased: {leased}, reported: {said}")
        })
    }

    /// An attempt ended: by a report under its token, or by the scheduler for one of its own reasons.
    fn ended(&mut self, moment: &Moment, id: RunId, lease: Option<&Lease>, entry: &Attempt) -> Verdict {
        let Some(failure) = &entry.failure else { return Ok(()) };
        self.known.entry(id).or_default().spend(failure);
        let own =
            matches!(&*failure.code, "WORKER_LOST" | "NOT_DELIVERED" | "ATTEMPT_TIMEOUT" | "CANCEL_TIMEOUT");
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

    fn finished(
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
        let accepted = changes.schedules.iter().find_map(|(uid, was, now)| {
            let last = now.as_ref().filter(|_| *uid == id.uid)?.last_run?;
            let same = (last.trigger, last.nominal) == (id.trigger, id.nominal);
            let new = was.as_ref().is_none_or(|was| was.last_run != Some(last));
            (same && new).then_some(last.token)
        });
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
        let acted = changes
            .schedules
            .iter()
            .any(|(uid, was, now)| *uid == id.uid && revision(now) > revision(was) + 1);
        let schedule = after.schedules.get(&id.uid).filter(|_| !acted);
        self.known[&id].pauses(finished, before, schedule)?;
        self.end_fits(before, finished, accepted)
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
    fn results(&self, token: u64, run: &Run) -> Verdict {
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
            format!("{}: reported {sum}, stored {done}", finished.id)
        })
    }
}

/// Whether an outcome that was taken is that of an attempt that had been counted as lost: before this commit, or in it.
fn is_late(before: Option<&Run>, ended: &[Attempt]) -> bool {
    let last = ended.last().and_then(|last| last.failure.as_ref());
    let lost = last.is_some_and(|failure| failure.class == Class::Lost);
    lost || ended.is_empty() && before.is_some_and(|before| before.lease().is_none())
}

fn fits(said: &Said, class: Class) -> bool {
    if said.invalid { class == Class::Permanent } else { said.class == Some(class) }
}

/// Whether a schedule gave nothing out in a commit: it was paused or deleted before, and was not touched since.
fn held(schedule: Option<&(Uid, Option<Schedule>, Option<Schedule>)>, after: &Durable, id: RunId) -> bool {
    let before = match schedule {
        Some((_, Some(before), now)) => {
            Some(before).filter(|before| now.as_ref().is_none_or(|now| now.revision == before.revision))
        }
        Some((_, None, _)) => None,
        None => after.schedules.get(&id.uid),
    };
    before
        .is_some_and(|before| matches!(before.status, Status::Paused | Status::Deleted | Status::Quarantined))
}

/// Attempts that ended in a commit. They are numbered from 1, without gaps, and every one that began and is not
/// under way has ended.
fn ended_attempts<'a>(
    before: Option<&Run>,
    attempt: u32,
    under_way: bool,
    attempts: &'a [Attempt],
) -> Result<&'a [Attempt], super::Broken> {
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

/// Overlap `skip`: at most one live run.
fn overlap(changes: &Changes, after: &Durable) -> Verdict {
    for (id, before, now) in &changes.runs {
        if before.is_some() || now.is_none() {
            continue;
        }
        let Some(schedule) = after.schedules.get(&id.uid) else {
            return broken("a run belongs to a schedule", id.to_string());
        };
        let live = after.live(id.uid).count();
        let most = match schedule.definition.overlap {
            Overlap::Skip => 1,
            Overlap::BufferOne | Overlap::CancelRunning => 2,
            Overlap::Allow => LIVE_MAX,
        };
        holds("overlap is kept", live <= most, || {
            format!("{}: {live} live runs", schedule.definition.key.id)
        })?;
    }
    Ok(())
}

/// Whether a run waits in the queue: ready, not held by a pause.
pub fn waits(run: &Run, schedules: &BTreeMap<Uid, Schedule>) -> bool {
    let active = schedules
        .get(&run.id.uid)
        .is_some_and(|schedule| matches!(schedule.status, Status::Active | Status::Ended | Status::Deleted));
    matches!(run.phase, Phase::Ready(_)) && active
}
