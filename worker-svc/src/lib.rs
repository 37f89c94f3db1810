//! The worker: runs due jobs, and serves mailboxes and documents.

pub mod kind;
pub mod library;
