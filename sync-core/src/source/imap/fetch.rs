//! One message's bytes.
//!
//! One bad message must not block a mailbox. Some servers refuse a message that they cannot convert; some break down over
//! one. So a message that is refused, or over which two connections break, is that message's failure, and later runs try
//! it again. Many in a row are the server's.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::pool::{Freshness, Lent};
use super::response::Kind;
use super::session::Body;
use super::verdict::Problem;
use super::wire::Broken;
use super::{Imap, Locator, WITHHELD_MAX, identity, name};
use crate::source::{Fault, Fetched, Item, MESSAGE_BYTES_MAX};

/// Messages of one Message-ID that are looked at.
const CANDIDATES_MAX: usize = 5;
const BY_PLACE: &str = "imap-uid:";

enum Outcome {
    Fetched(Fetched),
    /// This message, as it seems, and why.
    Withheld(Fault),
    /// The connection broke.
    Lost(Fault),
}

impl Imap {
    pub(super) async fn fetch_one(&self, item: &Item) -> Result<Fetched, Fault> {
        let Ok(locator) = serde_json::from_str::<Locator>(&item.locator) else { return Ok(Fetched::Gone) };
        if let Some(size) = locator.s.filter(|size| *size > MESSAGE_BYTES_MAX) {
            return Ok(Fetched::TooLarge { size });
        }
        let outcome = match self.attempt(item, &locator, Freshness::Any).await? {
            Outcome::Lost(_) => self.attempt(item, &locator, Freshness::New).await?,
            outcome => outcome,
        };
        match outcome {
            Outcome::Fetched(fetched) => {
                self.withheld.store(0, Ordering::Relaxed);
                Ok(fetched)
            }
            Outcome::Withheld(fault) | Outcome::Lost(fault) => {
                let in_a_row = self.withheld.fetch_add(1, Ordering::Relaxed) + 1;
                if in_a_row >= WITHHELD_MAX { Err(fault) } else { Ok(Fetched::Unreadable(fault.message)) }
            }
        }
    }

    async fn attempt(&self, item: &Item, locator: &Locator, freshness: Freshness) -> Result<Outcome, Fault> {
        let mut lent = self.pool.take(&locator.f, freshness).await?;
        let fetched = match fetch_from(&mut lent, item, locator).await {
            Ok(Fetched::Gone) => self.search_for(&mut lent, item, locator).await,
            fetched => fetched,
        };
        match fetched {
            Ok(fetched) => {
                lent.give_back();
                Ok(Outcome::Fetched(fetched))
            }
            Err(problem) => judge(lent, problem),
        }
    }

    /// Looks for a message that is not where it was, in the folders that are read.
    async fn search_for(&self, lent: &mut Lent, item: &Item, locator: &Locator) -> Result<Fetched, Problem> {
        let Some(message_id) = name::quote(&locator.m).filter(|_| !locator.m.is_empty()) else {
            return Ok(Fetched::Gone);
        };
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if folders.is_empty() {
            folders.push("INBOX".into());
        }
        for folder in folders {
            let validity = match lent.examine(&folder).await {
                Ok(examined) => examined.validity,
                Err(Problem::Refused(_)) => continue,
                Err(problem) => return Err(problem),
            };
            let found = lent.search(&format!("HEADER MESSAGE-ID {message_id}")).await?;
            for uid in found.into_iter().take(CANDIDATES_MAX) {
                let place = Locator { f: folder.clone(), v: validity, u: uid, ..locator.clone() };
                let fetched = fetch_from(lent, item, &place).await?;
                if let Fetched::Message(_) | Fetched::TooLarge { .. } = fetched {
                    return Ok(fetched);
                }
            }
        }
        Ok(Fetched::Gone)
    }
}

fn judge(lent: Lent, problem: Problem) -> Result<Outcome, Fault> {
    match problem {
        // What follows on this connection would be the rest of the literal.
        Problem::Broken(Broken::TooLarge(size)) if size > MESSAGE_BYTES_MAX => {
            Ok(Outcome::Fetched(Fetched::TooLarge { size }))
        }
        Problem::Broken(Broken::TooLarge(size)) => {
            let reason = format!("the mail server sent {size} bytes, more than it had announced");
            Ok(Outcome::Fetched(Fetched::Unreadable(reason)))
        }
        Problem::Refused(status) if status.kind != Kind::Bye && status.is_final() => {
            let fault = lent.fault(Problem::Refused(status));
            lent.give_back();
            Ok(Outcome::Withheld(fault))
        }
        Problem::Broken(_) => Ok(Outcome::Lost(lent.fault(problem))),
        Problem::Refused(status) if status.kind == Kind::Bye && status.is_final() => {
            Ok(Outcome::Lost(lent.fault(Problem::Refused(status))))
        }
        Problem::Refused(_) => Err(lent.fault(problem)),
    }
}

async fn fetch_from(lent: &mut Lent, item: &Item, locator: &Locator) -> Result<Fetched, Problem> {
    let validity = match lent.examine(&locator.f).await {
        Ok(examined) => examined.validity,
        // The folder is gone.
        Err(Problem::Refused(status)) if status.kind == Kind::No && status.is_final() => {
            return Ok(Fetched::Gone);
        }
        Err(problem) => return Err(problem),
    };
    if validity != locator.v {
        return Ok(Fetched::Gone);
    }
    match lent.body(locator.u, allowance(locator.s)).await? {
        Body::Message(bytes) => {
            let size = locator.s.unwrap_or(0);
            let is_it = item.id.starts_with(BY_PLACE)
                || identity::of(&bytes, size).is_some_and(|found| found.id == item.id);
            if is_it {
                return Ok(Fetched::Message(bytes));
            }
            Ok(Fetched::Unreadable("the mail server sent another message than the one it had listed".into()))
        }
        Body::Nothing if lent.search(&format!("UID {}", locator.u)).await?.contains(&locator.u) => {
            Ok(Fetched::Unreadable("the mail server lists the message and does not send it".into()))
        }
        Body::Nothing => Ok(Fetched::Gone),
    }
}

/// Servers may count sizes roughly; what they send must not be many times what memory was set aside for.
fn allowance(listed: Option<u64>) -> u64 {
    listed.map_or(MESSAGE_BYTES_MAX, |size| (size + size / 4 + (64 << 10)).min(MESSAGE_BYTES_MAX))
}
