//! What parent and child say to each other: frames of a length (u32, little endian) and that many bytes.
//!
//! Parent: one [`super::Bounds`] as JSON, then messages. Child, per message: one [`Answer`] as JSON, then
//! the contents of its documents, one frame each, with the sizes that the answer announced.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::document::ReadMessage;

/// Of an answer: 500 documents with all their fields fit.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

#[derive(Serialize, Deserialize)]
pub struct Answer {
    pub result: Result<ReadMessage, Refusal>,
    /// Sizes of the documents' contents.
    pub sizes: Vec<u64>,
    /// The child ends after this answer.
    pub last: bool,
}

#[derive(Serialize, Deserialize)]
pub enum Refusal {
    Reason(String),
    Panic,
}

/// `None` at the end of the input, where a frame would begin.
pub fn read(input: &mut impl Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    match input.read_exact(&mut len) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut frame = vec![0; checked(len, max)?];
    input.read_exact(&mut frame)?;
    Ok(Some(frame))
}

pub fn write(output: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    output.write_all(&length(frame)?)?;
    output.write_all(frame)
}

pub async fn receive(input: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    input.read_exact(&mut len).await?;
    let mut frame = vec![0; checked(len, max)?];
    input.read_exact(&mut frame).await?;
    Ok(frame)
}

pub async fn send(output: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    output.write_all(&length(frame)?).await?;
    output.write_all(frame).await?;
    output.flush().await
}

fn checked(len: [u8; 4], max: usize) -> io::Result<usize> {
    let len = u32::from_le_bytes(len) as usize;
    if len > max { Err(io::ErrorKind::InvalidData.into()) } else { Ok(len) }
}

fn length(frame: &[u8]) -> io::Result<[u8; 4]> {
    u32::try_from(frame.len()).map(u32::to_le_bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}
