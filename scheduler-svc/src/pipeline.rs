//! Write first, then speak: the shard's loop as a pure value.
//!
//! Commands are applied to the machine at once, into the batch that is being gathered. One batch is being committed at
//! any time; when it is durable its output is released, and the next batch, which has grown meanwhile, is committed.
//! So under load batches grow by themselves, and nothing is said before it is safe (rules P1, P2).
//!
//! ```text
//!   apply, wake ──► gathering ──seal──► in flight ──committed──► released
//!                                        │    ▲
//!                                        └────┘ unknown: the same bytes, the same sequence
//! ```
//!
//! A panic of the machine is survived (rule P4, `recovery`): the machine is dropped and loaded anew from the store, and
//! what the lost batch held is applied again, one command to a batch.
//!
//! A store that has lost what it committed gets everything anew (rule O7, `repair`).
//!
//! Where `store.ack` asks for more than a commit, answers to changes wait for that too (rule O10, `securing`).
//!
//! The task around it only pumps: it hands in commands, time and outcomes, and does what [`Step`] says.

mod recovery;
mod repair;
mod securing;

use std::{mem, sync::Arc};

use recovery::Recovery;
use securing::Securing;

use crate::{
    planted::{Bug, planted},
    state_machine::{
        StateMachine,
        command::Command,
        id::ReplyTo,
        output::Output,
        timer::{Now, Wake},
    },
    store::{Batch, Snapshot, StoreError},
};

/// Commands that one batch gathers at most.
const COMMANDS_MAX: usize = 5_000;
/// Timers that one batch gathers at most. A bound of their own, so that a herd of due schedules never keeps heartbeats
/// and reports from being heard.
const TIMERS_MAX: usize = 5_000;

#[derive(Debug)]
pub struct Pipeline {
    machine: StateMachine,
    seq: u64,
    commands: usize,
    timers: usize,
    /// Whether something was applied since the last seal.
    changed: bool,
    in_flight: Option<InFlight>,
    /// Whether what is said without a commit can be believed (rule O5).
    trusted: bool,
    /// Set where answers to changes wait for more than their commit.
    securing: Option<Securing>,
    /// The store seems to have lost something: the next batch is committed even if it is empty.
    unconfirmed: bool,
    halted: Option<Halt>,
    now: Now,
    /// What was applied since the last seal.
    gathered: Vec<(ReplyTo, Command)>,
    /// Set while a panic is being got over.
    recovery: Option<Recovery>,
    /// Panics that neither a command nor a schedule is to blame for.
    unexplained: u32,
}

#[derive(Debug)]
struct InFlight {
    seq: u64,
    work: Work,
    output: Output,
}

#[derive(Clone, Debug)]
enum Work {
    Commit(Batch),
    Restore(Arc<Snapshot>),
}

impl InFlight {
    fn step(&self) -> Step {
        match &self.work {
            Work::Commit(batch) => Step::Commit { seq: self.seq, batch: batch.clone() },
            Work::Restore(snapshot) => Step::Restore { seq: self.seq, snapshot: snapshot.clone() },
        }
    }
}

/// What the task is to do next.
#[derive(Debug)]
pub enum Step {
    /// Commit this batch and report the outcome.
    Commit { seq: u64, batch: Batch },
    /// Write all of this anew, as of this sequence, and report the outcome.
    Restore { seq: u64, snapshot: Arc<Snapshot> },
    /// Say all of this: it is durable.
    Release(Output),
    /// Ask the store to secure everything through this sequence, and report to [`Pipeline::secured`]. Commits go on
    /// meanwhile.
    Secure { seq: u64 },
    /// Open the store anew, load a machine from it and hand it to [`Pipeline::reloaded`]. Whoever waits for an answer
    /// and is not [`Pipeline::keeps`] gets none; sessions are over.
    Reload,
    /// Nothing, until a command, an outcome, or this time comes.
    Wait(Wake),
}

/// Why the pipeline says nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Another owner writes: this process's state is void.
    #[error("another owner has opened the store")]
    Fenced,
    #[error("{0}")]
    Failed(String),
}

impl Pipeline {
    /// `seq` is that of the store's last commit.
    pub fn new(machine: StateMachine, seq: u64) -> Self {
        Self {
            now: machine.now(),
            machine,
            seq,
            commands: 0,
            timers: 0,
            changed: true,
            in_flight: None,
            trusted: true,
            securing: None,
            unconfirmed: false,
            halted: None,
            gathered: Vec::new(),
            recovery: None,
            unexplained: 0,
        }
    }

    /// Whether the batch being gathered takes more. Until it does, commands wait in the task's bounded queue.
    pub fn has_room(&self) -> bool {
        self.commands < COMMANDS_MAX && self.halted.is_none() && self.recovery.is_none()
    }

    pub fn apply(&mut self, now: Now, to: ReplyTo, command: Command) {
        self.now = now;
        if let Some(securing) = self.securing.as_mut().filter(|_| command.is_change()) {
            securing.changes(to);
        }
        if let Some(recovery) = &mut self.recovery {
            return recovery.again.push_back((to, command));
        }
        self.commands += 1;
        self.changed = true;
        let applied = self.guarded(true, |machine| machine.apply(now, to, &command));
        match (&mut self.recovery, applied) {
            (Some(recovery), None) => recovery.again.push_back((to, command)),
            _ => self.gathered.push((to, command)),
        }
    }

    fn has_room_for_timers(&self) -> bool {
        self.timers < TIMERS_MAX && self.halted.is_none() && self.recovery.is_none()
    }

    /// Handles timers that are due, unless the batch is full.
    pub fn wake(&mut self, now: Now) {
        self.now = now;
        if self.has_room_for_timers() {
            let handled = self.guarded(false, |machine| machine.wake(now)).unwrap_or(0);
            self.timers += handled;
            self.changed |= handled > 0;
        }
    }

    /// The outcome of the commit in flight. Returns whether it has to be sent again.
    pub fn committed(&mut self, outcome: Result<(), StoreError>) -> Option<Step> {
        let outcome = match outcome {
            Err(StoreError::Unknown(_)) if planted(Bug::SpeaksWhileUnknown) => Ok(()),
            Err(StoreError::Fenced) if planted(Bug::GoesOnFenced) => Ok(()),
            Err(StoreError::Unknown(_)) if planted(Bug::ForgetsUnknown) => {
                self.in_flight = None;
                return None;
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) => {
                let done = self.in_flight.take()?;
                self.seq = done.seq;
                Some(Step::Release(self.hold_back(done.output)))
            }
            Err(StoreError::Unknown(_)) => self.in_flight.as_ref().map(InFlight::step),
            Err(StoreError::Lost) => self.write_everything(),
            Err(StoreError::Fenced | StoreError::Held { .. }) => self.halt(Halt::Fenced),
            Err(StoreError::Fatal(why)) => self.halt(Halt::Failed(why)),
        }
    }

    /// It is known that another owner has opened the store.
    pub fn depose(&mut self) {
        self.halt(Halt::Fenced);
    }

    /// Whether this owner may still speak without a commit.
    pub fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
    }

    /// Drops everything that was not said.
    fn halt(&mut self, halt: Halt) -> Option<Step> {
        self.in_flight = None;
        self.halted = Some(halt);
        None
    }

    pub fn halted(&self) -> Option<&Halt> {
        self.halted.as_ref()
    }

    /// What to do now. Call it until it says wait.
    pub fn step(&mut self) -> Step {
        if self.halted.is_none()
            && let Some(question) = self.ask_to_secure()
        {
            return question;
        }
        if self.in_flight.is_some() || self.halted.is_some() {
            // Timers go on while a commit is in flight, as long as the next batch has room for what they do.
            let wake = if self.has_room_for_timers() { self.machine.next_wake() } else { Wake::default() };
            return Step::Wait(wake);
        }
        if let Some(step) = self.recover() {
            return step;
        }
        if !mem::take(&mut self.changed) {
            return Step::Wait(self.machine.next_wake());
        }
        self.close_batch()
    }

    /// Seals what was gathered.
    fn close_batch(&mut self) -> Step {
        (self.commands, self.timers) = (0, 0);
        let Some(mut output) = self.guarded(false, StateMachine::seal) else { return Step::Reload };
        self.gathered.clear();
        self.changed = self.machine.has_more();
        let writes = mem::take(&mut output.writes);
        let confirm = mem::take(&mut self.unconfirmed);
        if writes.is_empty() && !confirm && (self.trusted || output.is_silent()) {
            // Reads and no-ops: nothing in flight, so what they saw is durable.
            return Step::Release(self.hold_back(output));
        }
        let flying = InFlight { seq: self.seq + 1, work: Work::Commit(Arc::new(writes)), output };
        self.in_flight.insert(flying).step()
    }

    /// Whether everything that was applied is durable and said.
    pub fn is_idle(&self) -> bool {
        let secured = self.securing.as_ref().is_none_or(Securing::is_idle);
        self.in_flight.is_none() && !self.changed && self.recovery.is_none() && secured
    }

    pub fn machine(&self) -> &StateMachine {
        &self.machine
    }
}

#[cfg(test)]
mod tests;
