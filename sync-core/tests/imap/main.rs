//! IMAP mailboxes, against a real Dovecot and against a server that misbehaves.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod dovecot;
mod hostile;
mod login;
mod real;
mod scripted;
mod token;
mod world;
