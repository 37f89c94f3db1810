//! The worker's side of the worker protocol as one pure value: what happened goes in, what to do comes out.
//!
//! It holds every attempt that was taken until the scheduler has acknowledged its outcome, so that a lost message, a
//! broken stream or a scheduler that was restarted costs time, never a result:
//!
//! ```text
//!  due job ──► Running ──ended──► Outcome waits ──receipt──► forgotten
//!                 │                                  ▲
//!                 └── told to drop: stopped, nothing is reported
//! ```
//!
//! Heartbeats carry everything that is held, unacknowledged outcomes included: what a heartbeat does not list, the
//! scheduler gives to others. Time is elapsed milliseconds, handed in.
//!
//! Absent on purpose: tokio, gRPC channels, the jobs themselves. The task around it is `link`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use docket::schedule::v1::{self as pb, report::Outcome as Reported};

use crate::kind::{Outcome, Progress};

/// Reports in one call.
const REPORTS_MAX: usize = 1_000;
/// Reports under way at once.
const CALLS_MAX: usize = 4;
/// Between two tries to connect or report: doubling from the first to the second, with jitter.
const PAUSE: (u64, u64) = (100, 5_000);

/// Names one attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub run_id: String,
    pub attempt: i32,
}

/// Who this worker is.
#[derive(Clone, Debug)]
pub struct Profile {
    pub worker_id: String,
    /// Random per process.
    pub instance: String,
    pub slots: i32,
    pub kinds: Vec<String>,
    /// Kinds whose effects are fenced elsewhere: they go on when their lease may have ended (rule W5).
    pub guarded: BTreeSet<String>,
    pub version: String,
    pub archive_id: String,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Effect {
    Open(pb::StreamDueJobsRequest),
    /// End the stream that is open, if there is one.
    CloseStream,
    Start(Box<pb::DueJob>),
    /// Ask the attempt to stop. Its end is still to be told.
    Stop(Key),
    Heartbeat(pb::HeartbeatRequest),
    /// `call` comes back with the answer.
    Report {
        call: u64,
        request: pb::ReportResultsRequest,
    },
}

/// Why an attempt was asked to stop: decides what is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Cancelled,
    TimedOut,
    /// Its lease may have ended.
    Unsure,
    /// The worker stops.
    Interrupted,
    /// It is somebody else's now.
    Dropped,
}

#[derive(Debug)]
struct Attempt {
    token: i64,
    kind: String,
    deadline: u64,
    stop: Option<Stop>,
    progress: Option<pb::Progress>,
    /// Once it has ended: what is to be reported.
    outcome: Option<Box<pb::Report>>,
    checkpoint: Option<bytes::Bytes>,
}

#[derive(Debug)]
enum Link {
    /// Not connected; the next try is at this time.
    Down {
        until: u64,
    },
    Opening,
    Up,
}

#[derive(Debug)]
pub struct Agent {
    profile: Profile,
    link: Link,
    tries: u32,
    session_id: String,
    epoch: i64,
    received: i64,
    lease: u64,
    heartbeat: u64,
    /// When the heartbeat that was answered last was sent: leases hold for a term from then.
    assured: u64,
    next_heartbeat: u64,
    heartbeat_sent: Option<u64>,
    attempts: BTreeMap<Key, Attempt>,
    outbox: VecDeque<Key>,
    /// Calls under way, by number, and what they report.
    reporting: BTreeMap<u64, Vec<Key>>,
    calls: u64,
    next_report: u64,
    report_tries: u32,
    /// Draining: when what still runs is interrupted.
    drain_until: Option<u64>,
    /// The scheduler has heard that this worker drains, and gives it nothing more.
    drain_heard: bool,
    /// Whether the last heartbeat said so.
    told_drain: bool,
    effects: Vec<Effect>,
    jitter: u64,
}

impl Agent {
    /// `seed` spreads the retries of many workers.
    pub fn new(profile: Profile, seed: u64) -> Self {
        Self {
            profile,
            link: Link::Down { until: 0 },
            tries: 0,
            session_id: String::new(),
            epoch: 0,
            received: 0,
            lease: 15_000,
            heartbeat: 5_000,
            assured: 0,
            next_heartbeat: u64::MAX,
            heartbeat_sent: None,
            attempts: BTreeMap::new(),
            outbox: VecDeque::new(),
            reporting: BTreeMap::new(),
            calls: 0,
            next_report: 0,
            report_tries: 0,
            drain_until: None,
            drain_heard: false,
            told_drain: false,
            effects: Vec::new(),
            jitter: seed | 1,
        }
    }

    /// What is to be done now.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When to call [`Self::wake`], at the latest.
    pub fn next_wake(&self) -> u64 {
        let link = match self.link {
            Link::Down { until } => until,
            Link::Opening => u64::MAX,
            Link::Up => self.next_heartbeat,
        };
        let running =
            self.attempts.values().filter(|attempt| attempt.outcome.is_none() && attempt.stop.is_none());
        let deadline = running.map(|attempt| attempt.deadline).min().unwrap_or(u64::MAX);
        let report = if self.can_report() { self.next_report } else { u64::MAX };
        link.min(deadline).min(report).min(self.drain_until.unwrap_or(u64::MAX))
    }

    /// Whether everything is finished and acknowledged, and the worker may leave.
    pub fn is_drained(&self) -> bool {
        self.drain_until.is_some() && self.attempts.is_empty()
    }

    pub fn held(&self) -> usize {
        self.attempts.len()
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    // --- time ------------------------------------------------------------------------------------------------

    pub fn wake(&mut self, now: u64) {
        if matches!(self.link, Link::Down { until } if until <= now) {
            self.open();
        }
        self.stop_late(now);
        if matches!(self.link, Link::Up) && self.next_heartbeat <= now {
            self.beat(now);
        }
        self.report(now);
    }

    fn stop_late(&mut self, now: u64) {
        let unsure = self.assured + self.lease <= now;
        let drained = self.drain_until.is_some_and(|until| until <= now);
        if drained {
            self.drain_until = Some(u64::MAX);
        }
        for (key, attempt) in
            self.attempts.iter_mut().filter(|(_, a)| a.outcome.is_none() && a.stop.is_none())
        {
            let why = if attempt.deadline <= now {
                Stop::TimedOut
            } else if unsure && !self.profile.guarded.contains(&attempt.kind) {
                Stop::Unsure
            } else if drained {
                Stop::Interrupted
            } else {
                continue;
            };
            attempt.stop = Some(why);
            self.effects.push(Effect::Stop(key.clone()));
        }
    }

    // --- the stream ------------------------------------------------------------------------------------------

    fn open(&mut self) {
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

    fn welcome(&mut self, now: u64, sequence: i64, welcome: pb::Welcome) {
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

    fn take(&mut self, now: u64, job: pb::DueJob) {
        let key = Key { run_id: job.run_id.clone(), attempt: job.attempt };
        if self.attempts.contains_key(&key) {
            return;
        }
        let timeout = job.timeout.map_or(600_000, |t| {
            t.seconds.max(0).unsigned_abs() * 1000 + u64::from(t.nanos.max(0).unsigned_abs()) / 1_000_000
        });
        let attempt = Attempt {
            token: job.lease_token,
            kind: job.task.as_ref().map(|task| task.kind.clone()).unwrap_or_default(),
            deadline: now.saturating_add(timeout),
            stop: None,
            progress: None,
            outcome: None,
            checkpoint: None,
        };
        self.attempts.insert(key.clone(), attempt);
        if self.drain_until.is_some() {
            // It has not started: back at once.
            return self.ended(now, &key, interrupted());
        }
        self.effects.push(Effect::Start(Box::new(job)));
    }

    // --- attempts --------------------------------------------------------------------------------------------

    fn stop(&mut self, key: &Key, why: Stop) {
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        if attempt.outcome.is_some() {
            if why == Stop::Dropped {
                self.attempts.remove(key);
            }
            return;
        }
        // Dropping wins over everything: nothing will be reported.
        if attempt.stop.is_none() {
            self.effects.push(Effect::Stop(key.clone()));
        }
        if attempt.stop.is_none() || why == Stop::Dropped {
            attempt.stop = Some(why);
        }
    }

    pub fn progressed(&mut self, key: &Key, progress: Progress) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            let Progress { done, total, note } = progress;
            attempt.progress = Some(pb::Progress { done, total, note });
        }
    }

    pub fn checkpointed(&mut self, key: &Key, checkpoint: bytes::Bytes) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            attempt.checkpoint = Some(checkpoint);
        }
    }

    /// The job has returned, or was never started.
    pub fn ended(&mut self, now: u64, key: &Key, outcome: Outcome) {
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        if attempt.stop == Some(Stop::Dropped) {
            self.attempts.remove(key);
            return;
        }
        let outcome = explain(outcome, attempt.stop);
        let (outcome, partial_result, checkpoint) = match outcome {
            Outcome::Success { result } => {
                (Reported::Success(pb::Success { result: Some(result) }), None, None)
            }
            Outcome::Failure { failure, partial, checkpoint } => {
                (Reported::Failure(failure), partial, checkpoint)
            }
        };
        attempt.outcome = Some(Box::new(pb::Report {
            run_id: key.run_id.clone(),
            attempt: key.attempt,
            lease_token: attempt.token,
            outcome: Some(outcome),
            partial_result,
            checkpoint,
        }));
        self.outbox.push_back(key.clone());
        self.report(now);
    }

    // --- reports ---------------------------------------------------------------------------------------------

    /// A run that is handed back before the scheduler knows of the drain could be given to this worker again.
    fn can_report(&self) -> bool {
        if self.drain_until.is_some() && !self.drain_heard {
            return false;
        }
        self.reporting.len() < CALLS_MAX && !self.outbox.is_empty() && matches!(self.link, Link::Up)
    }

    /// A few calls at a time: outcomes gather while they are under way, and no commit waits for the one before it.
    fn report(&mut self, now: u64) {
        if !self.can_report() || self.next_report > now {
            return;
        }
        let (mut reports, mut keys) = (Vec::new(), Vec::new());
        while let Some(key) = self.outbox.pop_front() {
            // What was dropped meanwhile is not reported.
            if let Some(report) = self.attempts.get(&key).and_then(|attempt| attempt.outcome.as_deref()) {
                reports.push(report.clone());
                keys.push(key);
            }
            if reports.len() == REPORTS_MAX {
                break;
            }
        }
        if reports.is_empty() {
            return;
        }
        self.calls += 1;
        self.reporting.insert(self.calls, keys);
        let request = pb::ReportResultsRequest {
            worker_id: self.profile.worker_id.clone(),
            session_id: self.session_id.clone(),
            epoch: self.epoch,
            reports,
        };
        self.effects.push(Effect::Report { call: self.calls, request });
    }

    /// Any receipt ends a report; no answer means: again.
    pub fn report_answered(&mut self, now: u64, call: u64, answer: Option<Vec<pb::Receipt>>) {
        let Some(reported) = self.reporting.remove(&call) else { return };
        match answer {
            Some(receipts) if receipts.len() == reported.len() => {
                self.report_tries = 0;
                reported.iter().for_each(|key| {
                    self.attempts.remove(key);
                });
                self.next_report = now;
            }
            Some(_) | None => {
                for key in reported.into_iter().rev() {
                    self.outbox.push_front(key);
                }
                self.next_report = now + self.pause(self.report_tries);
                self.report_tries += 1;
            }
        }
        self.report(now);
    }

    // --- heartbeats ------------------------------------------------------------------------------------------

    fn listed(&self) -> Vec<pb::HeldRun> {
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

    fn beat(&mut self, now: u64) {
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

    fn obey(&mut self, order: pb::Order) {
        let action = order.action();
        let key = Key { run_id: order.run_id, attempt: order.attempt };
        match action {
            pb::OrderAction::Cancel => self.stop(&key, Stop::Cancelled),
            pb::OrderAction::Drop => self.stop(&key, Stop::Dropped),
            pb::OrderAction::Unspecified => {}
        }
    }

    // --- drain -----------------------------------------------------------------------------------------------

    /// Take nothing new; what runs has `within` milliseconds to finish, then it is interrupted.
    pub fn drain(&mut self, now: u64, within: u64) {
        if self.drain_until.is_some() {
            return;
        }
        self.drain_until = Some(now.saturating_add(within));
        self.next_heartbeat = self.next_heartbeat.min(now);
        self.wake(now);
    }

    /// Exponential, ±50 %, so that a restarted scheduler is not met by all workers at once.
    fn pause(&mut self, tries: u32) -> u64 {
        let (first, last) = PAUSE;
        let base = (first << tries.min(10)).min(last);
        self.jitter = self.jitter.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        base / 2 + (self.jitter >> 33) % base.max(1)
    }
}

/// An attempt that was asked to stop has usually failed; the reason is then ours to say.
fn explain(outcome: Outcome, stop: Option<Stop>) -> Outcome {
    let (Outcome::Failure { partial, checkpoint, .. }, Some(stop)) = (&outcome, stop) else { return outcome };
    let failure = match stop {
        Stop::Cancelled => failure(pb::FailureClass::Cancelled, "CANCELLED", "stopped on request"),
        Stop::TimedOut => {
            failure(pb::FailureClass::Timeout, "ATTEMPT_TIMEOUT", "the attempt took longer than task.timeout")
        }
        Stop::Unsure => failure(
            pb::FailureClass::Interrupted,
            "LEASE_UNSURE",
            "the scheduler was not heard of for a lease's term",
        ),
        Stop::Interrupted | Stop::Dropped => {
            return Outcome::Failure {
                failure: interrupted_failure(),
                partial: partial.clone(),
                checkpoint: checkpoint.clone(),
            };
        }
    };
    Outcome::Failure { failure, partial: partial.clone(), checkpoint: checkpoint.clone() }
}

fn interrupted() -> Outcome {
    Outcome::Failure { failure: interrupted_failure(), partial: None, checkpoint: None }
}

fn interrupted_failure() -> pb::Failure {
    failure(
        pb::FailureClass::Interrupted,
        "WORKER_STOPPING",
        "the worker stopped before the attempt was finished",
    )
}

fn failure(class: pb::FailureClass, code: &str, message: &str) -> pb::Failure {
    pb::Failure {
        class: class.into(),
        code: code.into(),
        message: message.into(),
        retry_after: None,
        limit: String::new(),
    }
}

#[cfg(test)]
mod tests;
