//! All zones, all clock changes from 2000 to 2040, all policies.

use std::collections::BTreeMap;

use chrono_tz::{TZ_VARIANTS, Tz};
use scheduler_svc::state_machine::timing::{Fold, Gap, zone::Zone};

use crate::{
    YEAR_2000, YEAR_2041, compile,
    naive::{Change, Window, changes, wall},
    pattern::{DOCKET, Pattern, pattern},
    random::Random,
    seed, setting, times,
};

const THREADS: usize = 2;

#[derive(Default)]
struct Compared {
    expressions: u64,
    windows: u64,
    times: u64,
}

#[test]
fn every_change_of_every_zone_is_mapped_as_the_policies_say() {
    let by_change = all_changes();
    let cases = setting("DOCKET_TIMING_CASES", 2);
    println!("seed {}", seed());
    let groups: Vec<(&Change, &Vec<Tz>)> = by_change.iter().collect();
    let share = |n: usize| groups.iter().skip(n).step_by(THREADS).copied().collect::<Vec<_>>();
    let totals: Vec<Compared> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(share).map(|part| scope.spawn(move || compare_all(&part, cases))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
            .collect()
    });
    let sum = |of: fn(&Compared) -> u64| totals.iter().map(of).sum::<u64>();
    let visited: usize = by_change.values().map(Vec::len).sum();
    println!(
        "{} zones, {visited} clock changes ({} distinct), {} expressions, {} windows with {} times compared",
        TZ_VARIANTS.len(),
        by_change.len(),
        sum(|c| c.expressions),
        sum(|c| c.windows),
        sum(|c| c.times)
    );
    assert!(
        visited > 15_000 && sum(|c| c.times) > 20_000 * cases,
        "too little was compared to mean anything"
    );
}

/// Each distinct change with the zones that have it. The evaluator's tables hold exactly the same changes.
fn all_changes() -> BTreeMap<Change, Vec<Tz>> {
    let mut by_change: BTreeMap<Change, Vec<Tz>> = BTreeMap::new();
    for tz in TZ_VARIANTS {
        let found = changes(tz, YEAR_2000, YEAR_2041);
        let zone = Zone::find(tz.name()).expect("every zone is known");
        let first = zone.index_at(YEAR_2000);
        let ours = (first + 1..).map_while(|index| {
            let segment = zone.segment(index).filter(|segment| segment.start < YEAR_2041)?;
            Some(Change { at: segment.start, before: zone.segment(index - 1)?.offset, after: segment.offset })
        });
        assert_eq!(found, ours.collect::<Vec<_>>(), "{}", tz.name());
        for change in found {
            by_change.entry(change).or_default().push(tz);
        }
    }
    by_change
}

fn compare_all(groups: &[(&Change, &Vec<Tz>)], cases: u64) -> Compared {
    let mut compared = Compared::default();
    for (change, zones) in groups {
        let mut random = Random::new(seed() ^ (change.at as u64) << 16 ^ change.before as u64);
        // Zones that share a change take turns; each has at least one expression of its own.
        for turn in 0..cases.max(zones.len() as u64) {
            let zone = zones[turn as usize % zones.len()];
            compare(&mut random, **change, zone, turn < cases, &mut compared);
        }
    }
    compared
}

fn compare(random: &mut Random, change: Change, zone: Tz, all_policies: bool, compared: &mut Compared) {
    let before = random.chance(50);
    let near = change.at + if before { change.before } else { change.after };
    let near = near + i64::from(random.within(0, 7_200)) - 3_600;
    let pattern = pattern(random, DOCKET, wall(near));
    compared.expressions += 1;
    let shorter = (change.after - change.before).abs().min(5_400);
    let margin = if pattern.second.is_some() { 300 } else { 4_500 };
    let (from, to) = (change.at - shorter - margin, change.at + shorter + margin);
    let window = Window { change, from: from - from.rem_euclid(60), to };
    let policies: &[(Gap, Fold)] = match (all_policies, change.before < change.after) {
        (true, true) => &[(Gap::NextValid, Fold::Both), (Gap::Shift, Fold::First), (Gap::Skip, Fold::Last)],
        (true, false) => &[(Gap::Skip, Fold::First), (Gap::NextValid, Fold::Last), (Gap::Shift, Fold::Both)],
        (false, _) => &[(Gap::NextValid, Fold::First)],
    };
    for (gap, fold) in policies {
        compared.times += agree(&pattern, zone, &window, *gap, *fold);
        compared.windows += 1;
    }
}

fn agree(pattern: &Pattern, zone: Tz, window: &Window, gap: Gap, fold: Fold) -> u64 {
    let text = pattern.text();
    let cron = match compile(&text, zone.name(), gap, fold) {
        Ok(cron) => cron,
        Err(error) => {
            assert!(format!("{error:?}").contains("can never fire"), "{text}: {error:?}");
            assert!(window.times(pattern, gap, fold).is_empty(), "{text} was refused");
            return 0;
        }
    };
    let (ours, naive) = (times(&cron, window.from, window.to), window.times(pattern, gap, fold));
    assert_eq!(
        ours,
        naive,
        "`{text}` in {} with {gap:?} and {fold:?} around {:?}",
        zone.name(),
        window.change
    );
    let counted = cron.count(window.from - 1, window.to - 1, 10_000_000);
    assert_eq!(counted, Some(naive.len() as u64), "count of `{text}` in {} {gap:?} {fold:?}", zone.name());
    naive.len() as u64
}
