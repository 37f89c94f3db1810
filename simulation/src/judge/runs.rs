//! Runs: one id per occurrence, attempts in order under one lease at a time, budgets kept, ends that were reported.

use std::collections::{BTreeMap, BTreeSet};

use scheduler_svc::state_machine::{
    failure::Class,
    history::Kept,
    id::{RunId, Trigger, Uid},
    run::{Lease, Phase, Run},
    schedule::{Schedule, Status},
};

use super::{
    Compared, Verdict, broken,
    durable::{Changes, Durable},
    ends::{ended_attempts, is_late},
    holds,
    moments::{Moment, Moments},
    story::{LOSSES_MAX, Story},
};

#[derive(Debug, Default)]
pub struct Runs {
    pub(super) known: BTreeMap<RunId, Story>,
    /// Every lease that was ever durable, by token.
    pub leases: BTreeMap<u64, Leased>,
    /// How many manual runs each schedule has had.
    pub manual: BTreeMap<Uid, u64>,
    /// Runs whose cancellation was acknowledged.
    pub cancelled: BTreeSet<RunId>,
    /// Schedules, by id, that something poisonous was done to.
    pub poisoned: BTreeSet<String>,
    /// Schedules whose state was lost: nobody knows any more which of their runs have been.
    pub anew: BTreeSet<Uid>,
    /// Tokens whose outcome was taken.
    pub accepted: BTreeSet<u64>,
    /// What workers put into reports, by token.
    pub(super) reported: BTreeMap<u64, Vec<Said>>,
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

    /// A time that history has forgotten may be run again by a backfill; commits are judged more exactly.
    pub fn may_come_again(&self, id: RunId) -> bool {
        id.trigger == Trigger::Backfill || self.anew.contains(&id.uid)
    }

    /// Its record cannot be read: nobody knows it any more.
    pub fn forget(&mut self, id: RunId) {
        let story = self.known.entry(id).or_default();
        (story.ended, story.ended_at) = (true, self.now);
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
                    // One whose time was not decided has never begun; another verdict has taken its place.
                    let dropped = before.as_ref().is_some_and(|before| !before.decided);
                    let ended = self.has_ended(*id) || gone || dropped || overrun(schedule);
                    holds("nothing acknowledged is lost", ended, || format!("{id} vanished without an end"))?;
                    let story = self.known.entry(*id).or_default();
                    if !std::mem::replace(&mut story.ended, true) {
                        story.ended_at = self.now;
                    }
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    pub(super) fn made(&mut self, id: RunId, compared: &mut Compared) -> Verdict {
        compared.runs += 1;
        if id.trigger == Trigger::Manual {
            *self.manual.entry(id.uid).or_default() += 1;
        }
        let former = self.known.insert(id, Story::default());
        let forgotten = self.may_come_again(id) && former.as_ref().is_some_and(|it| it.ended);
        let new = former.is_none() || forgotten;
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
        let called_off = began > 0 && self.cancelled.contains(&id);
        holds("a cancelled run begins no further attempt", !called_off, || id.to_string())?;
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
    pub(super) fn accept(&mut self, id: RunId, token: u64, compared: &mut Compared) -> Verdict {
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

/// Whether more runs ended in a commit than the history of a schedule holds.
pub fn overrun(schedule: Option<&(Uid, Option<Schedule>, Option<Schedule>)>) -> bool {
    let Some((_, before, Some(after))) = schedule else { return false };
    let before = before.as_ref().map(|before| before.past().rings).unwrap_or_default();
    let ended = (after.past().rings.unsucceeded - before.unsucceeded)
        .max(after.past().rings.succeeded - before.succeeded);
    ended > Kept::default().runs.into()
}

/// Whether a run waits in the queue: ready, not held by a pause.
pub fn waits(run: &Run, schedules: &BTreeMap<Uid, Schedule>) -> bool {
    let active = schedules
        .get(&run.id.uid)
        .is_some_and(|schedule| matches!(schedule.status, Status::Active | Status::Ended | Status::Deleted));
    matches!(run.phase, Phase::Ready(_)) && active
}
