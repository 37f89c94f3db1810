//! The library over real gRPC: a server on loopback, an archive in a temporary folder, generated clients, and the
//! `document-sync` job as a worker runs it.

mod documents;
mod mailboxes;
mod service;
mod sync;
mod world;
