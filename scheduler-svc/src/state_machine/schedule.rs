//! One schedule's state, and the log of what became of its times.

use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::{
    command::Among,
    definition::Definition,
    history::{Ring, Rings, Sizes},
    id::{RunId, Trigger, Uid},
    run::RunKey,
    timer::WallTimer,
    timing::Times,
};
use crate::planted::{Bug, planted};

/// Where a schedule lies in the machine's memory. Short, since indexes and timers hold one of each schedule.
pub type SlotKey = u32;

#[derive(Clone, Debug)]
pub struct Schedule {
    pub uid: Uid,
    pub definition: Arc<Definition>,
    /// Counts changes of the definition, from 1.
    pub generation: u32,
    /// Counts changes of the definition and of pause: the etag.
    pub revision: u32,
    pub created: i64,
    pub updated: i64,
    /// Phase of `every`.
    pub anchor: i64,
    pub status: Status,
    pub dirty: Dirty,
    /// Every nominal time up to it has its decision.
    pub decided_through: i64,
    /// The first nominal time after `decided_through`; derived.
    pub next: Option<i64>,
    /// The timer that is set for it.
    pub armed: Option<(i64, WallTimer)>,
    /// The last token that was given when a user last acted on it (rule R5).
    pub acted: u64,
    /// None before its first time.
    pub past: Option<Box<Past>>,
    /// None where all of it is at its default.
    pub rare: Option<Box<Rare>>,
}

/// What a schedule has come to so far, kept apart since most of many wait for a first time that is hours ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    pub live: SmallVec<[RunKey; 1]>,
    /// The newest entry of the log.
    pub decision: Option<Decision>,
    pub last_run: Option<LastRun>,
    pub rings: Rings,
    pub sizes: Sizes,
    /// Scheduled runs that were ever created.
    pub runs: u64,
    /// Runs that failed since the last success.
    pub failures: u32,
}

/// What few schedules have, kept apart so that all others are smaller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// While it is paused.
    pub pause: Option<Pause>,
    /// Why it was set aside.
    pub quarantine: Option<Box<str>>,
    /// Misfire `all`: missed times up to it run one after another.
    pub catch_up: Option<i64>,
    /// What is left of a backfill, ascending.
    pub backfill: Box<[Span]>,
    /// Nominal time of the last manual run.
    pub last_manual: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Active = 0,
    Paused = 1,
    Ended = 2,
    Quarantined = 3,
    /// Gone for users; kept until its last run on a worker is final.
    Deleted = 4,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    pub state: bool,
    pub definition: bool,
    /// Whether the schedule is in the list of those to write.
    pub listed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub reason: PauseReason,
    pub note: Box<str>,
    pub actor: Arc<str>,
    pub time: i64,
    pub until: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PauseReason {
    Requested = 1,
    Reauthorize = 2,
    Failures = 3,
}

/// A range of nominal times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Inclusive.
    pub from: i64,
    /// Exclusive.
    pub to: i64,
}

/// The end of the run that ended last: the number of its record, and the token that recognises a repeated report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    pub trigger: Trigger,
    pub nominal: i64,
    pub token: u64,
    pub succeeded: bool,
    pub slot: u32,
}

/// What became of one nominal time, or of neighbours with the same verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub first: i64,
    pub last: i64,
    /// None = too many to count.
    pub count: Option<u64>,
    pub time: i64,
    /// FIRED: its run. OVERLAP: the run in the way. COALESCED: the run that stands for them.
    pub run: Option<(Trigger, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    Fired = 1,
    Overlap = 2,
    Paused = 3,
    Misfire = 4,
    Coalesced = 5,
    Limit = 6,
    Ended = 7,
    Replaced = 8,
    Deleted = 9,
    Capped = 10,
}

impl Verdict {
    pub fn from_number(number: u32) -> Option<Self> {
        use Verdict::*;
        let all = [Fired, Overlap, Paused, Misfire, Coalesced, Limit, Ended, Replaced, Deleted, Capped];
        all.into_iter().find(|verdict| *verdict as u32 == number)
    }
}

pub fn etag(uid: Uid, revision: u32) -> String {
    format!("{:08x}-{revision}", (uid.0 >> 96) as u32)
}

impl Schedule {
    /// A new one, active, of which all up to `now` counts as decided.
    pub fn new(uid: Uid, definition: Arc<Definition>, now: i64) -> Self {
        Self {
            uid,
            definition,
            generation: 1,
            revision: 1,
            created: now,
            updated: now,
            anchor: now,
            status: Status::Active,
            dirty: Dirty::default(),
            decided_through: now,
            next: None,
            armed: None,
            acted: 0,
            past: None,
            rare: None,
        }
    }

    /// The timer that it needs. `slot` is where it lies.
    pub fn timer(&self, slot: SlotKey) -> Option<(i64, WallTimer)> {
        match self.status {
            Status::Active => self.due().map(|at| (at, WallTimer::Due(slot))),
            Status::Paused => {
                let until = self.pause().and_then(|pause| pause.until);
                until.map(|at| (at, WallTimer::Resume(slot)))
            }
            Status::Ended | Status::Quarantined | Status::Deleted => None,
        }
    }

    pub fn past(&self) -> &Past {
        static NOTHING: LazyLock<Past> = LazyLock::new(Past::default);
        self.past.as_deref().unwrap_or(&NOTHING)
    }

    /// To be changed; from now on it takes its memory.
    pub fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    /// Puts another past in the place of its own. One that is empty takes no memory.
    pub fn set_past(&mut self, past: Past) {
        self.past = (past != Past::default()).then(|| Box::new(past));
    }

    pub fn live(&self) -> &[RunKey] {
        &self.past().live
    }

    pub fn has_any(&self, among: Among) -> bool {
        let past = self.past();
        among.live && !past.live.is_empty()
            || among.succeeded && past.rings.kept(Ring::Succeeded) > 0
            || among.unsucceeded && past.rings.kept(Ring::Unsucceeded) > 0
    }

    pub fn pause(&self) -> Option<&Pause> {
        self.rare().pause.as_ref()
    }

    pub fn rare(&self) -> &Rare {
        static NOTHING: LazyLock<Rare> = LazyLock::new(Rare::default);
        self.rare.as_deref().unwrap_or(&NOTHING)
    }

    /// Changes what is rare. Once all of it is at its default it takes no memory.
    pub fn set_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().map_or_else(Rare::default, |rare| *rare);
        change(&mut rare);
        self.rare = (rare != Rare::default()).then(|| Box::new(rare));
    }

    pub fn times(&self) -> Times<'_> {
        self.definition.times(self.anchor)
    }

    /// When the next time is due: nominal plus spread. None when nothing will fire by itself.
    pub fn due(&self) -> Option<i64> {
        let next = self.next.filter(|_| self.status == Status::Active && !self.is_catching_up())?;
        if planted(Bug::SpreadIgnored) {
            return Some(next);
        }
        Some(next.saturating_add(self.definition.spread_offset()))
    }

    /// Whether its next time waits for the end of a live run rather than for its due time.
    pub fn is_catching_up(&self) -> bool {
        self.rare().catch_up.is_some() && !self.live().is_empty() && !planted(Bug::MisfireAllAtOnce)
    }

    /// The last nominal time that is due at `now`.
    pub fn last_due(&self, now: i64) -> i64 {
        if planted(Bug::SpreadIgnored) {
            return now;
        }
        now.saturating_sub(self.definition.spread_offset())
    }

    /// Whether the pause was to end by now.
    pub fn pause_is_over(&self, now: i64) -> bool {
        self.pause().and_then(|pause| pause.until).is_some_and(|until| until <= now)
    }

    pub fn etag(&self) -> String {
        etag(self.uid, self.revision)
    }

    pub fn run_id(&self, trigger: Trigger, nominal: i64) -> RunId {
        RunId { uid: self.uid, trigger, nominal }
    }

    /// Adds to the log. Returns the entry that leaves the hot state.
    pub fn record(&mut self, decision: Decision) -> Option<Decision> {
        self.dirty.state = true;
        let log = &mut self.past_mut().decision;
        let Some(newest) = log else {
            *log = Some(decision);
            return None;
        };
        let follows = newest.last < decision.first;
        if follows && newest.verdict == decision.verdict {
            newest.last = decision.last;
            newest.count = newest.count.zip(decision.count).map(|(one, other)| one + other);
            newest.time = decision.time;
            newest.run = decision.run;
            return None;
        }
        log.replace(decision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_schedule_takes_little_memory() {
        assert!(size_of::<Schedule>() <= 128, "{}", size_of::<Schedule>());
    }
}
