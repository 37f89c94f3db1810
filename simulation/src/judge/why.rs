//! Whether the verdict on nominal times was right (docs/concepts.md: "Decision", "Overlap", "Misfire").

use scheduler_svc::state_machine::{
    definition::{Definition, Misfire, Overlap},
    id::{RunId, Trigger},
    run::{Phase, Run},
    schedule::{Decision, Schedule, Status, Verdict as Became},
};

use super::{
    Verdict, broken,
    decisions::{Around, Line},
    holds,
};

/// Misfire SKIP: how late a time may be and still run.
const LATE_MAX: i64 = 60_000;

const FITS: &str = "verdicts fit what happened";

/// One entry of a log, and what it is judged by.
pub struct Why<'a> {
    pub line: &'a Line,
    pub before: Option<&'a Schedule>,
    pub after: &'a Schedule,
    pub times: &'a [i64],
    pub around: &'a Around<'a>,
}

impl Why<'_> {
    pub fn allowed(&self, entry: &Decision) -> Verdict {
        let last = entry.last;
        let due = |time: i64, schedule: &Schedule| time + schedule.definition.spread_offset();
        let earliest = self.before.map_or(i64::MAX, |before| due(last, before)).min(due(last, self.after));
        let early = || format!("due at {earliest}, decided at {}", entry.time);
        match entry.verdict {
            Became::Fired => {
                let waited = self.line.behind == Some(last);
                holds("nothing fires before it is due", waited || earliest <= entry.time, early)?;
                // One of them may be the catch-up run.
                self.not_of_the_pause(1)?;
                self.on_its_turn(entry)?;
                self.within_max_runs()
            }
            Became::Coalesced => {
                holds("nothing is decided before it is due", earliest <= entry.time, early)?;
                self.not_of_the_pause(0)?;
                let all = self.rules().is_some_and(|rules| matches!(rules.misfire, Misfire::All { .. }));
                holds("misfire ALL leaves nothing out", !all, String::new)?;
                let stands = entry
                    .run
                    .is_some_and(|(trigger, nominal)| trigger == Trigger::Scheduled && nominal > last);
                holds("COALESCED names the run of a later time", stands, String::new)
            }
            Became::Overlap => {
                // The clock may have been set back since the time came and waited.
                let waited = self.line.behind == Some(last);
                holds("nothing is decided before it is due", waited || earliest <= entry.time, early)?;
                self.names_live("OVERLAP names the run in the way", entry)?;
                self.overlaps(entry)
            }
            Became::Capped => {
                holds("nothing is decided before it is due", earliest <= entry.time, early)?;
                self.capped(entry)
            }
            Became::Misfire => self.misfired(entry),
            Became::Paused => self.paused(entry),
            Became::Limit => {
                let max = self.before.map_or(0, |before| before.definition.max_runs);
                let reached = max > 0 && self.line.fired >= max;
                holds("LIMIT only after max_runs", reached, || format!("fired {} of {max}", self.line.fired))
            }
            Became::Replaced => Ok(()),
            Became::Deleted => {
                let gone = self.after.status == Status::Deleted && self.times.len() == 1;
                holds("DELETED only with the schedule", gone, String::new)
            }
            Became::Ended => broken(FITS, "no rule gives this verdict"),
        }
    }

    /// What the schedule was to do, unless the commit holds a change of it.
    fn rules(&self) -> Option<&Definition> {
        let same = self.before.is_none_or(|before| before.generation == self.after.generation);
        same.then_some(&*self.after.definition)
    }

    fn names_live(&self, rule: &'static str, entry: &Decision) -> Verdict {
        let Some((trigger, nominal)) = entry.run else { return broken(rule, "none is named") };
        let id = self.after.run_id(trigger, nominal);
        let itself = trigger == Trigger::Scheduled && self.times.contains(&nominal);
        holds(rule, !itself, || format!("{id} cannot be in its own way"))?;
        holds(rule, self.around.was_live(id), || format!("{id} was not live"))
    }

    /// How late the last of the times was when it was decided.
    fn late(&self, rules: &Definition, entry: &Decision) -> i64 {
        entry.time - (entry.last + rules.spread_offset())
    }

    /// The next time, if it was due as well.
    fn another_due(&self, rules: &Definition, entry: &Decision) -> Option<i64> {
        self.line.next().filter(|next| next + rules.spread_offset() <= entry.time)
    }

    /// Misfires: which of several times that are due at once may fire.
    fn on_its_turn(&self, entry: &Decision) -> Verdict {
        let waited = self.line.behind == Some(entry.last);
        let Some(rules) = self.rules().filter(|_| !waited) else { return Ok(()) };
        let buffered = matches!(rules.overlap, Overlap::BufferOne | Overlap::CancelRunning);
        let another = self.another_due(rules, entry);
        match rules.misfire {
            // One that has waited within the batch fires, whatever has come due since.
            Misfire::Coalesce | Misfire::Skip if another.is_some() && !buffered => {
                broken("misfires coalesce into the latest time", format!("{another:?} was due as well"))
            }
            Misfire::Skip if !buffered && !self.after_the_pause() => self.in_time(rules, entry),
            Misfire::All { .. } if another.is_some() => {
                let live = self.around.after.live(self.after.uid);
                let began = |run: &&Run| !matches!(run.phase, Phase::Behind);
                let live = live.filter(|run| run.id.trigger != Trigger::Manual).filter(began).count();
                holds("misfire ALL runs one after another", live <= 1, || {
                    format!("{live} runs are live, and {another:?} was due as well")
                })
            }
            Misfire::Coalesce | Misfire::Skip | Misfire::All { .. } => Ok(()),
        }
    }

    /// Whether a pause has ended in the commit: its latest time may have been asked for, however late it is.
    fn after_the_pause(&self) -> bool {
        self.line.paused.is_some() && self.after.status != Status::Paused
    }

    fn in_time(&self, rules: &Definition, entry: &Decision) -> Verdict {
        let late = self.late(rules, entry);
        holds("misfire SKIP: what is late does not run", late <= LATE_MAX, || format!("{late} ms late"))
    }

    fn misfired(&self, entry: &Decision) -> Verdict {
        let Some(rules) = self.rules() else { return Ok(()) };
        if rules.misfire == Misfire::Skip {
            self.not_of_the_pause(0)?;
        }
        let late = self.late(rules, entry);
        let after = match rules.misfire {
            Misfire::Coalesce => return broken(FITS, "MISFIRE under misfire COALESCE"),
            Misfire::Skip => LATE_MAX,
            Misfire::All { window, .. } => window.into(),
        };
        holds("MISFIRE only when too late", late > after, || format!("{late} ms late of {after}"))
    }

    /// More live runs than allowed, or more missed times than are caught up on.
    fn capped(&self, entry: &Decision) -> Verdict {
        let Some(rules) = self.rules() else { return Ok(()) };
        if entry.run.is_none() {
            let Misfire::All { max_runs, .. } = rules.misfire else {
                return broken(FITS, "CAPPED without a live run, and not under misfire ALL");
            };
            let newer = self.line.open(entry.time - rules.spread_offset()).len();
            return holds("CAPPED beyond the newest max_runs", newer >= max_runs as usize, || {
                format!("{newer} newer ones of {max_runs} were due")
            });
        }
        self.names_live("CAPPED names the run in the way", entry)?;
        let of = |id: &&RunId| id.uid == self.after.uid;
        let (before, made) = (self.around.before.iter().filter(of), self.around.made.iter().filter(of));
        let live = before.count() + made.filter(|id| !self.around.before.contains(id)).count();
        let right = rules.overlap == Overlap::Allow && live >= self.around.cap;
        holds("CAPPED at the bound of live runs", right, || {
            format!("{live} of {} live, overlap {:?}", self.around.cap, rules.overlap)
        })
    }

    /// What the overlap policy leaves out.
    fn overlaps(&self, entry: &Decision) -> Verdict {
        // What took its place may be gone with its schedule.
        let gone = self.after.status == Status::Deleted;
        let Some(rules) = self.rules().filter(|_| !gone) else { return Ok(()) };
        match rules.overlap {
            Overlap::Skip => {
                let another = self.another_due(rules, entry);
                let all = matches!(rules.misfire, Misfire::All { .. });
                holds("misfire ALL leaves nothing out", !all || another.is_none(), || {
                    format!("{another:?} was due as well")
                })?;
                let skip = rules.misfire == Misfire::Skip && !self.after_the_pause();
                if skip { self.in_time(rules, entry) } else { Ok(()) }
            }
            Overlap::Allow => broken("overlap ALLOW skips nothing", "OVERLAP"),
            Overlap::BufferOne | Overlap::CancelRunning => {
                let newer = |id: &RunId| {
                    id.uid == self.after.uid && (id.trigger == Trigger::Manual || id.nominal > entry.last)
                };
                let waits = self.around.after.undecided(self.after.uid).is_some_and(|at| at > entry.last);
                let replaced = waits || self.around.made.iter().any(newer);
                holds("a newer run takes the place of the one that waits", replaced, || {
                    "no newer run waits or has begun".into()
                })
            }
        }
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
        let until = last_of(before).unwrap_or(i64::MAX).min(self.after.updated);
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
            // A commit that holds a pause and its end does not say when they were.
            // And a pause skips what was still to be caught up on.
            let all = matches!(self.after.definition.misfire, Misfire::All { .. });
            let begins = all && self.after.status == Status::Paused;
            if begins || self.before.is_some_and(|before| self.after.revision >= before.revision + 2) {
                return Ok(());
            }
            return broken("PAUSED only inside a pause", "the schedule was not paused");
        };
        let until = self.before.and_then(last_of).unwrap_or(entry.time).min(entry.time);
        // Either definition may have held, if the commit holds a change.
        let offset = |schedule: &Schedule| schedule.definition.spread_offset();
        let offset = self.before.map_or(i64::MAX, offset).min(offset(self.after));
        holds("PAUSED only inside a pause", entry.last + offset <= until, || {
            format!("through {} (spread {offset}), paused from {since} to {until}", entry.last)
        })
    }
}

/// The last millisecond of a pause that ends by itself: "until noon" leaves noon alone.
fn last_of(schedule: &Schedule) -> Option<i64> {
    schedule.pause().and_then(|pause| pause.until).map(|until| until - 1)
}
