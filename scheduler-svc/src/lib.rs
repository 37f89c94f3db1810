//! The scheduler: owns all schedule and run state, and streams due jobs to workers.
//!
//! Calls come in through [`grpc`], which checks them and turns them into commands. [`shard`] pumps commands through the
//! [`pipeline`], which applies them to the pure [`state_machine`], commits what changed to the [`store`], and only then
//! lets replies, jobs and events out; [`event_log`] keeps the newest events for those who watch. [`record`] is the disk
//! format. [`forecast`] adds up what comes.

mod allocator;
pub mod cluster;
pub mod config;
pub mod copy;
pub mod event_log;
pub mod forecast;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod planted;
pub mod record;
mod repeated;
pub mod shard;
pub mod state_machine;
pub mod store;
pub mod telemetry;
