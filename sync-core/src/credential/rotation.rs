//! Wraps all data keys anew with the active version of the key file.
//!
//! It may run beside everything else, be stopped at any time and be started again; what is done stays done. A
//! credential that changes meanwhile is sealed with the active version by whoever changes it.

use super::vault::{self, Place};
use super::{Credentials, keyring::Version};
use crate::archive::credentials::Stored;

const PAGE: u32 = 200;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    pub rewrapped: u64,
    /// Changed by somebody else at that moment.
    pub changed_meanwhile: u64,
    /// Their key is not in the key file, or does not open them. The log names them.
    pub unreadable: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Vault(#[from] vault::Error),
    #[error("{0}")]
    Archive(#[from] crate::archive::Error),
}

impl Credentials {
    /// Calls `progress` after each page. Answers what was done, and the version that is active.
    ///
    /// # Errors
    /// When no key file is configured, or the database fails.
    pub async fn rotate(&self, mut progress: impl FnMut(Rotated)) -> Result<(Rotated, Version), Error> {
        let active = self.vault()?.keyring().active();
        let mut done = Rotated::default();
        let mut last: Option<Stored> = None;
        loop {
            let after = last.as_ref().map(Stored::place);
            let page = self.catalog.wrapped_otherwise(active, after, PAGE).await?;
            if page.is_empty() {
                return Ok((done, active));
            }
            for stored in &page {
                self.rotate_one(stored.place(), stored, &mut done).await?;
            }
            last = page.into_iter().next_back();
            progress(done);
        }
    }

    async fn rotate_one(&self, place: Place<'_>, stored: &Stored, done: &mut Rotated) -> Result<(), Error> {
        match self.vault()?.rewrap(place, &stored.sealed) {
            Ok(None) => {}
            Ok(Some(sealed)) => match self.catalog.rewrap(place, &stored.sealed, &sealed).await? {
                true => done.rewrapped += 1,
                false => done.changed_meanwhile += 1,
            },
            Err(error @ (vault::Error::NoKey(_) | vault::Error::DoesNotOpen(_))) => {
                tracing::error!(%error, place.namespace, place.mailbox_id, "a credential was left as it is");
                done.unreadable += 1;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
