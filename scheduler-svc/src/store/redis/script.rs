//! The scripts that run inside Redis, and what they answer. Each checks everything first, so that what it refuses has
//! changed nothing.

use deadpool_redis::redis::{
    ErrorKind, RedisError, Script, ScriptInvocation, ServerErrorKind, Value, aio::MultiplexedConnection,
};

use super::judge::Found;
use crate::store::StoreError;

/// The format that this program writes, and the highest that it reads (rule S5).
pub const FORMAT: u32 = 1;

pub struct Scripts {
    pub open: Script,
    pub renew: Script,
    pub commit: Script,
    pub reclaim: Script,
    pub fill: Script,
    pub flip: Script,
    pub secure: Script,
}

impl Scripts {
    pub fn new() -> Self {
        Self {
            open: Script::new(include_str!("open.lua")),
            renew: Script::new(include_str!("renew.lua")),
            commit: Script::new(include_str!("commit.lua")),
            reclaim: Script::new(include_str!("reclaim.lua")),
            fill: Script::new(include_str!("fill.lua")),
            flip: Script::new(include_str!("flip.lua")),
            secure: Script::new(include_str!("secure.lua")),
        }
    }
}

/// What a script answered: a word and its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub word: String,
    pub details: Vec<String>,
}

impl Said {
    pub fn number(&self, at: usize) -> u64 {
        self.details.get(at).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The owner record that `other` and `gap` show. None when there is none.
    pub fn found(&self) -> Option<Found> {
        let nonce = self.details.first().filter(|nonce| !nonce.is_empty())?.clone();
        Some(Found { nonce, epoch: self.number(1), seq: self.number(2) })
    }
}

/// A script that did not answer.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Whether the same may work later: nobody knows whether it was done.
    pub passing: bool,
    pub why: String,
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        if failed.passing { Self::Unknown(failed.why) } else { Self::Fatal(failed.why) }
    }
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        Self { passing: is_passing(&error), why: error.to_string() }
    }
}

/// A server that is loading, busy, full, read-only, or away is so for a while. One that refuses the login, or lacks a
/// permission, waits for a person; until then nothing is acknowledged, and what it says stands in the status.
fn is_passing(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => !matches!(kind, ServerErrorKind::CrossSlot),
        ErrorKind::Client | ErrorKind::InvalidClientConfig | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

/// Runs a script; loads it first where the server does not know it (NOSCRIPT).
pub async fn run(
    invocation: &ScriptInvocation<'_>,
    connection: &mut MultiplexedConnection,
) -> Result<Said, Failed> {
    let value: Value = invocation.invoke_async(connection).await?;
    let odd = || Failed { passing: false, why: format!("a script answered {value:?}") };
    let Value::Array(parts) = &value else { return Err(odd()) };
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Value::BulkString(bytes) => texts.push(String::from_utf8_lossy(bytes).into_owned()),
            Value::SimpleString(text) => texts.push(text.clone()),
            Value::Int(number) => texts.push(number.to_string()),
            _ => return Err(odd()),
        }
    }
    if texts.is_empty() {
        return Err(odd());
    }
    let word = texts.remove(0);
    Ok(Said { word, details: texts })
}
