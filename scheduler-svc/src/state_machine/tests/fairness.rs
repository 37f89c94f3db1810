//! Rule R7: tenants share by round robin over what they may start, and blocked runs cost nobody anything.

use super::{bench::*, limit::*, *};
use crate::state_machine::{Config, command::Command, definition::Definition, id::SessionId, output::Job};

fn of_tenant(id: &str, tenant: &str, keys: &[&str]) -> Definition {
    let mut definition = with_limits(id, keys);
    definition.tenant = tenant.into();
    definition
}

fn tenants(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| &*job.definition.tenant).collect()
}

impl Bench {
    /// Many runs in one batch, so that the test takes no time over them.
    fn crowd(&mut self, count: usize, definition: impl Fn(usize) -> Definition) {
        use crate::state_machine::{command::Command, id::ReplyTo};
        for n in 0..count {
            let definition = definition(n);
            let id = definition.key.id.clone();
            let upsert = self.upsert(definition);
            let trigger = self.trigger(&id);
            let now = self.now;
            self.machine.apply(now, ReplyTo(0), &Command::Upsert(Box::new(upsert)));
            self.machine.apply(now, ReplyTo(0), &trigger);
        }
        self.commit();
        self.replies.clear();
    }
}

#[test]
fn r7_a_crowd_delays_another_tenant_by_one_turn() {
    let mut bench = Bench::new();
    bench.crowd(2_000, |n| of_tenant(&format!("s{n}"), "big", &[]));
    bench.run_all(vec![of_tenant("one", "small", &[])]);
    bench.worker(2);
    assert_eq!(tenants(&bench.jobs()), ["big", "small"]);
}

#[test]
fn r7_a_blocked_crowd_delays_nobody_and_is_not_scanned() {
    let mut bench = Bench::new();
    bench.set_limit("closed", running(0));
    bench.crowd(20_000, |n| of_tenant(&format!("s{n}"), "big", &["closed"]));
    bench.worker(5);
    let before = bench.machine.queue.looks();
    bench.crowd(2, |n| of_tenant(["one", "two"][n], ["small", "big"][n], &[]));
    let started = tenants(&bench.jobs()).join(" ");
    assert_eq!(started, "big small", "also what the big tenant may start");
    let looks = bench.machine.queue.looks() - before;
    assert!(looks <= 6, "{looks} looks with 20 000 runs set aside");
}

#[test]
fn r7_a_limit_that_comes_late_sets_a_crowd_aside_once() {
    let config = Config { assignments_per_turn: 100, ..Config::default() };
    let mut bench = Bench::with(config);
    bench.crowd(5_000, |n| of_tenant(&format!("s{n}"), "big", &["k"]));
    bench.set_limit("k", running(1));
    bench.worker(3);
    bench.run_all(vec![of_tenant("one", "small", &[])]);
    assert_eq!(tenants(&bench.jobs()), ["big", "small"]);
    let looks = bench.machine.queue.looks();
    assert!((5_000..5_100).contains(&looks), "each was looked at once: {looks}");
    bench.run_all(vec![of_tenant("two", "small", &["k"])]);
    assert!(bench.machine.queue.looks() - looks < 10);
}

#[test]
fn r7_permits_go_to_tenants_by_turn() {
    let mut bench = Bench::new();
    bench.set_limit("k", running(1));
    bench.crowd(50, |n| of_tenant(&format!("a{n}"), "a", &["k"]));
    bench.crowd(3, |n| of_tenant(&format!("b{n}"), "b", &["k"]));
    bench.crowd(3, |n| of_tenant(&format!("c{n}"), "c", &["k"]));
    bench.worker(10);
    let mut order = Vec::new();
    for _ in 0..8 {
        let job = bench.job();
        order.push(job.definition.tenant.to_string());
        bench.succeed(&job);
    }
    assert_eq!(order, ["a", "b", "c", "a", "b", "c", "a", "b"]);
}

#[test]
fn r7_a_permit_goes_past_a_tenant_whose_other_runs_come_first() {
    let mut bench = Bench::new();
    bench.set_limit("k", running(0));
    bench.crowd(1, |_| of_tenant("a-limited", "a", &["k"]));
    bench.crowd(1, |_| of_tenant("b-limited", "b", &["k"]));
    bench.crowd(200, |n| {
        let mut urgent = of_tenant(&format!("a{n}"), "a", &[]);
        urgent.priority = 1;
        urgent
    });
    bench.set_limit("k", running(1));
    bench.worker(2);
    let jobs = bench.jobs();
    let ids: Vec<&str> = jobs.iter().map(|job| &*job.definition.key.id).collect();
    assert_eq!(ids, ["a0", "b-limited"], "the permit does not wait behind what a would rather run");
}

#[test]
fn r7_a_lane_without_workers_keeps_no_permit_from_another() {
    let mut bench = Bench::new();
    bench.set_limit("k", running(1));
    let mut other = of_tenant("other", "a", &["k"]);
    other.task.kind = "nobody-takes-it".into();
    bench.run_all(vec![other, of_tenant("one", "b", &["k"]), of_tenant("two", "b", &["k"])]);
    bench.worker(10);
    let first = bench.job();
    bench.succeed(&first);
    assert_eq!(&*bench.job().definition.key.id, "two");
}

#[test]
fn w7_suspects_of_every_kind_come_first_at_some_worker() {
    let mut bench = Bench::new();
    let of_kind = |id: &str, kind: &str| {
        let mut definition = with_limits(id, &[]);
        definition.task.kind = kind.into();
        definition
    };
    bench.save(of_kind("a", "sync"));
    bench.save(of_kind("b", "import"));
    let mut first = Vec::new();
    for life in 0..3 {
        // A worker takes one suspect at a time, and is lost with whatever it has.
        let mut hello = bench.hello(&format!("life {life}"), 4, Vec::new());
        hello.session = SessionId(100 + life);
        hello.kinds = ["sync", "import"].map(Into::into).into();
        let session = bench.open(hello).0;
        if life == 0 {
            bench.run_now("a");
            bench.run_now("b");
        }
        first.push(bench.jobs().iter().map(|job| job.definition.key.id.to_string()).collect::<Vec<_>>());
        bench.apply(&Command::CloseSession(session));
        bench.pass(5 * SECOND);
    }
    assert_eq!(first[0].len(), 2);
    assert_eq!((first[1].len(), first[2].len()), (1, 1));
    assert_ne!(first[1], first[2], "not always those of the same kind");
}
