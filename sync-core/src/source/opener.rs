//! Opens each mailbox's source by its kind.

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{Fault, Source, gmail, oauth};
use crate::archive::claim::Claim;
use crate::archive::record::{GmailConfig, Mailbox, SourceConfig};
use crate::credential::Credentials;
use crate::source::imap::{Connector, Imap};
use crate::source::oauth::Clients;
use crate::sync::{FolderSources, Sources};

pub struct Opener {
    pub folders: FolderSources,
    pub credentials: Credentials,
    pub clients: Clients,
    pub gmail: gmail::Provider,
    pub imap: Connector,
}

impl Sources for Opener {
    fn open<'a>(
        &'a self,
        mailbox: &'a Mailbox,
        claim: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Box<dyn Source>, Fault>> {
        match &mailbox.spec.source {
            SourceConfig::Folder(_) => self.folders.open(mailbox, claim),
            SourceConfig::Imap(config) => {
                let access = self.credentials.access(mailbox, claim);
                let source = Imap::new(&self.imap, config, &mailbox.spec, access);
                ready(Ok(Box::new(source) as Box<dyn Source>)).boxed()
            }
            SourceConfig::Gmail(config) => ready(self.gmail(mailbox, claim, config)).boxed(),
        }
    }
}

impl Opener {
    fn gmail(
        &self,
        mailbox: &Mailbox,
        claim: Option<&Claim>,
        config: &GmailConfig,
    ) -> Result<Box<dyn Source>, Fault> {
        let client = oauth::client(&self.clients, &config.oauth_client)?;
        let access = self.credentials.access(mailbox, claim);
        Ok(Box::new(self.gmail.open(mailbox, access, client)?))
    }
}
