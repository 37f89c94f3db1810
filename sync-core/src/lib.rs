//! Mailbox → messages → documents → fields → archive.

pub mod document;
pub mod read;
