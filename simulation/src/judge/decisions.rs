//! Every nominal time gets exactly one final decision, one that the rules allow (section 4 of the design; R2).
//!
//! A line of times per schedule: those that the calendar names and that have no decision yet. Each entry of the log
//! takes its times off the front of the line, so a time that is skipped, doubled or invented shows at once.

use std::collections::{BTreeMap, BTreeSet};

use scheduler_svc::state_machine::{
    id::{RunId, Trigger, Uid},
    schedule::{Decision, Schedule, Status, Verdict as Became},
    timing::Timing,
};

use super::{
    Broken, Compared, Verdict, broken,
    calendar::Calendar,
    durable::{Changes, Decided},
    holds,
};

const ONCE: &str = "each nominal time has exactly one decision";

#[derive(Debug, Default)]
pub struct Decisions {
    lines: BTreeMap<Uid, Line>,
}

#[derive(Debug)]
pub struct Line {
    calendar: Calendar,
    anchor: i64,
    /// Times of the calendar up to here are not to come: decided, or passed when the calendar began.
    from: i64,
    /// The last time that was decided or that never was one.
    floor: i64,
    /// Times of earlier calendars that are not decided: passed but not due when the timing changed.
    pending: BTreeSet<i64>,
    /// FIRED so far.
    pub fired: u64,
    /// When the pause began that is not over.
    paused: Option<i64>,
    /// COALESCED into these nominal times, which must fire.
    owed: BTreeSet<i64>,
}

impl Line {
    fn new(schedule: &Schedule) -> Self {
        let anchor = match schedule.definition.timing {
            Timing::Every { anchor, .. } => anchor.unwrap_or(schedule.created),
            Timing::Cron(_) | Timing::At(_) => schedule.created,
        };
        let calendar = Calendar::new(&schedule.definition, anchor);
        let from = begin(&calendar, schedule.created);
        Self {
            calendar,
            anchor,
            from,
            floor: from,
            pending: BTreeSet::new(),
            fired: 0,
            paused: None,
            owed: BTreeSet::new(),
        }
    }

    /// Undecided times up to `through`, in order.
    fn open(&self, through: i64) -> Vec<i64> {
        let mut open: BTreeSet<i64> = self.pending.range(..=through).copied().collect();
        open.extend(self.calendar.between(self.from, through));
        open.into_iter().collect()
    }

    pub fn next(&self) -> Option<i64> {
        self.pending.first().copied().into_iter().chain(self.calendar.next(self.from)).min()
    }

    fn take(&mut self, times: &[i64]) {
        for time in times {
            self.floor = self.floor.max(*time);
            // The calendar may name it as well.
            self.from = self.from.max(*time);
            self.pending.remove(time);
        }
    }
}

/// A one-shot time may lie up to a minute in the past when it is saved.
fn begin(calendar: &Calendar, now: i64) -> i64 {
    calendar.at().filter(|at| *at > now - 60_000).map_or(now, |at| now.min(at - 1))
}

impl Decisions {
    pub fn line(&self, uid: Uid) -> Option<&Line> {
        self.lines.get(&uid)
    }

    /// `live_before`: whether a run was live before this commit or was made by it.
    pub fn judge(
        &mut self,
        changes: &Changes,
        compared: &mut Compared,
        live: &dyn Fn(RunId) -> bool,
    ) -> Verdict {
        let mut fired: BTreeSet<RunId> = BTreeSet::new();
        for (uid, before, after) in &changes.schedules {
            let Some(after) = after else {
                self.lines.remove(uid);
                continue;
            };
            let line = self.lines.entry(*uid).or_insert_with(|| Line::new(after));
            let retimed = before.as_ref().filter(|before| before.generation != after.generation);
            let replaceable = retimed.map(|before| retime(line, before, after)).unwrap_or_default();
            anchored(line, after)?;
            for decided in changes.decided.get(uid).map_or(&[][..], Vec::as_slice) {
                compared.decisions += 1;
                let times = match decided.entry.verdict {
                    Became::Replaced => replaced(line, decided, &replaceable),
                    _ => in_turn(line, decided),
                };
                let times = times.map_err(|how| Broken { rule: ONCE, how: format!("{uid}: {how}") })?;
                compared.nominal_times += times.len() as u64;
                let why = Why { line, before: before.as_ref(), after, times: &times, live };
                why.allowed(&decided.entry).map_err(|broken| Broken {
                    how: format!("{uid} {:?}: {}", decided.entry, broken.how),
                    ..broken
                })?;
                if decided.entry.verdict == Became::Fired {
                    line.fired += times.len() as u64;
                    times.iter().for_each(|time| {
                        line.owed.remove(time);
                    });
                    fired.extend(times.iter().map(|time| after.run_id(Trigger::Scheduled, *time)));
                }
                if decided.entry.verdict == Became::Coalesced {
                    line.owed.extend(decided.entry.run.map(|(_, nominal)| nominal));
                }
            }
            finish(line, after, *uid)?;
        }
        made(changes, &fired)
    }
}

/// The anchor is the user's, or the creation, and it is kept.
fn anchored(line: &Line, after: &Schedule) -> Verdict {
    let every = matches!(after.definition.timing, Timing::Every { .. });
    holds("intervals keep their phase", !every || after.anchor == line.anchor, || {
        format!("{}: anchor {} instead of {}", after.uid, after.anchor, line.anchor)
    })
}

/// Moves a line to the times of a changed definition. Returns the passed times that may be replaced.
fn retime(line: &mut Line, before: &Schedule, after: &Schedule) -> BTreeSet<i64> {
    let (old, new, now) = (&before.definition, &after.definition, after.updated);
    let former = line.anchor;
    line.anchor = match (&old.timing, &new.timing) {
        (_, Timing::Every { anchor: Some(anchor), .. }) => *anchor,
        (Timing::Every { .. }, _) => former,
        (_, _) => now,
    };
    let calendar = Calendar::new(new, line.anchor);
    if old.timing == new.timing && old.start == new.start && old.end == new.end {
        line.calendar = Calendar::new(new, former);
        line.anchor = former;
        return BTreeSet::new();
    }
    let passed: BTreeSet<i64> = line.open(now).into_iter().collect();
    // A passed time that only the new timing names is none; shared ones before it go with it.
    let only_new = calendar.between(line.floor, now).into_iter().rfind(|time| !passed.contains(time));
    let floor = if calendar.at().is_some() { Some(begin(&calendar, now)) } else { only_new };
    line.floor = floor.map_or(line.floor, |floor| floor.max(line.floor));
    line.from = if calendar.at().is_some() { line.floor } else { line.floor.max(now) };
    let goes = |time: &&i64| !calendar.names(**time) || **time <= line.floor;
    let replaceable = passed.iter().filter(goes).copied().collect();
    line.pending = passed;
    line.calendar = calendar;
    replaceable
}

/// An entry takes the first times of the line, all up to its last.
fn in_turn(line: &mut Line, decided: &Decided) -> Result<Vec<i64>, String> {
    let entry = &decided.entry;
    let times = line.open(entry.last);
    let first_fits = decided.first.is_none_or(|first| times.first() == Some(&first));
    let count_fits = decided.count.is_none_or(|count| count == times.len() as u64);
    if times.last() != Some(&entry.last) || !first_fits || !count_fits {
        return Err(format!("{decided:?} does not fit what is undecided: {}", shown(&times, line)));
    }
    line.take(&times);
    Ok(times)
}

fn replaced(line: &mut Line, decided: &Decided, may: &BTreeSet<i64>) -> Result<Vec<i64>, String> {
    let first = decided.first.unwrap_or(i64::MIN);
    let times: Vec<i64> =
        may.range(first..=decided.entry.last).filter(|time| line.pending.contains(time)).copied().collect();
    if times.is_empty() || decided.count.is_some_and(|count| count != times.len() as u64) {
        return Err(format!("{decided:?} replaces other times than {}", shown(&times, line)));
    }
    times.iter().for_each(|time| {
        line.pending.remove(time);
    });
    Ok(times)
}

fn shown(times: &[i64], line: &Line) -> String {
    let ends = (times.first(), times.last());
    format!(
        "{} from {:?} to {:?}; decided through {}, next {:?}",
        times.len(),
        ends.0,
        ends.1,
        line.from,
        line.next()
    )
}

/// After a commit: nothing was left out, and nothing that was promised is missing.
fn finish(line: &mut Line, after: &Schedule, uid: Uid) -> Verdict {
    let missed = line.open(after.decided_through.min(line.from.max(after.decided_through)));
    let missed: Vec<i64> = missed.into_iter().filter(|time| *time <= after.decided_through).collect();
    holds(ONCE, missed.is_empty(), || {
        format!("{uid}: passed over without a decision: {missed:?} (through {})", after.decided_through)
    })?;
    holds("COALESCED times stand for a run that fires", line.owed.is_empty(), || {
        format!("{uid}: nothing fired for {:?}", line.owed)
    })?;
    let over =
        line.next().is_none() || after.definition.max_runs > 0 && line.fired >= after.definition.max_runs;
    match after.status {
        Status::Ended => holds("a schedule ends when no time is left", over, || {
            format!("{uid} has ended; next {:?}, fired {}", line.next(), line.fired)
        })?,
        Status::Active => holds("a schedule ends when no time is left", !over, || {
            format!("{uid} is active without a time left; fired {}", line.fired)
        })?,
        Status::Paused | Status::Quarantined | Status::Deleted => {}
    }
    if let (Status::Paused, Some(pause), None) = (after.status, &after.pause, line.paused) {
        // What was due before the pause is not the pause's to skip.
        let due = line.open(pause.time - after.definition.spread_offset());
        holds("PAUSED only inside a pause", due.is_empty(), || {
            format!("{uid} was paused at {} with {due:?} undecided", pause.time)
        })?;
    }
    line.paused = match (after.status, &after.pause) {
        (Status::Paused, Some(pause)) => Some(line.paused.map_or(pause.time, |since| since.min(pause.time))),
        _ => None,
    };
    Ok(())
}

/// Each scheduled run that a commit makes is one of the times that it fired, and the other way round.
fn made(changes: &Changes, fired: &BTreeSet<RunId>) -> Verdict {
    let live = changes.runs.iter().filter(|(_, before, after)| before.is_none() && after.is_some());
    let ended = changes.finished.iter().map(|finished| finished.id);
    let made: BTreeSet<RunId> = live.map(|(id, ..)| *id).chain(ended).collect();
    let scheduled = changes.runs.iter().filter(|(id, before, after)| {
        before.is_none() && after.is_some() && id.trigger == Trigger::Scheduled
    });
    for (id, ..) in scheduled {
        holds(ONCE, fired.contains(id), || format!("{id} was made without a decision"))?;
    }
    // A schedule that is gone within the same commit takes the records of its runs with it.
    for id in fired {
        holds(ONCE, made.contains(id), || format!("{id} was decided to fire, and there is no such run"))?;
    }
    Ok(())
}

/// Whether a verdict was right.
struct Why<'a> {
    line: &'a Line,
    before: Option<&'a Schedule>,
    after: &'a Schedule,
    times: &'a [i64],
    live: &'a dyn Fn(RunId) -> bool,
}

impl Why<'_> {
    fn allowed(&self, entry: &Decision) -> Verdict {
        let last = entry.last;
        let due = |time: i64, definition: &Schedule| time + definition.definition.spread_offset();
        let earliest = self.before.map_or(i64::MAX, |before| due(last, before)).min(due(last, self.after));
        let early = || format!("due at {earliest}, decided at {}", entry.time);
        match entry.verdict {
            Became::Fired => {
                holds("nothing fires before it is due", earliest <= entry.time, early)?;
                // One of them may be the catch-up run.
                self.not_of_the_pause(1)?;
                self.latest(entry)?;
                self.within_max_runs()
            }
            Became::Coalesced => {
                holds("nothing is decided before it is due", earliest <= entry.time, early)?;
                self.not_of_the_pause(0)?;
                let stands = entry
                    .run
                    .is_some_and(|(trigger, nominal)| trigger == Trigger::Scheduled && nominal > last);
                holds("COALESCED names the run of a later time", stands, String::new)
            }
            Became::Overlap => {
                holds("nothing is decided before it is due", earliest <= entry.time, early)?;
                let Some((trigger, nominal)) = entry.run else {
                    return broken("OVERLAP names the run in the way", "none is named");
                };
                let id = self.after.run_id(trigger, nominal);
                holds("OVERLAP names the run in the way", (self.live)(id), || format!("{id} was not live"))
            }
            Became::Paused => self.paused(entry),
            Became::Limit => {
                let max = self.before.map_or(0, |before| before.definition.max_runs);
                let reached = max > 0 && self.line.fired >= max;
                holds("LIMIT only after max_runs", reached, || format!("fired {} of {max}", self.line.fired))
            }
            Became::Replaced => Ok(()),
            Became::Misfire | Became::Ended | Became::Deleted | Became::Capped => {
                broken("verdicts fit what happened", "no rule gives this verdict")
            }
        }
    }

    /// Misfire `coalesce`: the run is that of the latest time that was due.
    fn latest(&self, entry: &Decision) -> Verdict {
        let offset = self.before.unwrap_or(self.after).definition.spread_offset();
        let same = self.before.is_none_or(|before| before.generation == self.after.generation);
        let next = self.line.next().filter(|next| same && next + offset <= entry.time);
        holds("misfires coalesce into the latest time", next.is_none(), || {
            format!("{next:?} was due as well")
        })
    }

    fn within_max_runs(&self) -> Verdict {
        // Either definition may have held, if the commit holds a change; 0 = unlimited.
        let bounds =
            [self.before.unwrap_or(self.after), self.after].map(|schedule| schedule.definition.max_runs);
        let max = if bounds.contains(&0) { 0 } else { bounds[0].max(bounds[1]) };
        let fired = self.line.fired + self.times.len() as u64;
        holds("max_runs bounds the scheduled runs", max == 0 || fired <= max, || format!("{fired} of {max}"))
    }

    /// What came due inside a pause that has ended is skipped for it.
    fn not_of_the_pause(&self, may: usize) -> Verdict {
        let (Some(since), Some(before)) = (self.line.paused, self.before) else { return Ok(()) };
        let until = before.pause.as_ref().and_then(|pause| pause.until).unwrap_or(i64::MAX);
        let until = until.min(self.after.updated);
        let offset = before.definition.spread_offset();
        // A commit that holds another pause besides this one cannot be judged.
        let same = before.generation == self.after.generation && self.after.revision <= before.revision + 1;
        let inside = |time: &&i64| same && since < **time + offset && **time + offset <= until;
        let count = self.times.iter().filter(inside).count();
        holds("times of a pause are skipped", count <= may, || {
            format!("{count} of {:?} came due inside the pause from {since} to {until}", self.times)
        })
    }

    /// Only times that came due inside the pause are skipped for it (rule R4).
    fn paused(&self, entry: &Decision) -> Verdict {
        let Some(since) = self.line.paused else {
            return broken("PAUSED only inside a pause", "the schedule was not paused");
        };
        let pause = self.before.and_then(|before| before.pause.as_ref());
        let until = pause.and_then(|pause| pause.until).unwrap_or(entry.time).min(entry.time);
        let offset = self.before.unwrap_or(self.after).definition.spread_offset();
        holds("PAUSED only inside a pause", entry.last + offset <= until, || {
            format!("through {} (spread {offset}), paused from {since} to {until}", entry.last)
        })
    }
}
