//! What a message may hold, when the next one goes out, and what happens when nobody answers.

use docket::schedule::v1 as pb;
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind as Json};

use super::*;

const MESSAGE_MAX: usize = 4 << 20;

fn many(count: usize) -> (Agent, Vec<String>) {
    let runs: Vec<String> = (0..count).map(|n| format!("0-{:032x}-s1795485600000-{n:05}", 7)).collect();
    let jobs: Vec<(&str, i32, &str)> = runs.iter().map(|run| (run.as_str(), 1, "document-sync")).collect();
    (connected(&jobs), runs)
}

fn stops(agent: &mut Agent) -> usize {
    agent.effects().iter().filter(|effect| matches!(effect, Effect::Stop(_))).count()
}

fn checkpoints(beat: &pb::HeartbeatRequest) -> Vec<&[u8]> {
    beat.held.iter().filter_map(|held| held.checkpoint.as_deref()).collect()
}

fn next_in(seconds: i64) -> Option<pb::HeartbeatResponse> {
    let next = Some(Duration { seconds, nanos: 0 });
    Some(pb::HeartbeatResponse { epoch: 1, next, ..pb::HeartbeatResponse::default() })
}

#[test]
fn w2_the_next_heartbeat_goes_out_when_the_scheduler_wants_it() {
    let mut agent = connected(&[]);
    for (number, (next, at)) in
        [(2, 7_000), (0, 12_000), (3_600, 19_500), (-1, 24_500)].into_iter().enumerate()
    {
        let sent = agent.next_wake();
        heartbeat(&mut agent, sent);
        agent.heartbeat_answered(sent, number as u64 + 1, next_in(next));
        assert_eq!(agent.next_wake(), at, "{next} s: never so late that leases end");
    }
}

#[test]
fn w3_a_checkpoint_goes_out_until_it_is_confirmed_and_then_no_more() {
    let mut agent = connected(&[("r1", 1, "document-sync")]);
    agent.checkpointed(&key("r1", 1), "a".into());
    assert_eq!(checkpoints(&heartbeat(&mut agent, 5_000)), [b"a"]);
    agent.heartbeat_answered(6_000, 1, None);
    assert_eq!(checkpoints(&heartbeat(&mut agent, 10_000)), [b"a"], "nobody answered");
    agent.checkpointed(&key("r1", 1), "b".into());
    agent.heartbeat_answered(10_010, 2, answer(1));
    assert_eq!(checkpoints(&heartbeat(&mut agent, 15_010)), [b"b"], "what was confirmed is the one before");
    agent.heartbeat_answered(15_020, 3, answer(1));
    let beat = heartbeat(&mut agent, 20_020);
    assert_eq!((beat.held.len(), checkpoints(&beat).len()), (1, 0));
    agent.stream_ended(20_030);
    agent.wake(30_000);
    agent.effects();
    agent.stream_message(30_000, welcome(2));
    let beat = heartbeat(&mut agent, 35_000);
    assert_eq!(checkpoints(&beat), [b"b"], "another leader may not have it");
}

#[test]
fn w3_heartbeats_list_everything_within_one_message() {
    let (mut agent, runs) = many(10_000);
    for run in &runs {
        let note = "é".repeat(400);
        agent.progressed(&key(run, 1), Progress { done: 1, total: 2, note });
        agent.checkpointed(&key(run, 1), vec![7; 16 << 10].into());
    }
    let mut sent = 0;
    for number in 1..=80 {
        let now = agent.next_wake();
        let beat = heartbeat(&mut agent, now);
        assert_eq!(beat.held.len(), 10_000);
        assert!(beat.encoded_len() < MESSAGE_MAX, "{}", beat.encoded_len());
        sent += checkpoints(&beat).len();
        agent.heartbeat_answered(now, number, answer(1));
    }
    assert_eq!(sent, 10_000, "those without room follow, each once");
}

#[test]
fn w6_reports_stay_within_one_message() {
    let (mut agent, runs) = many(1_500);
    let text = Value { kind: Some(Json::StringValue("x".repeat(4_000))) };
    let result = Struct { fields: [("text".to_owned(), text)].into() };
    for run in &runs {
        agent.ended(10, &key(run, 1), Outcome::Success { result: result.clone() });
    }
    let (mut call, mut reported) = (0, 0);
    while reported < runs.len() {
        for effect in agent.effects() {
            let Effect::Report { request, .. } = effect else { continue };
            assert!(request.encoded_len() < MESSAGE_MAX, "{}", request.encoded_len());
            reported += request.reports.len();
        }
        call += 1;
        agent.report_answered(20, call, receipts(if call <= CALLS_MAX as u64 { 1 } else { 0 }));
        assert!(call < 100, "{reported} of {}", runs.len());
        agent.wake(30_000 * call);
    }
}

#[test]
fn w6_an_outcome_that_no_message_can_carry_fails_its_attempt() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    let text = Value { kind: Some(Json::StringValue("x".repeat(5 << 20))) };
    let result = Struct { fields: [("text".to_owned(), text)].into() };
    agent.ended(10, &key("r1", 1), Outcome::Success { result });
    let effects = agent.effects();
    assert_eq!(class_of(reported(&effects)[0]), pb::FailureClass::Permanent);
}

#[test]
fn w5_an_answer_counts_from_its_own_heartbeat() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    heartbeat(&mut agent, 5_000);
    agent.stream_ended(5_001);
    agent.wake(5_900);
    agent.effects();
    agent.stream_message(6_000, welcome(1));
    heartbeat(&mut agent, 11_000);
    agent.heartbeat_answered(11_001, 1, answer(1));
    agent.wake(20_899);
    assert_eq!(stops(&mut agent), 0);
    agent.wake(20_900);
    assert_eq!(stops(&mut agent), 1, "the hello of 5 900 was answered, and nothing that was sent after it");
}

#[test]
fn w5_a_welcome_counts_from_its_hello() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    agent.stream_ended(1_000);
    agent.wake(2_000);
    agent.effects();
    agent.stream_message(9_000, welcome(1));
    agent.wake(16_999);
    assert_eq!(stops(&mut agent), 0);
    agent.wake(17_000);
    assert_eq!(stops(&mut agent), 1);
}

#[test]
fn a_hello_that_is_not_answered_is_given_up() {
    let mut agent = agent();
    agent.wake(0);
    agent.effects();
    assert_eq!(agent.next_wake(), 10_000);
    agent.wake(10_000);
    assert_eq!(agent.effects(), [Effect::CloseStream]);
    agent.wake(agent.next_wake());
    assert!(matches!(agent.effects().as_slice(), [Effect::Open(_)]));
}

#[test]
fn a_refusal_that_will_not_pass_is_shown_and_tried_again_rarely() {
    let mut agent = agent();
    agent.wake(0);
    agent.effects();
    agent.stream_refused(10, "FailedPrecondition (ARCHIVE_MISMATCH): another archive".into());
    let shown = agent.refusal().expect("a reason").to_string();
    assert!(shown.contains("refuses") && shown.contains("ARCHIVE_MISMATCH"), "{shown}");
    assert_eq!((agent.is_connected(), agent.next_wake()), (false, 60_010));
    agent.wake(60_010);
    assert!(matches!(agent.effects().as_slice(), [Effect::Open(_)]));
    assert!(agent.refusal().is_some(), "until it is taken");
    agent.stream_message(60_020, welcome(1));
    assert_eq!((agent.is_connected(), agent.refusal()), (true, None));
}

#[test]
fn o5_a_scheduler_that_went_back_in_time_is_named() {
    let mut agent = agent();
    agent.wake(0);
    agent.stream_message(0, welcome(3));
    agent.stream_ended(1);
    agent.wake(10_000);
    agent.stream_message(10_000, welcome(2));
    assert_eq!(agent.refusal(), Some(&Refusal::OldEpoch { seen: 3, offered: 2 }));
    assert!(agent.next_wake() < 20_000, "a new leader may be there any moment");
}

#[test]
fn w8_a_draining_worker_reconnects_only_to_hand_in() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    agent.drain(100, 20_000);
    agent.effects();
    agent.stream_ended(110);
    agent.wake(5_300);
    let effects = agent.effects();
    let [Effect::Open(hello)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((hello.draining, hello.held.len()), (true, 1));
    agent.stream_message(5_310, welcome(1));
    agent.wake(5_310);
    let (number, beat) = numbered_heartbeat(&mut agent);
    assert!(beat.draining, "said again, for a scheduler that does not know the field of the hello");
    agent.heartbeat_answered(5_320, number, answer(1));
    agent.ended(6_000, &key("r1", 1), success());
    assert_eq!(reported(&agent.effects()).len(), 1);
}

#[test]
fn w8_a_worker_whose_outcomes_nobody_takes_leaves_in_the_end() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    agent.drain(1_000, 20_000);
    agent.ended(2_000, &key("r1", 1), success());
    agent.stream_ended(2_000);
    while agent.next_wake() < 23_500 {
        agent.wake(agent.next_wake());
        agent.stream_ended(agent.next_wake());
        assert!(!agent.is_drained());
    }
    agent.wake(23_500);
    assert!(agent.is_drained(), "within 25 s");
}

/// Whatever order comes first and however often, an attempt is asked once.
#[test]
fn w9_a_cancel_that_is_repeated_is_obeyed_once() {
    let mut agent = connected(&[("r1", 1, "noop")]);
    let order = pb::Order {
        run_id: "r1".into(),
        attempt: 1,
        action: pb::OrderAction::Cancel.into(),
        ..pb::Order::default()
    };
    for number in 1..=3 {
        heartbeat(&mut agent, 5_000 * number);
        let response = pb::HeartbeatResponse {
            epoch: 1,
            orders: vec![order.clone()],
            ..pb::HeartbeatResponse::default()
        };
        agent.heartbeat_answered(5_000 * number, number, Some(response));
        assert_eq!(stops(&mut agent), usize::from(number == 1));
    }
    agent.ended(16_000, &key("r1", 1), success());
    assert!(matches!(reported(&agent.effects())[0].outcome, Some(Reported::Success(_))), "it was faster");
}
