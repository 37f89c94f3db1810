//! What callers ask: copies of state, page by page, a bounded amount of work a turn.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::{
    StateMachine,
    command::{GetRun, ListRuns, ListSchedules},
    definition::{Definition, ScheduleKey},
    gate::Block,
    id::{ReplyTo, RunId},
    output::{Answer, Refusal},
    run::{Phase, RunKey},
    schedule::{SlotKey, Status},
    view::{Backlog, LiveRun, RunView, ScheduleView, StatusView, Wait, WaitKind, WorkerView},
};
use crate::planted::{Bug, planted};

/// Schedules that one call looks at.
const LOOKED_AT: usize = 5_000;
/// Callers that may wait for one run.
const WAITERS_MAX: usize = 1_000;

impl StateMachine {
    pub(super) fn get_schedule(&mut self, to: ReplyTo, key: &ScheduleKey) {
        match self.index.get(key) {
            Some(slot) => {
                let view = Box::new(self.view(slot));
                self.answer(to, Answer::Schedule(view));
            }
            None => self.refuse(to, Refusal::ScheduleNotFound),
        }
    }

    pub(super) fn view(&self, slot: SlotKey) -> ScheduleView {
        ScheduleView::of(&self.schedules[slot], self.active_runs(slot))
    }

    pub(super) fn active_runs(&self, slot: SlotKey) -> Vec<RunId> {
        self.schedules[slot].live().iter().map(|key| self.runs[*key].id).collect()
    }

    pub(super) fn list_schedules(&mut self, to: ReplyTo, list: &ListSchedules) {
        let (slots, next) = self.matching(list, list.limit, LOOKED_AT);
        let schedules = slots.into_iter().map(|slot| self.view(slot)).collect();
        self.answer(to, Answer::Schedules { schedules, next });
    }

    /// The next schedules of a list: at most `limit` of them, looking at no more than `look_at`. Also the id after
    /// which it goes on, if it does.
    pub(super) fn matching(
        &self,
        list: &ListSchedules,
        limit: usize,
        look_at: usize,
    ) -> (Vec<SlotKey>, Option<Box<str>>) {
        let mut slots = Vec::new();
        let mut last = None;
        for (looked_at, (id, slot)) in
            self.from(&list.namespace, &list.prefix, list.after.as_deref()).enumerate()
        {
            if slots.len() == limit || looked_at == look_at {
                // There is at least this one more.
                if planted(Bug::BulkSkipsAtBoundary) {
                    last = Some((&**id).into());
                }
                return (slots, last);
            }
            last = Some((&**id).into());
            let schedule = &self.schedules[slot];
            let in_state = list.states.is_empty() || list.states.contains(&schedule.status);
            let reason = schedule.pause().map(|pause| pause.reason);
            let for_reason = list.pause_reasons.is_empty()
                || schedule.status == Status::Paused
                    && reason.is_some_and(|reason| list.pause_reasons.contains(&reason));
            if in_state && for_reason && schedule.definition.has_labels(&list.labels) {
                slots.push(slot);
            }
        }
        (slots, None)
    }

    /// Schedules of a namespace in the order of their ids.
    fn from<'a>(
        &'a self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, SlotKey)> + use<'a> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let prefix = prefix.to_owned();
        self.index.from(namespace, start).take_while(move |(id, _)| id.starts_with(&prefix))
    }

    pub(super) fn get_run(&mut self, to: ReplyTo, get: &GetRun) {
        let slot = self.slot_of(get.id.uid).filter(|slot| {
            // Another namespace's run is not found, whether it exists or not.
            self.schedules[*slot].definition.key.namespace == get.namespace
        });
        let Some(slot) = slot else { return self.refuse(to, Refusal::RunNotFound) };
        let view = match self.run_of(get.id) {
            Some(key) if get.wait => return self.wait_for(key, to),
            Some(key) => RunView::Live(Box::new(self.live_view(key))),
            None => RunView::Final { id: get.id, schedule: Box::new(self.view(slot)), finished: None },
        };
        self.answer(to, Answer::Run(Box::new(view)));
    }

    /// Callers that gave up are not heard of, so when it gets crowded the oldest is answered with what there is.
    fn wait_for(&mut self, key: RunKey, to: ReplyTo) {
        if self.runs[key].waiters.len() == WAITERS_MAX {
            let oldest = self.runs[key].waiters.remove(0);
            let view = RunView::Live(Box::new(self.live_view(key)));
            self.answer(oldest, Answer::Run(Box::new(view)));
        }
        self.runs[key].waiters.push(to);
    }

    pub(super) fn live_view(&self, key: RunKey) -> LiveRun {
        let wait = self.wait(key, || self.has_worker(&self.runs[key].definition));
        LiveRun::of(&self.runs[key], Some(wait))
    }

    /// A run as events show it: what it waits for is said where the run itself knows, since asking the workers takes
    /// long when many runs begin at once.
    pub(super) fn told_view(&self, key: RunKey) -> LiveRun {
        let run = &self.runs[key];
        let wait = match run.phase {
            Phase::Backoff { until, .. } => Some(Wait::Backoff { until }),
            Phase::Behind => Some(Wait::Overlap),
            Phase::Ready(None) => Some(Wait::Paused),
            Phase::Ready(Some(_)) | Phase::Running(_) | Phase::Cancelling { .. } => None,
        };
        LiveRun::of(run, wait)
    }

    fn wait(&self, key: RunKey, has_worker: impl FnOnce() -> bool) -> Wait {
        match &self.runs[key].phase {
            Phase::Backoff { until, .. } => Wait::Backoff { until: *until },
            Phase::Behind => Wait::Overlap,
            Phase::Ready(None) => Wait::Paused,
            Phase::Ready(Some(_)) | Phase::Running(_) | Phase::Cancelling { .. } => {
                if let Some((key, Block { until, shut })) = self.gates.wait(key, self.now.elapsed) {
                    let until = until.map(|at| self.now.wall + (at - self.now.elapsed) as i64);
                    Wait::Limit { key: key.into(), until, shut }
                } else if has_worker() {
                    Wait::NoSlot
                } else {
                    Wait::NoWorker
                }
            }
        }
    }

    pub(super) fn has_worker(&self, definition: &Definition) -> bool {
        self.has_worker_for(&definition.key.namespace, &definition.task.kind)
    }

    pub(super) fn has_worker_for(&self, namespace: &Arc<str>, kind: &Arc<str>) -> bool {
        self.sessions.values().any(|session| {
            session.connected
                && session.slots > 0
                && session.kinds.contains(kind)
                && session.namespaces.as_ref().is_none_or(|allowed| allowed.contains(namespace))
        })
    }

    pub(super) fn list_runs(&mut self, to: ReplyTo, list: &ListRuns) {
        let only = list.schedule.as_deref();
        let mut schedules = Vec::new();
        let mut next = None;
        let prefix = only.unwrap_or("");
        for (looked_at, (id, slot)) in self.from(&list.namespace, prefix, list.after.as_deref()).enumerate() {
            if schedules.len() == list.limit
                || looked_at == LOOKED_AT
                || only.is_some_and(|only| **id != *only)
            {
                break;
            }
            next = Some(id.clone());
            let schedule = &self.schedules[slot];
            if schedule.has_any(list.among) && schedule.definition.has_labels(&list.labels) {
                let live = schedule.live().iter().map(|key| RunView::Live(Box::new(self.live_view(*key))));
                schedules.push((self.view(slot), live.collect()));
            }
        }
        if only.is_some() && schedules.is_empty() && next.is_none() && list.after.is_none() {
            return self.refuse(to, Refusal::ScheduleNotFound);
        }
        let next = next
            .filter(|last| only.is_none() && self.from(&list.namespace, prefix, Some(last)).next().is_some());
        self.answer(to, Answer::Runs { schedules, next: next.map(|id| (&*id).into()) });
    }

    /// Counts by walking: meant for people and scrapers, not for hot paths.
    pub(super) fn status(&mut self, to: ReplyTo, namespace: &Arc<str>) {
        let mut view = StatusView {
            epoch: self.epoch,
            totals: self.totals,
            history_bytes: self.history.bytes(),
            history_trimmed: self.history.trimmed(),
            ..StatusView::default()
        };
        for (_, schedule) in self.schedules.iter().filter(|(_, s)| s.definition.key.namespace == *namespace) {
            match schedule.status {
                Status::Active => view.active += 1,
                Status::Paused => view.paused += 1,
                Status::Ended => view.ended += 1,
                Status::Quarantined => view.quarantined += 1,
                Status::Deleted => {}
            }
        }
        // Asked once per kind, not once per run of a long queue.
        let mut has_worker = BTreeMap::new();
        for (key, run) in self.runs.iter().filter(|(_, run)| run.definition.key.namespace == *namespace) {
            if run.lease().is_some() {
                view.running += 1;
                continue;
            }
            view.queued += 1;
            let kind = run.definition.task.kind.clone();
            let wait = self.wait(key, || {
                *has_worker.entry(kind.clone()).or_insert_with(|| self.has_worker(&run.definition))
            });
            let backlog = view.backlog.entry((kind, WaitKind::from(&wait)));
            let backlog = backlog.or_insert(Backlog { runs: 0, oldest_due: run.due });
            backlog.runs += 1;
            backlog.oldest_due = backlog.oldest_due.min(run.due);
        }
        view.workers = self.sessions.values().filter(|session| session.connected).count() as u64;
        view.slots =
            self.sessions.values().filter(|session| session.connected).map(|s| u64::from(s.slots)).sum();
        let mut lateness: Vec<i64> = self.lateness.iter().copied().collect();
        lateness.sort_unstable();
        let at = |share: f64| {
            let index = ((lateness.len() as f64 * share) as usize).min(lateness.len().saturating_sub(1));
            lateness.get(index).copied().unwrap_or(0)
        };
        (view.lateness_p50, view.lateness_p99) = (at(0.5), at(0.99));
        self.answer(to, Answer::Status(Box::new(view)));
    }

    pub(super) fn list_workers(&mut self, to: ReplyTo, namespace: &Arc<str>) {
        let mut workers = BTreeMap::new();
        for (id, session) in &self.sessions {
            let elsewhere = session.namespaces.as_ref().is_some_and(|allowed| !allowed.contains(namespace));
            if elsewhere || session.ending.is_some() {
                continue;
            }
            let view = WorkerView {
                worker_id: session.worker_id.clone(),
                instance: session.instance.clone(),
                session: *id,
                version: session.version.clone(),
                kinds: session.kinds.clone(),
                namespaces: session.namespaces.clone().unwrap_or_default(),
                slots: session.slots,
                held: session.held.len(),
                draining: session.draining,
                connected: session.connected,
                opened: session.opened,
                heard: session.heard,
            };
            workers.insert((session.worker_id.clone(), *id), view);
        }
        self.answer(to, Answer::Workers(workers.into_values().collect()));
    }
}
