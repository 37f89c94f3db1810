//! The stream of due jobs, from hello to its end.

use docket::schedule::v1 as pb;

use super::{Agent, Effect, Key, Link, Stop};

impl Agent {
    pub(super) fn open(&mut self) {
        if self.drain_until.is_some() && self.attempts.is_empty() {
            return;
        }
        self.link = Link::Opening;
        let draining = self.drain_until.is_some();
        self.effects.push(Effect::Open(pb::StreamDueJobsRequest {
            worker_id: self.profile.worker_id.clone(),
            instance: self.profile.instance.clone(),
            slots: if draining { 1 } else { self.profile.slots },
            kinds: self.profile.kinds.clone(),
            namespaces: Vec::new(),
            version: self.profile.version.clone(),
            archive_id: self.profile.archive_id.clone(),
            held: self.listed(),
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
                let within = drain.within.map_or(0, |within| within.seconds.max(0).unsigned_abs() * 1000);
                self.drain(now, within);
            }
            None => {}
        }
        self.received = response.sequence;
    }

    pub(super) fn welcome(&mut self, now: u64, sequence: i64, welcome: pb::Welcome) {
        if welcome.epoch < self.epoch {
            // A server that has lost its leadership and does not know it yet.
            self.effects.push(Effect::CloseStream);
            return self.stream_ended(now);
        }
        let millis = |duration: Option<prost_types::Duration>, default: u64| {
            let millis = duration.map(|d| {
                d.seconds.max(0).unsigned_abs() * 1000 + u64::from(d.nanos.max(0).unsigned_abs()) / 1_000_000
            });
            millis.filter(|millis| *millis > 0).unwrap_or(default)
        };
        self.lease = millis(welcome.lease, self.lease);
        self.heartbeat = millis(welcome.heartbeat, self.heartbeat);
        self.epoch = welcome.epoch;
        self.session_id = welcome.session_id;
        self.received = sequence;
        self.link = Link::Up;
        self.tries = 0;
        self.assured = now;
        self.heartbeat_sent = None;
        self.drain_heard = false;
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
        self.link = Link::Down { until: now + pause };
        self.heartbeat_sent = None;
    }
}
