//! All accounts, tokens, quotas and orders to misbehave.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::mailbox::Mailbox;

pub const CLIENT_ID: &str = "fake-client";
pub const CLIENT_SECRET: &str = "fake-secret";

/// Units that calls cost and that may be spent per minute.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Quota {
    pub get: u32,
    pub list: u32,
    pub history: u32,
    pub user: u32,
    pub project: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self { get: 20, list: 5, history: 2, user: 6_000, project: 1_200_000 }
    }
}

/// What a call does instead of its work, or besides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Then {
    pub status: Option<u16>,
    /// Of Gmail's error; without one, the body is a page of HTML.
    pub reason: Option<String>,
    pub message: Option<String>,
    pub retry_after: Option<String>,
    /// This body, with status 200 unless another is named.
    pub body: Option<String>,
    /// The answer ends after so many bytes, and so does the connection's part.
    pub cut: Option<usize>,
    /// The answer comes after so long.
    pub delay_ms: u64,
    /// Never answer.
    pub hang: bool,
}

/// An order to misbehave: the next `times` calls of a kind, or those for one message.
#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    /// token, profile, labels, list, history, get, part (of a batch) or batch.
    pub call: String,
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default = "once")]
    pub times: u32,
    pub then: Then,
}

fn once() -> u32 {
    1
}

/// What was asked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    pub calls: BTreeMap<String, u64>,
    pub units: u64,
    /// Calls that were refused because a quota was used up.
    pub refused: u64,
    /// Most calls for messages at the same time, batches counted once.
    pub most_at_once: u64,
}

#[derive(Default)]
pub struct World {
    pub mailboxes: BTreeMap<String, Mailbox>,
    /// To addresses.
    pub refresh_tokens: HashMap<String, String>,
    pub access_tokens: HashMap<String, String>,
    pub tokens_made: u64,
    /// Each refresh answers with a new refresh token, and the old one is worthless.
    pub rotates: bool,
    pub quota: Quota,
    pub faults: VecDeque<Fault>,
    pub stats: Stats,
    /// The history's first page has no records.
    pub gap: bool,
    /// Page tokens handed out before are worthless.
    pub tokens_expired: bool,
    /// Every page names itself as the next.
    pub circle: bool,
    pub running: u64,
    /// What the server's clock shows, Unix milliseconds; the machine's time, if not set.
    pub now: Option<i64>,
    spent: HashMap<String, VecDeque<(Instant, u32)>>,
}

pub type Shared = Arc<Mutex<World>>;

/// Whose quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    User,
    Project,
}

const MINUTE: Duration = Duration::from_secs(60);
const PROJECT: &str = "";

impl World {
    pub fn shared() -> Shared {
        Arc::new(Mutex::new(Self::default()))
    }

    pub fn mailbox(&mut self, address: &str) -> &mut Mailbox {
        self.mailboxes.entry(address.to_owned()).or_insert_with(|| Mailbox::new(address.to_owned()))
    }

    /// A new access token, and a new refresh token if they rotate.
    pub fn refresh(&mut self, token: &str) -> Option<(String, Option<String>)> {
        let address = self.refresh_tokens.get(token)?.clone();
        self.tokens_made += 1;
        let access = format!("at-{}-{}", self.tokens_made, address);
        self.access_tokens.insert(access.clone(), address.clone());
        let rotated = self.rotates.then(|| format!("rt-{}-{address}", self.tokens_made));
        if let Some(rotated) = &rotated {
            self.refresh_tokens.remove(token);
            self.refresh_tokens.insert(rotated.clone(), address);
        }
        Some((access, rotated))
    }

    /// Counts a call; refuses it if the last minute's units are used up.
    pub fn spend(&mut self, user: &str, cost: u32) -> Result<(), Exceeded> {
        let now = Instant::now();
        for (who, limit, exceeded) in
            [(user, self.quota.user, Exceeded::User), (PROJECT, self.quota.project, Exceeded::Project)]
        {
            let spent = self.spent.entry(who.to_owned()).or_default();
            while spent.front().is_some_and(|(at, _)| now.duration_since(*at) > MINUTE) {
                spent.pop_front();
            }
            if spent.iter().map(|(_, units)| units).sum::<u32>() + cost > limit {
                self.stats.refused += 1;
                return Err(exceeded);
            }
        }
        for who in [user, PROJECT] {
            self.spent.entry(who.to_owned()).or_default().push_back((now, cost));
        }
        self.stats.units += u64::from(cost);
        Ok(())
    }

    /// Counts a call, and says how it misbehaves.
    pub fn count(&mut self, call: &str, id: Option<&str>) -> Option<Then> {
        *self.stats.calls.entry(call.to_owned()).or_default() += 1;
        let matches = |fault: &Fault| fault.call == call && (fault.id.is_none() || fault.id.as_deref() == id);
        let at = self.faults.iter().position(matches)?;
        let fault = &mut self.faults[at];
        fault.times -= 1;
        let then = fault.then.clone();
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(then)
    }
}
