//! HTTP to providers: one client for the process, and bodies of bounded size.
//!
//! Guarantees: every call ends within [`CALL`] and every pause of the other side within [`SILENCE`]; nothing is
//! unpacked, so what is counted is what came; no redirect is followed, so no token reaches another host.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Response, redirect};

const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const SILENCE: Duration = Duration::from_secs(30);
/// A message of 50 MiB over a slow line.
const CALL: Duration = Duration::from_secs(120);

/// # Panics
/// Never, as long as the settings above are valid.
pub fn client() -> Client {
    crate::net::choose_cryptography();
    let agent = concat!("docket/", env!("CARGO_PKG_VERSION"));
    let builder = Client::builder().user_agent(agent).redirect(redirect::Policy::none());
    let builder = builder.connect_timeout(CONNECT).read_timeout(SILENCE).timeout(CALL);
    builder.build().unwrap_or_default()
}

/// What came of an answer's body.
pub enum Body {
    Whole(Bytes),
    /// More than was allowed; the beginning.
    Cut(Bytes),
}

/// At most `max` bytes.
///
/// # Errors
/// When the connection breaks.
pub async fn body(mut response: Response, max: usize) -> reqwest::Result<Body> {
    let expected = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(expected.min(max));
    while let Some(piece) = response.chunk().await? {
        let room = max - whole.len();
        whole.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return Ok(Body::Cut(whole.freeze()));
        }
    }
    Ok(Body::Whole(whole.freeze()))
}

/// What went wrong below HTTP, without the address, which may hold a query of the user's.
pub fn told(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "it did not answer in time"
    } else if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection broke"
    }
}
