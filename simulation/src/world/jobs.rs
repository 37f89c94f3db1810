//! Simulated jobs: they succeed, fail, take long, ignore orders, or take their worker with them. And the lies of
//! workers that do not keep the protocol.

use docket::schedule::v1::{self as pb, report::Outcome as Reported};
use prost_types::{Struct, Value, value::Kind as Number};
use scheduler_svc::{
    grpc::worker::message,
    state_machine::{
        command::{self, Caller},
        failure::Class,
        id::RunId,
    },
};
use worker_svc::{agent::Key, kind::Outcome};

use super::{Event, Millis, World, trace};
use crate::judge::runs::Said;

/// A job that does not stop when asked is abandoned.
const STOP_GRACE: Millis = 10_000;

/// After the faults.
const HEALED_AFTER: Millis = 90_000;

#[derive(Debug)]
pub struct Job {
    stubborn: bool,
    stopping: bool,
    done: f64,
}

fn result(done: f64) -> Struct {
    let value = Value { kind: Some(Number::NumberValue(done)) };
    Struct { fields: [("done".to_owned(), value)].into() }
}

impl World {
    pub(crate) fn start_job(&mut self, index: usize, job: &pb::DueJob) {
        let key = Key { run_id: job.run_id.clone(), attempt: job.attempt };
        let temper = job.labels.get("temper").map_or("", String::as_str);
        let chance = &mut self.sources.jobs;
        let done = chance.between(1, 9) as f64;
        let timeout = job.timeout.map_or(10_000, |timeout| timeout.seconds.unsigned_abs() * 1_000);
        let takes = match temper {
            "slow" => chance.between(timeout / 2, timeout * 2),
            _ if chance.happens(100) => chance.between(1_000, 30_000),
            _ => chance.between(5, 3_000),
        };
        trace!(self, "worker {index} runs {} attempt {} for {takes} ms {temper}", key.run_id, key.attempt);
        // What is poisonous heals in the end; else it would take every worker along for ever.
        let healed = self.calm && self.now > self.profile.span + HEALED_AFTER;
        let kills = if self.calm { 1_000 } else { 800 };
        if temper == "poison" && !healed && self.sources.jobs.happens(kills) {
            self.after(takes.min(1_000), Event::Fault(super::faults::Fault::WorkerDies(index)));
        }
        let outcome = self.outcome(temper, done, &job.limits);
        let job = Job { stubborn: temper == "stubborn", stopping: false, done };
        if self.sources.jobs.happens(150) {
            let text = format!("{}#{}", key.run_id, self.sources.jobs.roll(1_000));
            self.checkpoint(index, &key, text);
        }
        self.workers[index].jobs.insert(key.clone(), job);
        let life = self.workers[index].life;
        self.after(takes, Event::JobEnds { worker: index, life, key, outcome: Box::new(outcome) });
    }

    fn outcome(&mut self, temper: &str, done: f64, limits: &[String]) -> Outcome {
        use pb::FailureClass as C;
        let chance = &mut self.sources.jobs;
        let success = if temper == "flaky" { 400 } else { 850 };
        // Never anything that only the user can mend.
        let mended = if temper == "steady" { 0 } else { 6 };
        if chance.happens(success) {
            return Outcome::Success { result: result(done) };
        }
        let class = chance.weigh(&[
            (60, C::Transient),
            (if limits.is_empty() { 10 } else { 60 }, C::Throttled),
            (mended, C::Reauthorize),
            (8, C::Permanent),
            (4, C::Superseded),
            (4, C::Interrupted),
        ]);
        let mut outcome = Outcome::failure(class, "SIMULATED", "it was to be");
        if let Outcome::Failure { failure, partial, checkpoint } = &mut outcome {
            if class == C::Throttled || chance.happens(100) {
                failure.retry_after =
                    Some(prost_types::Duration { seconds: chance.between(1, 20) as i64, nanos: 0 });
            }
            if class == C::Throttled && !limits.is_empty() && chance.happens(800) {
                failure.limit = chance.pick(limits).clone();
            }
            *partial = chance.happens(400).then(|| result(done));
            *checkpoint = chance.happens(300).then(|| format!("c{}", chance.roll(1_000)).into());
        }
        outcome
    }

    pub(crate) fn stop_job(&mut self, index: usize, key: &Key) {
        let life = self.workers[index].life;
        let Some(job) = self.workers[index].jobs.get_mut(key) else { return };
        if std::mem::replace(&mut job.stopping, true) {
            return;
        }
        let (wait, outcome) = if job.stubborn {
            let abandoned = Outcome::failure(pb::FailureClass::Interrupted, "ABANDONED", "did not stop");
            (STOP_GRACE, abandoned)
        } else if self.sources.jobs.happens(200) {
            // It was just done.
            (self.sources.jobs.between(1, 100), Outcome::Success { result: result(job.done) })
        } else {
            let stopped = Outcome::failure(pb::FailureClass::Transient, "STOPPED", "stopped");
            (self.sources.jobs.between(1, 2_000), stopped)
        };
        let key = key.clone();
        self.after(wait, Event::JobEnds { worker: index, life, key, outcome: Box::new(outcome) });
    }

    /// The judge hears what is reported, as the edge will read it.
    pub(crate) fn note_reports(&mut self, request: &pb::ReportResultsRequest) {
        for report in &request.reports {
            let Some(id) = RunId::parse(&report.run_id) else { continue };
            let read = message::report(Caller::default(), None, report);
            let done = |result: Option<&Struct>| {
                let value = result.and_then(|result| result.fields.get("done"));
                match value.and_then(|value| value.kind.as_ref()) {
                    Some(Number::NumberValue(number)) => *number,
                    _ => 0.0,
                }
            };
            let (class, done) = match (&read.outcome, &report.outcome) {
                (command::Reported::Success { .. }, Some(Reported::Success(success))) => {
                    (None, done(success.result.as_ref()))
                }
                (command::Reported::Failure { failure, .. }, _) => {
                    (Some(failure.class), done(report.partial_result.as_ref()))
                }
                (command::Reported::Success { .. }, _) => (Some(Class::Permanent), 0.0),
            };
            let invalid = read.invalid.is_some();
            let checkpoint = report.checkpoint.as_ref().filter(|_| class.is_some() && !invalid);
            let checkpoint = checkpoint.map(|bytes| bytes.to_vec());
            let done = if invalid { 0.0 } else { done };
            let said = Said { id, class, done, checkpoint, invalid };
            self.judge.runs.reported(report.lease_token as u64, said);
        }
    }

    // --- lies ------------------------------------------------------------------------------------------------

    fn lies(&mut self, index: usize, of: u64) -> bool {
        self.workers[index].liar && !self.calm && self.sources.lies.happens(of)
    }

    /// Another's run, under whatever token comes to mind.
    fn foreign(&mut self) -> Option<(String, i32, i64)> {
        let live: Vec<_> = self.judge.durable.runs.values().collect();
        if live.is_empty() {
            return None;
        }
        let run = live[self.sources.lies.roll(live.len() as u64) as usize];
        let token = *self.sources.lies.pick(&[0, 1, (self.store.epoch << 40) as i64 + 1, i64::MAX, -1]);
        Some((run.id.to_string(), run.attempt as i32, token))
    }

    pub(crate) fn twist_open(
        &mut self,
        index: usize,
        mut open: pb::StreamDueJobsRequest,
    ) -> pb::StreamDueJobsRequest {
        if self.lies(index, 100)
            && let Some((run_id, attempt, lease_token)) = self.foreign()
        {
            open.held.push(pb::HeldRun { run_id, attempt, lease_token, progress: None, checkpoint: None });
        }
        open
    }

    pub(crate) fn twist_beat(
        &mut self,
        index: usize,
        mut beat: pb::HeartbeatRequest,
    ) -> pb::HeartbeatRequest {
        if self.lies(index, 200) {
            match self.sources.lies.roll(5) {
                0 => drop(beat.held.pop()),
                1 => beat.received += self.sources.lies.between(0, 5) as i64 - 2,
                2 => beat.session_id = "nonsense".into(),
                3 => beat.slots = Some(self.sources.lies.roll(4) as i32),
                _ => {
                    if let Some((run_id, attempt, lease_token)) = self.foreign() {
                        let checkpoint = Some("a lie".into());
                        beat.held.push(pb::HeldRun {
                            run_id,
                            attempt,
                            lease_token,
                            progress: None,
                            checkpoint,
                        });
                    }
                }
            }
        }
        beat
    }

    pub(crate) fn twist_reports(
        &mut self,
        index: usize,
        mut request: pb::ReportResultsRequest,
    ) -> pb::ReportResultsRequest {
        if self.lies(index, 250) {
            match self.sources.lies.roll(6) {
                0 => request.reports.extend(request.reports.clone()),
                1 => request.reports[0].outcome = None,
                2 => request.reports[0].attempt += 1,
                3 => request.reports[0].run_id = "no such run".into(),
                4 => {
                    let much = "x".repeat(5_000);
                    let value = Value { kind: Some(Number::StringValue(much)) };
                    let fields = [("much".to_owned(), value)].into();
                    let success = pb::Success { result: Some(Struct { fields }) };
                    request.reports[0].outcome = Some(Reported::Success(success));
                }
                _ => {
                    if let Some((run_id, attempt, lease_token)) = self.foreign() {
                        let outcome = Some(Reported::Success(pb::Success { result: None }));
                        let (partial_result, checkpoint) = (None, None);
                        request.reports.push(pb::Report {
                            run_id,
                            attempt,
                            lease_token,
                            outcome,
                            partial_result,
                            checkpoint,
                        });
                    }
                }
            }
        }
        request
    }
}
