//! What comes, as the machine tells it: for forecasts, and for a warning when a schedule is saved.

use super::{bench::*, *};
use crate::state_machine::{
    command::{Command, Forecast},
    failure::Class,
    forecast::{LOOKED_AT, Page},
    output::Answer,
    timing::Timing,
};

fn pages(bench: &mut Bench) -> Vec<Page> {
    let mut ask = Forecast { namespace: "default".into(), after: None };
    let mut pages: Vec<Page> = Vec::new();
    loop {
        let Answer::Forecast(page) = bench.call(&Command::Forecast(ask.clone())) else { panic!("a page") };
        ask.after = page.next.clone();
        pages.push(page);
        if ask.after.is_none() {
            return pages;
        }
    }
}

#[test]
fn only_what_fires_by_itself_comes() {
    let mut bench = Bench::new();
    let mut spent = definition("spent", every(HOUR));
    spent.max_runs = 3;
    bench.save(spent);
    bench.save(definition("paused", every(HOUR)));
    bench.save(definition("for-a-while", every(HOUR)));
    bench.save(definition("once", Timing::At(START + MINUTE)));
    let mut elsewhere = definition("elsewhere", every(HOUR));
    elsewhere.key.namespace = "shop".into();
    bench.save(elsewhere);
    bench.pause("paused", None);
    bench.pause("for-a-while", Some(START + 5 * HOUR));
    bench.pass(HOUR + MINUTE);
    let pages = pages(&mut bench);
    let coming: Vec<_> = pages[0]
        .schedules
        .iter()
        .map(|coming| {
            (
                &*coming.definition.key.id,
                coming.next - START,
                coming.paused_until.map(|at| at - START),
                coming.left,
            )
        })
        .collect();
    assert_eq!(
        coming,
        [("for-a-while", HOUR, Some(5 * HOUR), None), ("spent", 2 * HOUR, None, Some(2))],
        "nothing of `once` is left"
    );
    assert_eq!(pages.len(), 1);
}

#[test]
fn p3_a_page_looks_at_a_bounded_number_of_schedules() {
    let mut bench = Bench::new();
    for n in 0..=LOOKED_AT {
        let upsert = bench.upsert(definition(&format!("mb-{n:06}"), every(DAY)));
        let to = crate::state_machine::id::ReplyTo(bench.number());
        bench.machine.apply(bench.now, to, &Command::Upsert(Box::new(upsert)));
    }
    bench.commit();
    let pages = pages(&mut bench);
    let sizes: Vec<usize> = pages.iter().map(|page| page.schedules.len()).collect();
    assert_eq!(sizes, [LOOKED_AT, 1]);
}

#[test]
fn the_time_that_runs_take_is_measured_by_kind() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(DAY)));
    assert_eq!(pages(&mut bench)[0].runtimes, []);
    bench.worker(1);
    for seconds in [10, 20, 30] {
        bench.run_now("a");
        let job = bench.job();
        bench.pass(seconds * SECOND);
        bench.succeed(&job);
    }
    assert_eq!(pages(&mut bench)[0].runtimes, [("sync".into(), 20_000)]);
    bench.run_now("a");
    let job = bench.job();
    bench.pass(60 * SECOND);
    bench.fail(&job, Class::Permanent);
    assert_eq!(pages(&mut bench)[0].runtimes, [("sync".into(), 30_000)], "a failure takes its time too");
    let ask = Forecast { namespace: "shop".into(), after: None };
    let Answer::Forecast(page) = bench.call(&Command::Forecast(ask)) else { panic!("a page") };
    assert_eq!(page.runtimes, [], "each namespace has its own");
}

#[test]
fn an_upsert_counts_the_others_of_its_crowd() {
    let mut bench = Bench::new();
    let crowd = |bench: &mut Bench, id: &str, text: &str, spread: u32, validate_only: bool| {
        let mut definition = definition(id, cron(text, "Europe/Berlin"));
        definition.spread = spread;
        let mut upsert = bench.upsert(definition);
        upsert.validate_only = validate_only;
        match bench.call(&Command::Upsert(Box::new(upsert))) {
            Answer::Upserted { crowd, .. } => crowd,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(crowd(&mut bench, "a", "0 6 * * *", 0, false), 0);
    assert_eq!(crowd(&mut bench, "b", "0 6 * * *", 0, true), 1, "not saved");
    assert_eq!(crowd(&mut bench, "b", "0 6 * * *", 0, false), 1);
    assert_eq!(crowd(&mut bench, "b", "0 6 * * *", 0, false), 1, "unchanged");
    assert_eq!(crowd(&mut bench, "c", "0 7 * * *", 0, false), 0);
    assert_eq!(crowd(&mut bench, "c", "0 6 * * *", 0, true), 2);
    assert_eq!(crowd(&mut bench, "c", "0 6 * * *", 60_000, false), 0, "spread leaves the crowd");
    bench.restart(0);
    assert_eq!(crowd(&mut bench, "d", "0 6 * * *", 0, false), 2, "counted again at load");
    bench.delete("a", false);
    assert_eq!(crowd(&mut bench, "b", "0 6 * * *", 0, false), 1);
    assert_eq!(crowd(&mut bench, "b", "0 7 * * *", 0, false), 0);
    assert_eq!(crowd(&mut bench, "e", "0 6 * * *", 0, true), 1);
}
