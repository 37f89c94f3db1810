//! Bugs that are planted to show that the simulation would find them.

use std::fmt;

use crate::{judge::Broken, simulate};

/// A bug of either service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    Scheduler(scheduler_svc::planted::Bug),
    Agent(worker_svc::planted::Bug),
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler(bug) => write!(f, "{bug:?}"),
            Self::Agent(bug) => write!(f, "{bug:?}"),
        }
    }
}

/// Where a bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub seed: u64,
    /// Seeds that were run until then.
    pub after: u64,
    pub broken: Broken,
}

pub fn all() -> Vec<Bug> {
    let scheduler = scheduler_svc::planted::Bug::ALL.iter().map(|bug| Bug::Scheduler(*bug));
    scheduler.chain(worker_svc::planted::Bug::ALL.iter().map(|bug| Bug::Agent(*bug))).collect()
}

fn plant(bug: Option<Bug>) {
    scheduler_svc::planted::plant(None);
    worker_svc::planted::plant(None);
    match bug {
        Some(Bug::Scheduler(bug)) => scheduler_svc::planted::plant(Some(bug)),
        Some(Bug::Agent(bug)) => worker_svc::planted::plant(Some(bug)),
        None => {}
    }
}

/// Runs seeds from `first` until the bug is found, at most `seeds`. The bug is planted in this thread only.
pub fn hunt(bug: Bug, first: u64, seeds: u64) -> Option<Found> {
    plant(Some(bug));
    let found = (first..first + seeds).find_map(|seed| {
        let broken = simulate(seed, false).broken?;
        Some(Found { seed, after: seed - first + 1, broken })
    });
    plant(None);
    found
}
