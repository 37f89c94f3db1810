//! Heartbeats, and the orders that their answers bring.

use docket::schedule::v1 as pb;

use super::{Agent, Effect, Key, Link, Stop, millis};
use crate::planted::{Bug, planted};

/// Bytes of `held`, so that a heartbeat stays below the 4 MiB of a message. What is held is always listed; progress and
/// checkpoints that find no room go with a later one.
const LISTED_BYTES: usize = 3 << 20;
/// Of an entry besides its run id, progress and checkpoint.
const ENTRY_BYTES: usize = 48;
/// Between two heartbeats, whatever the scheduler asks for.
const NEXT_MIN: u64 = 100;

/// A heartbeat whose answer is awaited. Answers of others say nothing about what this one renewed.
#[derive(Debug)]
pub(super) struct Beat {
    number: u64,
    sent: u64,
    draining: bool,
    /// What it carries, by version.
    checkpoints: Vec<(Key, u64)>,
}

impl Agent {
    /// Everything that is held, with the checkpoints that the scheduler has not confirmed; these also by version.
    pub(super) fn listed(&self) -> (Vec<pb::HeldRun>, Vec<(Key, u64)>) {
        let listed = || {
            self.attempts.iter().filter(|(_, attempt)| {
                let ended = attempt.outcome.is_some() && planted(Bug::UnlistsEnded);
                attempt.stop != Some(Stop::Dropped) && !ended
            })
        };
        let needed: usize = listed().map(|(key, _)| key.run_id.len() + ENTRY_BYTES).sum();
        let mut room = LISTED_BYTES.saturating_sub(needed);
        let mut fits = |bytes: usize| {
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        };
        let mut held: Vec<pb::HeldRun> = Vec::new();
        let mut checkpoints = Vec::new();
        for (key, attempt) in listed() {
            let news = attempt.checkpoint.as_ref().filter(|checkpoint| checkpoint.known < checkpoint.version);
            let checkpoint = news.filter(|checkpoint| fits(checkpoint.bytes.len()));
            checkpoints.extend(checkpoint.map(|checkpoint| (key.clone(), checkpoint.version)));
            held.push(pb::HeldRun {
                run_id: key.run_id.clone(),
                attempt: key.attempt,
                lease_token: attempt.token,
                progress: None,
                checkpoint: checkpoint.map(|checkpoint| checkpoint.bytes.clone()),
            });
        }
        // Progress is only for people: it gets what checkpoints leave.
        for (held, (_, attempt)) in held.iter_mut().zip(listed()) {
            let progress = attempt.progress.as_ref();
            held.progress = progress.filter(|progress| fits(progress.note.len() + ENTRY_BYTES)).cloned();
        }
        (held, checkpoints)
    }

    pub(super) fn send_heartbeat(&mut self, now: u64) {
        self.next_heartbeat = now + self.heartbeat;
        if self.beat.is_some() {
            // The last one is not answered yet; its call has a deadline of its own.
            return;
        }
        let (held, checkpoints) = self.listed();
        let draining = self.drain_until.is_some() && !planted(Bug::DrainUnsaid);
        self.beats += 1;
        self.beat = Some(Beat { number: self.beats, sent: now, draining, checkpoints });
        let request = pb::HeartbeatRequest {
            worker_id: self.profile.worker_id.clone(),
            session_id: self.session_id.clone(),
            epoch: self.epoch,
            received: self.received + i64::from(planted(Bug::ReceivedAhead)),
            slots: None,
            draining,
            held,
        };
        self.effects.push(Effect::Heartbeat { number: self.beats, request });
    }

    pub fn heartbeat_answered(&mut self, now: u64, number: u64, answer: Option<pb::HeartbeatResponse>) {
        let Some(beat) = self.beat.take_if(|beat| beat.number == number) else { return };
        let Some(answer) = answer.filter(|answer| answer.epoch >= self.epoch) else {
            self.next_heartbeat = self.next_heartbeat.min(now + 1_000);
            return;
        };
        if answer.reopen {
            self.effects.push(Effect::CloseStream);
            self.link = Link::Down { until: now };
            return;
        }
        // Not from now: the scheduler renewed the leases some time after the heartbeat was sent (rule W5).
        self.assured = beat.sent;
        self.remembered.forget_old(now);
        self.note_checkpoints(beat.checkpoints);
        let next = answer.next.as_ref().map(millis).filter(|next| *next > 0).unwrap_or(self.heartbeat);
        // However far off the scheduler puts it, the leases must not end before.
        self.next_heartbeat = now + next.min(self.lease / 2).max(NEXT_MIN);
        if self.drain_until.is_some() {
            self.drain_heard = beat.draining;
            let assigned =
                answer.assigned.iter().map(|run| Key { run_id: run.run_id.clone(), attempt: run.attempt });
            self.awaited = assigned
                .filter(|key| !self.attempts.contains_key(key) && !self.remembered.contains(key))
                .collect();
            self.next_heartbeat = if self.drain_heard { self.next_heartbeat } else { now };
        }
        answer.orders.into_iter().for_each(|order| self.obey(order));
        self.report(now);
    }

    fn note_checkpoints(&mut self, confirmed: Vec<(Key, u64)>) {
        for (key, version) in confirmed {
            let attempt = self.attempts.get_mut(&key);
            if let Some(checkpoint) = attempt.and_then(|attempt| attempt.checkpoint.as_mut()) {
                checkpoint.known = version;
            }
        }
    }

    pub(super) fn obey(&mut self, order: pb::Order) {
        let action = order.action();
        let key = Key { run_id: order.run_id, attempt: order.attempt };
        match action {
            pb::OrderAction::Cancel => self.stop(&key, Stop::Cancelled),
            pb::OrderAction::Drop => self.stop(&key, Stop::Dropped),
            pb::OrderAction::Unspecified => {}
        }
    }
}
