//! `sim`: runs seeds of the simulation, and shows that planted bugs are found.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::{process::ExitCode, sync::atomic::AtomicU64, sync::atomic::Ordering, time::Instant};

use clap::Parser;
use simulation::{
    Outcome, bugs,
    judge::Compared,
    run::{simulate, simulate_many},
};

/// Runs the simulation.
#[derive(Debug, Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 300)]
    runs: u64,
    /// Plant one bug after the other; each has to be found within the seeds.
    #[arg(long)]
    bugs: bool,
    /// Only bugs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Print the whole trace of the first seed, and run no other.
    #[arg(long)]
    trace: bool,
    /// Lines of the trace to show of a seed that failed.
    #[arg(long, default_value_t = 60)]
    tail: usize,
    /// Go on after a seed that failed.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // A panic is an outcome like any other, and shown as one.
    std::panic::set_hook(Box::new(|_| ()));
    let passed = if options.bugs {
        hunt(&options)
    } else if options.trace {
        trace(&options)
    } else {
        run(&options)
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(options: &Options) -> bool {
    println!("seeds {} to {}", options.seed, options.seed + options.runs - 1);
    let begin = Instant::now();
    let failures = AtomicU64::new(0);
    let (compared, seeds) = simulate_many(options.seed, options.runs, |outcome| {
        failures.fetch_add(1, Ordering::Relaxed);
        show_failure(outcome, options.tail);
        options.keep_going
    });
    let failures = failures.into_inner();
    show_compared(&compared);
    let seconds = begin.elapsed().as_secs_f64();
    println!("{} of {seeds} seeds passed in {seconds:.1} s", seeds - failures);
    failures == 0
}

fn trace(options: &Options) -> bool {
    let outcome = simulate(options.seed, true);
    outcome.all.iter().for_each(|line| println!("{line}"));
    println!("trace {:016x}, {} lines", outcome.trace, outcome.lines);
    if outcome.broken.is_some() {
        show_failure(&outcome, 0);
    }
    outcome.broken.is_none()
}

fn show_failure(outcome: &Outcome, tail: usize) {
    let Some(broken) = &outcome.broken else { return };
    let lines = outcome.tail.iter().skip(outcome.tail.len().saturating_sub(tail));
    let mut text: String = lines.map(|line| format!("{line}\n")).collect();
    text += &format!("seed {} broke {broken}\n", outcome.seed);
    text += &format!(
        "again: make sim SEED={0} RUNS=1; its trace: target/debug/sim --seed {0} --trace",
        outcome.seed
    );
    println!("{text}");
}

fn show_compared(compared: &Compared) {
    println!("compared and met:");
    compared.each().for_each(|(name, count)| println!("  {count:>12} {}", name.replace('_', " ")));
}

/// Shows where each planted bug is found, and by which rule.
fn hunt(options: &Options) -> bool {
    let begin = Instant::now();
    let all = bugs::all().into_iter();
    let bugs: Vec<_> = all.filter(|bug| bug.to_string().contains(&options.only)).collect();
    let mut escaped = 0;
    for bug in &bugs {
        let name = bug.to_string();
        match bugs::hunt(*bug, options.seed, options.runs) {
            Some(bugs::Found { seed, after, broken }) => {
                println!("{name:<26} seed {seed:>4}, after {after:>4}: {}", broken.rule);
            }
            None => {
                escaped += 1;
                println!("{name:<26} NOT FOUND in {} seeds", options.runs);
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{} of {} planted bugs found in {seconds:.1} s", bugs.len() - escaped, bugs.len());
    escaped == 0
}
