//! How a source comes to its mailbox's credential while it runs.
//!
//! A password is read. A refresh token is *traded*: [`Access::trade`] gives it to a closure that asks the provider for
//! an access token, while no other process does the same (rule D1). If the provider answers with a new refresh token,
//! that one is saved before the closure's result is handed on, and whoever gives up waiting does not undo it: the
//! trade runs in a task of its own.

use std::future::Future;
use std::time::Duration;

use tracing::Instrument;

use super::vault::{Place, Sealed};
use super::{Credential, Credentials};
use crate::archive::claim::{Claim, Refused};
use crate::archive::credentials::Exchange;
use crate::archive::record::Mailbox;
use crate::source::Fault;

/// A trade that takes longer is given up.
const TRADE: Duration = Duration::from_secs(45);
/// After this time others may trade, whatever became of the one before.
const MARK: Duration = Duration::from_secs(60);
/// Between two looks whether another's trade has ended.
const LOOK: Duration = Duration::from_millis(250);
/// The code of a run that wants to trade and has lost its mailbox to another: it ends as superseded.
pub const CLAIM_LOST: &str = "claim-lost";
/// A rotated token exists nowhere else, so saving it is worth patience.
const SAVES: u32 = 10;

#[derive(Clone)]
pub struct Access {
    credentials: Credentials,
    namespace: String,
    mailbox_id: String,
    claim: Option<Claim>,
}

/// What a trade brought.
pub struct Traded<T> {
    /// For the source: an access token.
    pub result: T,
    /// What replaces the credential, if the provider sent a new refresh token.
    pub rotated: Option<Credential>,
}

impl Access {
    pub(super) fn new(credentials: Credentials, mailbox: &Mailbox, claim: Option<&Claim>) -> Self {
        Self {
            credentials,
            namespace: mailbox.spec.namespace.clone(),
            mailbox_id: mailbox.spec.mailbox_id.clone(),
            claim: claim.cloned(),
        }
    }

    fn place(&self) -> Place<'_> {
        Place { namespace: &self.namespace, mailbox_id: &self.mailbox_id }
    }

    /// For passwords; a refresh token that is read here must not be used.
    ///
    /// # Errors
    /// [`Fault`]: REAUTHORIZE if there is none.
    pub async fn read(&self) -> Result<Credential, Fault> {
        let sealed = self.credentials.catalog.credential(self.place()).await.map_err(unavailable)?;
        self.unseal(&sealed.ok_or_else(missing)?)
    }

    /// Calls `trade` with the credential, while nobody else trades for this mailbox. Call it from within tokio.
    ///
    /// # Errors
    /// Those of `trade`, and of getting there.
    pub async fn trade<T, F>(&self, trade: impl FnOnce(Credential) -> F + Send + 'static) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<Traded<T>, Fault>> + Send + 'static,
    {
        let access = self.clone();
        let task = async move { access.carry_out(trade).await };
        let task = tokio::spawn(task.in_current_span());
        let ended = task.await;
        ended.unwrap_or_else(|_| {
            Err(Fault::transient("exchange-interrupted", "a token refresh was interrupted"))
        })
    }

    async fn carry_out<T, F>(&self, trade: impl FnOnce(Credential) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<Traded<T>, Fault>>,
    {
        let ticket = format!("{:032x}", rand::random::<u128>());
        let sealed = self.begin(&ticket).await?;
        let traded = match self.unseal(&sealed) {
            Ok(credential) => match tokio::time::timeout(TRADE, trade(credential)).await {
                Ok(traded) => traded,
                Err(_) => Err(Fault::transient("exchange-timeout", "the token refresh took too long")),
            },
            Err(fault) => Err(fault),
        };
        match traded {
            Ok(traded) => {
                self.end(&ticket, traded.rotated.as_ref()).await?;
                Ok(traded.result)
            }
            Err(fault) => {
                // The mark ends by itself, too.
                let ended =
                    self.credentials.catalog.end_exchange(self.place(), &ticket, None, self.now()).await;
                if let Err(error) = ended {
                    tracing::warn!(%error, "end a token refresh that failed");
                }
                Err(fault)
            }
        }
    }

    /// Waits until nobody else trades, for as long as a mark may last.
    async fn begin(&self, ticket: &str) -> Result<Sealed, Fault> {
        let looks = MARK.as_millis() / LOOK.as_millis();
        for _ in 0..=looks {
            let now = self.now();
            let until = now + MARK.as_millis() as i64;
            let catalog = &self.credentials.catalog;
            let begun = catalog.begin_exchange(self.place(), self.claim.as_ref(), ticket, (now, until)).await;
            match begun.map_err(refused)? {
                Exchange::Begun(sealed) => return Ok(sealed),
                Exchange::Missing => return Err(missing()),
                Exchange::Busy => tokio::time::sleep(LOOK).await,
            }
        }
        Err(Fault::transient("exchange-busy", "another process refreshes the mailbox's token; try again"))
    }

    async fn end(&self, ticket: &str, rotated: Option<&Credential>) -> Result<(), Fault> {
        let rotated =
            rotated.map(|credential| self.credentials.seal(self.place(), credential)).transpose()?;
        let mut tries = 1;
        loop {
            let catalog = &self.credentials.catalog;
            match catalog.end_exchange(self.place(), ticket, rotated.as_ref(), self.now()).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    let message = "the mailbox was connected anew while its token was refreshed; try again";
                    return Err(Fault::transient("credential-replaced", message));
                }
                Err(error) if tries == SAVES || rotated.is_none() => return Err(unavailable(error)),
                Err(error) => {
                    tracing::warn!(%error, "a new refresh token could not be saved; trying again");
                    tokio::time::sleep(LOOK * tries).await;
                    tries += 1;
                }
            }
        }
    }

    fn unseal(&self, sealed: &Sealed) -> Result<Credential, Fault> {
        let opened = self.credentials.vault().and_then(|vault| vault.unseal(self.place(), sealed));
        opened.map_err(|error| {
            tracing::error!(%error, namespace = self.namespace, mailbox_id = self.mailbox_id, "open a credential");
            error.into()
        })
    }

    fn now(&self) -> i64 {
        (self.credentials.clock)()
    }
}

fn missing() -> Fault {
    Fault::reauthorize("credential-missing", "the mailbox has no credential; connect it again")
}

fn unavailable(error: crate::archive::Error) -> Fault {
    tracing::error!(%error, "the archive does not answer");
    Fault::transient("archive-unavailable", "the archive does not answer")
}

fn refused(refused: Refused) -> Fault {
    match refused {
        Refused::Archive(error) => unavailable(error),
        refused => Fault::transient(CLAIM_LOST, refused.to_string()),
    }
}
