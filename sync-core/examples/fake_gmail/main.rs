//! A small Gmail to develop and test against: the REST calls that a sync makes, with their costs and quotas, and a token
//! endpoint. It behaves as documented, and misbehaves on request.
//!
//! ```text
//! cargo run -p sync-core --example fake_gmail -- 127.0.0.1:8025
//! curl -d '{"address":"anna@gmail.test","refresh_token":"rt-anna"}' http://127.0.0.1:8025/admin/accounts
//! curl --data-binary @mail.eml 'http://127.0.0.1:8025/admin/messages?address=anna@gmail.test'
//! curl -d '{"call":"get","times":2,"then":{"status":429,"reason":"userRateLimitExceeded"}}' \
//!   http://127.0.0.1:8025/admin/faults
//! curl http://127.0.0.1:8025/admin/stats
//! ```
//!
//! A worker finds it with `token_url = "http://127.0.0.1:8025/token"` and `api_url = "http://127.0.0.1:8025"` in its
//! `[oauth.NAME]`, `client_id = "fake-client"` and `client_secret = "fake-secret"`.

mod answer;
mod api;
// The tests use all of it.
#[allow(dead_code)]
mod mailbox;
mod server;
mod world;

use std::net::SocketAddr;

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8025".into());
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("serving http={}", listener.local_addr()?);
    server::serve(listener, world::World::shared()).await
}
