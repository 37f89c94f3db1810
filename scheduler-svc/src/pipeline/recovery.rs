//! Getting over a panic of the machine, so that one bad input stops neither this process nor the next (rule P4).
//!
//! The machine is dropped, since nobody knows what it holds. What was said stands in the store; what was not said is
//! applied again to a machine that is loaded from there, each command in a batch of its own. A command that panics again
//! is answered INTERNAL. A timer, or a hand-out, names its schedule, which is set aside first.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Halt, Pipeline, Step};
use crate::state_machine::{
    StateMachine,
    command::Command,
    id::{ReplyTo, SessionId, Uid},
    output::{Output, Refusal},
};

/// Panics that neither a command nor a schedule is to blame for, in the life of a process.
const UNEXPLAINED_MAX: u32 = 10;
/// Replies to the pipeline's own commands go nowhere.
const NOBODY: ReplyTo = ReplyTo(u64::MAX);

#[derive(Debug, Default)]
pub struct Recovery {
    /// Whether the machine has to be loaded anew before anything else.
    reload: bool,
    /// Of the lost batch, and what came since.
    pub again: VecDeque<(ReplyTo, Command)>,
    /// The one that is being applied alone.
    current: Option<(ReplyTo, Command)>,
    /// Callers of commands that panicked alone.
    refused: Vec<ReplyTo>,
    set_aside: Vec<(Uid, Box<str>)>,
}

impl Pipeline {
    /// Lets the machine work. None when it panicked; it must not be touched again then. `suspected`: a command is at
    /// hand that is applied again, alone.
    pub(super) fn guarded<T>(
        &mut self,
        suspected: bool,
        work: impl FnOnce(&mut StateMachine) -> T,
    ) -> Option<T> {
        // The machine may be torn after a panic; it is only asked what it was busy with, and dropped.
        match catch_unwind(AssertUnwindSafe(|| work(&mut self.machine))) {
            Ok(done) => Some(done),
            Err(panic) => {
                self.panicked(suspected, &text(&*panic));
                None
            }
        }
    }

    fn panicked(&mut self, suspected: bool, why: &str) {
        let culprit = self.machine.culprit();
        let recovery = self.recovery.get_or_insert_default();
        recovery.reload = true;
        for lost in self.gathered.drain(..).rev() {
            recovery.again.push_front(lost);
        }
        let alone = recovery.current.take();
        if let Some(uid) = culprit {
            recovery.set_aside.push((uid, format!("processing it failed: {why}").into()));
            if let Some(alone) = alone {
                recovery.again.push_front(alone);
            }
        } else if let Some((to, _)) = alone {
            recovery.refused.push(to);
        } else if !suspected {
            self.unexplained += 1;
        }
        if self.unexplained > UNEXPLAINED_MAX {
            self.halt(Halt::Failed(format!("panicked again and again: {why}")));
        }
    }

    /// Whether this caller may still get an answer after [`Self::reloaded`].
    pub fn keeps(&self, to: ReplyTo) -> bool {
        let waits = self.securing.as_ref().is_some_and(|securing| securing.keeps(to));
        waits
            || self.recovery.iter().any(|recovery| {
                recovery.again.iter().any(|(other, _)| *other == to) || recovery.refused.contains(&to)
            })
    }

    /// Whether this session is opened after [`Step::Reload`].
    pub fn keeps_session(&self, id: SessionId) -> bool {
        let opens = |command: &Command| matches!(command, Command::OpenSession(open) if open.session == id);
        self.recovery.iter().any(|recovery| recovery.again.iter().any(|(_, command)| opens(command)))
    }

    /// The machine that [`Step::Reload`] asked for; `seq` is that of the store's last commit.
    pub fn reloaded(&mut self, machine: StateMachine, seq: u64) {
        self.machine = machine;
        self.seq = seq;
        self.changed = true;
        if let Some(securing) = &mut self.securing {
            securing.reloaded(seq);
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.reload = false;
        }
    }

    /// The next step of getting over a panic, if one is.
    pub(super) fn recover(&mut self) -> Option<Step> {
        let recovery = self.recovery.as_mut()?;
        if recovery.reload {
            return Some(Step::Reload);
        }
        if !recovery.refused.is_empty() {
            let refused = std::mem::take(&mut recovery.refused);
            let replies = refused.into_iter().map(|to| (to, Err(Refusal::Poisonous))).collect();
            let refused = Output { replies, ..Output::default() };
            return Some(Step::Release(self.hold_back(refused)));
        }
        let (to, command) = if let Some((uid, why)) = recovery.set_aside.pop() {
            (NOBODY, Command::SetAside { uid, why })
        } else if let Some(next) = recovery.again.pop_front() {
            next
        } else {
            self.recovery = None;
            return None;
        };
        let now = self.now;
        if to != NOBODY {
            recovery.current = Some((to, command.clone()));
        }
        // Setting aside is not tried again.
        self.guarded(to != NOBODY, |machine| machine.apply(now, to, &command));
        let step = if self.recovery.as_ref().is_some_and(|recovery| recovery.reload) {
            self.recovered_halt().unwrap_or(Step::Reload)
        } else {
            self.close_batch()
        };
        if let Some(recovery) = &mut self.recovery {
            recovery.current = None;
        }
        Some(step)
    }

    fn recovered_halt(&self) -> Option<Step> {
        self.halted().map(|_| Step::Wait(Default::default()))
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(String::from);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without text".into())
}
