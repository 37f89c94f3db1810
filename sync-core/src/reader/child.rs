//! The child's side.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::frame::{self, Answer, Refusal};
use super::{Bounds, limits};
use crate::document::{Limits, ReadMessage};

/// Parsers recurse; what is deeper than this is hostile.
const STACK: usize = 16 << 20;
const BOUNDS_BYTES_MAX: usize = 64 << 10;

pub(super) const EXIT_GARBAGE: i32 = 70;

/// Reads messages from `input` until it ends. The program calls this before it starts a runtime, opens a
/// file or reads its configuration, and exits with the returned code.
///
/// It first takes from its own process everything that parsing does not need; see `limits`. Nothing is
/// written to standard error but what Rust's runtime writes when it aborts.
pub fn serve<F>(input: impl Read + Send + 'static, output: impl Write + Send + 'static, read: F) -> i32
where
    F: Fn(&[u8], &Limits) -> Result<ReadMessage, String> + Send + 'static,
{
    std::panic::set_hook(Box::new(|_| {}));
    // A thread of its own, because the main thread's stack is whatever the caller's shell allows.
    let reader = std::thread::Builder::new().stack_size(STACK).spawn(move || serve_all(input, output, read));
    match reader.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => 0,
        _ => EXIT_GARBAGE,
    }
}

fn serve_all<F>(mut input: impl Read, mut output: impl Write, read: F) -> io::Result<()>
where
    F: Fn(&[u8], &Limits) -> Result<ReadMessage, String>,
{
    let Some(bounds) = frame::read(&mut input, BOUNDS_BYTES_MAX)? else { return Ok(()) };
    let bounds: Bounds = serde_json::from_slice(&bounds)?;
    limits::confine(&bounds)?;
    for served in 1.. {
        limits::allow_cpu(bounds.cpu_seconds)?;
        let Some(raw) = frame::read(&mut input, bounds.limits.message_bytes)? else { break };
        let (result, contents) = one(&raw, &bounds, &read);
        drop(raw);
        let panicked = matches!(result, Err(Refusal::Panic));
        let worn = served >= bounds.messages || limits::peak_memory() >= bounds.recycle_memory;
        let sizes = contents.iter().map(|content| content.len() as u64).collect();
        let answer = Answer { result, sizes, last: panicked || worn };
        frame::write(&mut output, &serde_json::to_vec(&answer)?)?;
        contents.iter().try_for_each(|content| frame::write(&mut output, content))?;
        output.flush()?;
        if answer.last {
            break;
        }
    }
    Ok(())
}

type One = (Result<ReadMessage, Refusal>, Vec<Vec<u8>>);

fn one<F>(raw: &[u8], bounds: &Bounds, read: &F) -> One
where
    F: Fn(&[u8], &Limits) -> Result<ReadMessage, String>,
{
    // After a panic the child ends, so nobody sees what the panic left half done.
    let mut message = match catch_unwind(AssertUnwindSafe(|| read(raw, &bounds.limits))) {
        Ok(Ok(message)) => message,
        Ok(Err(reason)) => return (Err(Refusal::Reason(reason)), Vec::new()),
        Err(_) => return (Err(Refusal::Panic), Vec::new()),
    };
    let contents: Vec<_> =
        message.documents.iter_mut().map(|document| std::mem::take(&mut document.content)).collect();
    let total: u64 = contents.iter().map(|content| content.len() as u64).sum();
    if total > bounds.content_bytes {
        let reason = format!("the documents in it are larger than {} MiB", bounds.content_bytes >> 20);
        return (Err(Refusal::Reason(reason)), Vec::new());
    }
    (Ok(message), contents)
}
