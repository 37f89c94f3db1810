//! Imports and exports: what is restored goes on as it would have, and nothing is decided twice.

use std::collections::BTreeMap;

use super::{bench::*, random::World, *};
use crate::state_machine::{
    Config,
    command::{Command, DeleteNamed, Import, ImportItem, ListSchedules},
    definition::{Definition, Misfire, Overlap},
    failure::Class,
    id::{RunId, Trigger, Uid},
    output::{Answer, Change, Conflict, Difference, Imported, Refusal},
    schedule::{Pause, PauseReason, Span, Status, Verdict},
    snapshot::Snapshot,
    timing::Timing,
};

pub fn export(bench: &mut Bench) -> Vec<Snapshot> {
    let mut list = ListSchedules {
        namespace: "default".into(),
        after: None,
        prefix: "".into(),
        labels: BTreeMap::new(),
        states: Vec::new(),
        pause_reasons: Vec::new(),
        limit: 3,
    };
    let mut all = Vec::new();
    loop {
        let Answer::Exported { snapshots, next } = bench.call(&Command::Export(list.clone())) else {
            panic!("exported")
        };
        all.extend(snapshots);
        let Some(last) = next else { return all };
        list.after = Some(last);
    }
}

pub fn import(bench: &mut Bench, items: Vec<ImportItem>, validate_only: bool) -> Imported {
    let import = Import { items, validate_only, actor: "tester".into() };
    match bench.call(&Command::Import(Box::new(import))) {
        Answer::Imported(imported) => *imported,
        other => panic!("{other:?}"),
    }
}

pub fn restore(bench: &mut Bench, snapshots: &[Snapshot]) -> Imported {
    let items = snapshots.iter().map(|one| ImportItem::Restore(Box::new(one.clone()))).collect();
    import(bench, items, false)
}

fn save(bench: &mut Bench, definitions: Vec<Definition>, validate_only: bool) -> Imported {
    let uid = |bench: &mut Bench| Uid(u128::from(bench.number()) << 64 | 7);
    let items = definitions.into_iter().map(|one| ImportItem::Save(Box::new(one), uid(bench))).collect();
    import(bench, items, validate_only)
}

fn counts(imported: &Imported) -> (u64, u64, u64, usize) {
    (imported.created, imported.updated, imported.unchanged, imported.refused.len())
}

fn only(bench: &mut Bench) -> Snapshot {
    let mut all = export(bench);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Another server, at the same time.
fn another(bench: &Bench) -> Bench {
    let mut other = Bench::new();
    other.skip(bench.now.wall - START);
    other
}

/// Lets a worker run everything for a while.
fn run_for(bench: &mut Bench, span: i64) {
    for _ in 0..span / MINUTE {
        bench.pass(MINUTE);
        for job in bench.jobs() {
            bench.succeed(&job);
        }
    }
}

fn fired(bench: &Bench) -> Vec<RunId> {
    let mut fired: Vec<RunId> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            crate::state_machine::output::Event::Fired { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    fired.sort_unstable();
    fired
}

/// One of each kind, some time into their lives.
fn variety() -> Bench {
    let mut bench = Bench::new();
    bench.worker(8);
    let spread = 1_800_000;
    bench.save(definition("cron", cron("*/20 * * * *", "Europe/Berlin")));
    bench.save(definition("every", every(47 * MINUTE)));
    bench.pass(11 * MINUTE);
    bench.save(definition("late", every(HOUR)));
    bench.save(with(definition("spread", cron("0 * * * *", "UTC")), |it| it.spread = spread));
    bench.save(with(definition("bounded", every(HOUR)), |it| it.max_runs = 4));
    bench.save(definition("paused", every(HOUR)));
    bench.save(definition("until", every(HOUR)));
    bench.save(definition("ended", Timing::At(bench.now.wall + MINUTE)));
    bench.save(definition("once", Timing::At(bench.now.wall + 10 * HOUR)));
    bench.pause("paused", None);
    bench.pause("until", Some(bench.now.wall + 7 * HOUR + MINUTE));
    let (manual, _) = bench.run_now("late");
    assert_eq!(manual.trigger, Trigger::Manual);
    run_for(&mut bench, 2 * HOUR);
    bench.save(with(definition("every", every(47 * MINUTE)), |it| it.priority = 2));
    bench
}

#[test]
fn what_is_restored_goes_on_as_it_would_have() {
    let mut bench = variety();
    let exported = export(&mut bench);
    assert_eq!(exported.len(), 9);
    assert!(exported.iter().all(|one| one.active.is_empty()));
    let mut other = another(&bench);
    other.worker(8);
    assert_eq!(counts(&restore(&mut other, &exported)), (9, 0, 0, 0));
    assert_eq!(export(&mut other), exported);
    for snapshot in &exported {
        let id = &*snapshot.definition.key.id;
        let (here, there) = (bench.view(id), other.view(id));
        assert_eq!((here.etag, here.next, here.pause), (there.etag, there.next, there.pause), "{id}");
    }
    assert_eq!(counts(&restore(&mut other, &exported)), (0, 0, 9, 0), "twice changes nothing");
    bench.events.clear();
    run_for(&mut bench, DAY);
    run_for(&mut other, DAY);
    assert!(fired(&bench).len() > 150);
    assert_eq!(fired(&bench), fired(&other));
    assert_eq!(counts(&restore(&mut other, &exported)), (0, 0, 9, 0), "nor after it has gone on");
}

#[test]
fn r2_times_between_export_and_restore_are_missed_times() {
    let mut bench = Bench::new();
    bench.worker(8);
    bench.save(definition("coalesce", every(HOUR)));
    bench.save(with(definition("skip", every(HOUR)), |it| it.misfire = Misfire::Skip));
    let all = Misfire::All { window: 86_400_000, max_runs: 100 };
    bench.save(with(definition("all", every(HOUR)), |it| it.misfire = all));
    run_for(&mut bench, HOUR);
    let exported = export(&mut bench);
    let mut other = another(&bench);
    other.worker(8);
    other.skip(3 * HOUR + 5 * MINUTE);
    restore(&mut other, &exported);
    run_for(&mut other, 10 * MINUTE);
    let nominals = |id: &str| -> Vec<i64> {
        let uid = exported.iter().find(|one| *one.definition.key.id == *id).expect("it").uid;
        fired(&other).iter().filter(|run| run.uid == uid).map(|run| run.nominal).collect()
    };
    assert_eq!(nominals("coalesce"), [START + 4 * HOUR]);
    assert!(nominals("skip").is_empty());
    assert_eq!(nominals("all"), [START + 2 * HOUR, START + 3 * HOUR, START + 4 * HOUR]);
}

/// Hourly, with runs that last.
fn lasting(overlap: Overlap) -> Definition {
    let mut lasting = with(definition("a", every(HOUR)), |it| it.overlap = overlap);
    lasting.task.timeout = DAY as u32;
    lasting
}

#[test]
fn a_time_that_waits_behind_a_live_run_runs_after_a_restore() {
    for overlap in [Overlap::BufferOne, Overlap::CancelRunning] {
        let mut bench = Bench::new();
        bench.worker(1);
        bench.save(lasting(overlap));
        bench.pass(2 * HOUR);
        let exported = only(&mut bench);
        assert_eq!((exported.waiting, exported.active.len()), (Some(START + 2 * HOUR), 2));
        let mut other = another(&bench);
        other.worker(1);
        restore(&mut other, &[exported]);
        assert_eq!(other.job().id.nominal, START + 2 * HOUR);
        let log = other.decisions("a");
        assert_eq!((log.len(), log[0].verdict, log[0].first), (1, Verdict::Fired, START + 2 * HOUR));
    }
}

#[test]
fn a_time_that_waits_stays_behind_a_pause() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(lasting(Overlap::BufferOne));
    bench.pass(2 * HOUR);
    bench.pause("a", None);
    let exported = only(&mut bench);
    let mut other = another(&bench);
    other.worker(1);
    restore(&mut other, std::slice::from_ref(&exported));
    assert!(other.jobs().is_empty());
    assert_eq!(only(&mut other).waiting, exported.waiting);
    other.restart(SECOND);
    other.worker(1);
    other.resume("a", false);
    assert_eq!(other.job().id.nominal, START + 2 * HOUR);
}

#[test]
fn catching_up_and_a_backfill_go_on() {
    let mut bench = Bench::new();
    let all = Misfire::All { window: 86_400_000, max_runs: 100 };
    bench.save(with(definition("all", every(HOUR)), |it| it.misfire = all));
    bench.save(definition("back", every(HOUR)));
    bench.restart(4 * HOUR);
    bench.worker(8);
    bench.pass(1);
    for job in bench.jobs() {
        bench.succeed(&job);
    }
    bench.backfill("back", Span { from: START, to: START + 4 * HOUR }).expect("accepted");
    let exported = export(&mut bench);
    assert_eq!(exported[0].catch_up, Some(START + 4 * HOUR));
    assert_eq!(exported[1].backfill.len(), 1);
    let mut other = another(&bench);
    restore(&mut other, &exported);
    other.worker(8);
    for _ in 0..5 {
        for job in other.jobs() {
            other.succeed(&job);
        }
    }
    let runs: Vec<(Trigger, i64)> = fired(&other).iter().map(|run| (run.trigger, run.nominal)).collect();
    // The first of each was live at the export: it stays behind.
    let expected = [
        (Trigger::Scheduled, START + 3 * HOUR),
        (Trigger::Scheduled, START + 4 * HOUR),
        (Trigger::Backfill, START + HOUR),
        (Trigger::Backfill, START + 2 * HOUR),
        (Trigger::Backfill, START + 3 * HOUR),
    ];
    assert_eq!(runs, expected);
}

#[test]
fn the_later_state_of_one_uid_wins_and_nothing_is_decided_twice() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(definition("a", every(HOUR)));
    let first = only(&mut bench);
    bench.pause("a", None);
    let paused = only(&mut bench);
    let mut other = another(&bench);
    restore(&mut other, std::slice::from_ref(&paused));
    assert_eq!(counts(&restore(&mut other, std::slice::from_ref(&first))), (0, 0, 1, 0), "older");
    assert_eq!(other.view("a").status, Status::Paused);
    bench.resume("a", false);
    bench.save(definition("a", cron("30 * * * *", "UTC")));
    let later = only(&mut bench);
    other.skip(2 * HOUR);
    assert_eq!(counts(&restore(&mut other, std::slice::from_ref(&later))), (0, 1, 0, 0));
    assert_eq!(only(&mut other), later);
    other.worker(1);
    run_for(&mut other, HOUR);
    let gone_on = only(&mut other);
    let again = Snapshot { revision: later.revision + 1, ..later };
    assert_eq!(counts(&restore(&mut other, &[again])), (0, 1, 0, 0));
    assert_eq!(only(&mut other).decided_through, gone_on.decided_through);
}

#[test]
fn what_was_changed_on_both_sides_is_refused() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let exported = only(&mut bench);
    let other = || {
        let mut other = another(&bench);
        restore(&mut other, std::slice::from_ref(&exported));
        other
    };
    let refusal = |other: &mut Bench, record: &Snapshot| {
        let mut imported = restore(other, std::slice::from_ref(record));
        assert_eq!(counts(&imported), (0, 0, 0, 1));
        imported.refused.remove(0).1
    };
    let mut changed = other();
    changed.save(definition("a", every(MINUTE)));
    bench.save(definition("a", every(DAY)));
    let record = only(&mut bench);
    assert_eq!(refusal(&mut changed, &record), Refusal::Conflict(Conflict::Diverged));
    bench.pause("a", None);
    let record = only(&mut bench);
    assert_eq!(refusal(&mut changed, &record), Refusal::Conflict(Conflict::Diverged), "one generation");
    changed.delete("a", false);
    assert_eq!(counts(&restore(&mut changed, &[record])), (1, 0, 0, 0), "the remedy");
}

#[test]
fn another_schedule_of_the_same_id_or_uid_is_in_the_way() {
    let mut bench = Bench::new();
    bench.worker(1);
    let own = bench.save(definition("a", every(HOUR))).0.uid;
    let taken = only(&mut bench);
    let by_id = Snapshot { uid: Uid(5), ..taken.clone() };
    let named =
        |id: &str, of: &Snapshot| Snapshot { definition: definition(id, every(HOUR)).into(), ..of.clone() };
    let by_uid = named("b", &taken);
    let over = Snapshot {
        definition: with(definition("o", every(HOUR)), |it| it.delete_when_ended = true).into(),
        status: Status::Ended,
        ..by_id.clone()
    };
    bench.save(definition("c", every(HOUR)));
    let ending = export(&mut bench).remove(1);
    bench.run_now("c");
    bench.job();
    bench.delete("c", false);
    let imported = restore(&mut bench, &[by_id, by_uid, over, ending.clone(), named("d", &ending)]);
    let refused: Vec<Refusal> = imported.refused.into_iter().map(|(_, why)| why).collect();
    let expected =
        [Conflict::IdTaken(own), Conflict::UidTaken, Conflict::Over, Conflict::Ending, Conflict::Ending];
    assert_eq!(refused, expected.map(Refusal::Conflict));
    assert_eq!(imported.created, 0);
}

#[test]
fn r4_a_restored_pause_holds_what_is_queued_here() {
    let mut bench = Bench::new();
    bench.save(definition("a", every(HOUR)));
    let mut record = only(&mut bench);
    bench.run_now("a");
    record.revision += 1;
    record.status = Status::Paused;
    record.pause = Some(Pause {
        reason: PauseReason::Requested,
        note: "n".into(),
        actor: "t".into(),
        time: START,
        until: None,
    });
    restore(&mut bench, std::slice::from_ref(&record));
    bench.worker(1);
    assert!(bench.jobs().is_empty());
    let back = Snapshot { revision: record.revision + 1, status: Status::Active, pause: None, ..record };
    restore(&mut bench, &[back]);
    assert_eq!(bench.job().id.trigger, Trigger::Manual);
}

#[test]
fn a_failing_schedule_is_paused_by_the_failures_of_both_servers() {
    let mut bench = Bench::new();
    bench.worker(1);
    bench.save(with(definition("a", every(HOUR)), |it| it.pause_after_failures = 2));
    bench.run_now("a");
    let job = bench.job();
    bench.fail(&job, Class::Permanent);
    let exported = only(&mut bench);
    assert_eq!(exported.failures, 1);
    let mut other = another(&bench);
    other.worker(1);
    restore(&mut other, &[exported]);
    let (run, _) = other.run_now("a");
    assert!(run.nominal > job.id.nominal, "the id of the last manual run does not come again");
    let job = other.job();
    other.fail(&job, Class::Permanent);
    assert_eq!(other.view("a").pause.map(|pause| pause.reason), Some(PauseReason::Failures));
}

#[test]
fn saved_in_order_the_last_of_one_id_counts() {
    let mut bench = Bench::new();
    let hourly = || definition("a", every(HOUR));
    let imported = save(&mut bench, vec![hourly(), definition("a", every(DAY)), hourly(), hourly()], false);
    assert_eq!(counts(&imported), (1, 2, 1, 0));
    assert_eq!(bench.view("a").next, Some(START + HOUR));
    let records = bench.records.clone();
    assert_eq!(counts(&save(&mut bench, vec![hourly()], false)), (0, 0, 1, 0));
    assert_eq!(bench.records, records);
}

#[test]
fn what_is_refused_leaves_the_others_alone() {
    let mut bench = Bench::with(Config { schedules_per_namespace: 2, ..Config::default() });
    let past = definition("past", Timing::At(START - HOUR));
    let imported = save(
        &mut bench,
        vec![
            definition("a", every(HOUR)),
            past,
            definition("b", every(HOUR)),
            definition("c", every(HOUR)),
            definition("a", every(DAY)),
        ],
        false,
    );
    assert_eq!(counts(&imported), (2, 1, 0, 2));
    let why: Vec<&Refusal> = imported.refused.iter().map(|(_, why)| why).collect();
    assert_eq!(why, [&Refusal::NeverFires, &Refusal::TooManySchedules { limit: 2 }]);
}

#[test]
fn only_checked_it_names_the_fields_and_changes_nothing() {
    let mut bench = variety();
    let exported = export(&mut bench);
    let records = bench.records.clone();
    let definitions = vec![
        with(definition("cron", cron("*/20 * * * *", "UTC")), |it| it.priority = 9),
        definition("new", every(HOUR)),
        definition("late", every(HOUR)),
        definition("once", every(HOUR)),
    ];
    let imported = save(&mut bench, definitions, true);
    assert_eq!(counts(&imported), (1, 2, 1, 0));
    let expected = [
        (Change::Updated, "cron", vec!["cron.time_zone", "priority"]),
        (Change::Created, "new", vec![]),
        (Change::Updated, "once", vec!["every"]),
    ];
    let expected = expected.map(|(change, id, fields)| Difference { id: id.into(), change, fields });
    assert_eq!(imported.differences, expected);
    let mut later = exported[0].clone();
    (later.revision, later.runs) = (later.revision + 1, later.runs + 3);
    let items =
        vec![ImportItem::Restore(Box::new(later)), ImportItem::Restore(Box::new(exported[1].clone()))];
    let imported = import(&mut bench, items, true);
    assert_eq!((counts(&imported), imported.differences.len()), ((0, 1, 1, 0), 1));
    assert_eq!(imported.differences[0].fields, ["run_count", "revision"]);
    assert_eq!(bench.records, records);
}

#[test]
fn only_the_schedule_that_was_meant_is_deleted() {
    let mut bench = Bench::new();
    let old = bench.save(definition("a", every(HOUR))).0.uid;
    let other = bench.save(definition("b", every(HOUR))).0.uid;
    bench.delete("a", false);
    bench.save(definition("a", every(HOUR)));
    let schedules = vec![(key("a"), old), (key("b"), other), (key("c"), Uid(9))];
    let delete = DeleteNamed { schedules, actor: "tester".into() };
    let Answer::Deleted(1) = bench.call(&Command::DeleteNamed(Box::new(delete))) else { panic!("one") };
    assert!(!bench.gone("a") && bench.gone("b"));
}

/// What chance has made of a machine, carried to another server and back.
impl World {
    pub fn carry(&mut self) {
        let exported = export(&mut self.bench);
        let mut other = another(&self.bench);
        let imported = restore(&mut other, &exported);
        assert_eq!((imported.created as usize, imported.refused.len()), (exported.len(), 0));
        // What was live stays behind, so what waited for its end begins.
        let idle = |one: &&Snapshot| one.active.is_empty();
        let left: Vec<&Snapshot> = exported.iter().filter(idle).collect();
        let came = export(&mut other);
        let came = came.iter().filter(|one| left.iter().any(|known| known.uid == one.uid));
        assert_eq!(came.collect::<Vec<_>>(), left);
        other.pass(MINUTE);
        other.restart(SECOND);

        let known = std::mem::replace(&mut self.exported, exported);
        for mut record in known {
            // Not after its deletion: an old record would begin that life again.
            if self.bench.machine.slot_of(record.uid).is_none() {
                continue;
            }
            record.revision += self.roll(3) as u32;
            record.decided_through += [0, 0, 15_000][self.roll(3)];
            if self.roll(3) == 0 && record.status == Status::Active {
                record.status = Status::Paused;
                record.pause = Some(Pause {
                    reason: PauseReason::Requested,
                    note: "carried".into(),
                    actor: "t".into(),
                    time: self.bench.now.wall,
                    until: [None, Some(self.bench.now.wall + 20 * SECOND)][self.roll(2)],
                });
            }
            restore(&mut self.bench, &[record]);
        }
    }
}
