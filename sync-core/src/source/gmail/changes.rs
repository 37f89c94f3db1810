//! Pages: first the list, then the history.

use std::collections::HashSet;
use std::sync::PoisonError;

use super::answers::{Named, Profile};
use super::cursor::{Cursor, Place};
use super::error::Error;
use super::labels::Selection;
use super::{Gmail, item};
use crate::source::{Fault, Page};
use crate::text::clean;

const TOKEN_MAX: usize = 4 << 10;
/// Times that a run lists anew, because a token or the history has expired.
const RESTARTS_MAX: u32 = 3;
/// Pages of a search that preselects an increment. What lies beyond is fetched without asking.
const WINDOW_PAGES: usize = 10;
/// Searches find what came at most this long before the last sync, so that clocks do not matter.
const WINDOW_SECONDS: i64 = 24 * 3600;

/// What a search finds of the time since the last sync: with the operator's query, and without.
pub struct Window {
    wanted: HashSet<String>,
    found: HashSet<String>,
}

impl Gmail {
    pub(super) async fn page_after(&self, cursor: Option<&str>) -> Result<Page, Error> {
        let cursor = cursor.and_then(Cursor::read);
        let profile = self.account(cursor.as_ref()).await?;
        let is_of_account = |cursor: &Cursor| canonical(&cursor.account) == canonical(&profile.email_address);
        match cursor.filter(is_of_account) {
            None => self.list(self.beginning(profile), None, 0).await,
            Some(cursor) => match cursor.place.clone() {
                Place::List { token, listed } => self.list(cursor, token, listed).await,
                Place::Between => self.history(cursor, None).await,
                Place::History { token, until } => self.history(cursor, Some((token, until))).await,
            },
        }
    }

    /// The account behind the consent, if it is the mailbox's.
    pub(super) async fn account(&self, cursor: Option<&Cursor>) -> Result<&Profile, Error> {
        let profile = self.profile.get_or_try_init(|| self.api.profile()).await?;
        // A mailbox whose address was changed along with the account begins anew; its messages are other ones.
        let expected = match (&self.address, cursor) {
            (address, _) if address.contains('@') => address.as_str(),
            (_, Some(cursor)) => cursor.account.as_str(),
            _ => return Ok(profile),
        };
        if canonical(expected) == canonical(&profile.email_address) {
            return Ok(profile);
        }
        let message = format!(
            "the consent is for {}, the mailbox is {}; connect it with that account, or another mailbox",
            clean(&profile.email_address, 100),
            clean(expected, 100)
        );
        Err(Fault::permanent("gmail-other-account", message).into())
    }

    fn beginning(&self, profile: &Profile) -> Cursor {
        Cursor {
            account: clean(&profile.email_address, 320),
            history: profile.history_id,
            at: (self.api.clock)() / 1000,
            place: Place::List { token: None, listed: 0 },
        }
    }

    async fn list(&self, cursor: Cursor, token: Option<String>, listed: u64) -> Result<Page, Error> {
        let selection = self.selection().await?;
        let query = self.query(selection, &self.query, self.since.map(|since| since / 1000 - 1));
        let page = match self.search(selection, &query, token.as_deref()).await {
            // The token has expired: from the beginning, past what is known.
            Err(Error::BadRequest) if token.is_some() => {
                self.restart()?;
                return Box::pin(self.list(cursor, None, 0)).await;
            }
            other => other?,
        };
        let count = page.messages.len() as u64;
        let place = match self.next("list", page.next_page_token)? {
            Some(token) => Place::List { token: Some(token), listed: listed + count },
            None => Place::Between,
        };
        let is_all = self.since.is_none() && self.query.is_empty() && self.folders.is_empty();
        let total = self.profile.get().map(|profile| profile.messages_total);
        let remaining = total.filter(|_| is_all).map(|total| total.saturating_sub(listed).max(count));
        // After the list come the changes that were made while it was read.
        Ok(Page {
            items: ids(page.messages).map(item).collect(),
            next: cursor.at(place).write(),
            more: true,
            remaining,
        })
    }

    async fn history(&self, cursor: Cursor, place: Option<(String, u64)>) -> Result<Page, Error> {
        let start = cursor.history.to_string();
        let mut parameters = vec![
            ("startHistoryId", start.as_str()),
            ("historyTypes", "messageAdded"),
            ("historyTypes", "labelAdded"),
            ("maxResults", "500"),
        ];
        parameters.extend(place.as_ref().map(|(token, _)| ("pageToken", token.as_str())));
        let page = match self.api.history(&parameters).await {
            Err(Error::NotFound) => return self.list_anew().await,
            Err(Error::BadRequest) if place.is_some() => {
                self.restart()?;
                return Box::pin(self.history(cursor, None)).await;
            }
            other => other?,
        };
        // That of the first page: what was added while the others were read is named again.
        let until = place.map_or(page.history_id, |(_, until)| until).max(cursor.history);
        let selection = self.selection().await?;
        let records = page.history.into_iter();
        let changes = records.flat_map(|record| record.messages_added.into_iter().chain(record.labels_added));
        let named = changes.map(|change| change.message).filter(|named| selection.has(&named.label_ids));
        let wanted = self.preselected(&cursor, distinct(ids(named.collect()))).await?;
        let (next, more) = match self.next("history", page.next_page_token)? {
            Some(token) => (cursor.at(Place::History { token, until }), true),
            None => {
                let at = if until == cursor.history { cursor.at } else { (self.api.clock)() / 1000 };
                (Cursor { history: until, at, place: Place::Between, ..cursor }, false)
            }
        };
        Ok(Page { items: wanted.into_iter().map(item).collect(), next: next.write(), more, remaining: None })
    }

    /// The history id is too old: all messages are listed again, as of now.
    async fn list_anew(&self) -> Result<Page, Error> {
        self.restart()?;
        tracing::info!("Gmail's history does not reach back to the last sync; all messages are listed");
        let profile = self.api.profile().await?;
        self.list(self.beginning(&profile), None, 0).await
    }

    async fn selection(&self) -> Result<&Selection, Error> {
        let select = async || {
            if self.folders.is_empty() {
                return Ok(Selection::by_default());
            }
            let labels = self.api.labels().await?.labels;
            Selection::of(&self.folders, &labels).map_err(Error::from)
        };
        self.selection.get_or_try_init(select).await
    }

    fn query(&self, selection: &Selection, narrowed: &str, after: Option<i64>) -> String {
        let after = after.map(|seconds| format!("after:{}", seconds.max(0)));
        let parts = [selection.query.as_str(), narrowed, after.as_deref().unwrap_or_default()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    async fn search(
        &self,
        selection: &Selection,
        query: &str,
        token: Option<&str>,
    ) -> Result<super::answers::List, Error> {
        let mut parameters = vec![("q", query), ("maxResults", self.page.as_str())];
        if selection.with_spam_and_trash {
            parameters.push(("includeSpamTrash", "true"));
        }
        parameters.extend(token.map(|token| ("pageToken", token)));
        self.api.list(&parameters).await
    }

    /// Of messages that the history names, those that the operator's query finds. What search does not know yet is
    /// fetched as well: its index lags behind, and nothing may be left out for that.
    async fn preselected(&self, cursor: &Cursor, ids: Vec<String>) -> Result<Vec<String>, Error> {
        if self.query.is_empty() || ids.is_empty() {
            return Ok(ids);
        }
        let window = self.window.get_or_try_init(|| self.window(cursor.at - WINDOW_SECONDS)).await?;
        let is_wanted = |id: &String| window.wanted.contains(id) || !window.found.contains(id);
        Ok(ids.into_iter().filter(is_wanted).collect())
    }

    async fn window(&self, after: i64) -> Result<Window, Error> {
        // In this order: what arrives in between is in neither or in the second only, and is fetched.
        let found = self.found("", after).await?;
        let wanted = self.found(&self.query, after).await?;
        Ok(Window { wanted, found })
    }

    async fn found(&self, narrowed: &str, after: i64) -> Result<HashSet<String>, Error> {
        let selection = self.selection().await?;
        let query = self.query(selection, narrowed, Some(after));
        let (mut found, mut token) = (HashSet::new(), None);
        for _ in 0..WINDOW_PAGES {
            let page = self.search(selection, &query, token.as_deref()).await?;
            found.extend(ids(page.messages));
            token = self.next(&query, page.next_page_token)?;
            if token.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// The token of the page after one of `list`, unless it would lead round in a circle.
    fn next(&self, list: &str, token: Option<String>) -> Result<Option<String>, Error> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if token.len() > TOKEN_MAX || !pages.tokens.insert((list.to_owned(), token.clone())) {
            return Err(round_in_circles());
        }
        Ok(Some(token))
    }

    /// A list begins again, so its tokens may come again.
    fn restart(&self) -> Result<(), Error> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.restarts += 1;
        pages.tokens.clear();
        if pages.restarts > RESTARTS_MAX { Err(round_in_circles()) } else { Ok(()) }
    }
}

fn round_in_circles() -> Error {
    Fault::transient("gmail-pages", "Gmail's pages lead round in a circle; it is asked again later").into()
}

fn ids(messages: Vec<Named>) -> impl Iterator<Item = String> {
    messages.into_iter().filter(Named::is_sound).map(|named| named.id)
}

fn distinct(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    ids.filter(|id| seen.insert(id.clone())).collect()
}

/// An address as Google compares it.
fn canonical(address: &str) -> String {
    let address = address.trim().to_lowercase();
    let Some((name, host)) = address.rsplit_once('@') else { return address };
    if !["gmail.com", "googlemail.com"].contains(&host) {
        return address;
    }
    let name = name.split('+').next().unwrap_or_default().replace('.', "");
    format!("{name}@gmail.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_as_google_does() {
        assert_eq!(canonical("A.n.n.A+docs@GoogleMail.com "), canonical("anna@gmail.com"));
        assert_ne!(canonical("a.b@example.com"), canonical("ab@example.com"));
        assert_ne!(canonical("anna@gmail.com"), canonical("anna@gmail.com.example"));
    }
}
