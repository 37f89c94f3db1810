//! Calls that name many schedules or runs.

use super::{bench::*, *};
use crate::state_machine::{
    command::{BulkChange, Command, Page, RetryRuns},
    failure::Class,
    id::{RunId, Trigger},
    output::Answer,
    schedule::Status,
};

const PAUSE: fn() -> BulkChange = || BulkChange::Pause { note: "n".into(), until: None };

/// Goes through the pages as the edge does. Returns how many were changed, and in how many pages.
fn all_pages(bench: &mut Bench, mut command: Command) -> (u64, usize) {
    for pages in 1.. {
        let Answer::Progress { done, next, .. } = bench.call(&command) else { panic!("progress") };
        let Some(next) = next else { return (done, pages) };
        let Command::Bulk(bulk) = &mut command else { panic!("bulk") };
        (bulk.done, bulk.filter.after) = (done, Some(next));
    }
    unreachable!()
}

fn crowd(bench: &mut Bench, count: usize) {
    for n in 0..count {
        bench.save(definition(&format!("s{n:04}"), every(HOUR)));
    }
}

#[test]
fn p3_a_change_of_many_goes_page_by_page() {
    let mut bench = Bench::new();
    crowd(&mut bench, 1_200);
    bench.save(definition("other", every(HOUR)));
    let pause = bench.bulk("s", PAUSE());
    assert_eq!(all_pages(&mut bench, pause), (1_200, 3));
    assert_eq!(bench.view("s0700").status, Status::Paused);
    assert_eq!(bench.view("other").status, Status::Active);
    let resume = bench.bulk("s", BulkChange::Resume { catch_up: false });
    assert_eq!(all_pages(&mut bench, resume).0, 1_200);
    let delete = bench.bulk("s1", BulkChange::Delete { cancel_running: false });
    assert_eq!(all_pages(&mut bench, delete).0, 200);
    assert!(bench.gone("s1100") && !bench.gone("s0999"));
}

#[test]
fn p5_a_change_of_many_goes_on_where_a_crash_cut_it_off() {
    let mut bench = Bench::new();
    crowd(&mut bench, 1_200);
    let mut pause = bench.bulk("s", PAUSE());
    let Command::Bulk(bulk) = &mut pause else { panic!("bulk") };
    bulk.request = request("once", 1);
    let first = pause.clone();
    let Answer::Progress { done: 500, .. } = bench.call(&first) else { panic!("a page") };
    bench.restart(SECOND);
    let Answer::Progress { done, next, .. } = bench.call(&first) else { panic!("progress") };
    assert_eq!((done, next.as_deref()), (500, Some("s0499")), "the same call again tells where it stands");
    assert_eq!(all_pages(&mut bench, first.clone()).0, 1_200);
    let Answer::Progress { done, next, .. } = bench.call(&first) else { panic!("progress") };
    assert_eq!((done, next), (1_200, None), "and a retry gets the first answer");
}

fn failed_run(bench: &mut Bench) -> RunId {
    let job = bench.job();
    bench.fail(&job, Class::Permanent);
    job.id
}

fn retry(ids: Vec<RunId>, request: Option<crate::state_machine::command::Request>) -> Command {
    let page = Page { last: true, ..Page::default() };
    Command::RetryRuns(Box::new(RetryRuns {
        namespace: "default".into(),
        ids,
        page,
        request,
        actor: "tester".into(),
    }))
}

#[test]
fn failed_runs_run_again_as_manual_runs_of_their_schedules() {
    let mut bench = Bench::new();
    bench.worker(4);
    bench.save(definition("s", every(HOUR)));
    bench.save(definition("t", every(2 * HOUR)));
    bench.pass(HOUR);
    let first = failed_run(&mut bench);
    bench.pause("t", None);
    let again = retry(vec![first, first], request("r", 1));
    let Answer::Progress { done: 1, skipped: 1, next: None } = bench.call(&again) else { panic!("one") };
    let Answer::Progress { done: 1, skipped: 1, next: None } = bench.call(&again) else { panic!("repeated") };
    let job = bench.job();
    assert_eq!(job.id.trigger, Trigger::Manual);
    assert_eq!(job.id.uid, first.uid);
}
