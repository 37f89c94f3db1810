//! The worker: runs due jobs, and serves mailboxes and documents.
//!
//! [`link`] keeps the stream to the scheduler and runs attempts, as the pure [`agent`] says; [`kind`] is what can be
//! run. [`library`] serves what the sync has filed; it needs no scheduler.

pub mod agent;
pub mod config;
pub mod http;
pub mod keys;
pub mod kind;
pub mod library;
pub mod link;
pub mod metrics;
pub mod planted;
pub mod telemetry;
