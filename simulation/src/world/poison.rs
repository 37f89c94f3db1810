//! What the machine cannot process: commands, timers and hand-outs that panic (P4).

use scheduler_svc::state_machine::{
    StateMachine,
    id::ReplyTo,
    poison::{self, At},
};

use super::{Event, Millis, World, client::Role, faults::Fault, network::Answered, scheduler::Lives, trace};
use crate::judge::{Broken, holds};

/// How long a command stays poisonous: for longer than any of its tries is on its way.
const LASTS: Millis = 60_000;

impl World {
    /// The app client of a schedule that exists.
    fn victim(&mut self) -> Option<usize> {
        let has = |role: &Role| matches!(role, Role::App(known) if known.schedule.is_some());
        let all: Vec<usize> =
            (0..self.clients.len()).filter(|index| has(&self.clients[*index].role)).collect();
        (!all.is_empty()).then(|| *self.sources.faults.pick(&all))
    }

    fn note_poisoned(&mut self, client: usize) {
        let id = self.clients[client].id.clone();
        if let Role::App(known) = &mut self.clients[client].role {
            known.poisoned = true;
        }
        self.judge.runs.poisoned.insert(id);
    }

    /// From now on the machine panics over one schedule, until it has done so.
    pub(super) fn poison(&mut self) {
        let Some(client) = self.victim().filter(|_| self.armed.is_none()) else { return };
        let at = *self.sources.faults.pick(&[At::Command, At::Timer, At::HandOut]);
        self.note_poisoned(client);
        trace!(self, "poison at {at:?} for client {client}");
        poison::arm(at, &self.clients[client].id);
        self.armed = Some(at);
        if at == At::Command {
            self.after(LASTS, Event::Fault(Fault::PoisonEnds));
        }
    }

    pub(crate) fn antidote(&mut self) {
        poison::disarm();
        if self.armed.take().is_some() {
            self.cured = self.now;
        }
    }

    /// As the shard does after a panic: the store is opened anew, and another machine takes its place.
    pub(super) fn reload(&mut self, index: usize) -> Result<Lives, Broken> {
        // It may be a while ago: a commit that was in flight comes first.
        let poisoned = self.armed.is_some() || self.now < self.cured + LASTS;
        holds("the machine panics over nothing but poison", poisoned, || format!("scheduler {index}"))?;
        if self.schedulers[index].epoch != self.store.epoch || self.is_cut_off(index) {
            self.scheduler_dies(index);
            return Ok(false);
        }
        self.judge.compared.panics += 1;
        // A command is poisonous until all its tries have been refused.
        if self.armed.is_some_and(|at| at != At::Command) {
            self.antidote();
        }
        let (opened, now) = (self.store.open(), self.clock(index));
        trace!(self, "scheduler {index} panicked; opens epoch {}", opened.epoch);
        self.judge_load(&opened, now)?;
        let machine = StateMachine::load(self.config, opened.epoch, now, opened.hot)
            .map_err(|error| Broken { rule: "what was written can be loaded", how: error.to_string() })?;
        machine.check().map_err(|how| Broken { rule: "invariants hold after a load", how })?;
        self.judge.limits.opened(opened.epoch, now);
        let scheduler = &mut self.schedulers[index];
        scheduler.epoch = opened.epoch;
        let lost: Vec<u64> =
            scheduler.waiting.keys().copied().filter(|to| !scheduler.pipeline.keeps(ReplyTo(*to))).collect();
        let over: Vec<_> = scheduler.streams.keys().copied().collect();
        let over: Vec<_> = over.into_iter().filter(|id| !scheduler.pipeline.keeps_session(*id)).collect();
        scheduler.pipeline.reloaded(machine, opened.seq);
        for to in lost {
            if let Some((call, ..)) = self.schedulers[index].waiting.remove(&to) {
                self.after(3, Event::Answered { call, answer: Box::new(Answered::Failed) });
            }
        }
        for session in over {
            if let Some(stream) = self.schedulers[index].streams.remove(&session) {
                self.end_stream(stream);
            }
        }
        Ok(true)
    }
}
