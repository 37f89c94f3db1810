//! Docket in one thread and no time: the real state machine, pipeline, conversions and worker agent, between a
//! simulated store, network, clocks, jobs and app.
//!
//! [`world`] moves events from a queue that is ordered by virtual time; [`workload`] asks for things; [`judge`] knows
//! what the answers must be. Everything comes from a seed: the same seed gives the same trace.
//!
//! Not simulated: the tokio tasks around the pure parts (`shard`, `link`), gRPC itself, document sync. They have tests
//! of their own, across real processes. A real store may stand behind the simulated one ([`store`]).

pub mod bugs;
pub mod chance;
pub mod judge;
pub mod run;
pub mod store;
pub mod trace;
pub mod workload;
pub mod world;

pub use run::{Outcome, simulate};
