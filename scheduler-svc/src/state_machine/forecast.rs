//! What a forecast is made of: which schedules fire by themselves and from when on, a bounded page a turn (rule P3).
//!
//! Nothing is calculated here. The edge adds the pages up, off this thread (`crate::forecast`).

use std::{ops::Bound, sync::Arc};

use super::{
    StateMachine,
    command::Forecast,
    definition::{Definition, ScheduleKey},
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
            Status::Paused => Some(schedule.pause.as_ref()?.until?),
            Status::Ended | Status::Quarantined | Status::Deleted => return None,
        };
        let max_runs = schedule.definition.max_runs;
        Some(Self {
            definition: schedule.definition.clone(),
            anchor: schedule.anchor,
            next: schedule.next?,
            paused_until,
            left: (max_runs > 0).then(|| max_runs.saturating_sub(schedule.runs)),
        })
    }
}

impl StateMachine {
    pub(super) fn forecast(&mut self, to: ReplyTo, forecast: &Forecast) {
        let key = |id: &str| ScheduleKey { namespace: forecast.namespace.clone(), id: id.into() };
        let start = match forecast.after.as_deref() {
            Some(after) => Bound::Excluded(key(after)),
            None => Bound::Included(key("")),
        };
        let mut rest = self
            .index
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.namespace == forecast.namespace);
        let mut last = None;
        let looked_at = rest.by_ref().take(LOOKED_AT).inspect(|(key, _)| last = Some(&key.id));
        let schedules = looked_at.filter_map(|(_, slot)| Coming::of(&self.schedules[*slot])).collect();
        let more = rest.next().is_some();
        let next = last.filter(|_| more).map(|id| (&**id).into());
        let runtimes = if forecast.after.is_none() { self.pace.of(&forecast.namespace) } else { Vec::new() };
        self.answer(to, Answer::Forecast(Page { schedules, next, runtimes }));
    }
}
