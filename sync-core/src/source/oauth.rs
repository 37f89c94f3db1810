//! OAuth clients that the operator has configured, by name, and who gets access tokens with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Fault;
use crate::credential::{Access, Secret};

/// One registration at a provider.
#[derive(Clone, Debug)]
pub struct Client {
    pub client_id: String,
    pub client_secret: Secret,
    pub token_url: String,
    pub api_url: String,
}

/// By name, as mailboxes name them.
pub type Clients = Arc<BTreeMap<String, Client>>;

/// Gets access tokens.
pub trait Tokens: Send + Sync {
    /// Trades the mailbox's refresh token through `access` ([`Access::trade`]).
    fn access_token<'a>(
        &'a self,
        access: &'a Access,
        client: &'a Client,
    ) -> BoxFuture<'a, Result<Secret, Fault>>;
}

/// # Errors
/// When the operator has not configured a client of this name.
pub fn client<'a>(clients: &'a Clients, name: &str) -> Result<&'a Client, Fault> {
    clients.get(name).ok_or_else(|| {
        let name = crate::text::clean(name, 128);
        let message = format!("no OAuth client `{name}` is configured; the operator sets [oauth.{name}]");
        Fault::permanent("oauth-client-unknown", message)
    })
}
