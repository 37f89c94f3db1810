//! Knows the right answer, from the promises alone (`docs/`, the numbered rules), and holds what happens against it.
//!
//! It sees three things: what becomes durable (`durable`, every write of every commit), what is said (`said`, every
//! reply, message and event that leaves a scheduler), and what workers do (`worker`). It shares no state and no
//! calendar with the code that it judges.

pub mod app;
pub mod backfill;
pub mod calendar;
pub mod decisions;
pub mod durable;
pub mod ends;
pub mod fairness;
pub mod limits;
pub mod moments;
pub mod operator;
pub mod overlap;
pub mod owner;
pub mod quarantine;
pub mod runs;
pub mod said;
pub mod settled;
pub mod story;
pub mod why;
pub mod worker;

use std::{collections::BTreeSet, fmt};

use decisions::Around;
use scheduler_svc::{
    state_machine::{
        id::{RunId, Uid},
        schedule::Schedule,
    },
    store::Write,
};

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// As numbered in the protocols, with a few words.
    pub rule: &'static str,
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.rule, self.how)
    }
}

pub type Verdict = Result<(), Broken>;

pub fn broken(rule: &'static str, how: impl Into<String>) -> Verdict {
    Err(Broken { rule, how: how.into() })
}

/// Holds `true` against a rule; the text is made only when it is needed.
pub fn holds(rule: &'static str, is: bool, how: impl FnOnce() -> String) -> Verdict {
    if is { Ok(()) } else { Err(Broken { rule, how: how() }) }
}

macro_rules! compared {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// How much was held against the rules.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Compared { $($(#[$doc])* pub $name: u64),* }

        impl Compared {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

compared! {
    commits,
    records,
    /// Nominal times that were decided.
    nominal_times,
    /// Entries of decision logs.
    decisions,
    runs,
    attempts,
    reports,
    /// Runs that waited while another tenant or priority was served.
    waits,
    /// Runs of backfills.
    backfilled,
    /// Starts under a limit key.
    permits,
    /// Reports of class THROTTLED that name a key.
    throttled,
    replies,
    /// Pages of calls about many schedules that were followed by another one.
    pages,
    messages,
    events,
    heartbeats,
    /// Times that a machine was loaded and compared with the one that wrote.
    reloads,
    /// Machines that were checked from inside.
    checks,
    virtual_seconds,
    crashes,
    ambiguous_commits,
    /// Stores that lost everything, and were written anew.
    restores,
    /// Machines that panicked, and were loaded anew.
    panics,
    depositions,
    /// Owners that did not reach the store any more.
    cut_off,
    unreadable_records,
    clock_steps,
}

#[derive(Debug, Default)]
pub struct Judge {
    pub durable: durable::Durable,
    pub decisions: decisions::Decisions,
    pub runs: runs::Runs,
    pub fairness: fairness::Fairness,
    pub limits: limits::Limits,
    pub said: said::Said,
    pub compared: Compared,
    /// Schedules of which a record cannot be read, until they are saved anew; and those whose own state it is.
    pub garbled: BTreeSet<Uid>,
    pub unknown: BTreeSet<Uid>,
    /// Of one schedule under overlap ALLOW.
    pub live_runs_max: usize,
}

impl Judge {
    /// A commit has become durable.
    pub fn committed(
        &mut self,
        moment: &moments::Moment,
        writes: &[Write],
        log: &mut dyn FnMut(fmt::Arguments<'_>),
    ) -> Verdict {
        self.compared.commits += 1;
        self.compared.records += writes.len() as u64;
        let before: BTreeSet<RunId> = self.durable.runs.keys().copied().collect();
        let changes = self.durable.apply(writes)?;
        changes.tell(log);
        for (uid, before, after) in &changes.schedules {
            self.unknown.remove(uid);
            let generation = |schedule: &Option<Schedule>| schedule.as_ref().map(|it| it.generation);
            if generation(before) != generation(after) {
                self.garbled.remove(uid);
            }
        }
        let made: BTreeSet<RunId> = changes
            .finished
            .iter()
            .map(|finished| finished.id)
            .chain(changes.runs.iter().map(|(id, ..)| *id))
            .collect();
        let around = Around { before: &before, made: &made, after: &self.durable, cap: self.live_runs_max };
        self.decisions.judge(&changes, &mut self.compared, &around)?;
        backfill::judge(&changes, &around, &self.decisions, &mut self.compared)?;
        quarantine::judge(&changes, &around, &self.runs)?;
        overlap::judge(&changes, &self.durable, self.live_runs_max)?;
        self.runs.judge(moment, &changes, &self.durable, &mut self.compared)?;
        self.limits.judge(moment, &changes, &self.durable, &mut self.compared)?;
        self.fairness.judge(moment.epoch, &changes, &self.durable, &mut self.compared)
    }
}
