//! One child, as the parent sees it.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::frame::{self, Answer};
use super::{Bounds, Command, Death};

/// Enough for what Rust's runtime says when it aborts.
const STDERR_BYTES_MAX: u64 = 4096;
const REAP: Duration = Duration::from_secs(5);

pub struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Process {
    /// The child inherits three pipes and nothing else: no environment, no working directory of ours that
    /// matters, a process group of its own so that a terminal's signals reach only the parent.
    pub async fn start(command: &Command, bounds: &Bounds) -> io::Result<Self> {
        let mut child = tokio::process::Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            // glibc would reserve 64 MiB of address space for a second arena, which counts as used.
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (mut input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        frame::send(&mut input, &serde_json::to_vec(bounds)?).await?;
        Ok(Self { child, input, output })
    }

    /// Whether an idle child is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a message and waits for the head of its answer.
    pub async fn ask(&mut self, raw: Bytes, bounds: &Bounds) -> Result<Answer, Death> {
        let exchange = async {
            frame::send(&mut self.input, &raw).await?;
            drop(raw);
            frame::receive(&mut self.output, frame::ANSWER_BYTES_MAX).await
        };
        let answer = match timeout(bounds.wall, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.autopsy(&error).await),
            Err(_) => return Err(self.kill(Death::Time).await),
        };
        match serde_json::from_slice::<Answer>(&answer) {
            Ok(answer) if is_sound(&answer, bounds) => Ok(answer),
            _ => Err(self.kill(Death::Garbage).await),
        }
    }

    /// The contents that the answer announced.
    pub async fn contents(&mut self, sizes: &[u64], bounds: &Bounds) -> Result<Vec<Vec<u8>>, Death> {
        let exchange = async {
            let mut contents = Vec::with_capacity(sizes.len());
            for size in sizes {
                let size = usize::try_from(*size).map_err(io::Error::other)?;
                let content = frame::receive(&mut self.output, size).await?;
                if content.len() != size {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                contents.push(content);
            }
            Ok(contents)
        };
        match timeout(bounds.wall, exchange).await {
            Ok(Ok(contents)) => Ok(contents),
            Ok(Err(error)) => Err(self.autopsy(&error).await),
            Err(_) => Err(self.kill(Death::Time).await),
        }
    }

    async fn kill(&mut self, death: Death) -> Death {
        let _ = self.child.start_kill();
        let _ = timeout(REAP, self.child.wait()).await;
        death
    }

    /// Why the pipes broke.
    async fn autopsy(&mut self, error: &io::Error) -> Death {
        if error.kind() == io::ErrorKind::InvalidData {
            return self.kill(Death::Garbage).await;
        }
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = timeout(REAP, stderr.take(STDERR_BYTES_MAX).read_to_end(&mut said)).await;
        }
        match timeout(REAP, self.child.wait()).await {
            Ok(Ok(status)) => Death::of(status, &said),
            _ => self.kill(Death::Garbage).await,
        }
    }
}

fn is_sound(answer: &Answer, bounds: &Bounds) -> bool {
    let documents = answer.result.as_ref().map_or(0, |message| message.documents.len());
    let total = answer.sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size));
    answer.sizes.len() == documents && total.is_some_and(|total| total <= bounds.content_bytes)
}
