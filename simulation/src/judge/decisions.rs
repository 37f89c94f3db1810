//! Every nominal time gets exactly one final decision, one that the rules allow (section 4 of the design; R2).
//!
//! A line of times per schedule: those that the calendar names and that have no decision yet. Each entry of the log
//! takes its times off the front of the line, so a time that is skipped, doubled or invented shows at once.

use std::collections::{BTreeMap, BTreeSet};

use scheduler_svc::state_machine::{
    definition::Misfire,
    id::{RunId, Trigger, Uid},
    run::Phase,
    schedule::{Schedule, Status, Verdict as Became},
    timing::Timing,
};

use super::{
    Broken, Compared, Verdict,
    calendar::Calendar,
    durable::{Changes, Decided, Durable},
    holds,
    runs::overrun,
    why::Why,
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
    pub paused: Option<i64>,
    /// COALESCED into these nominal times, which must fire, or wait behind a live run.
    owed: BTreeSet<i64>,
    /// The time that is not decided since its run waits behind a live one.
    pub behind: Option<i64>,
}

/// What a commit found and made.
#[derive(Debug)]
pub struct Around<'a> {
    /// Runs that were live before it, and those that it made.
    pub before: &'a BTreeSet<RunId>,
    pub made: &'a BTreeSet<RunId>,
    /// The store after it.
    pub after: &'a Durable,
    /// Live runs of one schedule under overlap ALLOW.
    pub cap: usize,
}

impl Around<'_> {
    pub fn was_live(&self, id: RunId) -> bool {
        self.before.contains(&id) || self.made.contains(&id)
    }
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
            behind: None,
        }
    }

    /// Undecided times up to `through`, in order.
    pub fn open(&self, through: i64) -> Vec<i64> {
        let mut open: BTreeSet<i64> = self.pending.range(..=through).copied().collect();
        open.extend(self.calendar.between(self.from, through));
        open.into_iter().collect()
    }

    pub fn next(&self) -> Option<i64> {
        self.pending.first().copied().into_iter().chain(self.calendar.next(self.from)).min()
    }

    /// The next time that does not wait behind a live run.
    pub fn next_to_come(&self) -> Option<i64> {
        let pending = self.pending.iter().copied().find(|time| Some(*time) != self.behind);
        let mut from = self.from;
        if let Some(behind) = self.behind.filter(|behind| self.calendar.next(self.from) == Some(*behind)) {
            from = behind;
        }
        pending.into_iter().chain(self.calendar.next(from)).min()
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
    /// Times that a schedule names, after `from` up to `through`.
    pub fn named(&self, uid: Uid, from: i64, through: i64) -> Vec<i64> {
        self.lines.get(&uid).map(|line| line.calendar.between(from, through)).unwrap_or_default()
    }

    pub fn line(&self, uid: Uid) -> Option<&Line> {
        self.lines.get(&uid)
    }

    /// The state of a schedule was lost. `behind`: the time of its run that waits behind a live one.
    pub fn begin_anew(&mut self, schedule: &Schedule, behind: Option<i64>) {
        let mut line = Line::new(schedule);
        (line.from, line.floor) = (schedule.decided_through, schedule.decided_through);
        line.pending = behind.into_iter().collect();
        line.behind = behind;
        self.lines.insert(schedule.uid, line);
    }

    /// A run is not known any more that waited behind a live one: its time gets no decision.
    pub fn forget(&mut self, id: RunId) {
        let Some(line) = self.lines.get_mut(&id.uid) else { return };
        line.take(&[id.nominal]);
        line.behind = None;
    }

    pub fn judge(&mut self, changes: &Changes, compared: &mut Compared, around: &Around<'_>) -> Verdict {
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
                let why = Why { line, before: before.as_ref(), after, times: &times, around };
                why.allowed(&decided.entry).map_err(|broken| Broken {
                    how: format!("{uid} {:?}: {}", decided.entry, broken.how),
                    ..broken
                })?;
                times.iter().for_each(|time| {
                    line.owed.remove(time);
                });
                if decided.entry.verdict == Became::Fired {
                    line.fired += times.len() as u64;
                    fired.extend(times.iter().map(|time| after.run_id(Trigger::Scheduled, *time)));
                }
                if decided.entry.verdict == Became::Coalesced {
                    line.owed.extend(decided.entry.run.map(|(_, nominal)| nominal));
                }
            }
            let waited = std::mem::replace(&mut line.behind, around.after.undecided(*uid));
            // It fires when it begins, at the latest.
            let begun = waited.map(|time| after.run_id(Trigger::Scheduled, time));
            let begun = begun.filter(|id| around.after.runs.get(id).is_some_and(|run| run.decided));
            holds(ONCE, begun.is_none_or(|id| fired.contains(&id)), || {
                format!("{begun:?} began without a decision")
            })?;
            finish(line, after, *uid)?;
        }
        made(changes, &fired, around)
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
        // A commit that holds another change as well does not say when this one was.
        (_, Timing::Every { .. }) if after.revision > before.revision + 1 => after.anchor,
        (_, _) => now,
    };
    let calendar = Calendar::new(new, line.anchor);
    if old.timing == new.timing && old.start == new.start && old.end == new.end {
        line.calendar = Calendar::new(new, former);
        line.anchor = former;
        // With its state an interval may have lost its phase: then it does not name what waits.
        return line.behind.filter(|waits| !line.calendar.names(*waits)).into_iter().collect();
    }
    // One that waits behind a live run has passed, wherever the clock has been set since.
    let passed: BTreeSet<i64> = line.open(now).into_iter().chain(line.behind).collect();
    // A passed time that only the new timing names is none; shared ones before it go with it.
    let only_new = calendar.between(line.floor, now).into_iter().rfind(|time| !passed.contains(time));
    let floor = if calendar.at().is_some() { Some(begin(&calendar, now)) } else { only_new };
    line.floor = floor.map_or(line.floor, |floor| floor.max(line.floor));
    line.from = if calendar.at().is_some() { line.floor } else { line.floor.max(now) };
    if now < before.decided_through {
        // The clock was set back: what lies before has been passed once.
        line.from = line.from.max(before.decided_through);
    }
    let waits = line.behind;
    let goes = |time: &&i64| !calendar.names(**time) || **time <= line.floor && Some(**time) != waits;
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
    // Too many to count are too many to keep: all go, whatever the new timing names.
    let all = decided.count.is_none().then(|| line.pending.clone());
    let may = all.as_ref().unwrap_or(may);
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
    let waits = |time: &i64| Some(*time) == line.behind;
    let missed: Vec<i64> =
        missed.into_iter().filter(|time| *time <= after.decided_through && !waits(time)).collect();
    holds(ONCE, missed.is_empty(), || {
        format!("{uid}: passed over without a decision: {missed:?} (through {})", after.decided_through)
    })?;
    holds("COALESCED times stand for a run that fires", line.owed.iter().all(waits), || {
        format!("{uid}: nothing fired for {:?}", line.owed)
    })?;
    line.owed.clear();
    let over = line.next_to_come().is_none()
        || after.definition.max_runs > 0 && line.fired >= after.definition.max_runs;
    match after.status {
        Status::Ended => holds("a schedule ends when no time is left", over, || {
            format!("{uid} has ended; next {:?}, fired {}", line.next(), line.fired)
        })?,
        Status::Active => holds("a schedule ends when no time is left", !over, || {
            format!("{uid} is active without a time left; fired {}", line.fired)
        })?,
        Status::Paused | Status::Quarantined | Status::Deleted => {}
    }
    if let (Status::Paused, Some(pause), None) = (after.status, after.pause(), line.paused) {
        // What was due before the pause is not the pause's to skip, but for what was still to be caught up on.
        let all = matches!(after.definition.misfire, Misfire::All { .. });
        let mut due = line.open(pause.time - after.definition.spread_offset());
        due.retain(|time| Some(*time) != line.behind);
        holds("PAUSED only inside a pause", all || due.is_empty(), || {
            format!("{uid} was paused at {} with {due:?} undecided", pause.time)
        })?;
    }
    line.paused = match (after.status, after.pause()) {
        (Status::Paused, Some(pause)) => Some(line.paused.map_or(pause.time, |since| since.min(pause.time))),
        _ => None,
    };
    Ok(())
}

/// Each scheduled run that a commit makes is one of the times that it fired, and the other way round.
fn made(changes: &Changes, fired: &BTreeSet<RunId>, around: &Around<'_>) -> Verdict {
    for (id, before, after) in &changes.runs {
        let Some(after) = after.as_ref().filter(|_| before.is_none() && id.trigger == Trigger::Scheduled)
        else {
            continue;
        };
        // One that waits behind a live run has its decision when it begins.
        let waits = !after.decided && matches!(after.phase, Phase::Behind);
        holds(ONCE, fired.contains(id) != waits, || {
            format!("{id} was made as {:?}, fired: {}", after.phase, fired.contains(id))
        })?;
    }
    for id in fired {
        let schedule = changes.schedules.iter().find(|(uid, ..)| *uid == id.uid);
        let known = around.was_live(*id) || overrun(schedule);
        holds(ONCE, known, || format!("{id} was decided to fire, and there is no such run"))?;
    }
    Ok(())
}
