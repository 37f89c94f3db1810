//! The stream of due jobs, from hello to its end.

use docket::schedule::v1 as pb;

use super::{Agent, Effect, Key, Link, Refusal, Stop, millis};
use crate::planted::{Bug, planted};

/// Milliseconds for a hello to be answered.
pub(super) const OPEN_MAX: u64 = 10_000;
/// Between two tries after a refusal that will not pass by itself.
const REFUSED_PAUSE: u64 = 60_000;

impl Agent {
    pub(super) fn open(&mut self, now: u64) {
        if self.drain_until.is_some() && self.attempts.is_empty() {
            return;
        }
        self.link = Link::Opening { since: now };
        self.remembered.make_room(self.attempts.len());
        let held = self.listed().0.into_iter().chain(self.remembered.listed()).collect();
        self.effects.push(Effect::Open(pb::StreamDueJobsRequest {
            worker_id: self.profile.worker_id.clone(),
            instance: self.profile.instance.clone(),
            slots: self.profile.slots,
            kinds: self.profile.kinds.clone(),
            namespaces: Vec::new(),
            version: self.profile.version.clone(),
            archive_id: self.profile.archive_id.clone(),
            held,
            draining: self.drain_until.is_some(),
        }));
    }

    pub fn stream_message(&mut self, now: u64, response: pb::StreamDueJobsResponse) {
        use pb::stream_due_jobs_response::Message;
        match response.message {
            Some(Message::Welcome(welcome)) => return self.welcome(now, response.sequence, welcome),
            // A stream speaks only after its welcome.
            _ if !matches!(self.link, Link::Up) => return,
            Some(Message::DueJobs(due)) => due.jobs.into_iter().for_each(|job| self.take(now, job)),
            Some(Message::Cancel(cancel)) => {
                self.stop(&Key { run_id: cancel.run_id, attempt: cancel.attempt }, Stop::Cancelled);
            }
            Some(Message::Drain(drain)) => {
                self.drain(now, drain.within.as_ref().map_or(0, millis));
            }
            None => {}
        }
        self.received = response.sequence;
    }

    pub(super) fn welcome(&mut self, now: u64, sequence: i64, welcome: pb::Welcome) {
        let Link::Opening { since } = self.link else { return };
        if welcome.epoch < self.epoch && !planted(Bug::HearsOldEpochs) {
            // A server that has lost its leadership and does not know it yet.
            self.hang_up(now);
            self.refusal = Some(Refusal::OldEpoch { seen: self.epoch, offered: welcome.epoch });
            return;
        }
        if welcome.epoch > self.epoch {
            // What the last leader confirmed may have been lost with it.
            let checkpoints = self.attempts.values_mut().filter_map(|attempt| attempt.checkpoint.as_mut());
            checkpoints.for_each(|checkpoint| checkpoint.known = 0);
            self.take_back();
        }
        let said = |duration: Option<prost_types::Duration>, default: u64| {
            duration.as_ref().map(millis).filter(|millis| *millis > 0).unwrap_or(default)
        };
        self.lease = said(welcome.lease, self.lease);
        self.heartbeat = said(welcome.heartbeat, self.heartbeat);
        self.epoch = welcome.epoch;
        self.session_id = welcome.session_id;
        self.received = sequence;
        self.link = Link::Up;
        self.tries = 0;
        self.refusal = None;
        // The scheduler renewed the leases after it got the hello (rule W5).
        self.assured = since;
        self.beat = None;
        self.drain_heard = false;
        self.awaited.clear();
        self.next_heartbeat = if self.drain_until.is_some() { now } else { now + self.heartbeat };
        self.next_report = now;
        welcome.orders.into_iter().for_each(|order| self.obey(order));
        self.report(now);
    }

    /// The stream broke, or could not be opened.
    pub fn stream_ended(&mut self, now: u64) {
        if matches!(self.link, Link::Down { .. }) {
            return;
        }
        let pause = self.pause(self.tries);
        self.tries += 1;
        if planted(Bug::ForgetsOutcomesOnBreak) {
            self.attempts.retain(|_, attempt| attempt.outcome.is_none());
        }
        self.refusal = None;
        self.link = Link::Down { until: now + pause };
        self.beat = None;
    }

    /// The scheduler will answer the same until a person changes something: say so, and ask rarely.
    pub fn stream_refused(&mut self, now: u64, why: String) {
        if matches!(self.link, Link::Down { .. }) {
            return;
        }
        self.stream_ended(now);
        self.refusal = Some(Refusal::ByScheduler(why));
        self.link = Link::Down { until: now + REFUSED_PAUSE };
    }

    pub(super) fn hang_up(&mut self, now: u64) {
        self.effects.push(Effect::CloseStream);
        self.stream_ended(now);
    }
}
