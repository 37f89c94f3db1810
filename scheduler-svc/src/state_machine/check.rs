//! What must always hold, whatever happened. Callable from any test; walks everything, so never on a hot path.

use super::{
    StateMachine,
    definition::Overlap,
    run::{Phase, RunKey},
    schedule::{SlotKey, Status},
    timer::{ElapsedTimer, WallTimer},
};

impl StateMachine {
    /// # Errors
    /// The first invariant that does not hold, for a person.
    pub fn check(&self) -> Result<(), String> {
        self.check_schedules()?;
        self.check_history()?;
        self.check_runs()?;
        self.check_tally()?;
        self.check_sessions()?;
        self.check_gates()?;
        self.check_timers()
    }

    /// Each timer is the one that its owner set last, so none outlives its owner or meets another one in its place.
    fn check_timers(&self) -> Result<(), String> {
        for (at, timer) in self.timers.all_wall() {
            let (WallTimer::Due(slot) | WallTimer::Resume(slot)) = timer;
            if self.schedules.get(slot).is_none_or(|schedule| schedule.armed != Some((at, timer))) {
                return Err(format!("{timer:?} at {at} is nobody's"));
            }
        }
        for (at, timer) in self.timers.all() {
            let phase = |key: RunKey| self.runs.get(key).map(|run| &run.phase);
            let owned = match timer {
                ElapsedTimer::Backoff(key) => {
                    matches!(phase(key), Some(Phase::Backoff { timer, .. }) if *timer == at)
                }
                ElapsedTimer::Attempt(key) => {
                    self.runs.get(key).and_then(|run| run.lease()).is_some_and(|lease| lease.timer == at)
                }
                ElapsedTimer::Queue(key) => {
                    self.runs.contains(key) && self.queue_timers.get(&key) == Some(&at)
                }
                ElapsedTimer::Session(id) => {
                    self.sessions.get(&id).is_some_and(|session| session.has_timer(at))
                }
                ElapsedTimer::Gate(gate) => self.gate_has_timer(gate, at),
                ElapsedTimer::Orphans | ElapsedTimer::Requests => true,
            };
            if !owned {
                return Err(format!("{timer:?} at {at} is nobody's"));
            }
        }
        Ok(())
    }

    fn check_schedules(&self) -> Result<(), String> {
        for (slot, schedule) in self.schedules.iter() {
            let id = &schedule.definition.key.id;
            let named = self.index.get(&schedule.definition.key) == Some(slot);
            if named == (schedule.status == Status::Deleted) {
                return Err(format!("{id}: found by name: {named}, status {:?}", schedule.status));
            }
            if self.slot_of(schedule.uid) != Some(slot) {
                return Err(format!("{id}: not found by its uid"));
            }
            if schedule.next.is_some_and(|next| next <= schedule.decided_through) {
                return Err(format!("{id}: its next time is decided already"));
            }
            if schedule.status == Status::Active && schedule.next.is_none() {
                return Err(format!("{id}: active without a next time"));
            }
            if let Some((at, timer)) = schedule.armed {
                if !self.timers.has_wall(at, timer) {
                    return Err(format!("{id}: its timer is not set"));
                }
            } else if schedule.due().is_some() {
                return Err(format!("{id}: due, but no timer is set"));
            }
            if (schedule.status == Status::Paused) != schedule.pause().is_some()
                && schedule.status != Status::Deleted
            {
                return Err(format!("{id}: {:?} with pause {:?}", schedule.status, schedule.pause()));
            }
            self.check_live(slot)?;
            if schedule.live().iter().any(|key| self.runs.get(*key).is_none_or(|run| run.schedule != slot)) {
                return Err(format!("{id}: a live run is not its own"));
            }
        }
        Ok(())
    }

    /// Bounds of what may be live, except right after the policy was changed.
    fn check_live(&self, slot: SlotKey) -> Result<(), String> {
        let schedule = &self.schedules[slot];
        let id = &schedule.definition.key.id;
        let behind = |key: &&RunKey| matches!(self.runs[**key].phase, Phase::Behind);
        if schedule.live().iter().filter(behind).count() > 1 {
            return Err(format!("{id}: more than one run is behind the others"));
        }
        if schedule.live().len() > self.config.live_runs_max + 1 {
            return Err(format!("{id}: {} live runs", schedule.live().len()));
        }
        let same = schedule.live().iter().all(|key| self.runs[*key].generation == schedule.generation);
        let running = schedule.live().iter().filter(|key| !behind(key)).count();
        if same && schedule.definition.overlap != Overlap::Allow && running > 1 {
            return Err(format!("{id}: {running} live runs under {:?}", schedule.definition.overlap));
        }
        let goes_on = matches!(schedule.status, Status::Active | Status::Ended);
        if goes_on && running == 0 && !schedule.live().is_empty() {
            return Err(format!("{id}: a run waits behind nothing"));
        }
        if goes_on && schedule.live().is_empty() && !schedule.rare().backfill.is_empty() {
            return Err(format!("{id}: a backfill stands still"));
        }
        Ok(())
    }

    fn check_runs(&self) -> Result<(), String> {
        let queued =
            self.queue.lanes().flat_map(|(_, lane)| lane.runs()).collect::<std::collections::BTreeSet<_>>();
        for (key, run) in &self.runs {
            let id = run.id;
            if self.run_of(id) != Some(key) {
                return Err(format!("{id}: not found by its id"));
            }
            let in_queue = matches!(run.phase, Phase::Ready(Some(_)));
            if queued.contains(&key) != in_queue {
                return Err(format!("{id}: in the queue: {}, phase {:?}", queued.contains(&key), run.phase));
            }
            let paused = self.schedules[run.schedule].status == Status::Paused;
            if in_queue && paused {
                return Err(format!("{id}: in the queue while its schedule is paused"));
            }
            let holder = run.lease().and_then(|lease| lease.session);
            if holder
                .is_some_and(|id| self.sessions.get(&id).is_none_or(|session| !session.held.contains(&key)))
            {
                return Err(format!("{id}: its session does not hold it"));
            }
            if run.lease().is_some_and(|lease| lease.token > self.next_token) {
                return Err(format!("{id}: its token was never given"));
            }
        }
        if let Some(stray) = queued.iter().find(|key| !self.runs.contains(**key)) {
            return Err(format!("the queue holds run {stray}, which does not exist"));
        }
        Ok(())
    }

    fn check_sessions(&self) -> Result<(), String> {
        for (id, session) in &self.sessions {
            for key in &session.held {
                let lease = self.runs.get(*key).and_then(|run| run.lease());
                if lease.is_none_or(|lease| lease.session != Some(*id)) {
                    return Err(format!("session {id} holds run {key}, which is not leased to it"));
                }
            }
        }
        Ok(())
    }
}
