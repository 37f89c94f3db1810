//! Calls that name many schedules or runs.

use super::{bench::*, *};
use crate::state_machine::{
    Config,
    command::{BulkChange, Command, Page, RetryRuns},
    failure::Class,
    id::{RunId, Trigger},
    output::{Answer, Refusal},
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

/// Failed runs of so many schedules, in their order, with room for `limit` live runs.
fn failures(count: usize, limit: usize) -> (Bench, Vec<RunId>) {
    let mut bench = Bench::with(Config { live_runs_per_namespace: limit, ..Config::default() });
    bench.worker(1);
    let ids = (0..count).map(|n| {
        let id = format!("s{n}");
        bench.save(definition(&id, every(HOUR)));
        bench.run_now(&id);
        failed_run(&mut bench)
    });
    let ids = ids.collect();
    (bench, ids)
}

#[test]
fn named_runs_run_again_whole_or_not_at_all() {
    let (mut bench, ids) = failures(4, 3);
    let all = retry(ids.clone(), request("r", 1));
    assert_eq!(bench.refused(&all), Refusal::TooManyRuns { limit: 3 });
    let Answer::Progress { done: 3, skipped: 0, next: None } = bench.call(&retry(ids[..3].to_vec(), None))
    else {
        panic!("three")
    };
    assert_eq!(bench.refused(&retry(ids[3..].to_vec(), None)), Refusal::TooManyRuns { limit: 3 });
    let skipped = bench.call(&retry(ids[..3].to_vec(), None));
    assert!(matches!(skipped, Answer::Progress { done: 0, skipped: 3, next: None }), "none needs room");
}

#[test]
fn p5_matching_runs_run_as_far_as_there_is_room_and_the_call_goes_on_there() {
    let (mut bench, ids) = failures(5, 2);
    let page = |bench: &mut Bench, ids: &[RunId], done| {
        let Command::RetryRuns(mut page) = retry(ids.to_vec(), request("r", 1)) else { panic!("retry") };
        page.page = Page { done, through: "\u{7f}".into(), ..page.page };
        bench.ask(&Command::RetryRuns(page))
    };
    let Ok(Answer::Progress { done: 2, skipped: 0, next: Some(next) }) = page(&mut bench, &ids, 0) else {
        panic!("two")
    };
    assert_eq!(&*next, "s1", "the schedule after which to go on");
    assert_eq!(page(&mut bench, &ids[2..], 2).unwrap_err(), Refusal::TooManyRuns { limit: 2 });
    let job = bench.job();
    bench.succeed(&job);
    let Ok(Answer::Progress { done: 3, skipped: 0, next: Some(next) }) = page(&mut bench, &ids[2..], 2)
    else {
        panic!("one more")
    };
    assert_eq!(&*next, "s2");
    for _ in 0..2 {
        let job = bench.job();
        bench.succeed(&job);
    }
    let Ok(Answer::Progress { done: 5, skipped: 0, next: None }) = page(&mut bench, &ids[3..], 3) else {
        panic!("the rest")
    };
}
