//! Opens each mailbox's source by its kind.

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{Fault, Source, gmail};
use crate::archive::claim::Claim;
use crate::archive::record::{Mailbox, SourceConfig};
use crate::credential::Credentials;
use crate::source::imap::{Connector, Imap};
use crate::sync::{FolderSources, Sources};

pub struct Opener {
    pub folders: FolderSources,
    pub credentials: Credentials,
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
            SourceConfig::Gmail(config) => {
                let access = self.credentials.access(mailbox, claim);
                let source = self.gmail.open(config, mailbox, access);
                ready(source.map(|source| Box::new(source) as Box<dyn Source>)).boxed()
            }
        }
    }
}
