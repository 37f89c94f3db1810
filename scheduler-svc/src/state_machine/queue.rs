//! Who is next: runs that are ready, by lane, and the sessions that could take them.
//!
//! A lane is one kind in one namespace. Within a lane, tenants share by round robin over what they may start; within a
//! tenant, priority orders, then arrival (rule R7). Lanes take turns too, and so do the sessions of a lane, so no run,
//! tenant or worker waits behind a crowd. Runs that a gate keeps back are set aside under it and looked at again when
//! it opens ([`waiting`] says how), so each hand-out costs a logarithm of what waits, however much of it is blocked.
//!
//! Suspects (rule W7) are kept apart from other runs in the same order: a session that may not take one is asked for
//! with [`Room::Ordinary`] and passes all of them at once.

mod waiting;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use smallvec::SmallVec;

use super::{gate::GateKey, id::SessionId, run::RunKey};
use waiting::{TenantKey, Waiting};

pub type LaneKey = usize;

/// What the queue asks of the gates.
pub trait Doors {
    /// Whether the gate lets nobody pass now.
    fn is_shut(&mut self, gate: GateKey) -> bool;
    /// The first gate that keeps this run back now.
    fn refuses(&mut self, run: RunKey) -> Option<GateKey>;
}

/// What a session has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    None,
    /// Anything but a suspect.
    Ordinary,
    Any,
}

#[derive(Clone, Debug, Default)]
pub struct Queue {
    lanes: Vec<Lane>,
    by_name: HashMap<(Arc<str>, Arc<str>), LaneKey>,
    /// Lanes with a run that may start and a session, each once.
    turns: VecDeque<LaneKey>,
    arrivals: u64,
    /// Lanes that may have a line before the gate.
    lined: HashMap<GateKey, SmallVec<[LaneKey; 1]>>,
    /// Looks at runs, since the machine was made.
    looks: u64,
}

#[derive(Clone, Debug)]
pub struct Lane {
    pub namespace: Arc<str>,
    pub kind: Arc<str>,
    waiting: Waiting,
    /// May hold sessions that have no slot any more; they are left out when their turn comes.
    sessions: VecDeque<SessionId>,
    has_turn: bool,
}

/// Priority, then arrival. No two runs have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u8, pub u64);

/// Where a run waits; needed to take it out again.
#[derive(Clone, Debug)]
pub struct Ticket {
    lane: LaneKey,
    tenant: TenantKey,
    place: Place,
    run: RunKey,
    suspect: bool,
}

impl Queue {
    /// The lane of a kind, made on first use.
    pub fn lane(&mut self, namespace: &Arc<str>, kind: &Arc<str>) -> LaneKey {
        let name = (namespace.clone(), kind.clone());
        if let Some(lane) = self.by_name.get(&name) {
            return *lane;
        }
        let key = self.lanes.len();
        self.lanes.push(Lane {
            namespace: namespace.clone(),
            kind: kind.clone(),
            waiting: Waiting::default(),
            sessions: VecDeque::new(),
            has_turn: false,
        });
        self.by_name.insert(name, key);
        key
    }

    pub fn find(&self, namespace: &Arc<str>, kind: &Arc<str>) -> Option<LaneKey> {
        self.by_name.get(&(namespace.clone(), kind.clone())).copied()
    }

    /// Runs of a lane that a gate has refused.
    pub fn refused(&self, lane: LaneKey) -> u64 {
        self.lanes[lane].waiting.refused() as u64
    }

    pub fn lanes(&self) -> impl Iterator<Item = (LaneKey, &Lane)> {
        self.lanes.iter().enumerate()
    }

    /// A number above all that were given before. A run keeps its own for life, so that one that comes back stands
    /// before all that arrived after it, and several that come back keep their order.
    pub fn arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    #[cfg(test)]
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// `place` must not be taken: arrivals are each run's own. `gates` are those that keep the run back now.
    pub fn push(
        &mut self,
        lane: LaneKey,
        tenant: &Arc<str>,
        place: Place,
        run: RunKey,
        suspect: bool,
        gates: &[GateKey],
    ) -> Ticket {
        let tenant = self.lanes[lane].waiting.push(tenant, place, run, suspect, gates);
        self.note_lines(lane);
        self.give_turn(lane);
        Ticket { lane, tenant, place, run, suspect }
    }

    pub fn remove(&mut self, ticket: &Ticket) {
        let Ticket { lane, tenant, place, run, suspect } = *ticket;
        self.lanes[lane].waiting.remove(tenant, place, run, suspect);
    }

    /// Says that a session has a free slot for a lane. The caller says so once until `next` has dropped it.
    pub fn offer(&mut self, lane: LaneKey, session: SessionId) {
        self.lanes[lane].sessions.push_back(session);
        self.give_turn(lane);
    }

    /// A session that is in the lane's line has room for more than it had.
    pub fn reoffer(&mut self, lane: LaneKey) {
        self.give_turn(lane);
    }

    /// A session has ended.
    pub fn withdraw(&mut self, lane: LaneKey, session: SessionId) {
        self.lanes[lane].sessions.retain(|other| *other != session);
    }

    // --- gates -----------------------------------------------------------------------------------------------

    /// The gate lets runs pass again: those that wait before it may be next.
    pub fn open(&mut self, gate: GateKey) {
        let Some(mut lanes) = self.lined.remove(&gate) else { return };
        lanes.retain(|lane| self.lanes[*lane].waiting.open(gate));
        for lane in &lanes {
            self.give_turn(*lane);
        }
        if !lanes.is_empty() {
            self.lined.insert(gate, lanes);
        }
    }

    pub fn waits_at(&self, gate: GateKey) -> bool {
        let lanes = self.lined.get(&gate);
        lanes.is_some_and(|lanes| lanes.iter().any(|lane| self.lanes[*lane].waiting.waits_at(gate)))
    }

    /// Nobody needs the gate any more.
    pub fn forget(&mut self, gate: GateKey) {
        self.lined.remove(&gate);
    }

    fn note_lines(&mut self, lane: LaneKey) {
        for gate in self.lanes[lane].waiting.lined.drain(..) {
            let lanes = self.lined.entry(gate).or_default();
            if !lanes.contains(&lane) {
                lanes.push(lane);
            }
        }
    }

    // --- handing out -----------------------------------------------------------------------------------------

    fn give_turn(&mut self, key: LaneKey) {
        let lane = &mut self.lanes[key];
        if !lane.has_turn && !lane.sessions.is_empty() && lane.waiting.has_open() {
            lane.has_turn = true;
            self.turns.push_back(key);
        }
    }

    /// The next run and the session that gets it. `room` says what a session has room for; one that has none is
    /// dropped from the lane through `dropped`. When `steps` are used up there may be more.
    pub fn next(
        &mut self,
        room: impl Fn(SessionId) -> Room,
        mut dropped: impl FnMut(SessionId, LaneKey),
        doors: &mut impl Doors,
        steps: &mut usize,
    ) -> Option<(RunKey, SessionId)> {
        while let Some(key) = self.turns.pop_front() {
            let before = *steps;
            let lane = &mut self.lanes[key];
            lane.has_turn = false;
            let found = lane.hand_out(&room, |session| dropped(session, key), doors, steps);
            self.looks += (before - *steps) as u64;
            self.note_lines(key);
            if found.is_some() {
                self.give_turn(key);
                return found;
            }
            if *steps == 0 {
                self.lanes[key].has_turn = true;
                self.turns.push_front(key);
                return None;
            }
        }
        None
    }
}

impl Lane {
    fn hand_out(
        &mut self,
        room: impl Fn(SessionId) -> Room,
        mut dropped: impl FnMut(SessionId),
        doors: &mut impl Doors,
        steps: &mut usize,
    ) -> Option<(RunKey, SessionId)> {
        for _ in 0..self.sessions.len() {
            let session = self.sessions.pop_front()?;
            let room = room(session);
            if room == Room::None {
                dropped(session);
                continue;
            }
            let run = self.waiting.pick(room == Room::Any, doors, steps);
            if run.is_none() && room == Room::Any {
                // What nobody may start is no reason to lose the session's turn.
                self.sessions.push_front(session);
                return None;
            }
            self.sessions.push_back(session);
            if run.is_some() || *steps == 0 {
                return run.map(|run| (run, session));
            }
        }
        None
    }

    pub fn runs(&self) -> impl Iterator<Item = RunKey> {
        self.waiting.runs()
    }

    /// For [`super::check`]: gates whose line is shut, and what is known of runs that gates have refused.
    pub fn shut(&self) -> impl Iterator<Item = GateKey> {
        self.waiting.shut()
    }

    pub fn grouped(&self) -> impl Iterator<Item = (RunKey, &[GateKey])> {
        self.waiting.grouped()
    }
}

#[cfg(test)]
mod tests;
