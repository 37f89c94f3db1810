//! Counted, not claimed: reads back through the API what became of every mail and of every due time.

use std::collections::{BTreeMap, BTreeSet};

use docket::{
    library::v1 as lib,
    schedule::v1::{self as pb, Verdict},
};

use crate::{
    harness::{Library, Scheduler},
    stage::{PEOPLE, Stage},
};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Mails in the folders, and those that a sync has looked at.
    pub mails: usize,
    pub looked_at: usize,
    pub documents: usize,
    /// Due times between the first and the last decision, and those that have one.
    pub due: i64,
    pub decided: i64,
    /// What was promised and is not there.
    pub lost: i64,
    /// What is there more than once.
    pub doubled: i64,
}

impl Count {
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0
    }
}

pub async fn count(scheduler: &Scheduler, library: &Library, stage: &Stage) -> anyhow::Result<Count> {
    let mut count = Count::default();
    for person in &PEOPLE {
        let messages = messages(library, person.mailbox).await?;
        let looked_at = messages.iter().map(|message| &message.source_id).collect::<BTreeSet<_>>().len();
        let mails = stage.mails(person)?;
        count.mails += mails;
        count.looked_at += looked_at;
        count.lost += mails.saturating_sub(looked_at) as i64;
        count.doubled += (messages.len() - looked_at) as i64;
        let (due, decided) = decisions(scheduler, person.mailbox, person.every).await?;
        count.due += due;
        count.decided += decided;
        count.lost += (due - decided).max(0);
        count.doubled += (decided - due).max(0);
    }
    let documents = documents(library).await?;
    count.documents = documents.len();
    let mut by_content: BTreeMap<_, i64> = BTreeMap::new();
    for document in &documents {
        *by_content.entry((&document.owner, &document.sha256)).or_default() += 1;
    }
    count.doubled += by_content.values().map(|times| times - 1).sum::<i64>();
    Ok(count)
}

/// Due times of a schedule from the oldest decision that is kept to the newest, and how many are decided.
async fn decisions(scheduler: &Scheduler, schedule_id: &str, every: i64) -> anyhow::Result<(i64, i64)> {
    let request = pb::ExplainScheduleRequest { schedule_id: schedule_id.into(), ..Default::default() };
    let decisions = scheduler.schedules.clone().explain_schedule(request).await?.into_inner().decisions;
    let millis = |time: Option<prost_types::Timestamp>| {
        time.map_or(0, |time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
    };
    let kept: Vec<_> = decisions.iter().filter(|decision| decision.verdict() != Verdict::Replaced).collect();
    let first = kept.iter().map(|decision| millis(decision.first_nominal_time)).min().unwrap_or(0);
    let last = kept.iter().map(|decision| millis(decision.last_nominal_time)).max().unwrap_or(0);
    let due = if kept.is_empty() { 0 } else { (last - first) / (every * 1000) + 1 };
    Ok((due, kept.iter().map(|decision| decision.count).sum()))
}

async fn messages(library: &Library, mailbox_id: &str) -> anyhow::Result<Vec<lib::Message>> {
    let (mut messages, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            lib::ListMessagesRequest { mailbox_id: mailbox_id.into(), page_token, ..Default::default() };
        let page = library.mailboxes.clone().list_messages(request).await?.into_inner();
        messages.extend(page.messages);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(messages);
        }
    }
}

/// All of them, oldest first.
pub async fn documents(library: &Library) -> anyhow::Result<Vec<lib::Document>> {
    let (mut documents, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = lib::ListDocumentsRequest { page_token, ..Default::default() };
        let page = library.documents.clone().list_documents(request).await?.into_inner();
        documents.extend(page.documents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            documents.reverse();
            return Ok(documents);
        }
    }
}
