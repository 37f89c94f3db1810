//! R6: what starts has a permit of each of its keys (docs/limits.md).
//!
//! Runs are handed out when a batch is closed, under the limits of that moment, which are those of the store after the
//! batch. So permits are counted from the records: the live leases of a key.

use std::collections::{BTreeMap, BTreeSet};

use scheduler_svc::{
    record::StoredClosing,
    state_machine::{
        failure::Class,
        gate::limit::Limit,
        id::{RunId, Uid},
        run::{Attempt, Run},
        schedule::{Schedule, Status},
        timer::Now,
    },
};

use super::{
    Compared, Verdict,
    durable::{Changes, Durable},
    holds,
    moments::Moment,
};

/// What slow start allows doubles after each.
const STAGE: i64 = 10_000;
/// Where it ends if no limit is set.
const GOAL: u64 = 1_024;
/// A closing lasts no longer.
const CLOSING_MAX: u64 = 15 * 60_000;
/// Millionths of a start, in a millisecond, for each millionth per second.
const START: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub struct Limits {
    pub set: BTreeMap<String, Limit>,
    closed: BTreeMap<String, Closed>,
    starts: BTreeMap<String, Vec<Start>>,
    epoch: u64,
    /// Elapsed time of the batch before, of the load, and of the last change of a limit, which may be the load.
    before: i64,
    loaded: i64,
    changed: i64,
}

/// Starts of one batch.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// Elapsed milliseconds.
    at: i64,
    count: u64,
}

#[derive(Clone, Debug)]
struct Closed {
    stored: StoredClosing,
    /// Elapsed milliseconds of this epoch, and whether that is exact: a clock may have been set within the batch.
    until: i64,
    exact: bool,
}

impl Limits {
    /// A machine was loaded. Closings last for what was left of them, and never longer than they were to last.
    pub fn opened(&mut self, epoch: u64, now: Now) {
        self.epoch = epoch;
        let at = now.elapsed as i64;
        (self.before, self.loaded, self.changed) = (at, at, at);
        self.starts.clear();
        for closed in self.closed.values_mut() {
            let left = (closed.stored.until - now.wall).min(closed.stored.span as i64);
            (closed.until, closed.exact) = (now.elapsed as i64 + left, true);
        }
    }

    /// The limit of the exact key counts alone; without one, the longest pattern.
    fn of(&self, key: &str) -> Option<Limit> {
        let matches = |name: &&String| name.strip_suffix('*').is_some_and(|prefix| key.starts_with(prefix));
        let pattern = || self.set.keys().filter(matches).max_by_key(|name| name.len());
        self.set.get(key).or_else(|| self.set.get(pattern()?)).copied()
    }

    pub fn judge(
        &mut self,
        moment: &Moment,
        changes: &Changes,
        after: &Durable,
        compared: &mut Compared,
    ) -> Verdict {
        if moment.epoch != self.epoch {
            // Written by an owner that another one has followed: nothing is known of its clock any more.
            return self.take(moment, changes, false);
        }
        self.take(moment, changes, true)?;
        let now = moment.heard.elapsed as i64;
        let mut started: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, before, run) in &changes.runs {
            let Some(run) = run.as_ref().filter(|run| run.lease().is_some()) else { continue };
            if run.attempt > before.as_ref().map_or(0, |before| before.attempt) {
                for key in keys(run) {
                    *started.entry(key).or_default() += 1;
                }
            }
        }
        for (key, count) in started {
            compared.permits += count;
            self.starts.entry(key.into()).or_default().push(Start { at: now, count });
            let holds = |run: &&Run| run.lease().is_some() && keys(run).contains(key);
            let running = after.runs.values().filter(holds);
            self.passes(key, running.count() as u64, now)?;
        }
        self.closes(changes, after, compared)?;
        self.before = now;
        Ok(())
    }

    /// Limits and closings as a batch has left them.
    fn take(&mut self, moment: &Moment, changes: &Changes, known: bool) -> Verdict {
        if !changes.limits.is_empty() {
            self.changed = moment.heard.elapsed as i64;
        }
        for (key, limit) in &changes.limits {
            match limit {
                Some(limit) => self.set.insert(key.clone(), *limit),
                None => self.set.remove(key),
            };
        }
        let Now { wall, elapsed } = moment.heard;
        for (key, closing) in &changes.closings {
            let Some(stored) = closing else {
                self.closed.remove(key);
                continue;
            };
            holds("R6 a closing has an end", stored.span <= CLOSING_MAX, || format!("{key}: {stored:?}"))?;
            // The same closing again: it was opened early.
            let former = self.closed.get(key);
            let opened = former.is_some_and(|former| former.stored.token == stored.token);
            let span = if opened { 0 } else { stored.span as i64 };
            let until = elapsed as i64 + (stored.until - wall);
            let bounds = (self.before + span)..=(elapsed as i64 + span);
            let exact = known && bounds.contains(&until);
            let until = if exact { until } else { *bounds.start() };
            self.closed.insert(key.clone(), Closed { stored: stored.clone(), until, exact });
        }
        Ok(())
    }

    /// Whether a gate may have let these through: its starts of this batch are the last ones noted.
    fn passes(&mut self, key: &str, running: u64, now: i64) -> Verdict {
        let limit = self.of(key);
        let most = limit.and_then(|limit| limit.max_running).map(u64::from);
        holds("R6 max_running is kept", most.is_none_or(|most| running <= most), || {
            format!("{key}: {running} of {most:?} run")
        })?;
        let starts = self.starts.get(key).map_or(&[][..], Vec::as_slice);
        if let Some(closed) = self.closed.get(key) {
            holds("R6 a closed key starts nothing", now >= closed.until, || {
                format!("{key} is closed until {}, it is {now}: {:?}", closed.until, closed.stored)
            })?;
            let stage = (now - closed.until) / STAGE;
            let allowed = 1_u64.checked_shl(stage as u32).unwrap_or(u64::MAX);
            if closed.exact && allowed < goal(limit) {
                let begin = closed.until + stage * STAGE;
                let in_stage: u64 =
                    starts.iter().filter(|start| start.at >= begin).map(|start| start.count).sum();
                holds("R6 a key reopens by slow start", running <= allowed && in_stage <= allowed, || {
                    format!("{key}: {running} run, {in_stage} began in stage {stage}, {allowed} allowed")
                })?;
            }
        }
        match limit.filter(|limit| limit.rate > 0) {
            Some(limit) => self.keeps_rate(key, &limit, now),
            None => Ok(()),
        }
    }

    /// A bucket of `burst` starts that fills with elapsed time, and is empty after a load.
    fn keeps_rate(&self, key: &str, limit: &Limit, now: i64) -> Verdict {
        let starts = self.starts.get(key).map_or(&[][..], Vec::as_slice);
        let mut count = 0;
        for start in starts.iter().rev().take_while(|start| start.at >= self.changed) {
            count += start.count;
            let gained = limit.rate * (now - start.at).unsigned_abs();
            holds(
                "R6 starts per second are kept",
                count * START <= u64::from(limit.burst) * START + gained,
                || format!("{key}: {count} starts from {} to {now} under {limit:?}", start.at),
            )?;
        }
        let gained = limit.rate * (now - self.loaded).unsigned_abs();
        let known = self.changed == self.loaded;
        holds("R6 no second burst after a restart", !known || count * START <= gained, || {
            format!("{key}: {count} starts since the load at {}, it is {now}: {limit:?}", self.loaded)
        })
    }

    /// The key of one schedule closes at its first throttled report.
    fn closes(&self, changes: &Changes, after: &Durable, compared: &mut Compared) -> Verdict {
        for (id, before, now) in &changes.runs {
            let Some((before, lease)) = before.as_ref().and_then(|run| Some((run, run.lease()?))) else {
                continue;
            };
            let finished = changes.finished.iter().find(|finished| finished.id == *id);
            let attempts = now.as_ref().map(|now| &now.attempts).or(finished.map(|it| &it.attempts));
            let ended = attempts.and_then(|all| all.iter().find(|one| one.attempt == before.attempt));
            let Some(key) = ended.and_then(throttled).filter(|key| keys(before).contains(*key)) else {
                continue;
            };
            compared.throttled += 1;
            if !is_alone(key, *id, changes, after) || changes.closings.iter().any(|(name, _)| name == key) {
                continue;
            }
            let closed = self.closed.get(key).is_some_and(|closed| closed.stored.token >= lease.token);
            holds("R6 a throttled report closes the key of its schedule", closed, || {
                format!("{key}: {ended:?} under {}", lease.token)
            })?;
        }
        Ok(())
    }
}

/// Where slow start ends.
fn goal(limit: Option<Limit>) -> u64 {
    let running = limit.and_then(|limit| limit.max_running).map(u64::from);
    let in_ten_seconds = |rate: u64| (rate * 10_000).div_ceil(START);
    let starts = limit.filter(|limit| limit.rate > 0).map(|limit| in_ten_seconds(limit.rate));
    running.into_iter().chain(starts).max().unwrap_or(GOAL)
}

fn keys(run: &Run) -> BTreeSet<&str> {
    run.definition.limits.iter().map(|key| &**key).collect()
}

fn throttled(attempt: &Attempt) -> Option<&str> {
    let failure = attempt.failure.as_ref().filter(|failure| failure.class == Class::Throttled)?;
    Some(&*failure.limit).filter(|key| !key.is_empty())
}

/// Whether a key is that of one schedule, and was all along.
fn is_alone(key: &str, id: RunId, changes: &Changes, after: &Durable) -> bool {
    let has = |schedule: &Schedule| {
        schedule.status != Status::Deleted && schedule.definition.limits.iter().any(|limit| **limit == *key)
    };
    let touched = |(uid, before, after): &(Uid, Option<Schedule>, Option<Schedule>)| {
        let generation = |schedule: &Option<Schedule>| schedule.as_ref().map(|it| it.generation);
        let named = before.as_ref().is_some_and(has) || after.as_ref().is_some_and(has);
        named && (*uid != id.uid || generation(before) != generation(after))
    };
    let others = after.schedules.values().filter(|schedule| schedule.uid != id.uid).any(has);
    let own = after.schedules.get(&id.uid).is_some_and(has);
    own && !others && !changes.schedules.iter().any(touched)
}
