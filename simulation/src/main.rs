//! `sim`: runs seeds of the simulation, and shows that planted bugs are found.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use simulation::{bugs, judge::Compared, simulate};

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
    /// Print the whole trace.
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
    std::panic::set_hook(Box::new(|_| ()));
    if options.bugs {
        return hunt(&options);
    }
    println!("seeds {} to {}", options.seed, options.seed + options.runs - 1);
    let begin = Instant::now();
    let mut compared = Compared::default();
    let mut failed = 0;
    for seed in options.seed..options.seed + options.runs {
        let outcome = simulate(seed, options.trace);
        compared.add(&outcome.compared);
        for line in &outcome.all {
            println!("{line}");
        }
        if options.trace {
            println!("trace {:016x}, {} lines", outcome.trace, outcome.lines);
        }
        let Some(broken) = &outcome.broken else { continue };
        failed += 1;
        if !options.trace {
            let skip = outcome.tail.len().saturating_sub(options.tail);
            outcome.tail.iter().skip(skip).for_each(|line| println!("{line}"));
        }
        println!("seed {seed} broke {broken}");
        println!("again: make sim SEED={seed} RUNS=1");
        if !options.keep_going {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("compared:");
    compared.each().for_each(|(name, count)| println!("  {count:>12} {}", name.replace('_', " ")));
    println!("{failed} failed of up to {} seeds in {seconds:.1} s", options.runs);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Shows where each planted bug is found, and by which rule.
fn hunt(options: &Options) -> ExitCode {
    let begin = Instant::now();
    let bugs: Vec<_> =
        bugs::all().into_iter().filter(|bug| bug.to_string().contains(&options.only)).collect();
    let mut escaped = 0;
    for bug in &bugs {
        match bugs::hunt(*bug, options.seed, options.runs) {
            Some(found) => {
                println!(
                    "{:<26} seed {:>4}, after {:>4}: {}",
                    bug.to_string(),
                    found.seed,
                    found.after,
                    found.broken.rule
                );
            }
            None => {
                escaped += 1;
                println!("{:<26} NOT FOUND in {} seeds", bug.to_string(), options.runs);
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{} of {} planted bugs found in {seconds:.1} s", bugs.len() - escaped, bugs.len());
    if escaped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
