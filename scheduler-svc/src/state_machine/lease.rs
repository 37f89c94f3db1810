//! Sessions of workers, and the leases under which they run jobs.
//!
//! A lease lives by heartbeat, so its term is kept once per session, not once per run. Jobs that are still on their
//! way are the exception: until a heartbeat lists them they live from the moment they were sent.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    StateMachine,
    command::{Caller, Heartbeat, Held, OpenSession},
    id::{ReplyTo, RunId, SessionId},
    lost::Loss,
    output::{Action, Answer, Event, Order, Refusal},
    queue::LaneKey,
    run::{Phase, RunKey},
    timer::ElapsedTimer,
};
use crate::planted::{Bug, planted};

#[derive(Clone, Debug)]
pub struct Session {
    /// Who opened it; nobody else's heartbeats and reports are its own.
    pub caller: Arc<str>,
    pub worker_id: Arc<str>,
    pub instance: Arc<str>,
    pub version: Box<str>,
    pub kinds: Vec<Arc<str>>,
    pub namespaces: Option<Vec<Arc<str>>>,
    pub slots: u32,
    pub draining: bool,
    pub connected: bool,
    pub opened: i64,
    /// Last heartbeat, wall milliseconds.
    pub heard: i64,
    pub held: BTreeSet<RunKey>,
    /// The suspect among them (rule W7).
    pub(super) suspect: Option<RunKey>,
    /// Why it is over; its leases end a bounded number at a time.
    pub(super) ending: Option<&'static str>,
    /// Elapsed milliseconds at which the leases end.
    pub(super) lease_until: u64,
    /// When the timer of this session is set for.
    pub(super) timer: u64,
    /// Of the last message.
    pub(super) sequence: u64,
    /// Jobs that no heartbeat has confirmed: sequence, run and its token, when sent (elapsed).
    pub(super) in_flight: VecDeque<(u64, RunKey, u64, u64)>,
    /// Lanes that it takes, and whether it is in their line of sessions.
    pub(super) lanes: Vec<(LaneKey, bool)>,
    /// The message of jobs that this batch is filling: batch, index in the output, bytes.
    pub(super) filling: Option<(u64, usize, usize)>,
}

impl Session {
    pub(super) fn takes(&self, namespace: &Arc<str>, kind: &Arc<str>) -> bool {
        self.kinds.contains(kind)
            && self.namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
    }

    pub fn has_room(&self) -> bool {
        self.connected && !self.draining && self.held.len() < self.slots as usize
    }

    pub fn has_timer(&self, at: u64) -> bool {
        self.timer == at
    }

    /// When the first of its leases may end.
    pub(super) fn deadline(&self, term: u64) -> u64 {
        self.in_flight.front().map_or(self.lease_until, |(_, _, _, sent)| self.lease_until.min(sent + term))
    }
}

/// The namespace of archives that are every namespace's.
const EVERYWHERE: &str = "*";

impl StateMachine {
    pub(super) fn open_session(&mut self, to: ReplyTo, open: &OpenSession) {
        if let Err(refusal) = self.check_archive(open) {
            return self.refuse(to, refusal);
        }
        let (wall, elapsed) = (self.now.wall, self.now.elapsed);
        let lease_until = elapsed + self.config.lease;
        let session = Session {
            caller: self.name(&open.caller.name),
            worker_id: self.name(&open.worker_id),
            instance: open.instance.clone(),
            version: open.version.clone(),
            kinds: open.kinds.iter().map(|kind| self.name(kind)).collect(),
            namespaces: open.namespaces.as_ref().map(|all| all.iter().map(|one| self.name(one)).collect()),
            slots: open.slots,
            draining: open.draining,
            connected: true,
            opened: wall,
            heard: wall,
            held: BTreeSet::new(),
            suspect: None,
            ending: None,
            lease_until,
            timer: lease_until,
            sequence: 1,
            in_flight: VecDeque::new(),
            lanes: Vec::new(),
            filling: None,
        };
        self.timers.set(lease_until, ElapsedTimer::Session(open.session));
        let predecessors = self.predecessors(open);
        self.sessions.insert(open.session, session);
        let orders = open.held.iter().filter_map(|held| self.adopt(open, held)).collect();
        for predecessor in predecessors {
            self.end_session(predecessor, "it did not survive a reconnect");
        }
        self.requeue_unclaimed(open);
        self.join_lanes(open.session);
        self.emit(Event::WorkerJoined {
            worker_id: open.worker_id.clone(),
            session: open.session,
            slots: open.slots,
        });
        self.answer(to, Answer::Opened { epoch: self.epoch, orders });
    }

    /// A worker that files documents must file into the archive that its namespaces know (rule D3).
    fn check_archive(&mut self, open: &OpenSession) -> Result<(), Refusal> {
        let (Some(archive), true) =
            (&open.archive_id, open.kinds.iter().any(|kind| &**kind == "document-sync"))
        else {
            return Ok(());
        };
        let mut known: Vec<&Box<str>> = match &open.namespaces {
            // It serves every namespace, so every archive that is known has to be its own.
            None => self.archives.values().collect(),
            Some(namespaces) => namespaces.iter().filter_map(|one| self.archives.get(&**one)).collect(),
        };
        known.extend(self.archives.get(EVERYWHERE));
        if let Some(other) = known.into_iter().find(|known| *known != archive) {
            return Err(Refusal::ArchiveMismatch { known: other.clone() });
        }
        let everywhere = [EVERYWHERE.into()];
        for namespace in open.namespaces.as_deref().unwrap_or(&everywhere) {
            if self.archives.insert(String::from(&**namespace), archive.clone()).is_none() {
                self.meta_dirty = true;
            }
        }
        Ok(())
    }

    /// An archive that is configured takes the place of those that were known.
    pub(super) fn bind_archive(&mut self) {
        let Some(only) = self.config.archive else { return };
        let bound = BTreeMap::from([(EVERYWHERE.to_owned(), Box::from(only))]);
        if self.archives != bound {
            self.archives = bound;
            self.meta_pending = true;
        }
    }

    /// Sessions of the same process: its stream broke and this one takes their place.
    fn predecessors(&mut self, open: &OpenSession) -> Vec<SessionId> {
        let same =
            |session: &Session| session.worker_id == open.worker_id && session.caller == open.caller.name;
        let same_worker = self.sessions.iter().filter(|(_, session)| same(session));
        let (same, other): (Vec<_>, Vec<_>) =
            same_worker.partition(|(_, session)| session.instance == open.instance);
        let mut same: Vec<SessionId> = same.into_iter().map(|(id, _)| *id).collect();
        same.sort_unstable();
        if other.iter().any(|(_, session)| session.connected) {
            self.emit(Event::WorkerTwice { worker_id: open.worker_id.clone() });
        }
        same
    }

    /// Moves a lease that the worker says it holds to its new session, or says why not.
    fn adopt(&mut self, open: &OpenSession, held: &Held) -> Option<Order> {
        // A lease belongs to a process: another one with the same worker id does not inherit it.
        let own = |key: &RunKey| {
            let lease = self.runs[*key].lease();
            self.holds(*key, held)
                && lease.is_some_and(|lease| lease.instance == open.instance)
                && self.is_open_to(*key, &open.caller)
        };
        let Some(key) = self.run_of(held.id).filter(own) else {
            return Some(drop_order(held.id, held.attempt));
        };
        self.note_progress(key, held);
        let run = &mut self.runs[key];
        let cancelling = matches!(run.phase, Phase::Cancelling { .. });
        let suspect = run.suspect;
        let lease = run.lease_mut()?;
        let former = lease.session.replace(open.session);
        lease.sequence = 1;
        if let Some(former) = former.and_then(|former| self.sessions.get_mut(&former)) {
            former.held.remove(&key);
        }
        let session = self.sessions.get_mut(&open.session)?;
        session.held.insert(key);
        if suspect {
            session.suspect = Some(key);
        }
        cancelling.then(|| cancel_order(held.id, held.attempt))
    }

    /// Whether a run is within the caller's namespaces and kinds, and its lease not in another caller's session.
    pub(super) fn is_open_to(&self, key: RunKey, caller: &Caller) -> bool {
        let run = &self.runs[key];
        let (namespace, kind) = (&run.definition.key.namespace, &run.definition.task.kind);
        let session = run.lease().and_then(|lease| self.sessions.get(&lease.session?));
        caller.may_work(namespace, kind) && session.is_none_or(|session| session.caller == caller.name)
    }

    /// Whether `held` names the live lease of a run.
    fn holds(&self, key: RunKey, held: &Held) -> bool {
        let run = &self.runs[key];
        run.attempt == held.attempt && run.lease().is_some_and(|lease| lease.token == held.token)
    }

    /// After a restart of the scheduler: the process says what it holds, so whatever else was its own is lost.
    fn requeue_unclaimed(&mut self, open: &OpenSession) {
        if !self.has_orphans {
            return;
        }
        let unclaimed: Vec<RunKey> = self
            .runs
            .iter()
            .filter(|(_, run)| {
                run.lease().is_some_and(|lease| lease.session.is_none() && lease.instance == open.instance)
            })
            .map(|(key, _)| key)
            .collect();
        for key in unclaimed {
            self.lose(key, Loss::Delivery, "the worker did not receive it");
        }
    }

    pub(super) fn close_session(&mut self, id: SessionId) {
        let grace_until = self.now.elapsed + self.config.reconnect_grace;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.ending.is_none()) else {
            return;
        };
        session.connected = false;
        session.lease_until = session.lease_until.min(grace_until);
        let (until, timer) =
            (session.lease_until, std::mem::replace(&mut session.timer, session.lease_until));
        self.timers.clear(timer, ElapsedTimer::Session(id));
        self.timers.set(until, ElapsedTimer::Session(id));
    }

    pub(super) fn heartbeat(&mut self, to: ReplyTo, beat: &Heartbeat) {
        let term_until = self.now.elapsed + self.config.lease;
        let own = |session: &&mut Session| {
            session.ending.is_none()
                && session.caller == beat.caller.name
                && beat.worker_id.as_ref().is_none_or(|worker_id| *worker_id == session.worker_id)
        };
        let Some(session) = self.sessions.get_mut(&beat.session).filter(own) else {
            return self.answer(
                to,
                Answer::Heard { epoch: self.epoch, orders: Vec::new(), reopen: true, assigned: Vec::new() },
            );
        };
        session.heard = self.now.wall;
        if !planted(Bug::HeartbeatRenewsNothing) {
            session.lease_until = term_until;
        }
        session.draining |= beat.draining;
        if let Some(slots) = beat.slots {
            session.slots = slots;
        }
        let reopen = !session.connected;
        self.heartbeats += 1;
        let unknown = beat.unknown.iter().map(|(run_id, attempt)| Order {
            run_id: run_id.clone(),
            attempt: *attempt,
            action: Action::Drop,
            reason: "no such run".into(),
        });
        let mut orders: Vec<Order> = unknown.collect();
        orders.extend(beat.held.iter().filter_map(|held| self.confirm(beat.session, held)));
        self.requeue_lost(beat);
        self.offer(beat.session);
        let assigned = if beat.draining { self.assigned(beat.session) } else { Vec::new() };
        self.answer(to, Answer::Heard { epoch: self.epoch, orders, reopen, assigned });
    }

    fn confirm(&mut self, session: SessionId, held: &Held) -> Option<Order> {
        let own = |key: &RunKey| {
            let lease = self.runs[*key].lease();
            self.holds(*key, held) && lease.is_some_and(|lease| lease.session == Some(session))
        };
        let Some(key) = self.run_of(held.id).filter(own) else {
            return Some(drop_order(held.id, held.attempt));
        };
        self.note_progress(key, held);
        let heartbeats = self.heartbeats;
        let run = &mut self.runs[key];
        let cancelling = matches!(run.phase, Phase::Cancelling { .. });
        let lease = run.lease_mut()?;
        lease.seen = heartbeats;
        cancelling.then(|| cancel_order(held.id, held.attempt))
    }

    fn note_progress(&mut self, key: RunKey, held: &Held) {
        let run = &mut self.runs[key];
        if let Some(progress) = &held.progress {
            run.progress = Some(progress.clone());
        }
        if let Some(checkpoint) = &held.checkpoint
            && run.checkpoint.as_ref() != Some(checkpoint)
        {
            run.checkpoint = Some(checkpoint.clone());
            self.touch_run(key);
        }
    }

    /// Jobs sent up to `received` that the worker does not list never arrived (rule W3).
    fn requeue_lost(&mut self, beat: &Heartbeat) {
        if planted(Bug::UnlistedKept) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&beat.session) else { return };
        while session.in_flight.front().is_some_and(|(sequence, ..)| *sequence <= beat.received) {
            session.in_flight.pop_front();
        }
        let missing = session.held.iter().copied().filter(|key| {
            let lease = self.runs.get(*key).and_then(|run| run.lease());
            lease.is_some_and(|lease| lease.sequence <= beat.received && lease.seen != self.heartbeats)
        });
        for key in missing.collect::<Vec<_>>() {
            self.lose(key, Loss::Delivery, "the worker did not receive it");
        }
    }

    fn assigned(&self, session: SessionId) -> Vec<(RunId, u32, u64)> {
        let held = self.sessions.get(&session).into_iter().flat_map(|session| &session.held);
        held.filter_map(|key| {
            let run = self.runs.get(*key)?;
            Some((run.id, run.attempt, run.lease()?.token))
        })
        .collect()
    }
}

fn drop_order(id: RunId, attempt: u32) -> Order {
    let reason = "the run ended or was given to another attempt".into();
    Order { run_id: id.to_string(), attempt, action: Action::Drop, reason }
}

fn cancel_order(id: RunId, attempt: u32) -> Order {
    Order { run_id: id.to_string(), attempt, action: Action::Cancel, reason: "cancelled".into() }
}
