//! What a forecast is made of: which schedules fire by themselves and from when on, a bounded page a turn (rule P3).
//!
//! Nothing is calculated here. The edge adds the pages up, off this thread (`crate::forecast`).

use std::{ops::Bound, sync::Arc};

use super::{
    StateMachine,
    command::Forecast,
    definition::Definition,
    id::ReplyTo,
    output::Answer,
    schedule::{Schedule, Status},
};

/// Schedules that one page looks at.
pub(super) const LOOKED_AT: usize = 2_000;

/// A schedule that fires by itself, now or once its pause ends.
#[derive(Clone, Debug)]
pub struct Coming {
    pub definition: Arc<Definition>,
    pub anchor: i64,
    /// The first nominal time that is not decided.
    pub next: i64,
    /// The pause that skips what is due up to its end.
    pub paused_until: Option<i64>,
    /// Scheduled runs that `max_runs` still allows.
    pub left: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Page {
    pub schedules: Vec<Coming>,
    /// The id after which the next page goes on.
    pub next: Option<Box<str>>,
    /// Mean milliseconds on workers by kind; with the first page only.
    pub runtimes: Vec<(Arc<str>, i64)>,
}

impl Coming {
    pub fn of(schedule: &Schedule) -> Option<Self> {
        let paused_until = match schedule.status {
            Status::Active => None,
            Status::Paused => Some(schedule.pause()?.until?),
            Status::Ended | Status::Quarantined | Status::Deleted => return None,
        };
        let max_runs = schedule.definition.max_runs;
        Some(Self {
            definition: schedule.definition.clone(),
            anchor: schedule.anchor,
            next: schedule.next?,
            paused_until,
            left: (max_runs > 0).then(|| max_runs.saturating_sub(schedule.past().runs)),
        })
    }
}

impl StateMachine {
    pub(super) fn forecast(&mut self, to: ReplyTo, forecast: &Forecast) {
        let start = forecast.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut ids = self.index.from(&forecast.namespace, start);
        let mut last = None;
        let looked_at = ids.by_ref().take(LOOKED_AT).inspect(|(id, _)| last = Some(*id));
        let schedules = looked_at.filter_map(|(_, slot)| Coming::of(&self.schedules[slot])).collect();
        let next = last.filter(|_| ids.next().is_some()).map(|id| (&**id).into());
        drop(ids);
        let runtimes = if forecast.after.is_none() { self.pace.of(&forecast.namespace) } else { Vec::new() };
        self.answer(to, Answer::Forecast(Page { schedules, next, runtimes }));
    }
}
