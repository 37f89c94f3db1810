//! What goes wrong elsewhere, and cannot here: each test is named for the report of it. `docs/pains.md` has them all.

use super::{bench::*, *};
use crate::state_machine::{
    command::{BulkChange, Command},
    definition::{Definition, Input, Overlap, ScheduleKey},
    failure::Class,
    id::Trigger,
    output::{Body, Change, Receipt},
    schedule::{Status, Verdict},
};

fn hourly(id: &str) -> Definition {
    definition(id, every(HOUR))
}

/// The one job there is, done at once.
fn done(bench: &mut Bench) -> i64 {
    let job = bench.job();
    bench.succeed(&job);
    job.id.nominal
}

#[test]
fn bullmq_3272_no_end_of_a_run_stops_its_schedule() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(hourly("s"));
    for class in [Class::Permanent, Class::Superseded, Class::Cancelled, Class::Reauthorize] {
        bench.pass(HOUR);
        let job = bench.job();
        bench.fail(&job, class);
        bench.resume("s", false);
    }
    bench.pass(HOUR);
    let job = bench.job();
    bench.cancel_run(job.id).expect("a live run");
    bench.fail(&job, Class::Cancelled);
    bench.pass(HOUR);
    assert_eq!(done(&mut bench), START + 6 * HOUR);
}

#[test]
fn bullmq_3063_removed_and_saved_again_it_runs() {
    let mut bench = Bench::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        // The same time is due anew each time: the clock is set back with the delete.
        bench.save(definition("s", cron("0 1 * * *", "UTC")));
        bench.pass(HOUR);
        bench.silent_worker(1);
        let job = bench.job();
        bench.succeed(&job);
        ids.push(job.id);
        bench.delete("s", false);
        bench.set_clock(-HOUR);
    }
    assert!(ids.iter().all(|id| id.nominal == START + HOUR));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
}

#[test]
fn bullmq_3381_every_process_may_save_the_same_when_it_starts() {
    let mut bench = Bench::new();
    bench.worker(1);
    let mut changes = Vec::new();
    for _ in 0..4 {
        for _ in 0..10 {
            changes.push(bench.save(hourly("s")).1);
        }
        bench.pass(30 * MINUTE);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
    }
    assert_eq!(changes[0], Change::Created);
    assert!(changes[1..].iter().all(|change| *change == Change::Unchanged));
    assert_eq!(bench.fired(), [START + HOUR, START + 2 * HOUR]);
}

#[test]
fn bullmq_2988_quick_changes_make_no_further_runs() {
    let mut bench = Bench::new();
    bench.worker(1);
    for n in 0..40 {
        bench.save(with(hourly("s"), |it| it.priority = n % 10));
        // Twenty of them within the last second, twenty within the first after the time.
        bench.pass(if n == 0 { HOUR - SECOND } else { 50 });
    }
    assert_eq!(bench.fired(), [START + HOUR]);
    assert_eq!(bench.jobs().len(), 1);
}

#[test]
fn bullmq_3500_a_change_counts_from_the_next_run_on() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(hourly("s"));
    bench.pass(30 * MINUTE);
    let mut changed = definition("s", every(MINUTE));
    changed.input = Input::new(b"new", &[]);
    let (view, _) = bench.save(changed);
    assert_eq!(view.next, Some(START + 31 * MINUTE), "the answer says it");
    bench.pass(MINUTE);
    let job = bench.job();
    assert_eq!((job.id.nominal, job.definition.input.args()), (START + 31 * MINUTE, &b"new"[..]));
}

#[test]
fn bullmq_2643_planning_depends_on_no_worker() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(hourly("s"));
    bench.pass(HOUR);
    let stuck = bench.job();
    bench.pass(MINUTE);
    bench.save(with(hourly("other"), |it| it.overlap = Overlap::Skip));
    bench.pass(5 * HOUR);
    bench.succeed(&stuck);
    assert_eq!(bench.view("other").decided_through, START + 6 * HOUR + MINUTE);
    let log = bench.decisions("s");
    let decided: u64 = log.iter().filter_map(|decision| decision.count).sum();
    assert_eq!(decided, 6, "each hour has its decision, with the worker blocked: {log:?}");
    assert!(log.iter().all(|decision| matches!(decision.verdict, Verdict::Fired | Verdict::Overlap)));
}

#[test]
fn bullmq_1451_times_are_met_to_the_millisecond() {
    let mut bench = Bench::new();
    bench.save(definition("s", every(47 * SECOND)));
    for n in 1..=100 {
        let due = START + n * 47 * SECOND;
        assert_eq!(bench.machine.next_wake().wall, Some(due));
        bench.skip(due - bench.now.wall);
        assert!(bench.wake() > 0);
        assert_eq!(bench.view("s").decided_through, due);
    }
}

#[test]
fn bullmq_3133_a_job_is_with_one_worker_at_a_time() {
    let mut bench = Bench::new();
    bench.save(hourly("s"));
    let hello = bench.hello("first", 1, Vec::new());
    let (first, _) = bench.open(hello);
    let hello = bench.hello("second", 1, Vec::new());
    let (second, _) = bench.open(hello);
    bench.run_now("s");
    let job = bench.job();
    let (holder, other) = if bench.session_of(&job) == first { (first, second) } else { (second, first) };
    bench.pass(5 * SECOND);
    bench.beat(other, u64::MAX, Vec::new());
    bench.beat(holder, u64::MAX, vec![held(&job)]);
    assert!(bench.jobs().is_empty());
    // It goes to the other one after its lease has ended, under a token that outranks the first.
    bench.apply(&Command::CloseSession(holder));
    bench.pass(5 * SECOND);
    let again = bench.job();
    assert!(again.token > job.token && bench.session_of(&again) == other);
    assert!(matches!(bench.succeed(&again), Receipt::Accepted { .. }));
    assert!(!matches!(bench.succeed(&job), Receipt::Accepted { .. }));
}

#[test]
fn bull_2207_a_weekly_job_runs_once_a_week_also_when_clocks_change() {
    let mut bench = Bench::new();
    // 02:30 is left out in March, and comes twice in October.
    bench.save(definition("s", cron("30 2 * * 0", "Europe/Berlin")));
    let mut ran = Vec::new();
    for _ in 0..60 {
        bench.silent_worker(1);
        let next = bench.view("s").next.expect("a next time");
        bench.skip(next - bench.now.wall);
        bench.pass(1);
        ran.push(done(&mut bench));
    }
    let weeks: Vec<i64> = ran.iter().map(|at| (at - START) / (7 * DAY)).collect();
    assert_eq!(weeks, (0..60).collect::<Vec<_>>());
}

#[test]
fn bullmq_1342_a_crowd_that_is_spread_shares_no_second() {
    let mut bench = Bench::new();
    for n in 0..600 {
        let saved = with(definition(&format!("user-{n}"), cron("0 6 * * *", "Europe/Rome")), |it| {
            it.spread = 10 * MINUTE as u32
        });
        bench.save(saved);
    }
    bench.pass(DAY);
    let mut seconds = std::collections::BTreeMap::new();
    for n in 0..600 {
        let run = bench.view(&format!("user-{n}")).active[0];
        *seconds.entry(bench.live(run).expect("live").due / SECOND).or_insert(0) += 1;
    }
    assert!(seconds.len() > 300, "{} of 600 seconds", seconds.len());
    assert!(seconds.values().all(|count| *count <= 8), "{seconds:?}");
}

#[test]
fn bullmq_1311_times_of_one_instant_start_together() {
    let mut bench = Bench::new();
    bench.worker(200);
    for n in 0..100 {
        bench.save(definition(&format!("s{n}"), cron("0 1 * * *", "UTC")));
    }
    bench.pass(HOUR);
    assert_eq!(bench.now.wall, START + HOUR);
    let bodies = bench.messages.iter().map(|(_, message)| match &message.body {
        Body::Jobs(jobs) => jobs.len(),
        Body::Cancel { .. } => 0,
    });
    assert_eq!(bodies.collect::<Vec<_>>(), [100], "in one message, at their instant");
}

#[test]
fn camunda_59631_what_is_new_does_not_overtake_the_backlog() {
    let mut bench = Bench::new();
    bench.save(hourly("old"));
    bench.save(definition("new", every(2 * HOUR)));
    bench.pass(2 * HOUR);
    bench.worker(1);
    let mut order = Vec::new();
    for _ in 0..2 {
        let job = bench.job();
        order.push(job.definition.key.id.to_string());
        bench.succeed(&job);
    }
    assert_eq!(order, ["old", "new"]);
}

#[test]
fn creatio_an_outage_is_one_run_per_mailbox() {
    let mut bench = Bench::new();
    for n in 0..50 {
        bench.save(definition(&format!("mailbox-{n}"), every(MINUTE)));
    }
    bench.restart(90 * MINUTE);
    bench.wake();
    bench.worker(1_000);
    assert_eq!(bench.jobs().len(), 50);
}

#[test]
fn dapr_a_stream_that_breaks_breaks_no_other() {
    let mut bench = Bench::new();
    bench.save(hourly("s"));
    let hello = bench.hello("first", 1, Vec::new());
    let (first, _) = bench.open(hello);
    let hello = bench.hello("second", 1, Vec::new());
    let (second, _) = bench.open(hello);
    bench.run_now("s");
    let job = bench.job();
    let (holder, other) = if bench.session_of(&job) == first { (first, second) } else { (second, first) };
    bench.apply(&Command::CloseSession(other));
    bench.pass(4 * SECOND);
    assert_eq!(bench.beat(holder, u64::MAX, vec![held(&job)]), (Vec::new(), false));
    assert!(bench.closed.is_empty());
    assert!(matches!(bench.succeed(&job), Receipt::Accepted { .. }));
}

#[test]
fn dapr_what_is_deleted_in_a_namespace_stays_in_its_neighbour() {
    let mut bench = Bench::new();
    let keys = ["test", "test2", "tes", "test-2"].map(|namespace| ScheduleKey::new(namespace, "s"));
    for key in &keys {
        bench.save(with(hourly("s"), |it| it.key = key.clone()));
    }
    let Command::Bulk(mut bulk) = bench.bulk("", BulkChange::Delete { cancel_running: true }) else {
        panic!()
    };
    bulk.filter.namespace = "test".into();
    bench.call(&Command::Bulk(bulk));
    let left = keys.map(|key| bench.ask(&Command::GetSchedule(key)).is_ok());
    assert_eq!(left, [false, true, true, true]);
}

#[test]
fn cloud_scheduler_a_run_by_hand_takes_nothing_from_the_scheduled_one() {
    let mut bench = Bench::new();
    bench.worker(2);
    bench.save(with(hourly("s"), |it| it.overlap = Overlap::Allow));
    bench.skip(HOUR);
    let (by_hand, created) = bench.run_now("s");
    bench.wake();
    let jobs = bench.jobs();
    let triggers: Vec<Trigger> = jobs.iter().map(|job| job.id.trigger).collect();
    assert!(created && by_hand.nominal == START + HOUR);
    assert!(triggers.contains(&Trigger::Manual) && triggers.contains(&Trigger::Scheduled), "{triggers:?}");
}

#[test]
fn kubernetes_45825_what_was_paused_for_long_goes_on() {
    for (catch_up, runs) in [(false, vec![]), (true, vec![START + 400 * DAY])] {
        let mut bench = Bench::new();
        bench.worker(1);
        bench.save(definition("s", every(MINUTE)));
        bench.pause("s", None);
        bench.restart(400 * DAY + SECOND);
        bench.worker(1);
        bench.resume("s", catch_up);
        bench.pass(SECOND);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
        assert_eq!(bench.fired(), runs);
        let view = bench.view("s");
        assert_eq!((view.status, view.next), (Status::Active, Some(START + 400 * DAY + MINUTE)));
        bench.pass(MINUTE);
        assert_eq!(done(&mut bench), START + 400 * DAY + MINUTE);
    }
}

#[test]
fn river_1258_no_run_is_running_for_days() {
    let mut bench = Bench::new();
    bench.silent_worker(1);
    bench.save(hourly("s"));
    bench.run_now("s");
    let lost = bench.job();
    bench.pass(16 * SECOND);
    let hello = bench.hello("next", 1, Vec::new());
    bench.open(hello);
    let again = bench.job();
    assert_eq!((again.id, again.attempt), (lost.id, 2), "a lease is 15 s, and nobody renewed it");
}
