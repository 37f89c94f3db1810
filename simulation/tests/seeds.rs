//! Seeds of the simulation, as many as fit into a test run; `make sim` runs more. And a sample of the planted bugs;
//! `make sim-bugs` hunts all.

use simulation::{
    bugs,
    run::{simulate, simulate_many},
};

const SEEDS: u64 = 300;

#[test]
fn three_hundred_seeds_keep_every_rule() {
    let (compared, seeds) = simulate_many(1, SEEDS, |outcome| {
        let broken = outcome.broken.as_ref().map(ToString::to_string).unwrap_or_default();
        panic!("seed {0} broke {broken}\nagain: make sim SEED={0} RUNS=1", outcome.seed)
    });
    assert_eq!(seeds, SEEDS);
    // Whether anything happened at all: every kind of comparison, and every kind of trouble.
    for (what, count) in compared.each() {
        assert!(count >= SEEDS / 10, "only {count} {what} in {SEEDS} seeds");
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for seed in [3, 14, 159] {
        let (one, other) = (simulate(seed, true), simulate(seed, true));
        for (line, again) in one.all.iter().zip(&other.all) {
            assert_eq!(line, again, "seed {seed}");
        }
        assert_eq!((one.lines, one.trace), (other.lines, other.trace), "seed {seed}");
        assert!(one.lines > 100, "seed {seed}: {} lines", one.lines);
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(simulate(1, false).trace, simulate(2, false).trace);
}

#[test]
fn planted_bugs_are_found() {
    use scheduler_svc::planted::Bug as Scheduler;
    use worker_svc::planted::Bug as Agent;
    let sample = [
        bugs::Bug::Scheduler(Scheduler::SpeaksWhileUnknown),
        bugs::Bug::Scheduler(Scheduler::ClockBackFiresAgain),
        bugs::Bug::Scheduler(Scheduler::RequestNotStored),
        bugs::Bug::Scheduler(Scheduler::BackoffSkipped),
        bugs::Bug::Scheduler(Scheduler::TokensRestart),
        bugs::Bug::Scheduler(Scheduler::BufferKeepsOldest),
        bugs::Bug::Scheduler(Scheduler::ClosedKeyStarts),
        bugs::Bug::Scheduler(Scheduler::BackfillDoubles),
        bugs::Bug::Scheduler(Scheduler::BulkSkipsAtBoundary),
        bugs::Bug::Scheduler(Scheduler::UnreadableForgotten),
        bugs::Bug::Agent(Agent::ForgetsOutcomesOnBreak),
        bugs::Bug::Agent(Agent::UnsureGoesOn),
    ];
    for bug in sample {
        assert!(bugs::hunt(bug, 1, 300).is_some(), "{bug} is not found in 300 seeds");
    }
}
