//! The library over real gRPC: a server on loopback, an archive in a temporary folder, generated clients, and the
//! `document-sync` job as a worker runs it.

mod accounts;
mod documents;
mod export;
mod mailboxes;
mod manage;
mod service;
mod sync;
mod world;
