//! Runs from ready to final: what reports, losses, time and cancellation do to them.

use bytes::Bytes;

use super::{
    StateMachine,
    command::{Report, Reported},
    failure::{Class, Failure, Next},
    id::{ReplyTo, RunId},
    output::{Answer, Event, Receipt},
    partial,
    run::{Finished, Lease, Outcome, Phase, RunKey},
    schedule::{Pause, PauseReason, SlotKey, Status},
    timer::ElapsedTimer,
    view::{RunView, ScheduleView},
};
use crate::{
    planted::{Bug, planted},
    store::key::Name,
};

/// After it is asked to stop, an attempt gets this long before its lease is ended.
const CANCEL_GRACE: u64 = 60_000;

impl StateMachine {
    pub(super) fn report(&mut self, to: ReplyTo, reports: &[Report]) {
        let receipts = reports.iter().map(|report| self.take_report(report)).collect();
        self.answer(to, Answer::Reported(receipts));
    }

    fn take_report(&mut self, report: &Report) -> Receipt {
        let Some(id) = report.id else { return Receipt::Forgotten };
        if report.token == 0 {
            return Receipt::Stale("no lease has this token");
        }
        let Some(key) = self.run_of(id) else { return self.late_report(id, report) };
        if !self.is_open_to(key, &report.caller) {
            return Receipt::Forgotten;
        }
        let run = &self.runs[key];
        if run.last_token == report.token {
            return Receipt::Repeated;
        }
        let current =
            run.lease().is_some_and(|lease| lease.token == report.token) && run.attempt == report.attempt;
        // A report of a lost attempt is welcome until the run has been given to another one (rule W6).
        let late = run.lease().is_none() && run.lost_token == report.token;
        if !current && !late && !planted(Bug::StaleTokenAccepted) || late && planted(Bug::LateOutcomeRefused)
        {
            return Receipt::Stale("the run has been given to another attempt");
        }
        let holder =
            run.lease().map(|lease| &lease.worker_id).or(run.attempts.last().map(|last| &last.worker_id));
        if report.worker_id.as_ref().is_some_and(|worker_id| Some(worker_id) != holder) {
            return Receipt::Stale("the lease is another worker's");
        }
        if planted(Bug::ReceiptWithoutEffect) {
            return Receipt::Accepted { next_attempt: None };
        }
        self.runs[key].last_token = report.token;
        let mut invalid = report.invalid.clone();
        let next_attempt = match &report.outcome {
            Reported::Success { result } => {
                let result = partial::add(&self.runs[key].partial, result);
                self.end_attempt(key, None);
                self.finish(key, Outcome::Succeeded, result, None);
                None
            }
            Reported::Failure { failure, partial, checkpoint } => {
                if let Some(checkpoint) = checkpoint.as_ref().filter(|_| !planted(Bug::CheckpointForgotten)) {
                    self.runs[key].checkpoint = Some(checkpoint.clone());
                }
                invalid = invalid.or(self.hear_throttled(key, report.token, failure));
                self.attempt_failed(key, (**failure).clone(), partial)
            }
        };
        match invalid {
            Some(why) => Receipt::Invalid(why),
            None => Receipt::Accepted { next_attempt },
        }
    }

    fn late_report(&self, id: RunId, report: &Report) -> Receipt {
        let known = self.slot_of(id.uid).map(|slot| &self.schedules[slot]).filter(|schedule| {
            let (namespace, kind) = (&schedule.definition.key.namespace, &schedule.definition.task.kind);
            report.caller.may_work(namespace, kind)
        });
        let last = known.and_then(|schedule| schedule.past().last_run);
        let same = last.is_some_and(|last| {
            (last.trigger, last.nominal, last.token) == (id.trigger, id.nominal, report.token)
        });
        if same { Receipt::Repeated } else { Receipt::Forgotten }
    }

    /// An attempt ended without success. Returns when the next one may begin, if there is one.
    pub(super) fn attempt_failed(&mut self, key: RunKey, failure: Failure, partial: &Bytes) -> Option<i64> {
        // Its worker has lived to tell.
        self.runs[key].suspect = false;
        self.attempt_over(key, failure, partial, false)
    }

    /// `blamed`: whether the loss of its worker counts against the run (rule W7).
    pub(super) fn attempt_over(
        &mut self,
        key: RunKey,
        failure: Failure,
        partial: &Bytes,
        blamed: bool,
    ) -> Option<i64> {
        let run = &mut self.runs[key];
        if !planted(Bug::PartialsForgotten) {
            run.partial = partial::add(&run.partial, partial);
        }
        let cancelling = matches!(run.phase, Phase::Cancelling { .. })
            && !(planted(Bug::CancelForgottenAtLoss) && failure.class == Class::Lost);
        let lost_token = run.lease().map(|lease| lease.token).filter(|_| failure.class == Class::Lost);
        run.lost_token = lost_token.unwrap_or(run.lost_token);
        let (retry, jitter) = (run.definition.retry, run.jitter());
        let counted = self.counted_as(key, failure.class);
        let next = self.runs[key].budget.spend(counted, failure.retry_after, &retry, jitter, blamed);
        self.end_attempt(key, Some(&failure));
        if cancelling || failure.class == Class::Cancelled {
            self.finish_with(key, Outcome::Cancelled, failure);
            return None;
        }
        if next != Next::Final && self.schedules[self.runs[key].schedule].status == Status::Deleted {
            // Nothing of a deleted schedule is assigned again (rule R4).
            let text = format!("its schedule was deleted; the last attempt: {}", failure.message);
            self.finish_with(key, Outcome::Cancelled, Failure::new(Class::Cancelled, "CANCELLED", text));
            return None;
        }
        match next {
            Next::Final => {
                self.finish_with(key, Outcome::Failed, failure);
                None
            }
            Next::Again => {
                self.runs[key].failure = Some(Box::new(failure));
                self.make_ready(key);
                self.emit_retrying(key);
                Some(self.now.wall)
            }
            Next::After(wait) => {
                self.runs[key].failure = Some(Box::new(failure));
                self.back_off(key, wait);
                self.emit_retrying(key);
                Some(self.now.wall + wait)
            }
        }
    }

    fn emit_retrying(&mut self, key: RunKey) {
        let run = Box::new(self.told_view(key));
        self.emit(Event::Retrying { run, at: self.now.wall });
    }

    /// A revoked consent counts as a passing failure if the user acted after the attempt began: it says nothing about
    /// what holds now (rule R5).
    fn counted_as(&self, key: RunKey, class: Class) -> Class {
        let run = &self.runs[key];
        let before_user = run.last_token <= self.schedules[run.schedule].acted;
        if class == Class::Reauthorize && before_user { Class::Transient } else { class }
    }

    fn finish_with(&mut self, key: RunKey, outcome: Outcome, failure: Failure) {
        let result = self.runs[key].partial.clone();
        self.finish(key, outcome, result, Some(Box::new(failure)));
    }

    /// Takes the lease off a run, if it has one.
    pub(super) fn end_attempt(&mut self, key: RunKey, failure: Option<&Failure>) {
        let at = self.now.wall;
        self.leave_phase(key);
        let run = &mut self.runs[key];
        let (Phase::Running(lease) | Phase::Cancelling { lease, .. }) =
            std::mem::replace(&mut run.phase, Phase::Ready(None))
        else {
            return;
        };
        let Lease { session, worker_id, start, timer, .. } = lease;
        run.note_attempt(worker_id.clone(), start, at, failure.cloned().map(Box::new));
        let event = Event::AttemptEnded {
            id: run.id,
            definition: run.definition.clone(),
            attempt: run.attempt,
            worker_id,
            start,
            at,
            failure: failure.cloned().map(Box::new),
        };
        self.timers.clear(timer, ElapsedTimer::Attempt(key));
        self.touch_run(key);
        self.free_slot(session, key);
        if !(planted(Bug::PermitLeakedAtLoss) && failure.is_some_and(|it| it.class == Class::Lost)) {
            self.free_permits(key);
        }
        self.emit(event);
    }

    /// Takes a waiting run out of the queue or its backoff; leases are `end_attempt`'s.
    pub(super) fn leave_phase(&mut self, key: RunKey) {
        match &mut self.runs[key].phase {
            Phase::Ready(ticket) => {
                if let Some(ticket) = ticket.take() {
                    self.queue.remove(&ticket);
                }
            }
            Phase::Backoff { timer, .. } => {
                let timer = *timer;
                self.timers.clear(timer, ElapsedTimer::Backoff(key));
            }
            Phase::Behind | Phase::Running(_) | Phase::Cancelling { .. } => {}
        }
        self.clear_queue_timer(key);
    }

    pub(super) fn clear_queue_timer(&mut self, key: RunKey) {
        if let Some(at) = self.queue_timers.remove(&key) {
            self.timers.clear(at, ElapsedTimer::Queue(key));
        }
    }

    /// Into the queue, at its own place; held back while the schedule is paused.
    pub(super) fn make_ready(&mut self, key: RunKey) {
        let run = &self.runs[key];
        let ticket = match self.schedules[run.schedule].status {
            Status::Paused | Status::Quarantined => None,
            Status::Active | Status::Ended | Status::Deleted => {
                let definition = run.definition.clone();
                let (namespace, kind) = (&definition.key.namespace, &definition.task.kind);
                let lane = self.queue.find(namespace, kind).unwrap_or_else(|| {
                    let lane = self.queue.lane(namespace, kind);
                    self.open_lane(lane, namespace, kind);
                    lane
                });
                Some(self.enqueue(lane, key))
            }
        };
        if ticket.is_some() {
            self.arm_queue_timeout(key);
        }
        self.runs[key].phase = Phase::Ready(ticket);
        self.touch_run(key);
    }

    /// A run may wait so long for its first attempt, not counting what a pause holds it back.
    fn arm_queue_timeout(&mut self, key: RunKey) {
        let run = &self.runs[key];
        let timeout = i64::from(run.definition.task.queue_timeout);
        if timeout == 0 || run.attempt > 0 || self.queue_timers.contains_key(&key) {
            return;
        }
        let since = run.created.max(self.schedules[run.schedule].updated);
        let left = since.saturating_add(timeout).saturating_sub(self.now.wall).clamp(0, timeout);
        let at = self.now.elapsed + left.unsigned_abs();
        self.timers.set(at, ElapsedTimer::Queue(key));
        self.queue_timers.insert(key, at);
    }

    pub(super) fn back_off(&mut self, key: RunKey, wait: i64) {
        if planted(Bug::BackoffSkipped) {
            return self.make_ready(key);
        }
        let timer = self.now.elapsed + wait.unsigned_abs();
        self.runs[key].phase = Phase::Backoff { until: self.now.wall + wait, timer };
        self.timers.set(timer, ElapsedTimer::Backoff(key));
        self.touch_run(key);
    }

    pub(super) fn backoff_over(&mut self, key: RunKey) {
        self.make_ready(key);
    }

    /// The worker did not keep the attempt's time, or did not stop when asked.
    pub(super) fn attempt_timer(&mut self, key: RunKey) {
        if self.now.elapsed < self.lenient_until {
            // Its report may be among what was not heard yet.
            let at = self.lenient_until;
            if let Some(lease) = self.runs[key].lease_mut() {
                lease.timer = at;
                self.timers.set(at, ElapsedTimer::Attempt(key));
            }
            return;
        }
        if matches!(self.runs[key].phase, Phase::Cancelling { .. }) {
            let text = format!("the worker did not stop within {} s", CANCEL_GRACE / 1000);
            let failure = Failure::new(Class::Cancelled, "CANCEL_TIMEOUT", text);
            self.attempt_failed(key, failure, &Bytes::new());
            return;
        }
        let timeout = self.runs[key].definition.task.timeout / 1000;
        let failure = Failure::new(
            Class::Timeout,
            "ATTEMPT_TIMEOUT",
            format!("the attempt took longer than {timeout} s"),
        );
        self.attempt_failed(key, failure, &Bytes::new());
    }

    pub(super) fn queue_timer(&mut self, key: RunKey) {
        self.queue_timers.remove(&key);
        let waited = self.runs[key].definition.task.queue_timeout / 1000;
        let text = format!("no worker took the run within {waited} s (task.queue_timeout)");
        self.leave_phase(key);
        self.finish_with(key, Outcome::Failed, Failure::new(Class::Timeout, "QUEUE_TIMEOUT", text));
    }

    /// Ends a run that waits, or asks the worker that has it to stop.
    pub(super) fn cancel(&mut self, key: RunKey, note: &str) {
        let now = self.now.elapsed;
        let run = &mut self.runs[key];
        let (id, attempt) = (run.id, run.attempt);
        if let Phase::Running(lease) = &mut run.phase {
            let session = lease.session;
            let timer = std::mem::replace(&mut lease.timer, now + CANCEL_GRACE);
            run.phase = Phase::Cancelling { lease: lease.clone(), note: note.into() };
            self.timers.clear(timer, ElapsedTimer::Attempt(key));
            self.timers.set(now + CANCEL_GRACE, ElapsedTimer::Attempt(key));
            self.touch_run(key);
            if let Some(session) = session {
                self.push_cancel(session, id, attempt, note);
            }
        } else if matches!(run.phase, Phase::Behind | Phase::Ready(_) | Phase::Backoff { .. }) {
            self.end_waiting(key, Failure::new(Class::Cancelled, "CANCELLED", note));
        }
    }

    /// Cancels a run that no worker has.
    pub(super) fn end_waiting(&mut self, key: RunKey, failure: Failure) {
        if !self.runs[key].decided {
            self.decide_behind(self.runs[key].schedule);
        }
        self.leave_phase(key);
        self.finish_with(key, Outcome::Cancelled, failure);
    }

    /// The end of a run: its record goes to a ring of its schedule, and it is gone from here.
    pub(super) fn finish(
        &mut self,
        key: RunKey,
        outcome: Outcome,
        result: Bytes,
        failure: Option<Box<Failure>>,
    ) {
        self.clear_queue_timer(key);
        self.leave_gates(key);
        let run = self.runs.remove(key);
        self.untally(run.tallied.as_ref());
        let slot = run.schedule;
        let worker_id =
            run.attempts.last().map_or_else(|| self.name(&"".into()), |last| last.worker_id.clone());
        let finished = Finished {
            id: run.id,
            generation: run.generation,
            due: run.due,
            outcome,
            attempt: run.attempt,
            attempts: run.attempts,
            start: run.first_start,
            finish: self.now.wall,
            result,
            failure,
            worker_id,
        };
        if run.stored {
            self.delete(&Name::Run(run.id));
        }
        self.schedules[slot].past_mut().live.retain(|live| *live != key);
        self.totals.count(outcome);
        self.pace.note(&run.definition, &finished);
        self.keep_history(slot, &finished, run.last_token);
        self.forget_generation(slot, run.generation);
        let pause = self.pause_after(slot, &finished, run.last_token);
        if !run.waiters.is_empty() {
            let schedule = Box::new(ScheduleView::of(&self.schedules[slot], self.active_runs(slot)));
            for to in run.waiters {
                let finished = Some(Box::new(finished.clone()));
                let view = RunView::Final { id: run.id, schedule: schedule.clone(), finished };
                self.answer(to, Answer::Run(Box::new(view)));
            }
        }
        self.emit(Event::Finished { definition: run.definition, finished: Box::new(finished) });
        if let Some((reason, note)) = pause {
            self.pause_by_itself(slot, reason, note);
        }
        self.advance(slot);
        self.remove_if_over(slot);
    }

    /// A revoked consent pauses at once, a row of failures if the user wants it.
    fn pause_after(&self, slot: SlotKey, finished: &Finished, token: u64) -> Option<(PauseReason, Box<str>)> {
        let failure = finished.failure.as_ref().filter(|_| finished.outcome == Outcome::Failed)?;
        let schedule = &self.schedules[slot];
        let limit = schedule.definition.pause_after_failures;
        if planted(Bug::ReauthorizeIgnored) && failure.class == Class::Reauthorize {
            None
        } else if failure.class == Class::Reauthorize && token > schedule.acted {
            Some((PauseReason::Reauthorize, failure.message.clone()))
        } else if limit > 0 && schedule.past().failures >= limit && schedule.pause().is_none() {
            Some((PauseReason::Failures, format!("{} runs failed in a row", schedule.past().failures).into()))
        } else {
            None
        }
    }

    fn pause_by_itself(&mut self, slot: SlotKey, reason: PauseReason, note: Box<str>) {
        if self.schedules[slot].status == Status::Active {
            // What was due before the pause is not the pause's to skip.
            self.fire_due(slot);
        }
        let actor = self.own_name();
        self.pause(slot, Pause { reason, note, actor, time: self.now.wall, until: None });
    }
}
