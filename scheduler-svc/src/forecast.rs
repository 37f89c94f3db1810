//! What comes due, added up per step: pure, off the shard and off the async threads.
//!
//! Schedules come page by page ([`Coming`]). Each distinct cron timing is walked once over the range, and each schedule
//! takes its stretch of those times by bisection. Intervals are arithmetic. What names few times is added at once; what
//! names many is set aside, and equal ones are added together at the end.
//!
//! The work is bounded by counting, not by time ([`Bounds`]), so that one request is either always answered or never:
//! times that are walked, and additions. Where the additions would be too many, the due times of dense schedules are
//! rounded down, to a second and then to a step, so that more of them are equal.
//!
//! Approximations: `max_runs` is counted from the beginning of the range; overlap, failures and limits are not
//! foreseen; pages are read one after another, so a change meanwhile may be half seen.

mod drain;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

pub use drain::{Drain, Drains};

use crate::state_machine::{
    forecast::{Coming, Page},
    timing::{Cron, Timing},
};

/// Times of one schedule that are added at once.
const FEW: usize = 32;
const SECOND: u32 = 1_000;

/// Milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub from: i64,
    /// At most [`HORIZON_MAX`].
    pub horizon: u32,
    /// At least 1.
    pub step: u32,
}

/// Spans of this length, and offsets before them, fit into 32 bits.
pub const HORIZON_MAX: u32 = 7 * 86_400_000;

/// How much work one forecast may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of cron timings, some 300 ns and 4 bytes each.
    pub times: usize,
    /// To steps, some 2 ns each.
    pub additions: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { times: 4_000_000, additions: 200_000_000 }
    }
}

/// The range holds more than is calculated in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch;

#[derive(Debug)]
pub struct Forecast {
    range: Range,
    bounds: Bounds,
    /// Due runs by step.
    steps: Vec<u64>,
    lines: Vec<Line>,
    known: HashMap<LineKey, usize>,
    dense: Vec<Dense>,
    drains: Drains,
}

/// Times that several schedules have in common.
#[derive(Debug)]
enum Line {
    /// Nominal times, milliseconds after the beginning of the range; negative where only a spread leads into it.
    Cron {
        times: Vec<i32>,
        _alive: Arc<Cron>,
    },
    Every {
        interval: u32,
    },
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum LineKey {
    /// Address of the shared timing; spread.
    Cron(usize, u32),
    Every(u32),
}

/// The many times of one schedule, or of several that are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dense {
    line: u32,
    /// Cron: due − nominal time. Interval: the first due time.
    shift: u32,
    /// Cron: index of the first time.
    first: u32,
    count: u32,
}

impl Forecast {
    pub fn new(range: Range, bounds: Bounds, drains: Drains) -> Self {
        let steps = vec![0; range.horizon.div_ceil(range.step) as usize];
        Self { range, bounds, steps, lines: Vec::new(), known: HashMap::new(), dense: Vec::new(), drains }
    }

    /// # Errors
    /// When the schedules have too many distinct times.
    pub fn add(&mut self, page: &Page) -> Result<(), TooMuch> {
        self.drains.learn(&page.runtimes);
        page.schedules.iter().try_for_each(|coming| self.add_schedule(coming))
    }

    fn add_schedule(&mut self, coming: &Coming) -> Result<(), TooMuch> {
        let definition = &*coming.definition;
        let offset = definition.spread_offset();
        // On the axis of due times: the first that counts, and the first that does not.
        let relative = |nominal: i64| nominal.saturating_add(offset).saturating_sub(self.range.from);
        let resumed = coming.paused_until.map_or(0, |until| until.saturating_sub(self.range.from) + 1);
        let from = relative(coming.next).max(resumed).max(0);
        let horizon = i64::from(self.range.horizon);
        let end = definition.end.map_or(horizon, |end| relative(end).min(horizon));
        if from >= end {
            return Ok(());
        }
        let most = usize::try_from(coming.left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let count = match &definition.timing {
            Timing::At(at) => {
                let due = relative(*at);
                let counts = (from..end).contains(&due) && most > 0;
                if counts {
                    self.steps[due as usize / self.range.step as usize] += 1;
                }
                u64::from(counts)
            }
            Timing::Every { interval, .. } => {
                let phase = relative(coming.anchor);
                self.add_every(phase, *interval, (from, end), most)
            }
            Timing::Cron(cron) => {
                let line = self.line(cron, definition.spread)?;
                self.add_cron(line, offset, (from, end), most)
            }
        };
        self.drains.add(definition, count);
        Ok(())
    }

    fn add_every(&mut self, phase: i64, interval: i64, (from, end): (i64, i64), most: usize) -> u64 {
        // `from` is not before the first time, so the phase may be stepped in either direction.
        let first = from + (phase - from).rem_euclid(interval);
        if first >= end {
            return 0;
        }
        let count = (((end - first - 1) / interval + 1) as usize).min(most);
        if count > FEW {
            let line =
                self.line_of(LineKey::Every(interval as u32), || Line::Every { interval: interval as u32 });
            self.dense.push(Dense { line, shift: first as u32, first: 0, count: count as u32 });
        } else {
            let step = i64::from(self.range.step);
            (0..count as i64).for_each(|n| self.steps[((first + n * interval) / step) as usize] += 1);
        }
        count as u64
    }

    fn add_cron(&mut self, line: usize, offset: i64, (from, end): (i64, i64), most: usize) -> u64 {
        let Line::Cron { times, .. } = &self.lines[line] else { return 0 };
        let due = |time: i32| i64::from(time) + offset;
        let first = times.partition_point(|time| due(*time) < from);
        let last = first + times[first..].partition_point(|time| due(*time) < end);
        let count = (last - first).min(most);
        if count > FEW {
            let (line, first, count) = (line as u32, first as u32, count as u32);
            self.dense.push(Dense { line, shift: offset as u32, first, count });
        } else {
            let step = i64::from(self.range.step);
            for time in &times[first..first + count] {
                self.steps[(due(*time) / step) as usize] += 1;
            }
        }
        count as u64
    }

    /// The times of a cron timing that some offset within its spread brings into the range.
    fn line(&mut self, cron: &Arc<Cron>, spread: u32) -> Result<usize, TooMuch> {
        let key = LineKey::Cron(Arc::as_ptr(cron).addr(), spread);
        if let Some(line) = self.known.get(&key) {
            return Ok(*line);
        }
        let from = self.range.from - i64::from(spread);
        let until = self.range.from + i64::from(self.range.horizon);
        let mut times = Vec::new();
        let mut at = (from - 1).div_euclid(1_000);
        // A timing without any time in the range is work as well.
        self.bounds.times = self.bounds.times.checked_sub(1).ok_or(TooMuch)?;
        while let Some(next) = cron.next(at).filter(|next| next * 1_000 < until) {
            self.bounds.times = self.bounds.times.checked_sub(1).ok_or(TooMuch)?;
            times.push((next * 1_000 - self.range.from) as i32);
            at = next;
        }
        times.shrink_to_fit();
        Ok(self.line_of(key, || Line::Cron { times, _alive: cron.clone() }) as usize)
    }

    fn line_of(&mut self, key: LineKey, make: impl FnOnce() -> Line) -> u32 {
        let line = *self.known.entry(key).or_insert_with(|| {
            self.lines.push(make());
            self.lines.len() - 1
        });
        line as u32
    }

    /// # Errors
    /// When the schedules have too many times, even rounded to steps.
    pub fn finish(mut self) -> Result<(Vec<u64>, Vec<Drain>), TooMuch> {
        for grain in [1, SECOND.min(self.range.step), self.range.step] {
            let mut dense = self.dense.clone();
            dense.iter_mut().for_each(|dense| dense.shift -= dense.shift % grain);
            dense.sort_unstable();
            let equal = || dense.chunk_by(|one, other| one == other);
            if equal().map(|equal| self.additions(&equal[0])).sum::<u64>() <= self.bounds.additions {
                for equal in equal() {
                    add_dense(&mut self.steps, self.range.step, &self.lines, &equal[0], equal.len() as u64);
                }
                return Ok((self.steps, self.drains.finish()));
            }
        }
        Err(TooMuch)
    }

    fn additions(&self, dense: &Dense) -> u64 {
        match self.lines[dense.line as usize] {
            Line::Cron { .. } => dense.count.into(),
            Line::Every { .. } => (self.steps.len() as u64).min(dense.count.into()),
        }
    }
}

/// Adds the times of so many equal schedules.
fn add_dense(steps: &mut [u64], step: u32, lines: &[Line], dense: &Dense, schedules: u64) {
    let (first, count) = (dense.first as usize, dense.count as usize);
    match &lines[dense.line as usize] {
        Line::Cron { times, .. } => {
            for time in &times[first..first + count] {
                // Rounding may lead to before the range.
                let due = time.saturating_add_unsigned(dense.shift).max(0).unsigned_abs();
                steps[(due / step) as usize] += schedules;
            }
        }
        Line::Every { interval } if count <= steps.len() => {
            (0..dense.count).for_each(|n| steps[((dense.shift + n * interval) / step) as usize] += schedules);
        }
        Line::Every { interval } => {
            let (shift, interval) = (u64::from(dense.shift), u64::from(*interval));
            let before = |at: u64| at.saturating_sub(shift).div_ceil(interval).min(count as u64);
            for (sum, at) in steps.iter_mut().zip((0_u64..).step_by(step as usize)) {
                *sum += (before(at + u64::from(step)) - before(at)) * schedules;
            }
        }
    }
}
