//! Mailbox → messages → documents → fields → archive.

pub mod archive;
pub mod credential;
pub mod document;
pub mod read;
pub mod reader;
pub mod source;
pub mod sync;
pub mod text;
