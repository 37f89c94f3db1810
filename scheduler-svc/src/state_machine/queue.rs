//! Who is next: runs that are ready, by lane, and the sessions that could take them.
//!
//! A lane is one kind in one namespace. Within a lane, tenants take turns; within a tenant, priority orders, then
//! arrival. Lanes take turns too, and so do the sessions of a lane, so no run, tenant or worker waits behind a
//! crowd. Each hand-out costs a constant number of steps, whatever waits behind it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::{id::SessionId, run::RunKey};

pub type LaneKey = usize;

#[derive(Clone, Debug, Default)]
pub struct Queue {
    lanes: Vec<Lane>,
    by_name: HashMap<(Arc<str>, Arc<str>), LaneKey>,
    /// Lanes with a run and a session, each once.
    turns: VecDeque<LaneKey>,
    arrivals: u64,
}

#[derive(Clone, Debug)]
pub struct Lane {
    pub namespace: Arc<str>,
    pub kind: Arc<str>,
    /// May hold tenants without runs; they are left out when their turn comes.
    tenants: HashMap<Arc<str>, BTreeMap<Place, RunKey>>,
    /// Each tenant of the map, once.
    turns: VecDeque<Arc<str>>,
    /// May hold sessions that have no slot any more; they are left out when their turn comes.
    sessions: VecDeque<SessionId>,
    waiting: usize,
    has_turn: bool,
}

/// Priority, then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u8, u64);

/// Where a run waits; needed to take it out again.
#[derive(Clone, Debug)]
pub struct Ticket {
    lane: LaneKey,
    tenant: Arc<str>,
    place: Place,
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
            tenants: HashMap::new(),
            turns: VecDeque::new(),
            sessions: VecDeque::new(),
            waiting: 0,
            has_turn: false,
        });
        self.by_name.insert(name, key);
        key
    }

    pub fn find(&self, namespace: &Arc<str>, kind: &Arc<str>) -> Option<LaneKey> {
        self.by_name.get(&(namespace.clone(), kind.clone())).copied()
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

    /// `place` must not be taken: arrivals are each run's own.
    pub fn push(
        &mut self,
        key: LaneKey,
        tenant: &Arc<str>,
        priority: u8,
        arrival: u64,
        run: RunKey,
    ) -> Ticket {
        let place = Place(priority, arrival);
        let lane = &mut self.lanes[key];
        let runs = lane.tenants.entry(tenant.clone()).or_insert_with(|| {
            lane.turns.push_back(tenant.clone());
            BTreeMap::new()
        });
        runs.insert(place, run);
        lane.waiting += 1;
        self.give_turn(key);
        Ticket { lane: key, tenant: tenant.clone(), place }
    }

    pub fn remove(&mut self, ticket: &Ticket) {
        let lane = &mut self.lanes[ticket.lane];
        let Some(runs) = lane.tenants.get_mut(&ticket.tenant) else { return };
        if runs.remove(&ticket.place).is_some() {
            lane.waiting -= 1;
        }
    }

    /// Says that a session has a free slot for a lane. The caller says so once until `next` has dropped it.
    pub fn offer(&mut self, lane: LaneKey, session: SessionId) {
        self.lanes[lane].sessions.push_back(session);
        self.give_turn(lane);
    }

    /// A session has ended.
    pub fn withdraw(&mut self, lane: LaneKey, session: SessionId) {
        self.lanes[lane].sessions.retain(|other| *other != session);
    }

    fn give_turn(&mut self, key: LaneKey) {
        let lane = &mut self.lanes[key];
        if !lane.has_turn && lane.waiting > 0 && !lane.sessions.is_empty() {
            lane.has_turn = true;
            self.turns.push_back(key);
        }
    }

    /// The next run and the session that gets it. `may_take` says whether a session still has a slot; one that has
    /// none is dropped from the lane through `dropped`.
    pub fn next(
        &mut self,
        may_take: impl Fn(SessionId) -> bool,
        mut dropped: impl FnMut(SessionId, LaneKey),
    ) -> Option<(RunKey, SessionId)> {
        while let Some(key) = self.turns.pop_front() {
            let lane = &mut self.lanes[key];
            lane.has_turn = false;
            while let Some(session) = lane.sessions.pop_front() {
                if !may_take(session) {
                    dropped(session, key);
                    continue;
                }
                let run = lane.take();
                lane.sessions.push_back(session);
                self.give_turn(key);
                if let Some(run) = run {
                    return Some((run, session));
                }
                break;
            }
        }
        None
    }
}

impl Lane {
    /// The first run of the tenant whose turn it is.
    fn take(&mut self) -> Option<RunKey> {
        loop {
            let tenant = self.turns.pop_front()?;
            let runs = self.tenants.get_mut(&tenant)?;
            let Some((_, run)) = runs.pop_first() else {
                self.tenants.remove(&tenant);
                continue;
            };
            self.waiting -= 1;
            if runs.is_empty() {
                self.tenants.remove(&tenant);
            } else {
                self.turns.push_back(tenant);
            }
            return Some(run);
        }
    }

    pub fn runs(&self) -> impl Iterator<Item = RunKey> {
        self.tenants.values().flat_map(|runs| runs.values().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue, lane: LaneKey, tenant: &Arc<str>, priority: u8, run: RunKey) -> Ticket {
        let arrival = queue.arrival();
        queue.push(lane, tenant, priority, arrival, run)
    }

    fn drain(queue: &mut Queue) -> Vec<RunKey> {
        std::iter::from_fn(|| queue.next(|_| true, |_, _| ()).map(|(run, _)| run)).collect()
    }

    #[test]
    fn tenants_take_turns_and_priority_orders_within_one() {
        let mut queue = Queue::default();
        let lane = queue.lane(&"ns".into(), &"kind".into());
        let (big, small): (Arc<str>, Arc<str>) = ("big".into(), "small".into());
        for run in 0..1_000 {
            push(&mut queue, lane, &big, 5, run);
        }
        push(&mut queue, lane, &small, 5, 5_000);
        push(&mut queue, lane, &big, 1, 6_000);
        queue.offer(lane, SessionId(1));
        let order = drain(&mut queue);
        assert_eq!(
            &order[..3],
            [6_000, 5_000, 0],
            "urgent first within its tenant; the small tenant waits one turn"
        );
        assert_eq!(order.len(), 1_002);
    }

    #[test]
    fn runs_that_go_back_keep_their_order_before_later_ones() {
        let mut queue = Queue::default();
        let lane = queue.lane(&"ns".into(), &"kind".into());
        let tenant: Arc<str> = "".into();
        let early: Vec<u64> = (0..3).map(|_| queue.arrival()).collect();
        push(&mut queue, lane, &tenant, 5, 9);
        for run in [2, 0, 1] {
            queue.push(lane, &tenant, 5, early[run], run);
        }
        queue.offer(lane, SessionId(1));
        assert_eq!(drain(&mut queue), [0, 1, 2, 9]);
    }

    #[test]
    fn a_tenant_that_was_emptied_and_comes_back_has_one_turn() {
        let mut queue = Queue::default();
        let lane = queue.lane(&"ns".into(), &"kind".into());
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let ticket = push(&mut queue, lane, &a, 5, 1);
        queue.remove(&ticket);
        for run in 10..13 {
            push(&mut queue, lane, &a, 5, run);
            push(&mut queue, lane, &b, 5, run + 10);
        }
        queue.offer(lane, SessionId(1));
        assert_eq!(drain(&mut queue), [10, 20, 11, 21, 12, 22]);
        assert_eq!(queue.lanes[lane].tenants.len(), 0);
    }

    #[test]
    fn sessions_take_turns_and_full_ones_are_dropped() {
        let mut queue = Queue::default();
        let lane = queue.lane(&"ns".into(), &"kind".into());
        for run in 0..4 {
            push(&mut queue, lane, &"".into(), 5, run);
        }
        for session in 1..=3 {
            queue.offer(lane, SessionId(session));
        }
        let mut gone = Vec::new();
        let mut takers = Vec::new();
        while let Some((_, session)) = queue.next(|session| session.0 != 2, |session, _| gone.push(session)) {
            takers.push(session.0);
        }
        assert_eq!((takers, gone), (vec![1, 3, 1, 3], vec![SessionId(2)]));
    }

    #[test]
    fn what_is_removed_is_not_handed_out() {
        let mut queue = Queue::default();
        let lane = queue.lane(&"ns".into(), &"kind".into());
        let ticket = push(&mut queue, lane, &"a".into(), 5, 1);
        push(&mut queue, lane, &"b".into(), 5, 2);
        queue.remove(&ticket);
        queue.remove(&ticket);
        queue.offer(lane, SessionId(1));
        assert_eq!(drain(&mut queue), [2]);
    }
}
