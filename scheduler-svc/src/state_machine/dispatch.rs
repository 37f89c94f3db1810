//! Hands ready runs to sessions with free slots, and carries messages to them.

use std::sync::Arc;

use super::{
    StateMachine,
    gate::{Doorkeeper, GateKey},
    id::{RunId, SessionId},
    lease::Session,
    output::{Body, Event, Job, Message},
    poison,
    quarantine::Handling,
    queue::{LaneKey, Place, Room, Ticket},
    run::{Lease, Phase, RunKey},
    timer::ElapsedTimer,
};
use crate::planted::{Bug, planted};

/// Bytes of one message of jobs, roughly.
const MESSAGE_BYTES: usize = 1 << 20;
/// Runs that one turn looks at, for each assignment that it may make.
const LOOKS_PER_ASSIGNMENT: usize = 4;

impl StateMachine {
    pub(super) fn join_lanes(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let lanes = self.queue.lanes().filter(|(_, lane)| session.takes(&lane.namespace, &lane.kind));
        session.lanes = lanes.map(|(key, _)| (key, false)).collect();
        // A session takes one suspect, from whichever lane comes first: not always the same, else those of another kind
        // would wait as long as there are any of the first.
        let first = id.0 % session.lanes.len().max(1) as u64;
        session.lanes.rotate_left(first as usize);
        self.offer(id);
    }

    /// A lane was made: sessions that take it join.
    pub(super) fn open_lane(&mut self, lane: LaneKey, namespace: &Arc<str>, kind: &Arc<str>) {
        let takers = self.sessions.iter_mut().filter(|(_, session)| session.takes(namespace, kind));
        let mut takers: Vec<SessionId> = takers
            .map(|(id, session)| {
                session.lanes.push((lane, false));
                *id
            })
            .collect();
        // The map's order is chance; what the machine does must not be.
        takers.sort_unstable();
        for id in takers {
            self.offer(id);
        }
    }

    /// Puts a session with a free slot into the lines of its lanes.
    pub(super) fn offer(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.has_room()) else { return };
        for (lane, in_line) in &mut session.lanes {
            if std::mem::replace(in_line, true) {
                self.queue.reoffer(*lane);
            } else {
                self.queue.offer(*lane, id);
            }
        }
    }

    /// Puts a run that is ready into its lane, or under the gates that keep it back.
    pub(super) fn enqueue(&mut self, lane: LaneKey, key: RunKey) -> Ticket {
        let run = &self.runs[key];
        let definition = run.definition.clone();
        let priority = if planted(Bug::PriorityIgnored) { 5 } else { definition.priority };
        let place = Place(priority, run.arrival);
        let suspect = self.is_suspect(key);
        if definition.limits.is_empty() {
            return self.queue.push(lane, &definition.tenant, place, key, suspect, &[]);
        }
        self.gates.enter(key, &definition);
        let shut: Vec<GateKey> = self.gates.blocks(key, self.now.elapsed).map(|(gate, _)| gate).collect();
        let ticket = self.queue.push(lane, &definition.tenant, place, key, suspect, &shut);
        for gate in shut {
            self.settle_gate(gate);
        }
        ticket
    }

    /// Whether the run may go only to a worker that has no other such run (rule W7). Must not change between the
    /// queue and the assignment.
    fn is_suspect(&self, key: RunKey) -> bool {
        self.runs[key].suspect && !planted(Bug::SuspectsShareWorkers)
    }

    /// Hands out runs that are ready. Returns whether it stopped at its bound.
    pub(super) fn dispatch(&mut self) -> bool {
        let mut steps = self.config.assignments_per_turn * LOOKS_PER_ASSIGNMENT;
        for _ in 0..self.config.assignments_per_turn {
            let mut dropped = Vec::new();
            let sessions = &self.sessions;
            let mut doors = Doorkeeper::new(&self.gates, &self.runs, self.now.elapsed);
            let next = self.queue.next(
                |id| sessions.get(&id).map_or(Room::None, Session::room),
                |id, lane| dropped.push((id, lane)),
                &mut doors,
                &mut steps,
            );
            for gate in doors.found_shut {
                self.settle_gate(gate);
            }
            for (id, lane) in dropped {
                let lanes = self.sessions.get_mut(&id).into_iter().flat_map(|session| &mut session.lanes);
                lanes.filter(|(key, _)| *key == lane).for_each(|(_, in_line)| *in_line = false);
            }
            let Some((run, session)) = next else { return steps == 0 };
            self.assign(run, session);
        }
        true
    }

    fn assign(&mut self, key: RunKey, id: SessionId) {
        self.next_token += 1;
        let (token, now) = (self.next_token, self.now);
        let suspect = self.is_suspect(key);
        self.handling = Handling::HandOut(key);
        poison::trip(poison::At::HandOut, &self.runs[key].definition.key.id);
        let run = &mut self.runs[key];
        let Some(session) = self.sessions.get_mut(&id) else { return };
        run.attempt += 1;
        run.lost_token = 0;
        run.first_start.get_or_insert(now.wall);
        run.progress = None;
        session.held.insert(key);
        if suspect {
            session.suspect = Some(key);
        }
        let job = Job {
            id: run.id,
            definition: run.definition.clone(),
            due: run.due,
            attempt: run.attempt,
            token,
            checkpoint: run.checkpoint.clone(),
        };
        let sequence = session.send_job(&mut self.out.messages, self.batch, id, job, self.config.max_batch);
        session.in_flight.push_back((sequence, key, token, now.elapsed));
        // The worker keeps the time; this is for one that does not.
        let timer = now.elapsed + u64::from(run.definition.task.timeout) + self.config.lease;
        run.phase = Phase::Running(Lease {
            session: Some(id),
            worker_id: session.worker_id.clone(),
            instance: session.instance.clone(),
            token,
            sequence,
            seen: 0,
            start: now.wall,
            timer,
        });
        self.timers.set(timer, ElapsedTimer::Attempt(key));
        self.clear_queue_timer(key);
        if !self.runs[key].definition.limits.is_empty() {
            self.gates.start(key, now.elapsed);
        }
        self.touch_run(key);
        let run = Box::new(self.told_view(key));
        self.emit(Event::Started { run, at: now.wall });
    }

    /// Tells the worker to stop a run, if it is connected; heartbeats repeat it.
    pub(super) fn push_cancel(&mut self, id: SessionId, run: RunId, attempt: u32, reason: &str) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.connected) else { return };
        session.sequence += 1;
        session.filling = None;
        let body = Body::Cancel { id: run, attempt, reason: reason.into() };
        self.out.messages.push((id, Message { sequence: session.sequence, body }));
    }

    /// A worker that is heard but does not read its stream would be sent job after job into a queue that only grows
    /// (rule W10). It is told to reconnect; what it holds it keeps.
    pub(super) fn cut_stream(&mut self, id: SessionId) {
        self.close_session(id);
        self.out.closed.push(id);
    }

    /// A lease is over: its slot is free.
    pub(super) fn free_slot(&mut self, session: Option<SessionId>, key: RunKey) {
        let Some(id) = session else { return };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.held.remove(&key);
            session.suspect.take_if(|suspect| *suspect == key);
            self.offer(id);
        }
    }
}

impl Session {
    /// What it may be given now. One that has a suspect has [`Room::Ordinary`] (rule W7).
    fn room(&self) -> Room {
        match (self.has_room(), self.suspect) {
            (false, _) => Room::None,
            (true, Some(_)) => Room::Ordinary,
            (true, None) => Room::Any,
        }
    }

    /// Adds to the message that this batch is filling, or begins one. Returns its sequence.
    fn send_job(
        &mut self,
        messages: &mut Vec<(SessionId, Message)>,
        batch: u64,
        id: SessionId,
        job: Job,
        max_batch: usize,
    ) -> u64 {
        let bytes = 512 + job.definition.input.size() + job.checkpoint.as_ref().map_or(0, |c| c.len());
        if let Some((of, index, filled)) = self.filling.filter(|(of, ..)| *of == batch)
            && let Body::Jobs(jobs) = &mut messages[index].1.body
            && jobs.len() < max_batch
            && filled + bytes <= MESSAGE_BYTES
        {
            jobs.push(job);
            self.filling = Some((of, index, filled + bytes));
            return self.sequence;
        }
        self.sequence += 1;
        self.filling = Some((batch, messages.len(), bytes));
        messages.push((id, Message { sequence: self.sequence, body: Body::Jobs(vec![job]) }));
        self.sequence
    }
}
