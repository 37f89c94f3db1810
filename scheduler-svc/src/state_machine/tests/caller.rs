//! Whose session and whose lease it is, by the credentials of whoever speaks for the worker.

use bytes::Bytes;

use super::{bench::*, *};
use crate::state_machine::{
    command::{Caller, Command, Heartbeat, Held, OpenSession, Report, Reported},
    id::SessionId,
    output::{Action, Answer, Job, Order, Receipt},
};

fn caller(name: &str) -> Caller {
    Caller { name: name.into(), ..Caller::default() }
}

fn open_as(bench: &mut Bench, caller: &Caller, instance: &str, held: Vec<Held>) -> (SessionId, Vec<Order>) {
    let hello = OpenSession { caller: caller.clone(), ..bench.hello(instance, 3, held) };
    bench.open(hello)
}

/// A run that is held in a session of the caller's.
fn job_of(bench: &mut Bench, caller: &Caller) -> (SessionId, Job) {
    let (session, _) = open_as(bench, caller, "one", Vec::new());
    bench.save(definition("s", every(10 * DAY)));
    bench.run_now("s");
    (session, bench.job())
}

fn report_as(bench: &mut Bench, caller: Caller, job: &Job) -> Receipt {
    let report = Report {
        caller,
        worker_id: None,
        id: Some(job.id),
        attempt: job.attempt,
        token: job.token,
        outcome: Reported::Success { result: Bytes::new() },
        invalid: None,
    };
    match bench.call(&Command::Report(vec![report])) {
        Answer::Reported(mut receipts) => receipts.remove(0),
        other => panic!("{other:?}"),
    }
}

/// Whether the session is to be opened anew.
fn beat_as(bench: &mut Bench, caller: Caller, session: SessionId, job: &Job) -> bool {
    let beat = Heartbeat {
        caller,
        session,
        worker_id: None,
        received: 2,
        slots: None,
        draining: false,
        held: vec![held(job)],
        unknown: Vec::new(),
    };
    match bench.call(&Command::Heartbeat(Box::new(beat))) {
        Answer::Heard { reopen, .. } => reopen,
        other => panic!("{other:?}"),
    }
}

#[test]
fn anothers_session_is_not_there() {
    let mut bench = Bench::new();
    let (mine, other) = (caller("mine"), caller("other"));
    let (session, job) = job_of(&mut bench, &mine);
    assert!(beat_as(&mut bench, other, session, &job), "it is told to open one of its own");
    assert!(!beat_as(&mut bench, mine, session, &job));
    bench.pass(15 * SECOND);
    assert_eq!(bench.live(job.id).expect("live").attempts.len(), 1, "nothing renewed it");
}

#[test]
fn anothers_lease_is_not_there() {
    let mut bench = Bench::new();
    let (mine, other) = (caller("mine"), caller("other"));
    let (_, job) = job_of(&mut bench, &mine);
    assert_eq!(report_as(&mut bench, other.clone(), &job), Receipt::Forgotten);
    let (_, orders) = open_as(&mut bench, &other, "one", vec![held(&job)]);
    assert_eq!(orders.len(), 1, "the same words, and yet it inherits nothing");
    assert_eq!(orders[0].action, Action::Drop);
    assert_eq!(report_as(&mut bench, mine, &job), Receipt::Accepted { next_attempt: None });
}

#[test]
fn a_run_beyond_the_callers_namespaces_and_kinds_is_not_there() {
    let mut bench = Bench::new();
    let mine = caller("mine");
    let (_, job) = job_of(&mut bench, &mine);
    let only = |names: &[&str]| Some(names.iter().map(|name| (*name).into()).collect());
    let elsewhere = Caller { namespaces: only(&["elsewhere"]), ..mine.clone() };
    let of_other_kind = Caller { kinds: only(&["other"]), ..mine.clone() };
    for limited in [&elsewhere, &of_other_kind] {
        assert_eq!(report_as(&mut bench, limited.clone(), &job), Receipt::Forgotten);
    }
    let within = Caller { kinds: only(&["other", "sync"]), ..mine };
    assert_eq!(report_as(&mut bench, within, &job), Receipt::Accepted { next_attempt: None });
    assert_eq!(report_as(&mut bench, elsewhere, &job), Receipt::Forgotten, "not even that it was");
}
