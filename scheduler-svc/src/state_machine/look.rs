//! What is there now, for metrics. Runs are counted as they change, so that a look costs a step per kind in each
//! namespace, however many runs there are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    StateMachine,
    definition::Definition,
    output::Refusal,
    run::{Phase, Run, RunKey},
    schedule::Status,
    view::{Backlog, WaitKind},
};

/// Of all namespaces.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// When something is due next, a time or the end of a pause. Unix milliseconds.
    pub due: Option<i64>,
    pub schedules: usize,
    pub gates_closed: usize,
    pub sessions: u64,
    pub slots: u64,
    pub history_bytes: u64,
    /// Leases that live, by kind.
    pub leases: BTreeMap<Arc<str>, u64>,
    /// Runs that wait, by kind. Due times are of whole seconds.
    pub backlog: BTreeMap<(Arc<str>, WaitKind), Backlog>,
}

/// Where a run was counted, to take it out again: it may have another definition by then.
#[derive(Clone, Debug)]
pub struct Tallied {
    place: Place,
    /// Of its due time.
    second: i64,
    definition: Arc<Definition>,
}

/// What the run itself knows of what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Behind,
    Held,
    Backoff,
    Queued,
    /// As `Queued`, with limits.
    Limited,
    Leased,
}

const PLACES: usize = 6;

impl Tallied {
    fn of(run: &Run) -> Self {
        let place = match &run.phase {
            Phase::Behind => Place::Behind,
            Phase::Ready(None) => Place::Held,
            Phase::Ready(Some(_)) if run.definition.limits.is_empty() => Place::Queued,
            Phase::Ready(Some(_)) => Place::Limited,
            Phase::Backoff { .. } => Place::Backoff,
            Phase::Running(_) | Phase::Cancelling { .. } => Place::Leased,
        };
        Self { place, second: run.due.div_euclid(1000), definition: run.definition.clone() }
    }

    fn is(&self, other: &Self) -> bool {
        (self.place, self.second) == (other.place, other.second)
            && Arc::ptr_eq(&self.definition, &other.definition)
    }
}

/// Runs by namespace and kind. Holds only what is there.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    lanes: HashMap<(Arc<str>, Arc<str>), [Crowd; PLACES]>,
    /// All of a namespace.
    live: HashMap<Arc<str>, u64>,
}

/// Runs of one place, by the second in which they are due: a herd shares one.
#[derive(Clone, Debug, Default)]
struct Crowd {
    runs: u64,
    seconds: BTreeMap<i64, u64>,
}

impl Crowd {
    fn enter(&mut self, second: i64) {
        self.runs += 1;
        *self.seconds.entry(second).or_default() += 1;
    }

    fn leave(&mut self, second: i64) {
        let Some(runs) = self.seconds.get_mut(&second) else { return };
        self.runs -= 1;
        *runs -= 1;
        if *runs == 0 {
            self.seconds.remove(&second);
        }
    }

    /// `runs` of these, of which the oldest may be one.
    fn backlog(&self, runs: u64) -> Option<Backlog> {
        let (oldest, _) = self.seconds.first_key_value().filter(|_| runs > 0)?;
        Some(Backlog { runs, oldest_due: oldest * 1000 })
    }
}

impl Tally {
    fn enter(&mut self, run: &Tallied) {
        *self.live.entry(run.definition.key.namespace.clone()).or_default() += 1;
        let crowds = self.lanes.entry(lane(&run.definition)).or_default();
        crowds[run.place as usize].enter(run.second);
    }

    fn leave(&mut self, run: &Tallied) {
        let lane = lane(&run.definition);
        let Some(crowds) = self.lanes.get_mut(&lane) else { return };
        crowds[run.place as usize].leave(run.second);
        if crowds.iter().all(|crowd| crowd.runs == 0) {
            self.lanes.remove(&lane);
        }
        if let Some(live) = self.live.get_mut(&lane.0) {
            *live -= 1;
            if *live == 0 {
                self.live.remove(&lane.0);
            }
        }
    }
}

fn lane(definition: &Definition) -> (Arc<str>, Arc<str>) {
    (definition.key.namespace.clone(), definition.task.kind.clone())
}

/// Active schedules whose times are decided beyond now: the clock was ahead when they fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    pub schedules: usize,
    /// When the last of them goes on. Unix milliseconds.
    pub until: i64,
}

impl StateMachine {
    /// Those that are silent for longer than `margin` milliseconds. By walking: for a load, or a clock that was set.
    pub fn ahead(&self, now: i64, margin: i64) -> Option<Ahead> {
        let active = self.schedules.iter().filter(|(_, schedule)| schedule.status == Status::Active);
        let silent = active.map(|(_, s)| s.decided_through).filter(|through| *through > now + margin);
        silent.fold(None, |ahead: Option<Ahead>, until| {
            let (schedules, last) = ahead.map_or((0, until), |ahead| (ahead.schedules, ahead.until));
            Some(Ahead { schedules: schedules + 1, until: last.max(until) })
        })
    }

    /// How many runs may be started by hand, as of the last seal.
    pub(super) fn runs_left(&self, namespace: &str) -> usize {
        let live = self.tally.live.get(namespace).copied().unwrap_or(0);
        self.config.live_runs_per_namespace.saturating_sub(usize::try_from(live).unwrap_or(usize::MAX))
    }

    pub(super) fn room_in_namespace(&self, namespace: &str) -> Result<(), Refusal> {
        if self.runs_left(namespace) == 0 { Err(self.too_many_runs()) } else { Ok(()) }
    }

    pub(super) fn too_many_runs(&self) -> Refusal {
        Refusal::TooManyRuns { limit: self.config.live_runs_per_namespace }
    }

    /// Counts a run where it is now. Called for all that a batch has changed, when it is closed.
    pub(super) fn retally(&mut self, key: RunKey) {
        let now = Tallied::of(&self.runs[key]);
        let former = self.runs[key].tallied.replace(now.clone());
        if former.as_ref().is_some_and(|former| former.is(&now)) {
            return;
        }
        self.untally(former.as_ref());
        self.tally.enter(&now);
    }

    /// The run is gone from where it was counted.
    pub(super) fn untally(&mut self, former: Option<&Tallied>) {
        if let Some(former) = former {
            self.tally.leave(former);
        }
    }

    /// As of the last seal.
    pub fn present(&self) -> Present {
        let connected = || self.sessions.values().filter(|session| session.connected);
        let mut present = Present {
            due: self.timers.next().wall,
            schedules: self.index.len(),
            gates_closed: self.gates.closed(),
            sessions: connected().count() as u64,
            slots: connected().map(|session| u64::from(session.slots)).sum(),
            history_bytes: self.history.bytes(),
            ..Present::default()
        };
        for ((namespace, kind), crowds) in &self.tally.lanes {
            let of = |place: Place| &crowds[place as usize];
            if of(Place::Leased).runs > 0 {
                *present.leases.entry(kind.clone()).or_default() += of(Place::Leased).runs;
            }
            let mut wait = |cause, crowd: &Crowd, runs| {
                let Some(more) = crowd.backlog(runs) else { return };
                let backlog = present.backlog.entry((kind.clone(), cause));
                let backlog = backlog.or_insert(Backlog { runs: 0, oldest_due: more.oldest_due });
                backlog.runs += more.runs;
                backlog.oldest_due = backlog.oldest_due.min(more.oldest_due);
            };
            for (place, cause) in [
                (Place::Behind, WaitKind::Overlap),
                (Place::Held, WaitKind::Paused),
                (Place::Backoff, WaitKind::Backoff),
            ] {
                wait(cause, of(place), of(place).runs);
            }
            let (queued, limited) = (of(Place::Queued), of(Place::Limited));
            if queued.runs + limited.runs > 0 {
                let lane = self.queue.find(namespace, kind);
                let refused = lane.map_or(0, |lane| self.queue.refused(lane)).min(limited.runs);
                let has_worker = self.has_worker_for(namespace, kind);
                let cause = if has_worker { WaitKind::NoSlot } else { WaitKind::NoWorker };
                wait(cause, queued, queued.runs);
                wait(cause, limited, limited.runs - refused);
                wait(WaitKind::Limit, limited, refused);
            }
        }
        present
    }

    /// # Errors
    /// When runs are counted where they are not.
    pub(super) fn check_tally(&self) -> Result<(), String> {
        let mut tally = Tally::default();
        for (_, run) in &self.runs {
            if !run.dirty && run.tallied.as_ref().is_none_or(|tallied| !tallied.is(&Tallied::of(run))) {
                return Err(format!("{}: counted as {:?}, phase {:?}", run.id, run.tallied, run.phase));
            }
            run.tallied.iter().for_each(|tallied| tally.enter(tallied));
        }
        let sums = |tally: &Tally| -> BTreeMap<_, _> {
            let all = tally.lanes.iter();
            all.map(|(lane, crowds)| (lane.clone(), crowds.clone().map(|crowd| (crowd.runs, crowd.seconds))))
                .collect()
        };
        if self.tally.live != tally.live {
            return Err(format!(
                "live runs per namespace: {:?}, and there are {:?}",
                self.tally.live, tally.live
            ));
        }
        let (counted, there) = (sums(&self.tally), sums(&tally));
        if counted == there { Ok(()) } else { Err(format!("counted {counted:?}, there are {there:?}")) }
    }
}
