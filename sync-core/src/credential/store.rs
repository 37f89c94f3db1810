//! The catalog's sealed credentials together with the keys that open them.

use std::sync::Arc;

use super::vault::{self, Place, Sealed, Vault};
use super::{Access, Credential};
use crate::archive::Catalog;
use crate::archive::claim::Claim;
use crate::archive::record::Mailbox;
use crate::sync::Clock;

/// Without a vault nothing is sealed or opened.
#[derive(Clone)]
pub struct Credentials {
    pub(super) catalog: Catalog,
    vault: Option<Arc<Vault>>,
    pub(super) clock: Clock,
}

impl Credentials {
    pub fn new(catalog: Catalog, vault: Option<Arc<Vault>>, clock: Clock) -> Self {
        Self { catalog, vault, clock }
    }

    /// # Errors
    /// [`vault::Error::NotConfigured`].
    pub fn vault(&self) -> Result<&Vault, vault::Error> {
        self.vault.as_deref().ok_or(vault::Error::NotConfigured)
    }

    /// # Errors
    /// See [`vault::Error`].
    pub fn seal(&self, place: Place<'_>, credential: &Credential) -> Result<Sealed, vault::Error> {
        self.vault()?.seal(place, credential)
    }

    /// A source's way to the credential of its mailbox: for a run, which names its claim, or for a test.
    pub fn access(&self, mailbox: &Mailbox, claim: Option<&Claim>) -> Access {
        Access::new(self.clone(), mailbox, claim)
    }
}
