//! Where a new timing begins, and what a changed one leaves of the old one's times.

use super::{
    definition::Definition,
    schedule::Schedule,
    timing::{Times, Timing},
};

/// A one-shot time may lie this far in the past when it is saved.
const AT_GRACE: i64 = 60_000;
/// A changed timing keeps at most so many times that have passed but are not due (spread).
const PENDING_MAX: usize = 1_000;

/// The phase that the user set.
pub fn anchor(timing: &Timing) -> Option<i64> {
    match timing {
        Timing::Every { anchor, .. } => *anchor,
        Timing::Cron(_) | Timing::At(_) => None,
    }
}

/// Up to when a new timing counts as decided: a one-shot time may lie a little in the past.
pub fn begin(timing: &Timing, now: i64) -> i64 {
    match timing {
        Timing::At(at) if *at > now - AT_GRACE => now.min(at - 1),
        Timing::At(_) | Timing::Cron(_) | Timing::Every { .. } => now,
    }
}

/// Whether two definitions name the same times.
pub fn same_times(old: &Definition, new: &Definition) -> bool {
    old.timing == new.timing && old.start == new.start && old.end == new.end
}

/// A range of nominal times: first, last, and how many.
pub type Range = (i64, i64, Option<u64>);

/// Moves a changed schedule to its new times (rule R2), and returns which of the old ones were replaced.
///
/// At stake are times that have passed but are not due yet, because of their spread. Those that both timings name
/// stay. A passed time that only the new timing names is none: it was not named when it came.
pub fn retime(changed: &mut Schedule, old: &Definition, old_anchor: i64, now: i64) -> Vec<Range> {
    let decided = changed.decided_through;
    let (old_times, new_times) = (old.times(old_anchor), changed.definition.times(changed.anchor));
    let pending = |times: Times<'_>| -> Vec<i64> {
        let walk = std::iter::successors(times.next(decided), |at| times.next(*at));
        walk.take_while(|at| *at <= now).take(PENDING_MAX + 1).collect()
    };
    let (mut before, mut after) = (pending(old_times), pending(new_times));
    let mut replaced = Vec::new();
    if before.len().max(after.len()) > PENDING_MAX {
        let last = old_times.latest(decided, now);
        replaced.extend(before.first().zip(last).map(|(first, last)| (*first, last, None)));
        (before, after) = (Vec::new(), vec![now]);
    }
    let through = match changed.definition.timing {
        Timing::At(_) => begin(&changed.definition.timing, now),
        Timing::Cron(_) | Timing::Every { .. } => {
            after.iter().rfind(|at| before.binary_search(at).is_err()).copied().unwrap_or(decided)
        }
    };
    changed.decided_through = through.max(decided);
    let goes = |at: &&i64| **at <= changed.decided_through || after.binary_search(at).is_err();
    replaced.extend(before.iter().filter(goes).map(|at| (*at, *at, Some(1))));
    replaced
}
