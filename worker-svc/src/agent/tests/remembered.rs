//! Rule O10 from the worker's side: a leader that has lost what was acknowledged gets it again.

use super::*;

/// `runs` were done and acknowledged at these times; then the stream breaks.
fn acknowledged(runs: &[(&str, u64)]) -> Agent {
    let jobs: Vec<(&str, i32, &str)> = runs.iter().map(|(run, _)| (*run, 1, "noop")).collect();
    let mut agent = connected(&jobs);
    for (call, (run, at)) in (1..).zip(runs) {
        agent.ended(*at, &key(run, 1), success());
        agent.report_answered(*at, call, receipts(1));
    }
    assert_eq!(agent.held(), 0);
    agent.effects();
    agent
}

fn reopened(agent: &mut Agent, now: u64) -> Vec<String> {
    agent.stream_ended(now);
    agent.wake(now + 10_000);
    let effects = agent.effects();
    let held = effects.into_iter().find_map(|effect| match effect {
        Effect::Open(open) => Some(open.held),
        _ => None,
    });
    let held = held.expect("a hello").into_iter();
    held.map(|held| {
        assert_eq!((held.attempt, held.lease_token), (1, 10));
        held.run_id
    })
    .collect()
}

/// A welcome that orders to drop these.
fn welcome_without(epoch: i64, dropped: &[&str]) -> pb::StreamDueJobsResponse {
    let mut response = welcome(epoch);
    if let Some(Message::Welcome(welcome)) = &mut response.message {
        welcome.orders = dropped
            .iter()
            .map(|run| pb::Order {
                run_id: (*run).into(),
                attempt: 1,
                action: pb::OrderAction::Drop.into(),
                ..pb::Order::default()
            })
            .collect();
    }
    response
}

#[test]
fn o10_a_new_leader_gets_what_it_has_lost_and_nothing_else() {
    let mut agent = acknowledged(&[("r1", 100), ("r2", 200)]);
    assert_eq!(reopened(&mut agent, 1_000), ["r1", "r2"]);
    // It knows that the first is over; the second it believes to be running here.
    agent.stream_message(11_000, welcome_without(2, &["r1"]));
    let effects = agent.effects();
    let again = reported(&effects);
    assert_eq!(again.iter().map(|report| report.run_id.as_str()).collect::<Vec<_>>(), ["r2"]);
    assert!(matches!(&again[0].outcome, Some(Reported::Success(_))));
    agent.report_answered(11_001, 3, receipts(1));
    assert_eq!(agent.held(), 0);
    // Acknowledged anew, it is remembered anew.
    assert_eq!(reopened(&mut agent, 11_100), ["r2"]);
}

#[test]
fn o10_the_same_leader_gets_nothing_twice() {
    let mut agent = acknowledged(&[("r1", 100)]);
    assert_eq!(reopened(&mut agent, 1_000), ["r1"], "who answers is not known before");
    agent.stream_message(11_000, welcome_without(1, &["r1"]));
    assert!(reported(&agent.effects()).is_empty());
    assert_eq!(agent.held(), 0);
}

/// Seconds count from the last word of the leader, not from the first of the next: between them may be a long outage.
#[test]
fn o10_outcomes_are_remembered_for_ten_seconds_of_contact() {
    let mut agent = acknowledged(&[("r1", 100), ("r2", 4_000)]);
    let (number, _) = {
        agent.wake(13_000);
        numbered_heartbeat(&mut agent)
    };
    agent.heartbeat_answered(13_000, number, answer(1));
    assert_eq!(reopened(&mut agent, 900_000), ["r2"]);
}

#[test]
fn o10_what_was_refused_is_not_remembered() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    agent.ended(10, &key("r1", 1), success());
    let stale = pb::Receipt { status: pb::ReceiptStatus::Stale.into(), ..pb::Receipt::default() };
    agent.report_answered(11, 1, Some(vec![stale]));
    assert!(reopened(&mut agent, 1_000).is_empty());
}

#[test]
fn o10_what_is_remembered_is_bounded() {
    let names: Vec<String> = (0..5_000).map(|n| format!("r{n:04}")).collect();
    let mut agent = acknowledged(&names.iter().map(|name| (name.as_str(), 100)).collect::<Vec<_>>());
    let listed = reopened(&mut agent, 1_000);
    assert_eq!((listed.len(), listed[0].as_str()), (4_096, "r0904"), "the oldest go first");
    // A hello has at most 10 000 entries, and what is held comes first.
    agent.stream_message(11_000, welcome_without(1, &[]));
    let more: Vec<String> = (0..9_999).map(|n| format!("s{n:04}")).collect();
    let more: Vec<(&str, i32, &str)> = more.iter().map(|name| (name.as_str(), 1, "noop")).collect();
    agent.stream_message(11_000, due(2, &more));
    let listed = reopened(&mut agent, 11_100);
    assert_eq!((listed.len(), listed[9_999].as_str()), (10_000, "r4999"));
}
