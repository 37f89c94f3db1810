//! Gmail mailboxes against a Gmail that behaves as documented, and misbehaves on request.

#[allow(dead_code)]
mod fake;
mod faults;
mod large;
mod listing;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod world;
