//! The evaluator against independent judges: a naive one at every clock change of every zone, and other crates.
//!
//! `DOCKET_TIMING_CASES` sets how many expressions are drawn for each distinct clock change (default 2); each is
//! compared under all policies that matter there. `DOCKET_TIMING_SEED` draws others.

#![allow(clippy::print_stdout)]

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../served/mod.rs"]
mod served;

mod api;
mod naive;
mod others;
mod pattern;
mod random;
mod zones;

use scheduler_svc::state_machine::timing::{Cron, CronError, CronSource, Fold, Gap};

const YEAR_2000: i64 = 946_684_800;
const YEAR_2041: i64 = 2_240_524_800;

fn compile(text: &str, zone: &str, gap: Gap, fold: Fold) -> Result<Cron, CronError> {
    Cron::new(CronSource { expressions: vec![text.into()], time_zone: zone.into(), gap, fold })
}

/// The times in `[from, to)`.
fn times(cron: &Cron, from: i64, to: i64) -> Vec<i64> {
    std::iter::successors(cron.next(from - 1), |at| cron.next(*at)).take_while(|at| *at < to).collect()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn seed() -> u64 {
    setting("DOCKET_TIMING_SEED", 20_261_124)
}
