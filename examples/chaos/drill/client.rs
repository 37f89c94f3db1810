//! An app that uses its schedules through any replica and writes down what was acknowledged.
//!
//! Each schedule has one writer. It repeats a call under the same request id until there is a definite answer, so in the
//! end it knows exactly what must be there.

use std::{future::Future, sync::Arc, time::Duration};

use docket::schedule::v1 as pb;
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::{
    chance::Chance,
    record::{Entry, Record, now},
};
use crate::harness::Scheduler;

/// Each client has so many schedules; the last ones of them come and go.
const SCHEDULES: usize = 6;
const COME_AND_GO: usize = 2;
/// A call that gets no answer for so long is a violation.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Client {
    name: usize,
    chance: Chance,
    replicas: [Scheduler; 2],
    record: Arc<Record>,
    known: Vec<Entry>,
    /// An etag that is not valid any more, of each.
    stale: Vec<String>,
    requests: u64,
}

type Outcome<T> = Result<T, Status>;

impl Client {
    pub fn new(name: usize, seed: u64, replicas: [Scheduler; 2], record: Arc<Record>) -> Self {
        let chance = Chance::new(seed, &format!("client {name}"));
        let (known, stale) = (vec![Entry::default(); SCHEDULES], vec![String::new(); SCHEDULES]);
        Self { name, chance, replicas, record, known, stale, requests: 0 }
    }

    pub async fn run(mut self, stop: tokio::sync::watch::Receiver<bool>) {
        for n in 0..SCHEDULES {
            self.save(n).await;
        }
        while !*stop.borrow() {
            let n = self.chance.index(SCHEDULES);
            self.act(n).await;
            self.read(n).await;
            tokio::time::sleep(Duration::from_millis(self.chance.between(20, 150))).await;
        }
    }

    async fn act(&mut self, n: usize) {
        if self.known[n].uid.is_none() {
            return self.save(n).await;
        }
        match self.chance.between(0, 9) {
            0..=2 => self.save(n).await,
            3 => self.save_stale(n).await,
            4..=5 if self.known[n].paused => self.resume(n).await,
            4 => self.pause(n).await,
            6 if n >= SCHEDULES - COME_AND_GO => self.delete(n).await,
            7..=8 => self.trigger(n).await,
            _ => {}
        }
    }

    fn id(&self, n: usize) -> String {
        format!("app-{}-{n}", self.name)
    }

    fn request_id(&mut self) -> String {
        self.requests += 1;
        format!("app-{}-request-{}", self.name, self.requests)
    }

    fn replica(&mut self) -> Scheduler {
        self.replicas[self.chance.index(2)].clone()
    }

    /// Repeats the call, through any replica, until the answer is definite.
    async fn insist<T, M: Clone, F: Future<Output = Result<Response<T>, Status>>>(
        &mut self,
        name: &'static str,
        message: M,
        call: impl Fn(Scheduler, Request<M>) -> F,
    ) -> Outcome<T> {
        let begin = Instant::now();
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(Duration::from_secs(3));
            match call(self.replica(), request).await {
                Ok(answer) => {
                    *self.record.open().acknowledged.entry(name).or_default() += 1;
                    return Ok(answer.into_inner());
                }
                Err(status) if is_open(&status) => self.record.open().unanswered += 1,
                Err(status) => return Err(status),
            }
            if begin.elapsed() > PATIENCE {
                self.record
                    .violation(format!("{name} of app-{} has no answer after {PATIENCE:?}", self.name));
                return Err(Status::deadline_exceeded("gave up"));
            }
            tokio::time::sleep(Duration::from_millis(self.chance.between(20, 200))).await;
        }
    }

    fn learn(&mut self, n: usize, schedule: Option<&pb::Schedule>) {
        self.stale[n] = std::mem::replace(&mut self.known[n], Entry::of(schedule)).etag;
        let (id, entry) = (self.id(n), self.known[n].clone());
        self.record.open().schedules.insert(id, entry);
    }

    fn unexpected(&self, n: usize, call: &str, answer: &impl std::fmt::Debug) {
        let known = &self.known[n];
        self.record.violation(format!("{call} of {} answered {answer:?}; known is {known:?}", self.id(n)));
    }

    async fn save(&mut self, n: usize) {
        let before = self.known[n].clone();
        let etag = if self.chance.happens(50) { before.etag.clone() } else { String::new() };
        let schedule = Some(self.schedule(n, before.version + 1));
        let request_id = self.request_id();
        let message = pb::UpsertScheduleRequest { schedule, etag, request_id, ..Default::default() };
        let answer = self
            .insist("upsert", message, |to, request| async move {
                to.schedules.clone().upsert_schedule(request).await
            })
            .await;
        match answer {
            Ok(answer) => {
                let change = if before.uid.is_none() { pb::Change::Created } else { pb::Change::Updated };
                let schedule = answer.schedule.clone().unwrap_or_default();
                let seen = Entry::of(Some(&schedule));
                let kept = before.uid.is_none() || (before.uid == seen.uid && before.paused == seen.paused);
                if answer.change() != change || seen.version != before.version + 1 || !kept {
                    self.unexpected(n, "upsert", &(answer.change(), seen));
                }
                self.learn(n, Some(&schedule));
            }
            Err(status) => self.unexpected(n, "upsert", &status),
        }
    }

    async fn save_stale(&mut self, n: usize) {
        let etag = self.stale[n].clone();
        if etag.is_empty() || etag == self.known[n].etag {
            return;
        }
        let schedule = Some(self.schedule(n, 1_000_000));
        let request_id = self.request_id();
        let message = pb::UpsertScheduleRequest { schedule, etag, request_id, ..Default::default() };
        let answer = self
            .insist("upsert", message, |to, request| async move {
                to.schedules.clone().upsert_schedule(request).await
            })
            .await;
        match answer {
            Err(status) if status.code() == Code::Aborted => {}
            other => self.unexpected(n, "upsert with a former etag", &other),
        }
    }

    async fn pause(&mut self, n: usize) {
        let (schedule_id, request_id) = (self.id(n), self.request_id());
        let message = pb::PauseScheduleRequest { schedule_id, request_id, ..Default::default() };
        let answer = self
            .insist("pause", message, |to, request| async move {
                to.schedules.clone().pause_schedule(request).await
            })
            .await;
        match answer {
            Ok(answer) => {
                self.learn(n, answer.schedule.as_ref());
                let uid = self.known[n].uid.clone().unwrap_or_default();
                self.record.open().pauses.entry(uid).or_default().push((now(), i64::MAX));
            }
            Err(status) => self.unexpected(n, "pause", &status),
        }
    }

    async fn resume(&mut self, n: usize) {
        let uid = self.known[n].uid.clone().unwrap_or_default();
        if let Some(last) = self.record.open().pauses.entry(uid).or_default().last_mut() {
            last.1 = now();
        }
        let (schedule_id, request_id) = (self.id(n), self.request_id());
        let message = pb::ResumeScheduleRequest { schedule_id, request_id, ..Default::default() };
        let answer = self
            .insist("resume", message, |to, request| async move {
                to.schedules.clone().resume_schedule(request).await
            })
            .await;
        match answer {
            Ok(answer) => self.learn(n, answer.schedule.as_ref()),
            Err(status) => self.unexpected(n, "resume", &status),
        }
    }

    async fn delete(&mut self, n: usize) {
        let (schedule_id, request_id) = (self.id(n), self.request_id());
        let message = pb::DeleteScheduleRequest { schedule_id, request_id, ..Default::default() };
        let answer = self
            .insist("delete", message, |to, request| async move {
                to.schedules.clone().delete_schedule(request).await
            })
            .await;
        match answer {
            Ok(answer) if answer.deleted == 1 => self.learn(n, None),
            other => self.unexpected(n, "delete", &other),
        }
    }

    async fn trigger(&mut self, n: usize) {
        let (schedule_id, request_id) = (self.id(n), self.request_id());
        let message =
            pb::TriggerScheduleRequest { schedule_id: schedule_id.clone(), request_id, ..Default::default() };
        let answer = self
            .insist("trigger", message, |to, request| async move {
                to.schedules.clone().trigger_schedule(request).await
            })
            .await;
        match answer {
            Ok(pb::TriggerScheduleResponse { run: Some(run), created }) if !self.known[n].paused => {
                if created {
                    self.record.open().triggered.insert(run.run_id, schedule_id);
                }
            }
            Err(status) if status.code() == Code::FailedPrecondition && self.known[n].paused => {}
            other => self.unexpected(n, "trigger", &other),
        }
    }

    /// What was acknowledged is what anybody reads, wherever he asks.
    async fn read(&mut self, n: usize) {
        let mut request =
            Request::new(pb::GetScheduleRequest { schedule_id: self.id(n), ..Default::default() });
        request.set_timeout(Duration::from_secs(3));
        let seen = match self.replica().schedules.clone().get_schedule(request).await {
            Ok(answer) => Entry::of(answer.into_inner().schedule.as_ref()),
            Err(status) if status.code() == Code::NotFound => Entry::default(),
            Err(status) if is_open(&status) => return,
            Err(status) => return self.unexpected(n, "get", &status),
        };
        self.record.open().read += 1;
        if seen != self.known[n] {
            self.unexpected(n, "get", &seen);
        }
    }

    fn schedule(&self, n: usize, version: u64) -> pb::Schedule {
        let second = |seconds| Some(ProtoDuration { seconds, nanos: 0 });
        let sleep = Value { kind: Some(Kind::NumberValue(n as f64 * 150.0)) };
        let interval = second(1 + n as i64 % 3);
        let overlap = if n.is_multiple_of(2) { pb::OverlapPolicy::Skip } else { pb::OverlapPolicy::Allow };
        pb::Schedule {
            schedule_id: self.id(n),
            timing: Some(pb::schedule::Timing::Every(pb::Every { interval, anchor: None })),
            task: Some(pb::Task {
                kind: if (n / 2).is_multiple_of(2) { super::worker::KIND } else { "noop" }.into(),
                args: Some(Struct { fields: [("sleep_ms".into(), sleep)].into() }),
                ..Default::default()
            }),
            overlap: overlap.into(),
            retry: Some(pb::Retry { max_attempts: 8, min_backoff: second(1), max_backoff: second(2) }),
            labels: [("version".into(), version.to_string())].into(),
            ..Default::default()
        }
    }
}

/// Whether nothing is known about what became of the call, or the server says to try again.
pub fn is_open(status: &Status) -> bool {
    use Code::{Cancelled, DeadlineExceeded, Unavailable, Unknown};
    // A connection that broke in mid-answer is INTERNAL, without a reason of ours.
    let broke = status.code() == Code::Internal && docket::errors::reason_of(status).is_none();
    broke || matches!(status.code(), Unavailable | DeadlineExceeded | Cancelled | Unknown)
}
