//! What a worker does, against `docs/worker-protocol.md`: it lists what it holds until the receipt, obeys orders,
//! keeps time, and reports under the lease that it was given.

use std::collections::{BTreeMap, BTreeSet};

use docket::schedule::v1::{self as pb, report::Outcome as Reported, stream_due_jobs_response::Message};
use worker_svc::agent::{Effect, Key};

use super::{Compared, Verdict, broken, holds};

/// Slack of the worker's timers.
const SLACK: u64 = 10;
/// What was acknowledged is remembered for so long (O10).
const REMEMBERED: u64 = 10_000;
/// An outcome waits so long at most until it is reported: for calls before it to time out, then for the pause after.
const REPORT_PAUSE: u64 = 20_000;

/// One life of one worker.
#[derive(Debug, Default)]
pub struct Worker {
    name: String,
    guarded: BTreeSet<String>,
    held: BTreeMap<Key, Held>,
    /// Outcomes that the leader has taken, and when.
    acknowledged: BTreeMap<Key, (Held, u64)>,
    received: i64,
    epoch: i64,
    connected: bool,
    lease: u64,
    /// When the last heartbeat was sent that was answered, or the last welcome came.
    assured: u64,
    /// When the stream was asked for, and when it was welcomed.
    opened: u64,
    welcomed: u64,
    /// When it last came back from a pause of its process.
    woke: u64,
    /// The heartbeat whose answer is awaited: its call, and when it was sent. Answers of others say nothing.
    beat: Option<(u64, u64)>,
    reporting: BTreeMap<u64, Vec<Key>>,
    draining: bool,
}

#[derive(Debug)]
struct Held {
    token: i64,
    kind: String,
    deadline: u64,
    started: bool,
    stopped: bool,
    /// Told to stop.
    cancelled: bool,
    dropped: bool,
    /// Whether it succeeded, and when it ended.
    ended: Option<(bool, u64)>,
    /// When a call that reported it came back without a receipt.
    failed: u64,
}

impl Worker {
    pub fn new(name: String, guarded: BTreeSet<String>) -> Self {
        Self { name, guarded, lease: 15_000, ..Self::default() }
    }

    /// The second word of its name.
    pub fn instance(&self) -> &str {
        self.name.split_once(' ').map_or("", |(_, instance)| instance)
    }

    // --- what happens to it ----------------------------------------------------------------------------------

    pub fn stream_said(&mut self, now: u64, said: &pb::StreamDueJobsResponse) {
        match &said.message {
            Some(Message::Welcome(welcome)) if welcome.epoch < self.epoch => {
                self.connected = false;
                self.beat = None;
                return;
            }
            Some(Message::Welcome(welcome)) => {
                if welcome.epoch > self.epoch {
                    // The next leader may have lost what the last one took (O10).
                    for (key, (held, _)) in std::mem::take(&mut self.acknowledged) {
                        self.held.entry(key).or_insert(held);
                    }
                }
                self.epoch = welcome.epoch;
                self.connected = true;
                self.beat = None;
                (self.assured, self.welcomed) = (self.opened, now);
                welcome.orders.iter().for_each(|order| self.ordered(order));
            }
            _ if !self.connected => return,
            Some(Message::DueJobs(due)) => due.jobs.iter().for_each(|job| self.got(now, job)),
            Some(Message::Cancel(cancel)) => {
                let key = Key { run_id: cancel.run_id.clone(), attempt: cancel.attempt };
                if let Some(held) = self.held.get_mut(&key) {
                    held.cancelled = true;
                }
            }
            Some(Message::Drain(_)) | None => {}
        }
        self.received = said.sequence;
    }

    fn got(&mut self, now: u64, job: &pb::DueJob) {
        let timeout = job.timeout.map_or(0, |timeout| timeout.seconds.unsigned_abs() * 1_000);
        let held = Held {
            token: job.lease_token,
            kind: job.task.as_ref().map(|task| task.kind.clone()).unwrap_or_default(),
            deadline: now + timeout,
            started: false,
            stopped: false,
            cancelled: false,
            dropped: false,
            // A worker that stops hands back at once what it has not begun.
            ended: self.draining.then_some((false, now)),
            failed: 0,
        };
        self.held.entry(Key { run_id: job.run_id.clone(), attempt: job.attempt }).or_insert(held);
    }

    pub fn stream_ended(&mut self) {
        self.connected = false;
        self.beat = None;
    }

    pub fn drain(&mut self) {
        self.draining = true;
    }

    pub fn job_ended(&mut self, now: u64, key: &Key, success: bool) {
        if let Some(held) = self.held.get_mut(key) {
            held.ended = Some((success, now));
            if held.dropped {
                self.held.remove(key);
            }
        }
    }

    pub fn heard(&mut self, now: u64, call: u64, answer: Option<&pb::HeartbeatResponse>) {
        let Some((_, sent)) = self.beat.take_if(|(number, _)| *number == call) else { return };
        let Some(answer) = answer.filter(|answer| answer.epoch >= self.epoch) else { return };
        if answer.reopen {
            self.connected = false;
            return;
        }
        self.assured = self.assured.max(sent);
        self.forget(now);
        answer.orders.iter().for_each(|order| self.ordered(order));
    }

    fn ordered(&mut self, order: &pb::Order) {
        let key = Key { run_id: order.run_id.clone(), attempt: order.attempt };
        let Some(held) = self.held.get_mut(&key) else { return };
        match order.action() {
            pb::OrderAction::Drop if held.ended.is_some() => {
                self.held.remove(&key);
            }
            pb::OrderAction::Drop => held.dropped = true,
            pb::OrderAction::Cancel => held.cancelled = true,
            pb::OrderAction::Unspecified => {}
        }
    }

    /// Any receipt ends a report.
    pub fn receipts(&mut self, now: u64, call: u64, receipts: Option<&[pb::Receipt]>) {
        let Some(keys) = self.reporting.remove(&call) else { return };
        let receipts = receipts.filter(|receipts| receipts.len() == keys.len());
        for (number, key) in keys.into_iter().enumerate() {
            if let Some(receipts) = receipts {
                let Some(held) = self.held.remove(&key) else { continue };
                let status = receipts[number].status();
                if matches!(status, pb::ReceiptStatus::Accepted | pb::ReceiptStatus::Repeated) {
                    self.acknowledged.insert(key, (held, now));
                    self.forget(now);
                }
            } else if let Some(held) = self.held.get_mut(&key) {
                held.failed = now;
            }
        }
    }

    /// The leader was heard: what it took long before is safe.
    fn forget(&mut self, now: u64) {
        self.acknowledged.retain(|_, (_, at)| *at + REMEMBERED >= now);
    }

    // --- what it does ----------------------------------------------------------------------------------------

    pub fn does(&mut self, now: u64, call: u64, effect: &Effect, compared: &mut Compared) -> Verdict {
        match effect {
            Effect::Open(open) => {
                compared.heartbeats += 1;
                self.opened = now;
                self.connected = false;
                self.beat = None;
                self.lists(&open.held, true)
            }
            Effect::CloseStream => Ok(()),
            Effect::Start(job) => self.starts(&Key { run_id: job.run_id.clone(), attempt: job.attempt }),
            Effect::Stop(key) => {
                if let Some(held) = self.held.get_mut(key) {
                    held.stopped = true;
                }
                Ok(())
            }
            Effect::Heartbeat { request: beat, .. } => {
                compared.heartbeats += 1;
                self.beat = Some((call, now));
                holds("W3 a heartbeat says what was received", beat.received == self.received, || {
                    format!("{}: {} instead of {}", self.name, beat.received, self.received)
                })?;
                holds(
                    "O5 a worker speaks under the highest epoch it has seen",
                    beat.epoch == self.epoch,
                    || format!("{}: {} instead of {}", self.name, beat.epoch, self.epoch),
                )?;
                holds("W8 a stopping worker says so", beat.draining == self.draining, || self.name.clone())?;
                self.lists(&beat.held, false)
            }
            Effect::Report { call, request } => self.reports(*call, request),
        }
    }

    pub fn woke(&mut self, now: u64) {
        self.woke = now;
    }

    /// Everything from its receipt until the receipt of its outcome, and nothing else; in a hello also what was
    /// acknowledged a moment ago.
    fn lists(&self, listed: &[pb::HeldRun], hello: bool) -> Verdict {
        let said: BTreeMap<(&str, i32), i64> =
            listed.iter().map(|one| ((&*one.run_id, one.attempt), one.lease_token)).collect();
        let acknowledged = self.acknowledged.iter().filter(|_| hello).map(|(key, (held, _))| (key, held));
        let held: BTreeMap<(&str, i32), i64> = acknowledged
            .chain(&self.held)
            .filter(|(_, held)| !held.dropped)
            .map(|(key, held)| ((&*key.run_id, key.attempt), held.token))
            .collect();
        holds("W3 a worker lists what it holds", said == held, || {
            format!("{}: lists {said:?}, holds {held:?}", self.name)
        })
    }

    fn starts(&mut self, key: &Key) -> Verdict {
        let draining = self.draining;
        let Some(held) = self.held.get_mut(key) else {
            return broken("W2 a worker starts what it was sent", format!("{}: {key:?}", self.name));
        };
        holds("W8 a stopping worker starts nothing", !draining, || format!("{key:?}"))?;
        holds("W2 a worker starts a job once", !std::mem::replace(&mut held.started, true), || {
            format!("{key:?}")
        })
    }

    fn reports(&mut self, call: u64, request: &pb::ReportResultsRequest) -> Verdict {
        let under_way: BTreeSet<&Key> = self.reporting.values().flatten().collect();
        let mut keys = Vec::new();
        for report in &request.reports {
            let key = Key { run_id: report.run_id.clone(), attempt: report.attempt };
            let Some(held) = self.held.get(&key) else {
                return broken("W6 a worker reports what it holds", format!("{}: {key:?}", self.name));
            };
            let ended = held.ended.map(|(success, _)| success);
            let success = matches!(report.outcome, Some(Reported::Success(_)));
            holds("W6 an outcome is reported as it was", ended == Some(success), || {
                format!("{}: {key:?} ended {ended:?}, reported success: {success}", self.name)
            })?;
            holds(
                "W6 a report carries its lease",
                held.token == report.lease_token && !held.dropped,
                || format!("{}: {key:?} token {}, dropped {}", self.name, report.lease_token, held.dropped),
            )?;
            holds("W6 one report of an outcome at a time", !under_way.contains(&key), || format!("{key:?}"))?;
            keys.push(key);
        }
        self.reporting.insert(call, keys);
        Ok(())
    }

    /// After it had its turn: orders are obeyed and times are kept.
    pub fn has_turned(&self, now: u64) -> Verdict {
        for (key, held) in self.held.iter().filter(|(_, held)| held.ended.is_none() && !held.stopped) {
            let told = held.cancelled || held.dropped;
            holds("W9 orders to stop are obeyed", !told, || format!("{}: {key:?} goes on", self.name))?;
            let in_time = now < held.deadline + SLACK;
            holds("a worker keeps the time of an attempt", in_time, || {
                format!("{}: {key:?} goes on", self.name)
            })?;
            let unsure = now >= self.assured + self.lease + SLACK && !self.guarded.contains(&held.kind);
            holds("W5 a worker in doubt of its leases stops", !unsure, || {
                format!("{}: {key:?} goes on, last sure at {}", self.name, self.assured)
            })?;
        }
        self.hands_in(now)
    }

    /// An outcome that has no receipt is reported, again and again.
    fn hands_in(&self, now: u64) -> Verdict {
        if !self.connected || self.draining {
            return Ok(());
        }
        let under_way: BTreeSet<&Key> = self.reporting.values().flatten().collect();
        for (key, held) in self.held.iter().filter(|(key, held)| !under_way.contains(key) && !held.dropped) {
            let Some((_, ended)) = held.ended else { continue };
            let since = ended.max(held.failed).max(self.welcomed).max(self.woke);
            holds("W6 outcomes are reported until their receipt", now <= since + REPORT_PAUSE, || {
                format!("{}: {key:?} ended at {ended} and is not reported", self.name)
            })?;
        }
        Ok(())
    }

    /// Long after the last fault: nothing waits for its receipt.
    pub fn is_settled(&self, now: u64) -> Verdict {
        // It has only just begun again.
        if now < 60_000 {
            return Ok(());
        }
        for (key, held) in &self.held {
            let waits = held.ended.is_some_and(|(_, at)| now > at + 60_000);
            holds("W6 outcomes are reported until their receipt", !waits, || {
                format!("{}: {key:?} ended and has no receipt", self.name)
            })?;
        }
        holds("a worker comes back", self.connected || self.draining, || {
            format!("{} is not connected", self.name)
        })
    }
}
