//! Rule P5: a retry of a mutation gets the first answer.

use super::{bench::*, *};
use crate::state_machine::{
    command::{Command, Delete, Pause, Resume, TriggerNow},
    output::{Answer, Change, Refusal},
};

fn trigger(id: &str, body: u8) -> Command {
    Command::Trigger(TriggerNow { key: key("a"), request: request(id, body), actor: "tester".into() })
}

fn triggered(answer: Answer) -> (crate::state_machine::id::RunId, bool) {
    let Answer::Triggered { run, created } = answer else { panic!("triggered") };
    (run_id(&run), created)
}

#[test]
fn p5_a_repeated_trigger_names_the_same_run_even_after_its_end() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    let first = triggered(bench.call(&trigger("r", 1)));
    let job = bench.job();
    bench.succeed(&job);
    assert_eq!(triggered(bench.call(&trigger("r", 1))), first);
    bench.restart(HOUR);
    assert_eq!(triggered(bench.call(&trigger("r", 1))), first);
    assert!(bench.jobs().is_empty());
    assert_eq!(bench.refused(&trigger("r", 2)), Refusal::RequestIdReused);
}

#[test]
fn p5_a_repeated_upsert_says_again_what_it_did() {
    let mut bench = Bench::new();
    let mut upsert = bench.upsert(definition("a", every(HOUR)));
    upsert.request = request("r", 1);
    assert_eq!(bench.send_upsert(upsert.clone()).1, Change::Created);
    assert_eq!(bench.send_upsert(upsert.clone()).1, Change::Created);
    upsert.request = request("s", 1);
    assert_eq!(bench.send_upsert(upsert).1, Change::Unchanged);
}

/// Of the schedule `a`.
fn pause() -> Command {
    Command::Pause(Pause {
        key: key("a"),
        note: "".into(),
        until: None,
        request: request("p", 1),
        actor: "t".into(),
    })
}

/// Of the same.
fn resume() -> Command {
    Command::Resume(Resume { key: key("a"), catch_up: false, request: request("q", 1), actor: "t".into() })
}

#[test]
fn p5_repeated_delete_pause_and_resume_act_once() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let (pause, resume) = (pause(), resume());
    assert!(matches!(bench.call(&pause), Answer::Paused { changed: true, .. }));
    assert!(matches!(bench.call(&resume), Answer::Resumed { changed: true, .. }));
    assert!(matches!(bench.call(&pause), Answer::Paused { changed: true, .. }));
    assert!(bench.view("a").pause.is_none(), "the repeated pause did not pause again");
    let delete = Command::Delete(Delete {
        key: key("a"),
        cancel_running: false,
        etag: None,
        request: request("d", 1),
        actor: "t".into(),
    });
    assert!(matches!(bench.call(&delete), Answer::Deleted(1)));
    bench.save(definition("a", every(HOUR)));
    assert!(matches!(bench.call(&delete), Answer::Deleted(1)));
    assert!(!bench.gone("a"), "the repeated delete did not delete again");
}

#[test]
fn p5_a_repeat_says_that_its_schedule_was_replaced_by_another() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    let mut upsert = bench.upsert(definition("a", every(5 * DAY)));
    upsert.request = request("u", 1);
    let upsert = Command::Upsert(Box::new(upsert));
    let (pause, resume) = (pause(), resume());
    let asked = [trigger("r", 1), upsert, pause, resume];
    for command in &asked {
        bench.call(command);
    }
    bench.delete("a", true);
    for command in &asked {
        assert_eq!(bench.refused(command), Refusal::ScheduleNotFound);
    }
    bench.save(definition("a", every(10 * DAY)));
    bench.restart(HOUR);
    for command in &asked {
        assert_eq!(bench.refused(command), Refusal::ScheduleReplaced, "{command:?}");
    }
    assert!(triggered(bench.call(&trigger("another", 1))).1);
}

/// The run of a schedule that was deleted goes on, and is still the answer.
#[test]
fn p5_a_repeated_trigger_names_a_live_run_of_a_deleted_schedule() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    let first = triggered(bench.call(&trigger("r", 1)));
    let job = bench.job();
    bench.delete("a", false);
    bench.save(definition("a", every(10 * DAY)));
    assert_eq!(triggered(bench.call(&trigger("r", 1))), first);
    bench.succeed(&job);
    assert_eq!(bench.refused(&trigger("r", 1)), Refusal::ScheduleReplaced);
}

#[test]
fn p5_request_ids_are_forgotten_after_a_day() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(10 * DAY)));
    bench.worker(1);
    let first = triggered(bench.call(&trigger("r", 1)));
    let job = bench.job();
    bench.succeed(&job);
    let with_request = bench.kept();
    bench.pass(HOUR);
    bench.restart(0);
    bench.pass(DAY);
    assert_eq!(bench.kept(), with_request - 1);
    assert_ne!(triggered(bench.call(&trigger("r", 1))), first);
}

#[test]
fn p5_a_refused_call_is_not_remembered() {
    let mut bench = Bench::new();
    assert_eq!(bench.refused(&trigger("r", 1)), Refusal::ScheduleNotFound);
    bench.save(definition("a", every(10 * DAY)));
    assert!(triggered(bench.call(&trigger("r", 1))).1);
}

#[test]
fn two_namespaces_share_no_request_ids() {
    let mut bench = Bench::new();
    let mut one = bench.upsert(definition("a", every(HOUR)));
    one.request = request("r", 1);
    let mut other = bench.upsert(definition("a", every(HOUR)));
    other.definition.key.namespace = "shop".into();
    other.request = request("r", 2);
    bench.send_upsert(one);
    bench.send_upsert(other);
    assert_eq!(bench.view("a").definition.timing, every(HOUR));
}
