//! One seed from beginning to end, and many of them side by side.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use scheduler_svc::state_machine::poison;

use crate::{
    judge::{Broken, Compared},
    store::Durable,
    world::World,
};

#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub broken: Option<Broken>,
    pub compared: Compared,
    /// Hash of the whole trace.
    pub trace: u64,
    pub lines: u64,
    pub tail: Vec<String>,
    /// The whole trace, if asked for.
    pub all: Vec<String>,
}

pub fn simulate(seed: u64, keep_trace: bool) -> Outcome {
    simulate_on(seed, keep_trace, Durable::default())
}

pub fn simulate_on(seed: u64, keep_trace: bool, store: Durable) -> Outcome {
    poison::disarm();
    let mut world = World::new(seed, store);
    world.trace.all = keep_trace.then(Vec::new);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        world.run()?;
        world.store.compare_history();
        Ok(())
    }));
    let broken = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Broken { rule: "no panic", how: text.unwrap_or_default() })
    });
    Outcome {
        seed,
        broken: broken.err(),
        compared: world.judge.compared,
        trace: world.trace.hash(),
        lines: world.trace.lines(),
        tail: world.trace.tail().map(Into::into).collect(),
        all: world.trace.all.take().unwrap_or_default(),
    }
}

/// Simulates `count` seeds from `first` on, in as many threads as there are processors.
///
/// `failed` is told of each seed that broke a rule, in no particular order, and says whether to go on. Returns how much
/// was compared, and how many seeds were run.
pub fn simulate_many(first: u64, count: u64, failed: impl Fn(&Outcome) -> bool + Sync) -> (Compared, u64) {
    let (next, run) = (AtomicU64::new(first), AtomicU64::new(0));
    let total = Mutex::new(Compared::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let outcome = simulate(seed, false);
            run.fetch_add(1, Ordering::Relaxed);
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome.compared);
            if outcome.broken.is_some() && !failed(&outcome) {
                next.store(first + count, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    (total, run.into_inner())
}
