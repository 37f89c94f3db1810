//! Seeds of the simulation, as many as fit into a test run. `make sim` runs more.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use simulation::{judge::Compared, simulate};

const SEEDS: u64 = 300;

#[test]
fn three_hundred_seeds_keep_every_rule() {
    let next = AtomicU64::new(1);
    let work = || {
        let mut compared = Compared::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > SEEDS {
                return compared;
            }
            let outcome = simulate(seed, false);
            if let Some(broken) = outcome.broken {
                panic!("seed {seed} broke {broken}\nagain: make sim SEED={seed} RUNS=1");
            }
            compared.add(&outcome.compared);
        }
    };
    let compared = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(work)).collect();
        let mut compared = Compared::default();
        threads.into_iter().for_each(|thread| compared.add(&thread.join().expect("no seed breaks a rule")));
        compared
    });
    // Whether anything happened at all: every kind of comparison, and every kind of trouble.
    for (what, count) in compared.each() {
        assert!(count >= SEEDS / 10, "only {count} {what} in {SEEDS} seeds");
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for seed in [3, 14, 159] {
        let (one, other) = (simulate(seed, true), simulate(seed, true));
        assert_eq!(one.all.len(), other.all.len(), "seed {seed}");
        for (line, again) in one.all.iter().zip(&other.all) {
            assert_eq!(line, again, "seed {seed}");
        }
        assert_eq!(one.trace, other.trace);
        assert!(one.lines > 100, "seed {seed}: {} lines", one.lines);
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(simulate(1, false).trace, simulate(2, false).trace);
}
