//! Order, turns, and how little is looked at.

use super::*;

/// No gates.
struct Free;

impl Doors for Free {
    fn is_shut(&mut self, _: GateKey) -> bool {
        false
    }

    fn refuses(&mut self, _: RunKey) -> Option<GateKey> {
        None
    }
}

/// Which gates are shut, and which each run needs.
#[derive(Default)]
struct Shut {
    gates: std::collections::BTreeSet<GateKey>,
    needs: HashMap<RunKey, Vec<GateKey>>,
}

impl Doors for Shut {
    fn is_shut(&mut self, gate: GateKey) -> bool {
        self.gates.contains(&gate)
    }

    fn refuses(&mut self, run: RunKey) -> Option<GateKey> {
        self.needs.get(&run)?.iter().copied().find(|gate| self.gates.contains(gate))
    }
}

fn push(queue: &mut Queue, lane: LaneKey, tenant: &Arc<str>, priority: u8, run: RunKey) -> Ticket {
    let arrival = queue.arrival();
    queue.push(lane, tenant, Place(priority, arrival), run, false, &[])
}

fn drain(queue: &mut Queue) -> Vec<RunKey> {
    drain_past(queue, &mut Free)
}

fn drain_past(queue: &mut Queue, doors: &mut impl Doors) -> Vec<RunKey> {
    let mut steps = usize::MAX;
    let next = || queue.next(|_| Room::Any, |_, _| (), doors, &mut steps).map(|(run, _)| run);
    std::iter::from_fn(next).collect()
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
        queue.push(lane, &tenant, Place(5, early[run]), run, false, &[]);
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
    assert_eq!(queue.lanes[lane].runs().count(), 0);
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
    let room = |session: SessionId| if session.0 == 2 { Room::None } else { Room::Any };
    let mut steps = 100;
    while let Some((_, session)) = queue.next(room, |session, _| gone.push(session), &mut Free, &mut steps) {
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

#[test]
fn r6_a_blocked_group_is_set_aside_at_once_and_comes_back_in_order() {
    let mut queue = Queue::default();
    let lane = queue.lane(&"ns".into(), &"kind".into());
    let (big, small): (Arc<str>, Arc<str>) = ("big".into(), "small".into());
    let mut doors = Shut::default();
    doors.gates.insert(7);
    for run in 0..100_000 {
        doors.needs.insert(run, vec![7]);
        push(&mut queue, lane, &big, 5, run);
    }
    queue.offer(lane, SessionId(1));
    assert!(drain_past(&mut queue, &mut doors).is_empty());
    push(&mut queue, lane, &small, 5, 500_000);
    let before = queue.looks();
    assert_eq!(drain_past(&mut queue, &mut doors), [500_000]);
    assert!(queue.looks() - before <= 2, "{} looks", queue.looks() - before);
    doors.gates.clear();
    queue.open(7);
    assert_eq!(drain_past(&mut queue, &mut doors), (0..100_000).collect::<Vec<_>>());
    assert!(!queue.waits_at(7));
}

/// Two gates that take turns in being shut do not make the runs that need both walk from one to the other.
#[test]
fn r6_runs_that_need_two_gates_are_moved_once_per_gate() {
    let mut queue = Queue::default();
    let lane = queue.lane(&"ns".into(), &"kind".into());
    let mut doors = Shut::default();
    for run in 0..1_000 {
        doors.needs.insert(run, vec![1, 2]);
        push(&mut queue, lane, &"".into(), 5, run);
    }
    queue.offer(lane, SessionId(1));
    for round in 0..500 {
        let (shut, open) = if round % 2 == 0 { (1, 2) } else { (2, 1) };
        doors.gates = [shut].into();
        queue.open(open);
        assert!(drain_past(&mut queue, &mut doors).is_empty());
    }
    assert!(queue.looks() < 2_000 + 500 * 4, "{} looks", queue.looks());
    doors.gates.clear();
    queue.open(1);
    queue.open(2);
    assert_eq!(drain_past(&mut queue, &mut doors), (0..1_000).collect::<Vec<_>>());
}

#[test]
fn w7_a_session_that_may_take_no_suspect_passes_all_of_them() {
    let mut queue = Queue::default();
    let lane = queue.lane(&"ns".into(), &"kind".into());
    for run in 0..100 {
        let arrival = queue.arrival();
        queue.push(lane, &"".into(), Place(1, arrival), run, true, &[]);
    }
    push(&mut queue, lane, &"".into(), 5, 500);
    queue.offer(lane, SessionId(1));
    let mut steps = 10;
    let ordinary = queue.next(|_| Room::Ordinary, |_, _| (), &mut Free, &mut steps);
    assert_eq!(ordinary, Some((500, SessionId(1))));
    assert_eq!(queue.next(|_| Room::Ordinary, |_, _| (), &mut Free, &mut steps), None);
    assert!(steps > 5, "the suspects were not looked at");
    queue.reoffer(lane);
    assert_eq!(queue.next(|_| Room::Any, |_, _| (), &mut Free, &mut steps), Some((0, SessionId(1))));
}

#[test]
fn p3_looking_is_bounded_and_goes_on_where_it_stopped() {
    let mut queue = Queue::default();
    let lane = queue.lane(&"ns".into(), &"kind".into());
    let mut doors = Shut::default();
    for run in 0..100 {
        doors.gates.insert(run);
        doors.needs.insert(run, vec![run]);
        push(&mut queue, lane, &"".into(), 5, run);
    }
    push(&mut queue, lane, &"".into(), 5, 500);
    queue.offer(lane, SessionId(1));
    let mut rounds = 0;
    let found = loop {
        let mut steps = 10;
        let found = queue.next(|_| Room::Any, |_, _| (), &mut doors, &mut steps);
        if found.is_some() {
            break found;
        }
        assert_eq!(steps, 0, "there is more");
        rounds += 1;
    };
    assert_eq!(found, Some((500, SessionId(1))));
    assert!(rounds >= 10);
}
