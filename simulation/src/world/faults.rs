//! What goes wrong, and how often. Each seed draws its own mix, so that every kind of trouble is also met alone.

use super::{Event, Millis, World, trace};
use crate::{chance::Chance, judge::Verdict};

/// How bad it gets. Shares are in a thousand.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Milliseconds until the faults end.
    pub span: Millis,
    pub clients: usize,
    /// Whether somebody sets limits.
    pub operator: bool,
    /// Whether an app changes several schedules with one call.
    pub owner: bool,
    pub workers: usize,
    /// Longest pause of a client between two calls.
    pub idle: Millis,
    /// Longest usual delay of a message.
    pub delay: Millis,
    pub loss: u64,
    pub late: u64,
    pub doubled: u64,
    /// Streams that break, per message.
    pub breaks: u64,
    /// Longest usual commit, one way.
    pub commit: Millis,
    pub store_trouble: u64,
    pub lies: bool,
    /// Machines that are loaded anew and compared, per turn.
    pub reloads: u64,
    /// Mean pause between two faults; 0 = none.
    pub every: Millis,
    kinds: Vec<(u64, Kind)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crash,
    CrashSoon,
    Pause,
    TakeOver,
    StoreForgets,
    CutOff,
    ClockStep,
    WorkerDies,
    WorkerPauses,
    WorkerDrains,
    StreamBreaks,
    Poison,
    Garble,
}

#[derive(Clone, Debug)]
pub enum Fault {
    /// The next of the plan.
    Next,
    WorkerDies(usize),
    /// All streams, while an owner is cut off.
    StreamsBreak(usize),
    PoisonEnds,
}

impl Profile {
    pub fn draw(chance: &mut Chance) -> Self {
        let mut maybe = |of: u64, most: u64| if chance.happens(of) { chance.between(1, most) } else { 0 };
        let (loss, late, doubled, breaks) = (maybe(600, 100), maybe(400, 30), maybe(400, 60), maybe(500, 40));
        let store_trouble = maybe(600, 200);
        let every = if maybe(850, 1) == 1 { maybe(1_000, 40_000) + 2_000 } else { 0 };
        let all = [
            Kind::Crash,
            Kind::CrashSoon,
            Kind::Pause,
            Kind::TakeOver,
            Kind::StoreForgets,
            Kind::CutOff,
            Kind::ClockStep,
            Kind::WorkerDies,
            Kind::WorkerPauses,
            Kind::WorkerDrains,
            Kind::StreamBreaks,
            Kind::Poison,
            Kind::Garble,
        ];
        let mut kinds: Vec<(u64, Kind)> = Vec::new();
        for kind in all {
            kinds.push((if chance.happens(550) { chance.between(1, 5) } else { 0 }, kind));
        }
        if kinds.iter().all(|(weight, _)| *weight == 0) {
            kinds.push((1, Kind::CrashSoon));
        }
        Self {
            span: chance.between(120, 480) * 1_000,
            clients: chance.between(1, 7) as usize,
            operator: chance.happens(500),
            owner: chance.happens(400),
            workers: chance.between(1, 3) as usize,
            idle: *chance.pick(&[2_000, 8_000, 30_000]),
            delay: *chance.pick(&[2, 20, 200]),
            loss,
            late,
            doubled,
            breaks,
            commit: *chance.pick(&[2, 10, 300]),
            store_trouble,
            lies: chance.happens(250),
            reloads: 15,
            every,
            kinds,
        }
    }
}

impl World {
    pub(crate) fn plan_faults(&mut self) {
        if self.profile.every > 0 {
            let pause = self.sources.faults.between(1, 2 * self.profile.every);
            self.after(pause, Event::Fault(Fault::Next));
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) -> Verdict {
        match fault {
            Fault::WorkerDies(index) => {
                self.worker_dies(index);
                Ok(())
            }
            Fault::StreamsBreak(owner) => {
                if self.schedulers[owner].alive && self.is_cut_off(owner) {
                    self.whole_streams().into_iter().for_each(|stream| self.break_stream(stream));
                }
                Ok(())
            }
            Fault::PoisonEnds => {
                self.antidote();
                Ok(())
            }
            Fault::Next if self.calm => Ok(()),
            Fault::Next => {
                self.plan_faults();
                let kind = self.sources.faults.weigh(&self.profile.kinds.clone());
                self.strike(kind)
            }
        }
    }

    fn strike(&mut self, kind: Kind) -> Verdict {
        let worker = self.sources.faults.roll(self.workers.len() as u64) as usize;
        let leader = self.leader();
        trace!(self, "fault: {kind:?}");
        match (kind, leader) {
            (Kind::Crash, Some(leader)) => self.scheduler_dies(leader),
            (Kind::CrashSoon, Some(leader)) => {
                // So that it falls between any two steps.
                let steps = self.sources.faults.roll(30);
                self.schedulers[leader].fuse.get_or_insert(steps);
            }
            (Kind::Pause, Some(leader)) => {
                let pause = self.sources.faults.between(100, 40_000);
                self.schedulers[leader].paused_until = self.now + pause;
            }
            (Kind::TakeOver, Some(leader)) => {
                // The old owner is deaf for a while, wakes up, and does not know.
                let pause = self.sources.faults.between(500, 30_000);
                self.schedulers[leader].paused_until = self.now + pause;
                let soon = self.sources.faults.between(1, pause + 5_000);
                self.after(soon, Event::SchedulerStarts);
            }
            (Kind::StoreForgets, Some(_)) => self.store.forget(),
            (Kind::CutOff, Some(leader)) => self.cut_off(leader),
            (Kind::Poison, _) => self.poison(),
            (Kind::Garble, _) => self.garbles = true,
            (Kind::ClockStep, _) => self.step_clock(),
            (Kind::WorkerDies, _) => self.worker_dies(worker),
            (Kind::WorkerPauses, _) => {
                let pause = self.sources.faults.between(500, 40_000);
                self.workers[worker].paused_until = self.now + pause;
            }
            (Kind::WorkerDrains, _) => return self.drain_worker(worker),
            (Kind::StreamBreaks, _) => {
                let whole = self.whole_streams();
                if !whole.is_empty() {
                    let stream = *self.sources.faults.pick(&whole);
                    self.break_stream(stream);
                }
            }
            (
                Kind::Crash
                | Kind::CrashSoon
                | Kind::Pause
                | Kind::TakeOver
                | Kind::StoreForgets
                | Kind::CutOff,
                None,
            ) => {}
        }
        Ok(())
    }

    /// The old owner is awake, answers whatever needs no commit, and does not know of the new one. Workers that look for
    /// a leader again find either.
    fn cut_off(&mut self, leader: usize) {
        let chance = &mut self.sources.faults;
        let span = chance.between(2_000, 40_000);
        let most = if chance.happens(500) { 300 } else { span };
        let soon = chance.between(1, most);
        let mut at = soon;
        for _ in 0..4 {
            at += self.sources.faults.between(50, 1_500);
            self.after(at, Event::Fault(Fault::StreamsBreak(leader)));
        }
        self.schedulers[leader].cut_off_until = self.now + span;
        self.after(soon, Event::SchedulerStarts);
        self.judge.compared.cut_off += 1;
    }

    fn step_clock(&mut self) {
        let host = self.sources.clocks.roll(2) as usize;
        let by = *self.sources.clocks.pick(&[-3_600_000, -61_000, -5_000, -1, 1, 5_000, 61_000, 900_000]);
        self.hosts[host].offset += by;
        self.judge.compared.clock_steps += 1;
        trace!(self, "clock of host {host} steps by {by} to {}", self.hosts[host].offset);
        for index in 0..self.schedulers.len() {
            if self.schedulers[index].alive && self.schedulers[index].host == host {
                self.turn_at(index, self.now);
            }
        }
    }

    /// Between the death of a process and the next one.
    pub(crate) fn outage(&mut self) -> Millis {
        if self.calm {
            return 500;
        }
        match self.sources.faults.roll(10) {
            0 => self.sources.faults.between(60_000, 900_000),
            1..=3 => self.sources.faults.between(5_000, 40_000),
            _ => self.sources.faults.between(1, 3_000),
        }
    }

    /// From here on nothing goes wrong any more. Clocks keep what they were set to.
    pub(crate) fn calm_down(&mut self) {
        trace!(self, "calm");
        (self.calm, self.garbles) = (true, false);
        self.antidote();
        for index in 0..self.schedulers.len() {
            self.schedulers[index].fuse = None;
            self.schedulers[index].cut_off_until = 0;
        }
        if self.leader().is_none() {
            self.after(500, Event::SchedulerStarts);
        }
        for index in 0..self.workers.len() {
            self.workers[index].paused_until = self.workers[index].paused_until.min(self.now);
        }
        // With room for everything: what is still live in the end was not just crowded out by what is more urgent.
        let spare = self.workers.len();
        self.add_worker(spare);
        self.workers[spare].make_roomy();
        for index in 0..self.clients.len() {
            self.after(1_000, Event::ClientTurn(index));
        }
    }
}
