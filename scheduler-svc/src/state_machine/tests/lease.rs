//! Rules W1 to W4, W8 and W10: sessions, leases, heartbeats.

use super::{bench::*, *};
use crate::state_machine::{
    command::{Caller, Command, Heartbeat, OpenSession},
    failure::Class,
    id::SessionId,
    output::{Action, Answer, Body, Event, Job, Refusal},
    view::RunState,
};

fn jobs_for(bench: &mut Bench, count: usize) -> Vec<Job> {
    for n in 0..count {
        bench.save(definition(&format!("s{n}"), every(10 * DAY)));
        bench.run_now(&format!("s{n}"));
    }
    bench.jobs()
}

fn lost(bench: &Bench) -> usize {
    let is_lost = |event: &&Event| matches!(event, Event::AttemptEnded { failure: Some(failure), .. } if failure.class == Class::Lost);
    bench.events.iter().filter(is_lost).count()
}

#[test]
fn w2_messages_are_numbered_and_jobs_come_in_batches() {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.save(definition(&format!("s{n}"), every(10 * DAY)));
        bench.run_now(&format!("s{n}"));
    }
    bench.silent_worker(4);
    bench.run_now("s0");
    let sizes: Vec<(u64, usize)> = bench
        .messages
        .iter()
        .map(|(_, message)| match &message.body {
            Body::Jobs(jobs) => (message.sequence, jobs.len()),
            Body::Cancel { .. } => (message.sequence, 0),
        })
        .collect();
    assert_eq!(sizes, [(2, 4)], "the welcome was 1, and there are four slots");
    let job = bench.jobs().remove(0);
    bench.succeed(&job);
    assert_eq!(bench.messages[0].1.sequence, 3);
}

#[test]
fn w3_jobs_that_never_arrived_are_requeued_by_heartbeat() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(3);
    let jobs = jobs_for(&mut bench, 3);
    bench.beat(session, 1, vec![]);
    assert_eq!(lost(&bench), 0, "all three are in flight");
    bench.beat(session, 3, vec![held(&jobs[0])]);
    assert_eq!(lost(&bench), 1, "the second was sent with message 3 and is not listed");
    let again = bench.job();
    assert_eq!((again.id, again.attempt), (jobs[1].id, 2));
    bench.beat(session, 3, vec![held(&jobs[0])]);
    assert_eq!(lost(&bench), 1, "above what was received: in flight");
}

#[test]
fn w3_a_job_that_no_heartbeat_confirms_is_lost_after_a_term() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(1);
    jobs_for(&mut bench, 1);
    for _ in 0..2 {
        bench.pass(5 * SECOND);
        bench.beat(session, 1, vec![]);
    }
    assert_eq!(lost(&bench), 0);
    bench.pass(5 * SECOND);
    assert_eq!(lost(&bench), 1);
}

#[test]
fn w3_heartbeats_keep_leases_and_silence_ends_them() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(2);
    let jobs = jobs_for(&mut bench, 2);
    for _ in 0..20 {
        bench.pass(5 * SECOND);
        bench.beat(session, 3, jobs.iter().map(held).collect());
    }
    assert_eq!(lost(&bench), 0);
    bench.pass(15 * SECOND - 1);
    assert_eq!((lost(&bench), bench.closed.len()), (0, 0));
    bench.pass(1);
    assert_eq!((lost(&bench), bench.closed.as_slice()), (2, &[session][..]));
    let (_, reopen) = bench.beat(session, 3, vec![]);
    assert!(reopen);
}

#[test]
fn w3_a_broken_stream_shortens_leases_to_the_grace_and_a_heartbeat_restores_them() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(1);
    let jobs = jobs_for(&mut bench, 1);
    bench.apply(&Command::CloseSession(session));
    bench.pass(4 * SECOND);
    let (_, reopen) = bench.beat(session, 2, vec![held(&jobs[0])]);
    assert!(reopen, "its messages go nowhere");
    bench.pass(14 * SECOND);
    assert_eq!(lost(&bench), 0);
    bench.apply(&Command::CloseSession(session));
    bench.pass(5 * SECOND);
    assert_eq!(lost(&bench), 1);
}

#[test]
fn w3_a_reconnect_with_its_held_list_keeps_the_leases() {
    let mut bench = Bench::new();
    let first = bench.silent_worker(3);
    let jobs = jobs_for(&mut bench, 3);
    bench.apply(&Command::CloseSession(first));
    let mut stranger = held(&jobs[0]);
    stranger.token += 100;
    let hello = bench.hello("one", 3, vec![held(&jobs[0]), held(&jobs[1]), stranger]);
    let (second, orders) = bench.open(hello);
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].action, Action::Drop);
    assert_eq!(lost(&bench), 1, "what it does not list did not arrive");
    let again = bench.job();
    assert_eq!(again.id, jobs[2].id);
    bench.pass(10 * SECOND);
    bench.beat(second, 2, vec![held(&jobs[0]), held(&jobs[1]), held(&again)]);
    bench.pass(10 * SECOND);
    assert_eq!(lost(&bench), 1);
    bench.succeed(&jobs[0]);
    bench.succeed(&again);
}

#[test]
fn w1_two_instances_of_one_worker_are_independent_and_warned_about() {
    let mut bench = Bench::new();
    let first = bench.silent_worker(1);
    let jobs = jobs_for(&mut bench, 1);
    let hello = bench.hello("two", 1, vec![held(&jobs[0])]);
    let (second, orders) = bench.open(hello);
    assert_eq!(orders[0].action, Action::Drop, "another process does not inherit a lease");
    assert!(bench.events.iter().any(|event| matches!(event, Event::WorkerTwice { .. })));
    bench.pass(5 * SECOND);
    assert_eq!(bench.beat(first, 2, vec![held(&jobs[0])]), (vec![], false));
    assert_eq!(bench.beat(second, 1, vec![]), (vec![], false));
    assert_eq!(bench.beat(second, 1, vec![held(&jobs[0])]).0[0].action, Action::Drop);
    bench.succeed(&jobs[0]);
}

#[test]
fn w4_a_deaf_leader_blames_nobody() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(1);
    let jobs = jobs_for(&mut bench, 1);
    bench.beat(session, 2, vec![held(&jobs[0])]);
    bench.skip(5 * MINUTE);
    bench.wake();
    assert_eq!(lost(&bench), 0, "nothing was heard for five minutes, so silence proves nothing");
    bench.pass(14 * SECOND);
    assert_eq!(lost(&bench), 0);
    bench.pass(SECOND);
    assert_eq!(lost(&bench), 1);
}

#[test]
fn w4_a_deaf_leader_does_not_forget_idle_workers() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(1);
    bench.pass(SECOND);
    bench.skip(MINUTE);
    bench.wake();
    assert_eq!(bench.beat(session, 1, vec![]), (vec![], false));
}

#[test]
fn w4_a_deaf_leader_waits_for_reports_before_it_times_attempts_out() {
    let mut bench = Bench::new();
    bench.silent_worker(1);
    let jobs = jobs_for(&mut bench, 1);
    bench.skip(HOUR);
    bench.wake();
    assert!(bench.live(jobs[0].id).expect("live").attempts.is_empty());
    assert_eq!(
        bench.succeed(&jobs[0]),
        crate::state_machine::output::Receipt::Accepted { next_attempt: None }
    );
}

#[test]
fn w4_after_a_restart_every_lease_gets_a_full_term() {
    let mut bench = Bench::new();
    bench.silent_worker(2);
    let jobs = jobs_for(&mut bench, 2);
    bench.restart(MINUTE);
    bench.skip(5 * SECOND);
    bench.wake();
    bench.pass(14 * SECOND);
    assert_eq!(lost(&bench), 0, "loading took five seconds in which nothing was heard");
    let hello = bench.hello("one", 2, vec![held(&jobs[0])]);
    bench.open(hello);
    assert_eq!(lost(&bench), 1, "the process is back and does not hold the other");
    bench.pass(14 * SECOND);
    assert!(matches!(bench.live(jobs[0].id).expect("live").state, RunState::Running));
}

#[test]
fn w4_orphans_end_a_term_after_a_restart() {
    let mut bench = Bench::new();
    bench.silent_worker(2);
    let jobs = jobs_for(&mut bench, 2);
    bench.restart(0);
    bench.pass(15 * SECOND - 1);
    assert_eq!(lost(&bench), 0);
    bench.pass(1);
    assert_eq!(lost(&bench), 2);
    bench.silent_worker(2);
    let hello = bench.hello("two", 2, vec![]);
    bench.open(hello);
    let again = bench.jobs();
    assert_eq!(again.iter().map(|job| job.attempt).collect::<Vec<_>>(), [2, 2]);
    assert!(again.iter().all(|job| jobs.iter().all(|old| job.token > old.token)));
}

#[test]
fn w8_a_draining_worker_hears_what_is_its_own_and_gets_nothing_more() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(2);
    let jobs = jobs_for(&mut bench, 1);
    let beat = Heartbeat {
        caller: Caller::default(),
        session,
        worker_id: None,
        received: 2,
        slots: None,
        draining: true,
        held: vec![held(&jobs[0])],
        unknown: vec![("nonsense".into(), 1)],
    };
    let Answer::Heard { assigned, orders, .. } = bench.call(&Command::Heartbeat(Box::new(beat))) else {
        panic!("heard")
    };
    assert_eq!(assigned, [(jobs[0].id, 1, jobs[0].token)]);
    assert_eq!((orders.len(), orders[0].action), (1, Action::Drop));
    bench.save(definition("more", every(10 * DAY)));
    bench.run_now("more");
    bench.fail(&jobs[0], Class::Interrupted);
    assert!(bench.jobs().is_empty());
    bench.apply(&Command::CloseSession(session));
    let hello = bench.hello("two", 5, vec![]);
    bench.open(hello);
    assert_eq!(bench.jobs().len(), 2);
}

#[test]
fn w10_a_session_never_holds_more_than_its_slots() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(2);
    assert_eq!(jobs_for(&mut bench, 5).len(), 2);
    let beat = |slots| Heartbeat {
        caller: Caller::default(),
        session,
        worker_id: None,
        received: 1,
        slots: Some(slots),
        draining: false,
        held: vec![],
        unknown: vec![],
    };
    bench.call(&Command::Heartbeat(Box::new(beat(4))));
    assert_eq!(bench.jobs().len(), 2);
    bench.call(&Command::Heartbeat(Box::new(beat(0))));
    assert!(bench.jobs().is_empty());
}

#[test]
fn workers_get_only_their_kinds_and_namespaces() {
    let mut bench = Bench::new();
    let open = |bench: &mut Bench, instance: &str, kind: &str, namespaces: Option<Vec<_>>| {
        let hello =
            OpenSession { kinds: vec![kind.into()], namespaces, ..bench.hello(instance, 10, Vec::new()) };
        bench.open(hello).0
    };
    open(&mut bench, "other kind", "mail", None);
    open(&mut bench, "other namespace", "sync", Some(vec!["shop".into()]));
    jobs_for(&mut bench, 2);
    assert!(bench.jobs().is_empty());
    let right = open(&mut bench, "right", "sync", Some(vec!["shop".into(), "default".into()]));
    assert!(bench.messages.iter().all(|(session, _)| *session == right));
    assert_eq!(bench.jobs().len(), 2);
}

#[test]
fn lost_runs_keep_their_order_before_later_ones() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(3);
    let jobs = jobs_for(&mut bench, 5);
    assert_eq!(jobs.len(), 3);
    bench.apply(&Command::CloseSession(session));
    bench.pass(5 * SECOND);
    let hello = bench.hello("two", 5, vec![]);
    bench.open(hello);
    let mut again = Vec::new();
    loop {
        let jobs = bench.jobs();
        let Some(job) = jobs.first() else { break };
        again.extend(jobs.iter().map(|job| job.definition.key.id.to_string()));
        bench.succeed(job);
    }
    assert_eq!(again, ["s0", "s3", "s4", "s1", "s2"], "of those that were lost, one at a time (rule W7)");
}

#[test]
fn w7_a_job_that_brings_workers_down_fails_and_its_neighbours_do_not() {
    let mut bench = Bench::new();
    let mut session = bench.silent_worker(3);
    let jobs = jobs_for(&mut bench, 3);
    let poison = jobs[0].id;
    let mut done = 0;
    for crash in 1..=4 {
        bench.apply(&Command::CloseSession(session));
        bench.pass(5 * SECOND);
        let hello = bench.hello(&format!("after crash {crash}"), 3, vec![]);
        session = bench.open(hello).0;
        // Whatever is handed out beside the poison ends well; a worker has one suspect at a time.
        loop {
            let jobs = bench.jobs();
            assert!(jobs.len() <= 1);
            let Some(job) = jobs.into_iter().next() else { break };
            if job.id == poison {
                break;
            }
            bench.succeed(&job);
            done += 1;
        }
    }
    let end = bench.history("s0").remove(0);
    assert_eq!((end.id, end.attempt, end.outcome), (poison, 4, crate::state_machine::run::Outcome::Failed));
    assert_eq!(end.failure.expect("a reason").class, Class::Lost);
    assert_eq!(done, 2, "both neighbours ran");
}

#[test]
fn w7_a_run_that_was_not_received_is_no_suspect() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(3);
    jobs_for(&mut bench, 3);
    let sequence = bench.messages.last().map_or(9, |(_, message)| message.sequence);
    bench.beat(session, sequence.max(9), vec![]);
    assert_eq!(lost(&bench), 3);
    assert_eq!(bench.jobs().len(), 3, "all at once again");
}

#[test]
fn p3_the_leases_of_a_lost_worker_end_a_bounded_number_at_a_time() {
    let mut bench = Bench::with(crate::state_machine::Config { losses_per_turn: 10, ..Default::default() });
    let session = bench.silent_worker(25);
    let jobs = jobs_for(&mut bench, 25);
    bench.apply(&Command::CloseSession(session));
    bench.pass(5 * SECOND - 1);
    bench.skip(1);
    bench.wake();
    assert_eq!(lost(&bench), 10, "other commands come in between");
    assert!(matches!(bench.succeed(&jobs[20]), crate::state_machine::output::Receipt::Accepted { .. }));
    bench.pass(10);
    assert_eq!(lost(&bench), 24);
}

#[test]
fn a_checkpoint_survives_and_goes_to_the_next_attempt() {
    let mut bench = Bench::new();
    let session = bench.silent_worker(1);
    let job = jobs_for(&mut bench, 1).remove(0);
    let mut with = held(&job);
    with.checkpoint = Some("page 3".into());
    bench.beat(session, 2, vec![with]);
    bench.restart(0);
    bench.pass(15 * SECOND);
    bench.silent_worker(1);
    assert_eq!(bench.job().checkpoint.as_deref(), Some(&b"page 3"[..]));
}

fn filing(bench: &mut Bench, instance: &str, archive: &str, namespaces: Option<&[&str]>) -> OpenSession {
    OpenSession {
        kinds: vec!["document-sync".into()],
        archive_id: Some(archive.into()),
        namespaces: namespaces.map(|all| all.iter().map(|one| (*one).into()).collect()),
        ..bench.hello(instance, 1, Vec::new())
    }
}

#[test]
fn d3_a_worker_with_another_archive_is_refused() {
    let some: &[&str] = &["shop"];
    let cases = [(None, None), (Some(some), Some(some)), (None, Some(some)), (Some(some), None)];
    for (first, second) in cases {
        let mut bench = Bench::new();
        let hello = filing(&mut bench, "1", "A", first);
        bench.open(hello);
        bench.restart(0);
        let hello = filing(&mut bench, "2", "B", second);
        let refusal = bench.refused(&Command::OpenSession(Box::new(hello)));
        assert_eq!(refusal, Refusal::ArchiveMismatch { known: "A".into() }, "{first:?} then {second:?}");
        let hello = filing(&mut bench, "3", "A", second);
        bench.open(hello);
        let hello = filing(&mut bench, "4", "B", Some(&["other"]));
        let refused = bench.ask(&Command::OpenSession(Box::new(hello))).is_err();
        assert_eq!(refused, first.is_none() || second.is_none(), "a namespace of its own may differ");
    }
}

#[test]
fn d3_an_archive_that_is_configured_replaces_what_was_known() {
    let mut bench = Bench::new();
    for namespaces in [None, Some(&["shop"][..])] {
        let hello = filing(&mut bench, "1", "trial", namespaces);
        bench.open(hello);
    }
    bench.config.archive = Some("real");
    bench.restart(0);
    let hello = filing(&mut bench, "2", "trial", None);
    let refusal = bench.refused(&Command::OpenSession(Box::new(hello)));
    assert_eq!(refusal, Refusal::ArchiveMismatch { known: "real".into() });
    let hello = filing(&mut bench, "3", "real", Some(&["shop"]));
    bench.open(hello);

    bench.config.archive = None;
    bench.restart(0);
    let hello = filing(&mut bench, "4", "trial", None);
    assert!(bench.ask(&Command::OpenSession(Box::new(hello))).is_err(), "it is remembered");
    let hello = filing(&mut bench, "5", "real", None);
    bench.open(hello);
}

#[test]
fn an_unknown_session_is_told_to_open_anew() {
    let mut bench = Bench::new();
    assert_eq!(bench.beat(SessionId(77), 0, vec![]), (vec![], true));
    bench.apply(&Command::CloseSession(SessionId(77)));
}
