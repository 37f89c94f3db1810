//! The rules, one test each, driven as the shard drives the machine: one command or wake, one seal, one commit.
//!
//! Every test goes through [`bench::Bench`], which keeps what was committed, checks the invariants after each step,
//! and lets an independent [`judge::Judge`] look at all that was said.

pub(crate) mod bench;
mod judge;
mod mirror;

mod bad_input;
mod bulk;
mod caller;
mod event;
mod fairness;
mod forecast;
mod gates;
mod history;
mod import;
mod late;
mod lease;
mod limit;
mod load;
mod overlap;
mod pains;
mod pause;
mod quarantine;
mod random;
mod request;
mod retime;
mod retry;
mod schedule;
mod session;
mod throttle;
mod time;

/// 2026-11-23T00:00:00Z, a Monday.
const START: i64 = 1_795_392_000_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
