//! Rule R6: permits, patterns and starts per second.

use super::{bench::*, *};
use crate::state_machine::{
    command::{Command, DeleteLimit, GetRun, ListLimits, Reported, SetLimit},
    definition::Definition,
    failure::{Class, Failure},
    gate::limit::Limit,
    output::{Answer, Event, Job, Receipt, Refusal},
    view::{LimitView, RunState, RunView, Wait, WaitKind},
};

const MICRO: u64 = 1_000_000;

pub fn running(max: u32) -> Limit {
    Limit { max_running: Some(max), rate: 0, burst: 1 }
}

fn rate(micro: u64, burst: u32) -> Limit {
    Limit { max_running: None, rate: micro, burst }
}

/// A schedule that only runs when it is told to.
pub fn with_limits(id: &str, keys: &[&str]) -> Definition {
    let mut definition = definition(id, every(100 * DAY));
    definition.limits = keys.iter().map(|key| (*key).into()).collect();
    definition
}

impl Bench {
    pub fn set_limit(&mut self, key: &str, limit: Limit) -> LimitView {
        let set = SetLimit { namespace: "default".into(), key: key.into(), limit, request: None };
        match self.call(&Command::SetLimit(Box::new(set))) {
            Answer::Limit(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub fn delete_limit(&mut self, key: &str) -> Result<Answer, Refusal> {
        let delete = DeleteLimit { namespace: "default".into(), key: key.into(), request: None };
        self.ask(&Command::DeleteLimit(delete))
    }

    pub fn limits(&mut self) -> Vec<LimitView> {
        let list = ListLimits { namespace: "default".into(), prefix: "".into(), after: None, limit: 100 };
        match self.call(&Command::ListLimits(list)) {
            Answer::Limits { limits, .. } => limits,
            other => panic!("{other:?}"),
        }
    }

    pub fn run_all(&mut self, definitions: Vec<Definition>) {
        for definition in definitions {
            let id = definition.key.id.clone();
            self.save(definition);
            self.run_now(&id);
        }
    }

    pub fn throttle(&mut self, job: &Job, key: &str, seconds: u32) -> Receipt {
        let mut failure = Failure::new(Class::Throttled, "429", "slow down");
        (failure.retry_after, failure.limit) = (seconds * 1000, key.into());
        let failure = Box::new(failure);
        self.report(job, Reported::Failure { failure, partial: Default::default(), checkpoint: None })
    }

    pub fn started(&mut self) -> Vec<String> {
        self.jobs().iter().map(|job| job.definition.key.id.to_string()).collect()
    }

    fn wait_of(&mut self, id: &str) -> Wait {
        let run = self.view(id).active[0];
        let get = GetRun { namespace: "default".into(), id: run, wait: false };
        match self.call(&Command::GetRun(get)) {
            Answer::Run(view) => match *view {
                RunView::Live(live) => match live.state {
                    RunState::Queued(wait) => wait.expect("looked at"),
                    other => panic!("{other:?}"),
                },
                RunView::Final { .. } => panic!("final"),
            },
            other => panic!("{other:?}"),
        }
    }

    pub fn closings(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::GateClosed { .. })).count()
    }
}

pub fn numbered(range: std::ops::Range<usize>, keys: &[&str]) -> Vec<Definition> {
    range.map(|n| with_limits(&format!("s{n}"), keys)).collect()
}

// --- permits ---------------------------------------------------------------------------------------------------

#[test]
fn r6_a_permit_is_held_until_the_lease_ends_and_parked_runs_go_on_in_order() {
    let mut bench = Bench::new();
    bench.set_limit("provider:x", running(2));
    bench.worker(10);
    let mut definitions = numbered(0..5, &["provider:x"]);
    definitions[4].priority = 1;
    bench.run_all(definitions);
    let jobs = bench.jobs();
    assert_eq!(jobs.len(), 2);
    assert_eq!(bench.wait_of("s3"), Wait::Limit { key: "provider:x".into(), until: None, shut: false });
    bench.succeed(&jobs[0]);
    assert_eq!(bench.started(), ["s4"], "priority first");
    bench.fail(&jobs[1], Class::Transient);
    assert_eq!(bench.started(), ["s2"], "then arrival");
    assert_eq!(bench.limits()[0].running, 2);
}

#[test]
fn r6_permits_are_all_or_none() {
    let mut bench = Bench::new();
    bench.set_limit("a", running(1));
    bench.set_limit("b", running(1));
    bench.worker(10);
    bench.run_all(vec![
        with_limits("has-b", &["b"]),
        with_limits("both", &["a", "b", "a"]),
        with_limits("only-a", &["a"]),
    ]);
    let jobs = bench.jobs();
    let ids: Vec<&str> = jobs.iter().map(|job| &*job.definition.key.id).collect();
    assert_eq!(ids, ["has-b", "only-a"], "the run that waits for b holds no permit of a");
    bench.succeed(&jobs[0]);
    assert!(bench.jobs().is_empty(), "a is taken");
    bench.succeed(&jobs[1]);
    assert_eq!(bench.started(), ["both"]);
}

#[test]
fn r6_a_pattern_is_the_default_of_each_of_its_keys() {
    let mut bench = Bench::new();
    bench.set_limit("mailbox:*", running(1));
    bench.set_limit("mailbox:vip", running(2));
    bench.worker(10);
    for (n, key) in ["mailbox:1", "mailbox:1", "mailbox:2", "mailbox:vip", "mailbox:vip", "mailbox:vip"]
        .iter()
        .enumerate()
    {
        bench.run_all(vec![with_limits(&format!("s{n}"), &[key])]);
    }
    assert_eq!(bench.started(), ["s0", "s2", "s3", "s4"]);
    bench.set_limit("mailbox:*", running(2));
    assert_eq!(bench.started(), ["s1"], "raised: what waits goes on");
    bench.delete_limit("mailbox:vip").expect("deleted");
    assert!(bench.jobs().is_empty(), "now the pattern counts, and two are running");
    bench.delete_limit("mailbox:*").expect("deleted");
    assert_eq!(bench.started(), ["s5"]);
}

#[test]
fn r6_zero_closes_a_key_and_removing_the_limit_opens_it() {
    let mut bench = Bench::new();
    bench.worker(10);
    assert_eq!(&*bench.set_limit("k", running(0)).reason, "closed: max_running is 0");
    bench.run_all(numbered(0..3, &["k"]));
    assert!(bench.jobs().is_empty());
    bench.delete_limit("k").expect("deleted");
    assert_eq!(bench.started(), ["s0", "s1", "s2"]);
    assert_eq!(bench.delete_limit("k").expect_err("gone"), Refusal::LimitNotFound);
}

#[test]
fn r6_permits_are_the_live_leases_after_a_restart() {
    let mut bench = Bench::new();
    bench.set_limit("k", running(2));
    bench.worker(10);
    bench.run_all(numbered(0..4, &["k"]));
    let jobs = bench.jobs();
    bench.restart(SECOND);
    let hello = bench.hello("one", 10, jobs.iter().map(held).collect());
    let session = bench.open(hello).0;
    assert!(bench.jobs().is_empty(), "both permits are held still");
    bench.succeed(&jobs[0]);
    let next = bench.job();
    assert_eq!(&*next.definition.key.id, "s2");
    bench.beat(session, u64::MAX, vec![held(&jobs[1]), held(&next)]);
    assert!(bench.jobs().is_empty());
}

#[test]
fn r6_a_lost_worker_gives_its_permits_back() {
    let mut bench = Bench::new();
    bench.set_limit("k", running(1));
    bench.silent_worker(1);
    bench.run_all(numbered(0..2, &["k"]));
    assert_eq!(bench.job().attempt, 1);
    bench.pass(20 * SECOND);
    bench.worker(1);
    let again = bench.job();
    assert_eq!((&*again.definition.key.id, again.attempt), ("s0", 2));
}

#[test]
fn r6_the_backlog_and_the_run_say_which_limit_it_waits_for() {
    let mut bench = Bench::new();
    bench.set_limit("k", running(0));
    bench.worker(1);
    bench.run_all(numbered(0..3, &["k"]));
    let Answer::Status(status) = bench.call(&Command::GetStatus { namespace: "default".into() }) else {
        panic!("status")
    };
    assert_eq!(status.backlog[&("sync".into(), WaitKind::Limit)].runs, 3);
}

// --- starts per second -----------------------------------------------------------------------------------------

#[test]
fn r6_starts_per_second_are_spread_exactly() {
    let mut bench = Bench::new();
    bench.set_limit("k", rate(2 * MICRO, 3));
    bench.worker(1_000);
    bench.run_all(numbered(0..100, &["k"]));
    assert_eq!(bench.jobs().len(), 3, "the burst");
    let until = bench.now.wall + 500;
    assert_eq!(bench.wait_of("s3"), Wait::Limit { key: "k".into(), until: Some(until), shut: false });
    bench.pass(499);
    assert!(bench.jobs().is_empty());
    bench.pass(1);
    assert_eq!(bench.jobs().len(), 1);
    bench.pass(30 * SECOND);
    assert_eq!(bench.jobs().len(), 60, "two a second, without drift");
}

#[test]
fn r6_a_restart_is_no_new_burst() {
    let mut bench = Bench::new();
    bench.set_limit("k", rate(MICRO, 50));
    bench.worker(1_000);
    bench.run_all(numbered(0..100, &["k"]));
    assert_eq!(bench.jobs().len(), 50);
    bench.restart(0);
    let hello = bench.hello("two", 1_000, Vec::new());
    bench.open(hello);
    assert!(bench.jobs().is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(bench.jobs().len(), 2);
}

#[test]
fn r6_nothing_is_kept_of_keys_that_nobody_uses() {
    let mut bench = Bench::new();
    bench.set_limit("m:*", rate(MICRO, 1));
    bench.worker(10);
    bench.run_all((0..5).map(|n| with_limits(&format!("s{n}"), &[&format!("m:{n}")])).collect());
    let jobs = bench.jobs();
    bench.throttle(&jobs[0], "m:0", 1);
    bench.pass(MINUTE);
    for job in jobs[1..].iter().chain(&bench.jobs()) {
        bench.succeed(job);
    }
    bench.pass(3 * MINUTE);
    assert_eq!(bench.machine.gates.count(), 0);
    let limits = bench.records.keys().filter_map(|key| key.name()).filter(|name| {
        use crate::store::key::Name;
        matches!(name, Name::Limit { .. } | Name::Closing { .. })
    });
    assert_eq!(limits.count(), 1, "the limit itself");
}

#[test]
fn p3_a_namespace_holds_so_many_limits() {
    let mut bench = Bench::new();
    for n in 0..crate::state_machine::gate::limit::LIMITS_MAX {
        let name = format!("k{n}");
        bench.machine.restore_limit_for_tests(&name, running(1));
    }
    let set = SetLimit { namespace: "default".into(), key: "one".into(), limit: running(1), request: None };
    assert_eq!(bench.refused(&Command::SetLimit(Box::new(set))), Refusal::TooManyLimits);
    bench.set_limit("k7", running(2));
}

#[test]
fn p5_a_repeated_request_gets_the_first_answer() {
    let mut bench = Bench::new();
    let set = |max, body| {
        Command::SetLimit(Box::new(SetLimit {
            namespace: "default".into(),
            key: "k".into(),
            limit: running(max),
            request: request("r", body),
        }))
    };
    bench.call(&set(1, 1));
    bench.set_limit("k", running(5));
    let Answer::Limit(view) = bench.call(&set(1, 1)) else { panic!("a limit") };
    assert_eq!(view.limit, Some(running(5)), "not set again");
    assert_eq!(bench.refused(&set(2, 2)), Refusal::RequestIdReused);
}
