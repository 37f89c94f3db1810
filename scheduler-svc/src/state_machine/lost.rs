//! Attempts that end without an outcome: their worker is gone, or the job never reached it.
//!
//! A run whose worker is gone is a suspect from then on: it may have brought its worker down (rule W7). A suspect goes
//! only to a worker that has no other suspect, so when that one is lost too, there is one to blame. Three such losses
//! and the run has failed; its neighbours, lost with it, are not convicted.

use super::{
    StateMachine,
    failure::{Class, Failure},
    id::SessionId,
    output::Event,
    run::{Lease, RunKey},
    timer::ElapsedTimer,
};
use crate::planted::{Bug, planted};

/// After a gap this long in which the machine heard nothing, no worker is blamed for its silence (rule W4).
const DEAF_AFTER: u64 = 1_000;

/// What became of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is gone, and this run may be the reason.
    Worker,
    /// It never had the job.
    Delivery,
}

impl StateMachine {
    /// The timer of a session: ends what is over, and sets the timer for the rest.
    pub(super) fn session_timer(&mut self, id: SessionId) {
        let (term, now) = (self.config.lease, self.now.elapsed);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.ending.is_some() {
            return self.end_leases(id);
        }
        if session.lease_until <= now {
            return self.end_session(id, "its worker was not heard of");
        }
        let mut silent = Vec::new();
        while let Some((_, key, token, sent)) = session.in_flight.front().copied() {
            if sent + term > now {
                break;
            }
            session.in_flight.pop_front();
            silent.push((key, token));
        }
        session.timer = session.deadline(term);
        let timer = session.timer;
        self.timers.set(timer, ElapsedTimer::Session(id));
        let mut is_read = true;
        for (key, token) in silent {
            let lease = self.runs.get(key).and_then(|run| run.lease());
            let unseen = |lease: &Lease| (lease.session, lease.token, lease.seen) == (Some(id), token, 0);
            if lease.is_some_and(unseen) {
                self.lose(key, Loss::Delivery, "the worker did not confirm it");
                is_read = false;
            }
        }
        if !is_read {
            self.cut_stream(id);
        }
    }

    /// A session is over; what it still holds is lost, a bounded number at a time.
    pub(super) fn end_session(&mut self, id: SessionId, why: &'static str) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ending.is_none()) else {
            return;
        };
        session.ending = Some(why);
        session.connected = false;
        let (worker_id, runs) = (session.worker_id.clone(), session.held.len());
        let lanes: Vec<_> = std::mem::take(&mut session.lanes);
        for (lane, _) in lanes.into_iter().filter(|(_, in_line)| *in_line) {
            self.queue.withdraw(lane, id);
        }
        self.out.closed.push(id);
        self.emit(Event::WorkerLost { worker_id, session: id, runs });
        self.end_leases(id);
    }

    fn end_leases(&mut self, id: SessionId) {
        let bound = self.config.losses_per_turn;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.timers.clear(session.timer, ElapsedTimer::Session(id));
        let Some(why) = session.ending else { return };
        let lost: Vec<RunKey> = session.held.iter().copied().take(bound).collect();
        if planted(Bug::EndedSessionKeepsLeases) {
            session.held.clear();
            return;
        }
        for key in lost {
            self.lose(key, Loss::Worker, why);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.held.is_empty() {
            self.sessions.remove(&id);
            return;
        }
        // One millisecond on, so that other turns come in between.
        session.timer = self.now.elapsed + 1;
        let timer = session.timer;
        self.timers.set(timer, ElapsedTimer::Session(id));
    }

    /// Leases that were found at load and that no worker has claimed within a term.
    pub(super) fn end_orphans(&mut self) {
        if self.now.elapsed < self.lenient_until {
            return self.timers.set(self.lenient_until, ElapsedTimer::Orphans);
        }
        let orphans =
            self.runs.iter().filter(|(_, run)| run.lease().is_some_and(|lease| lease.session.is_none()));
        let orphans: Vec<RunKey> = orphans.map(|(key, _)| key).take(self.config.losses_per_turn).collect();
        self.has_orphans = orphans.len() == self.config.losses_per_turn;
        if self.has_orphans {
            self.timers.set(self.now.elapsed + 1, ElapsedTimer::Orphans);
        }
        for key in orphans {
            self.lose(key, Loss::Worker, "its worker did not come back after a restart of the scheduler");
        }
    }

    pub(super) fn lose(&mut self, key: RunKey, loss: Loss, why: &'static str) {
        let code = match loss {
            Loss::Worker => "WORKER_LOST",
            Loss::Delivery => "NOT_DELIVERED",
        };
        let run = &mut self.runs[key];
        let blamed = loss == Loss::Worker && run.suspect;
        run.suspect |= loss == Loss::Worker;
        self.attempt_over(key, Failure::new(Class::Lost, code, why), &Default::default(), blamed);
    }

    /// If the machine could not hear for a while, silence proves nothing: every lease gets a full term (rule W4).
    pub(super) fn forgive_deafness(&mut self, heard_last: u64) {
        let expected = heard_last.max(self.expected_call);
        if self.now.elapsed.saturating_sub(expected) < DEAF_AFTER || planted(Bug::DeafnessUnforgiven) {
            return;
        }
        let until = self.now.elapsed + self.config.lease;
        let now = self.now.elapsed;
        self.lenient_until = self.lenient_until.max(until);
        for session in self.sessions.values_mut() {
            session.lease_until = session.lease_until.max(until);
            for (.., sent) in &mut session.in_flight {
                *sent = now;
            }
        }
    }
}
