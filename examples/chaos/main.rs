//! `make chaos SECONDS=60 SEED=1`: two schedulers, workers and Redis as real processes, killed and stopped at random under
//! load; afterwards everything is compared with what was acknowledged. Exit code 1 if anything is lost or doubled.
//!
//! With `ROLLING=1` nothing fails: each service is restarted once, one after the other.

#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod drill;

use std::process::ExitCode;

use anyhow::Context as _;
use drill::{Options, Play};

#[tokio::main]
async fn main() -> ExitCode {
    let drill = async { drill::run(options()?, |line| println!("{line}")).await };
    let outcome = tokio::select! {
        outcome = drill => outcome,
        // Its processes end with it.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped")),
    };
    match outcome {
        Ok(report) if report.violations.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> anyhow::Result<Options> {
    let number = |key: &str, default: u64| match std::env::var(key) {
        Ok(text) => text.parse().with_context(|| format!("{key} is `{text}`; write a number")),
        Err(_) => Ok(default),
    };
    if number("ROLLING", 0)? == 1 {
        return Ok(Options { seed: number("SEED", 1)?, play: Play::Rolling(None) });
    }
    Ok(Options { seed: number("SEED", 1)?, play: Play::Chaos(number("SECONDS", 60)?) })
}
