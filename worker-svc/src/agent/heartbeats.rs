//! Heartbeats, and the orders that their answers bring.

use docket::schedule::v1 as pb;

use super::{Agent, Effect, Key, Link, Stop};

impl Agent {
    pub(super) fn listed(&self) -> Vec<pb::HeldRun> {
        let listed = self.attempts.iter().filter(|(_, attempt)| attempt.stop != Some(Stop::Dropped));
        listed
            .map(|(key, attempt)| pb::HeldRun {
                run_id: key.run_id.clone(),
                attempt: key.attempt,
                lease_token: attempt.token,
                progress: attempt.progress.clone(),
                checkpoint: attempt.checkpoint.clone(),
            })
            .collect()
    }

    pub(super) fn beat(&mut self, now: u64) {
        if self.heartbeat_sent.is_some() {
            // The last one is not answered yet; its call has a deadline of its own.
            self.next_heartbeat = now + self.heartbeat;
            return;
        }
        self.heartbeat_sent = Some(now);
        self.told_drain = self.drain_until.is_some();
        self.next_heartbeat = now + self.heartbeat;
        self.effects.push(Effect::Heartbeat(pb::HeartbeatRequest {
            worker_id: self.profile.worker_id.clone(),
            session_id: self.session_id.clone(),
            epoch: self.epoch,
            received: self.received,
            slots: None,
            draining: self.drain_until.is_some(),
            held: self.listed(),
        }));
    }

    pub fn heartbeat_answered(&mut self, now: u64, answer: Option<pb::HeartbeatResponse>) {
        let Some(sent) = self.heartbeat_sent.take() else { return };
        let Some(answer) = answer.filter(|answer| answer.epoch >= self.epoch) else {
            self.next_heartbeat = self.next_heartbeat.min(now + 1_000);
            return;
        };
        if answer.reopen {
            self.effects.push(Effect::CloseStream);
            self.link = Link::Down { until: now };
            return;
        }
        self.assured = sent;
        if self.drain_until.is_some() {
            self.drain_heard = self.told_drain;
            self.next_heartbeat = if self.drain_heard { self.next_heartbeat } else { now };
        }
        answer.orders.into_iter().for_each(|order| self.obey(order));
        self.report(now);
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
