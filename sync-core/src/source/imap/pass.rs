//! One run's pass over the folders: which messages there are, page by page.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::identity;
use super::name::Folder;
use super::pool::{Freshness, Lent, Pool};
use super::response::Kind;
use super::session::Head;
use super::uids::{self, Cursor, Span};
use super::verdict::Problem;
use super::wire::Broken;
use super::{KnownFolders, Locator, WITHHELD_MAX};
use crate::archive::record::MailboxSpec;
use crate::source::{Fault, Item, Page};
use crate::text::clean;

/// UIDs that one search covers, to begin with. Sparse folders get larger ones.
const WINDOW: u64 = 50_000;
const SPARSE: usize = 1_000;
const DENSE: usize = 200_000;

pub struct Listing {
    wanted: Vec<String>,
    since: Option<i64>,
    page: usize,
    known: KnownFolders,
    /// What the next call has to bring to go on here.
    expected: Option<String>,
    cursor: Cursor,
    is_resolved: bool,
    ahead: VecDeque<Folder>,
    current: Option<Pass>,
    missing: Vec<String>,
}

enum Trouble {
    /// The connection broke.
    Lost(Fault),
    Other(Fault),
}

impl Trouble {
    fn fault(self) -> Fault {
        match self {
            Self::Lost(fault) | Self::Other(fault) => fault,
        }
    }
}

/// A folder in work.
struct Pass {
    folder: String,
    span: Span,
    /// New mail, oldest first.
    new: VecDeque<u32>,
    /// Found below `span.lo`, oldest first; taken from the end.
    window: Vec<u32>,
    /// Everything from here to `span.lo` is in `window`.
    bottom: u32,
    width: u64,
}

impl Listing {
    pub fn new(spec: &MailboxSpec, page: usize, known: KnownFolders) -> Self {
        Self {
            wanted: spec.folders.clone(),
            since: spec.since,
            page: page.max(1),
            known,
            expected: None,
            cursor: Cursor::default(),
            is_resolved: false,
            ahead: VecDeque::new(),
            current: None,
            missing: Vec::new(),
        }
    }

    /// The page after `cursor`. A connection that breaks is replaced once.
    pub async fn page(&mut self, pool: &Pool, cursor: Option<&str>) -> Result<Page, Fault> {
        match self.try_page(pool, cursor, Freshness::Any).await {
            Err(Trouble::Lost(fault)) => {
                tracing::info!(%fault, "listing mail goes on over a new connection");
                self.try_page(pool, cursor, Freshness::New).await.map_err(Trouble::fault)
            }
            page => page.map_err(Trouble::fault),
        }
    }

    async fn try_page(
        &mut self,
        pool: &Pool,
        cursor: Option<&str>,
        freshness: Freshness,
    ) -> Result<Page, Trouble> {
        let folder = self.current.as_ref().map_or("INBOX", |pass| &pass.folder);
        let mut lent = pool.take(folder, freshness).await.map_err(Trouble::Other)?;
        if self.expected.is_none() || self.expected.as_deref() != cursor {
            self.begin(cursor);
        }
        match self.next(&mut lent).await {
            Ok(Some(page)) => {
                lent.give_back();
                self.expected = Some(page.next.clone());
                Ok(page)
            }
            Ok(None) => {
                lent.give_back();
                Err(Trouble::Other(self.missing_fault()))
            }
            Err(problem) => {
                self.expected = None;
                let is_lost = match &problem {
                    Problem::Broken(Broken::Closed | Broken::Io(_)) => true,
                    Problem::Refused(status) => status.kind == Kind::Bye && status.is_final(),
                    Problem::Broken(_) => false,
                };
                let fault = lent.fault(problem);
                Err(if is_lost { Trouble::Lost(fault) } else { Trouble::Other(fault) })
            }
        }
    }

    /// Whether all folders that the mailbox names are there.
    pub async fn check(&mut self, lent: &mut Lent) -> Result<(), Fault> {
        self.begin(None);
        let resolved = self.resolve(lent).await;
        resolved.map_err(|problem| lent.fault(problem))?;
        if self.missing.is_empty() { Ok(()) } else { Err(self.missing_fault()) }
    }

    fn begin(&mut self, cursor: Option<&str>) {
        self.cursor = Cursor::parse(cursor);
        (self.is_resolved, self.current) = (false, None);
        self.ahead.clear();
        self.missing.clear();
    }

    /// The next page, or None at the end of a pass that has missed folders.
    async fn next(&mut self, lent: &mut Lent) -> Result<Option<Page>, Problem> {
        if !self.is_resolved {
            self.resolve(lent).await?;
        }
        loop {
            let Some(mut pass) = self.current.take() else {
                match self.ahead.pop_front() {
                    Some(folder) => self.current = self.open(lent, folder).await?,
                    None if self.missing.is_empty() => return Ok(Some(self.result(Vec::new(), false, None))),
                    None => return Ok(None),
                }
                continue;
            };
            if lent.examine(&pass.folder).await?.validity != pass.span.v {
                return Err(Broken::Grammar("UIDVALIDITY changed while the folder was read").into());
            }
            let found = self.step(lent, &mut pass).await?;
            self.cursor.folders.insert(pass.folder.clone(), pass.span);
            let is_done = pass.new.is_empty() && pass.window.is_empty() && pass.span.is_whole();
            let is_last = is_done && self.ahead.is_empty();
            let remaining = pass.remaining().filter(|_| self.ahead.is_empty());
            if !is_done {
                self.current = Some(pass);
            }
            if let Some(items) = found {
                let named = items.len() as u64;
                let more = !is_last || !self.missing.is_empty();
                return Ok(Some(self.result(items, more, remaining.map(|left| left + named))));
            }
        }
    }

    fn result(&self, items: Vec<Item>, more: bool, remaining: Option<u64>) -> Page {
        let next = serde_json::to_string(&self.cursor).unwrap_or_default();
        Page { items, next, more, remaining }
    }

    /// One step through a folder: a page, or None if it only moved on.
    async fn step(&self, lent: &mut Lent, pass: &mut Pass) -> Result<Option<Vec<Item>>, Problem> {
        if !pass.new.is_empty() {
            let count = pass.new.len().min(self.page);
            let uids: Vec<u32> = pass.new.drain(..count).collect();
            pass.span.hi = uids.last().copied().unwrap_or(pass.span.hi);
            return self.items(lent, pass, &uids).await.map(Some);
        }
        if pass.window.is_empty() {
            if pass.span.is_whole() {
                return Ok(None);
            }
            self.search_below(lent, pass).await?;
        }
        let uids = pass.window.split_off(pass.window.len().saturating_sub(self.page));
        pass.span.lo = match uids.first() {
            Some(first) if !pass.window.is_empty() => *first,
            _ => pass.bottom,
        };
        if uids.is_empty() {
            return Ok(None);
        }
        self.items(lent, pass, &uids).await.map(Some)
    }

    async fn search_below(&self, lent: &mut Lent, pass: &mut Pass) -> Result<(), Problem> {
        let top = pass.span.lo - 1;
        let bottom = u64::from(top).saturating_sub(pass.width - 1).max(1);
        pass.bottom = u32::try_from(bottom).unwrap_or(1);
        let found = self.search(lent, &format!("{}:{top}", pass.bottom)).await?;
        pass.window = found.into_iter().filter(|uid| (pass.bottom..=top).contains(uid)).collect();
        pass.adapt();
        Ok(())
    }

    async fn search(&self, lent: &mut Lent, range: &str) -> Result<Vec<u32>, Problem> {
        // Servers compare days of their own time zone; the exact time is compared later.
        let day =
            self.since.and_then(|since| chrono::DateTime::from_timestamp_millis(since - 24 * 3_600_000));
        let since = day.map_or(String::new(), |day| format!(" SINCE {}", day.format("%-d-%b-%Y")));
        lent.search(&format!("UID {range}{since}")).await
    }

    /// Finds out which folders are meant.
    async fn resolve(&mut self, lent: &mut Lent) -> Result<(), Problem> {
        let mut chosen: Vec<Option<Folder>> = vec![None; self.wanted.len()];
        if self.wanted.iter().all(|wanted| wanted.eq_ignore_ascii_case("INBOX")) {
            chosen = vec![Some(Folder::inbox())];
        } else {
            let wanted = &self.wanted;
            lent.list(|folder| choose(wanted, &mut chosen, &folder)).await?;
            let is_missing =
                |(wanted, chosen): (&String, &Option<Folder>)| chosen.is_none() && wanted.starts_with('\\');
            if wanted.iter().zip(&chosen).any(is_missing) {
                lent.list_special(|folder| choose(wanted, &mut chosen, &folder)).await?;
            }
        }
        let mut folders: Vec<Folder> = Vec::new();
        for (at, chosen) in chosen.into_iter().enumerate() {
            match chosen {
                Some(folder) if folders.iter().any(|known| known.raw == folder.raw) => {}
                Some(folder) => folders.push(folder),
                None => self.missing.extend(self.wanted.get(at).cloned()),
            }
        }
        // A folder that comes back later begins anew, and what is known of it is skipped by id.
        self.cursor.folders.retain(|raw, _| folders.iter().any(|folder| folder.raw == *raw));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) =
            folders.iter().map(|folder| folder.raw.clone()).collect();
        self.ahead = folders.into();
        self.is_resolved = true;
        Ok(())
    }

    async fn open(&mut self, lent: &mut Lent, folder: Folder) -> Result<Option<Pass>, Problem> {
        let examined = match lent.examine(&folder.raw).await {
            Ok(examined) => examined,
            Err(Problem::Refused(status)) if status.kind == Kind::No && status.is_final() => {
                self.missing.push(folder.name);
                return Ok(None);
            }
            Err(problem) => return Err(problem),
        };
        let validity = examined.validity;
        let mut pass = Pass {
            folder: folder.raw,
            span: Span::before(validity, 1),
            new: VecDeque::new(),
            window: Vec::new(),
            bottom: 1,
            width: WINDOW,
        };
        match self.cursor.span(&pass.folder, validity) {
            Some(span) => {
                pass.span = span;
                // The last message answers to any `n:*`.
                if let Some(next) = span.hi.checked_add(1) {
                    let found = self.search(lent, &format!("{next}:*")).await?;
                    pass.new = found.into_iter().filter(|uid| *uid >= next).collect();
                }
            }
            // Some servers do not understand `*` in an empty folder.
            None if examined.is_empty => {}
            None => self.open_first(lent, &mut pass, validity).await?,
        }
        self.cursor.folders.insert(pass.folder.clone(), pass.span);
        Ok(Some(pass))
    }

    /// Where is the top? UIDNEXT may be missing or wrong, so the last message is asked.
    async fn open_first(&self, lent: &mut Lent, pass: &mut Pass, validity: u32) -> Result<(), Problem> {
        let last = lent.search("UID *").await?.last().copied();
        let Some(last) = last else { return Ok(()) };
        pass.span = Span::before(validity, last.saturating_add(1));
        self.search_below(lent, pass).await
    }

    async fn items(&self, lent: &mut Lent, pass: &Pass, uids: &[u32]) -> Result<Vec<Item>, Problem> {
        let mut heads = heads(lent, uids).await?;
        let silent = without(uids, &heads);
        if !silent.is_empty() {
            // Deleted meanwhile, or passed over: what is still there must not be left out.
            let there = lent.search(&format!("UID {}", uids::set(&silent))).await?;
            let there: Vec<u32> = silent.into_iter().filter(|uid| there.binary_search(uid).is_ok()).collect();
            if !there.is_empty() {
                heads.extend(lent.heads(&there).await?);
                let silent = without(&there, &heads);
                heads.extend(silent.into_iter().map(|uid| Head { uid, ..Head::default() }));
            }
        }
        heads.sort_by_key(|head| std::cmp::Reverse(head.uid));
        heads.dedup_by_key(|head| head.uid);
        let is_wanted =
            |head: &Head| head.received.zip(self.since).is_none_or(|(received, since)| received >= since);
        Ok(heads.into_iter().filter(is_wanted).map(|head| item(pass, head)).collect())
    }

    fn missing_fault(&self) -> Fault {
        let names = self.missing.iter().take(5).map(|name| format!("`{}`", clean(name, 100)));
        let names = names.collect::<Vec<_>>().join(", ");
        let message = format!(
            "the mail server has no folder {names}; TestMailbox names those it has. The other folders were read"
        );
        Fault::permanent("imap-folder-missing", message)
    }
}

impl Pass {
    fn adapt(&mut self) {
        match self.window.len() {
            few if few < SPARSE => self.width = self.width.saturating_mul(4).min(1 << 32),
            many if many > DENSE => self.width = (self.width / 4).max(WINDOW),
            _ => {}
        }
    }

    /// Messages to come in this folder, once all of it was searched.
    fn remaining(&self) -> Option<u64> {
        let is_known = self.bottom <= 1 || self.span.is_whole();
        is_known.then_some((self.new.len() + self.window.len()) as u64)
    }
}

/// Takes `folder` for those wishes that it meets first.
fn choose(wanted: &[String], chosen: &mut [Option<Folder>], folder: &Folder) {
    if !folder.is_selectable() {
        return;
    }
    for (wanted, chosen) in wanted.iter().zip(chosen) {
        if chosen.is_none() && folder.is_meant(wanted) {
            *chosen = Some(folder.clone());
        }
    }
}

/// One message that a server refuses must not hide the page that it is on: then each is asked for by itself.
async fn heads(lent: &mut Lent, uids: &[u32]) -> Result<Vec<Head>, Problem> {
    let refused = match lent.heads(uids).await {
        Err(Problem::Refused(status)) if status.kind != Kind::Bye && status.is_final() => status,
        heads => return heads,
    };
    let mut heads = Vec::new();
    for uid in uids {
        match lent.heads(&[*uid]).await {
            Ok(found) => heads.extend(found),
            Err(Problem::Refused(status)) if status.kind != Kind::Bye && status.is_final() => {
                heads.push(Head { uid: *uid, ..Head::default() });
            }
            Err(problem) => return Err(problem),
        }
    }
    let is_all = heads.iter().all(|head| head.header.is_none()) && uids.len() >= WITHHELD_MAX;
    if is_all { Err(Problem::Refused(refused)) } else { Ok(heads) }
}

fn without(uids: &[u32], heads: &[Head]) -> Vec<u32> {
    uids.iter().copied().filter(|uid| !heads.iter().any(|head| head.uid == *uid)).collect()
}

fn item(pass: &Pass, head: Head) -> Item {
    let header = head.header.as_deref().unwrap_or_default();
    // A header that was cut would not be the same again.
    let own =
        if header.len() < identity::HEADER_MAX { identity::of(header, head.size.unwrap_or(0)) } else { None };
    let (id, message_id) = match own {
        Some(identity) => (identity.id, identity.message_id),
        None => (identity::by_place(&pass.folder, pass.span.v, head.uid), String::new()),
    };
    let locator =
        Locator { f: pass.folder.clone(), v: pass.span.v, u: head.uid, s: head.size, m: message_id };
    Item {
        id,
        locator: serde_json::to_string(&locator).unwrap_or_default(),
        time: head.received,
        size: head.size,
    }
}
