//! Calls that name many schedules or runs: page by page, each page one bounded command (rule P3).
//!
//! The caller goes on with the next page until there is none. With a request id the position is stored with each page,
//! so a retry after a crash goes on where the first call stood and counts nothing twice.

use std::sync::Arc;

use super::{
    StateMachine,
    command::{Bulk, BulkChange, CancelRun, Request, RetryRuns},
    id::{ReplyTo, RunId},
    output::{Answer, Refusal},
    overlap::Room,
    request::{Asked, Seen},
    schedule::{SlotKey, Status},
};
use crate::planted::{Bug, planted};

/// Schedules that one page changes at most; a caller may ask for smaller pages.
const CHANGED_PER_PAGE: usize = 500;
/// Schedules that one page looks at.
const LOOKED_AT: usize = 5_000;

impl StateMachine {
    pub(super) fn bulk(&mut self, to: ReplyTo, bulk: &Bulk) {
        let namespace = &bulk.filter.namespace;
        let position = bulk.filter.after.as_deref().unwrap_or_default();
        match self.seen(namespace, bulk.request.as_ref()) {
            Asked::New => {}
            Asked::Before(seen) if !seen.complete && *seen.after == *position => {}
            Asked::Before(seen) if planted(Bug::BulkCountsTwice) => {
                let count = seen.count + bulk.done.max(1);
                return self.answer_progress(to, &Seen { count, ..seen });
            }
            Asked::Before(seen) => return self.answer_progress(to, &seen),
            Asked::Otherwise => return self.refuse(to, Refusal::RequestIdReused),
        }
        let page =
            if bulk.filter.limit == 0 { CHANGED_PER_PAGE } else { bulk.filter.limit.min(CHANGED_PER_PAGE) };
        let (slots, next) = self.matching(&bulk.filter, page, LOOKED_AT);
        let changed = slots.into_iter().filter(|slot| self.change(*slot, bulk)).count() as u64;
        let progress = Seen {
            after: next.clone().unwrap_or_default(),
            complete: next.is_none(),
            ..Seen::count(bulk.done + changed)
        };
        self.close_page(to, namespace, bulk.request.as_ref(), progress);
    }

    fn change(&mut self, slot: SlotKey, bulk: &Bulk) -> bool {
        if let BulkChange::Delete { cancel_running } = bulk.change {
            self.remove_schedule(slot, cancel_running, &bulk.actor);
            return true;
        }
        if !self.settle(slot) {
            return false;
        }
        match &bulk.change {
            BulkChange::Pause { note, until } => self.begin_pause(slot, note, *until, &bulk.actor),
            BulkChange::Resume { catch_up } => {
                let paused = self.schedules[slot].status == Status::Paused;
                if paused {
                    self.resume(slot, self.now.wall, *catch_up, &bulk.actor);
                }
                paused
            }
            BulkChange::Delete { .. } => false,
        }
    }

    pub(super) fn retry_runs(&mut self, to: ReplyTo, retry: &RetryRuns) {
        match self.seen(&retry.namespace, retry.request.as_ref()) {
            // A question where an earlier call of this id stood.
            Asked::New if retry.page.through.is_empty() && !retry.page.last => {
                return self.answer_progress(to, &Seen::default());
            }
            Asked::New => {}
            Asked::Before(_) if planted(Bug::RetriedPageAgain) => {}
            Asked::Before(seen) if !seen.complete && seen.after < retry.page.through => {}
            Asked::Before(seen) => return self.answer_progress(to, &seen),
            Asked::Otherwise => return self.refuse(to, Refusal::RequestIdReused),
        }
        let Some((fitting, through)) = self.fitting(retry) else {
            let refusal = self.too_many_runs();
            return self.refuse(to, refusal);
        };
        let accepted = fitting.iter().filter(|id| self.retry_run(retry, **id)).count() as u64;
        let progress = Seen {
            skipped: retry.page.skipped + fitting.len() as u64 - accepted,
            after: through.clone().unwrap_or_else(|| retry.page.through.clone()),
            complete: retry.page.last && through.is_none(),
            ..Seen::count(retry.page.done + accepted)
        };
        self.close_page(to, &retry.namespace, retry.request.as_ref(), progress);
    }

    /// What of a page the namespace has room for; if that is not all, with the schedule after which the call goes on.
    /// None = it has none. One run per schedule is counted.
    fn fitting<'a>(&mut self, retry: &'a RetryRuns) -> Option<(&'a [RunId], Option<Box<str>>)> {
        let room = self.runs_left(&retry.namespace);
        let mut slots: Vec<SlotKey> = Vec::new();
        for id in &retry.ids {
            if let Some(slot) = self.retriable(retry, *id)
                && !slots.contains(&slot)
            {
                slots.push(slot);
            }
        }
        if slots.len() <= room {
            return Some((&retry.ids, None));
        }
        let last = *slots.get(room.checked_sub(1)?).filter(|_| !retry.page.through.is_empty())?;
        let end = retry.ids.iter().rposition(|id| self.slot_of(id.uid) == Some(last))? + 1;
        Some((&retry.ids[..end], Some(self.schedules[last].definition.key.id.as_ref().into())))
    }

    /// The schedule of a failed run, if it has room for another one.
    fn retriable(&mut self, retry: &RetryRuns, failed: RunId) -> Option<SlotKey> {
        let slot = self.slot_of(failed.uid)?;
        let ours = self.schedules[slot].definition.key.namespace == retry.namespace;
        (ours
            && self.settle(slot)
            && matches!(self.schedules[slot].status, Status::Active | Status::Ended)
            && self.room(slot) == Room::Free)
            .then_some(slot)
    }

    fn retry_run(&mut self, retry: &RetryRuns, failed: RunId) -> bool {
        let Some(slot) = self.retriable(retry, failed) else { return false };
        if !planted(Bug::RetryForgotten) {
            self.create_manual(slot, Room::Free, &retry.actor);
        }
        true
    }

    fn close_page(&mut self, to: ReplyTo, namespace: &Arc<str>, request: Option<&Request>, progress: Seen) {
        self.answer_progress(to, &progress);
        self.remember(namespace, request, progress);
    }

    fn answer_progress(&mut self, to: ReplyTo, seen: &Seen) {
        let next = Some(seen.after.clone()).filter(|_| !seen.complete);
        self.answer(to, Answer::Progress { done: seen.count, skipped: seen.skipped, next });
    }

    pub(super) fn cancel_run(&mut self, to: ReplyTo, cancel: &CancelRun) {
        let request = cancel.request.as_ref();
        let known = match self.seen(&cancel.namespace, request) {
            Asked::New => false,
            Asked::Before(_) => true,
            Asked::Otherwise => return self.refuse(to, Refusal::RequestIdReused),
        };
        let slot = self.slot_of(cancel.id.uid);
        let Some(slot) =
            slot.filter(|slot| self.schedules[*slot].definition.key.namespace == cancel.namespace)
        else {
            return self.refuse(to, Refusal::RunNotFound);
        };
        if !known {
            let Some(key) = self.run_of(cancel.id) else { return self.refuse(to, Refusal::RunNotLive) };
            let note = if cancel.note.is_empty() { String::new() } else { format!(": {}", cancel.note) };
            self.cancel(key, &format!("cancelled by {}{note}", cancel.actor));
            self.remember(&cancel.namespace, request, Seen::run(cancel.id, false));
        }
        if self.schedules.contains(slot) {
            let run = Box::new(self.run_view(slot, cancel.id));
            return self.answer(to, Answer::Run(run));
        }
        // It was the last run of a schedule that goes with its last run.
        self.refuse(to, Refusal::RunNotFound);
    }
}
