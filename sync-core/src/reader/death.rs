//! How a child ended, in words fit for the message's record.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Death {
    #[error("reader ran out of memory")]
    Memory,
    #[error("reader ran out of time")]
    Time,
    #[error("reader overflowed its stack")]
    Stack,
    #[error("reader crashed (signal {0})")]
    Signal(i32),
    #[error("reader ended (exit code {0})")]
    Exit(i32),
    #[error("reader panicked")]
    Panic,
    #[error("reader gave an answer that makes no sense")]
    Garbage,
}

impl Death {
    /// From the exit status and what the child wrote to its standard error: Rust's runtime ends both a
    /// failed allocation and a stack overflow with SIGABRT, and tells them apart only there.
    pub(super) fn of(status: ExitStatus, stderr: &[u8]) -> Self {
        let said = |text: &str| stderr.windows(text.len()).any(|window| window == text.as_bytes());
        match status.signal() {
            Some(libc::SIGXCPU) => Self::Time,
            Some(libc::SIGABRT) if said("has overflowed its stack") => Self::Stack,
            Some(libc::SIGABRT) if said("memory allocation of") => Self::Memory,
            Some(signal) => Self::Signal(signal),
            None => match status.code().unwrap_or(-1) {
                super::child::EXIT_GARBAGE => Self::Garbage,
                code => Self::Exit(code),
            },
        }
    }
}
