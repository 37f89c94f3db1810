//! Whatever a schedule has come to: its record says all of it.

use proptest::{collection, option, prelude::*};

use super::*;
use crate::{
    grpc::export,
    state_machine::{
        definition::{Input, Labels, Misfire, Overlap, Retry, ScheduleKey, Task, Terms},
        timing::{Cron, CronSource, Fold, Gap},
    },
};

const NOW: i64 = 1_795_392_000_000;
const HOUR: i64 = 3_600_000;

fn timing() -> impl Strategy<Value = Timing> {
    let cron = (0..60_u32, option::of(0..24_u32), prop::sample::select(vec!["UTC", "Europe/Berlin"]));
    let cron = cron.prop_map(|(minute, hour, zone)| {
        let hour = hour.map_or("*".into(), |hour| hour.to_string());
        let source = CronSource {
            expressions: vec![format!("{minute} {hour} * * *"), "@weekly".into()],
            time_zone: zone.into(),
            gap: Gap::Skip,
            fold: Fold::Last,
        };
        Timing::Cron(Arc::new(Cron::new(source).expect("a cron")))
    });
    let every = (1_000..10 * HOUR, option::of(NOW - 90 * HOUR..NOW));
    let every = every.prop_map(|(interval, anchor)| Timing::Every { interval, anchor });
    prop_oneof![cron, every, (NOW..NOW + HOUR).prop_map(Timing::At)]
}

fn misfire() -> impl Strategy<Value = Misfire> {
    let all = (1_000..86_400_000_u32, 1..1_000_u32);
    let all = all.prop_map(|(window, max_runs)| Misfire::All { window, max_runs });
    prop_oneof![Just(Misfire::Coalesce), Just(Misfire::Skip), all]
}

prop_compose! {
    fn definition()(
        id in "[a-zA-Z0-9._:@-]{1,128}",
        timing in timing(),
        misfire in misfire(),
        overlap in 1..=4_u32,
        (payload, timeout, queue_timeout) in (any::<[u8; 4]>(), 1_000..86_400_000_u32, 1_000..9_000_u32),
        (attempts, backoff, waits) in (1..=100_u32, 1_000..60_000_u32, any::<bool>()),
        (spread, priority, max_runs, failures) in (0..86_400_000_u32, 1..=9_u8, 0..50_u64, 0..9_u32),
        (start, end) in (option::of(NOW - 9 * HOUR..NOW), option::of(NOW + 900 * HOUR..NOW + 999 * HOUR)),
        limits in collection::vec("[a-z:]{1,20}", 0..8),
        labels in collection::btree_map("[a-z]{1,63}", ".{0,5}".prop_filter("clean", |s| text::is_clean(s)), 0..16),
        delete_when_ended in any::<bool>(),
    ) -> Definition {
        Definition {
            key: ScheduleKey::new("shop", &id),
            terms: Terms {
                timing,
                task: Task {
                    kind: "sync".into(),
                    timeout,
                    queue_timeout: if waits { queue_timeout } else { 0 },
                },
                spread,
                overlap: Overlap::from_number(overlap).expect("a policy"),
                misfire,
                retry: Retry { max_attempts: attempts, min_backoff: backoff, max_backoff: backoff * 2 },
                priority,
                start,
                end,
                max_runs,
                pause_after_failures: failures,
                delete_when_ended,
            }
            .into(),
            input: Input::new(&[], &payload),
            tenant: "acme".into(),
            limits: limits.into_iter().map(Into::into).collect(),
            labels: Labels::new(&labels),
            saved_by: Default::default(),
        }
    }
}

prop_compose! {
    fn snapshot()(
        definition in definition(),
        uid in any::<u128>(),
        (generation, revision, failures) in (1..1_u32 << 31, 1..1_u32 << 31, 0..1_u32 << 31),
        (created, updated, anchor) in (0..NOW, 0..NOW, 0..NOW),
        status in prop::sample::select(vec![Status::Active, Status::Paused, Status::Ended, Status::Quarantined]),
        (time, until, actor) in (0..NOW, option::of(0..NOW + 99 * HOUR), "[a-z]{0,9}"),
        decided_through in NOW - 999 * HOUR..NOW,
        (last_manual, catch_up) in (0..NOW, option::of(0..NOW)),
        runs in 0..u64::from(u32::MAX),
        (waits, back) in (any::<bool>(), 0..3_usize),
    ) -> Snapshot {
        let anchor = match definition.timing {
            Timing::Every { anchor: Some(anchor), .. } => anchor,
            Timing::Every { .. } | Timing::Cron(_) | Timing::At(_) => anchor,
        };
        let named = |at: i64| definition.times(anchor).next(at).filter(|at| *at < NOW);
        let spans = (0..back as i64).filter_map(|n| named(NOW - (100 - 30 * n) * HOUR));
        let backfill = spans.map(|at| Span { from: at, to: at + 1 }).collect::<Vec<_>>();
        let pause = Pause {
            reason: PauseReason::Reauthorize,
            note: "consent was revoked".into(),
            actor: actor.into(),
            time,
            until,
        };
        Snapshot {
            waiting: named(decided_through - HOUR).filter(|at| waits && *at <= decided_through),
            backfill: if backfill.is_sorted_by(|a, b| a.to <= b.from) { backfill.into() } else { Box::default() },
            definition: Arc::new(definition),
            uid: Uid(uid),
            generation,
            revision,
            created,
            updated,
            anchor,
            status,
            pause: (status == Status::Paused).then_some(pause),
            quarantine: (status == Status::Quarantined).then(|| "processing it failed".into()),
            decided_through,
            last_manual,
            runs,
            failures,
            catch_up,
            active: Vec::new(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_exported_is_restored_as_it_was(snapshot in snapshot()) {
        let record = export::record(snapshot.clone());
        let schedule = record.schedule.as_ref().expect("a schedule");
        let definition = crate::grpc::validate::schedule("shop", schedule, 0).expect("a definition");
        let again = super::snapshot(&record, schedule, definition, NOW).expect("a snapshot");
        prop_assert_eq!(&again, &snapshot);
        prop_assert_eq!(export::record(again), record);
    }
}
