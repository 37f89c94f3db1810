//! Who is told what happens: traces, logs, metrics.

use crate::{
    metrics::{Committed, Look},
    state_machine::{look::Present, output::Event},
};

/// What the shard does with facts: traces, logs, metrics. Must not block.
pub trait Observer: Send + 'static {
    fn observe(&self, event: &Event);

    /// A commit has its outcome.
    fn committed(&self, _commit: &Committed) {}

    /// What is there, once a second.
    fn looked(&self, _look: &Look, _present: &Present) {}
}

/// Two that are told everything.
impl<One: Observer, Other: Observer> Observer for (One, Other) {
    fn observe(&self, event: &Event) {
        self.0.observe(event);
        self.1.observe(event);
    }

    fn committed(&self, commit: &Committed) {
        self.0.committed(commit);
        self.1.committed(commit);
    }

    fn looked(&self, look: &Look, present: &Present) {
        self.0.looked(look, present);
        self.1.looked(look, present);
    }
}

impl<O: Observer + ?Sized> Observer for Box<O> {
    fn observe(&self, event: &Event) {
        (**self).observe(event);
    }

    fn committed(&self, commit: &Committed) {
        (**self).committed(commit);
    }

    fn looked(&self, look: &Look, present: &Present) {
        (**self).looked(look, present);
    }
}
