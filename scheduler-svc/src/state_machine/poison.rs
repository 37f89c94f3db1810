//! Panics on demand, to test that one bad input stops nothing (rule P4). Not part of a production build.

/// Where a panic may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Command,
    Timer,
    HandOut,
}

#[cfg(any(test, feature = "planted-bugs"))]
mod armed {
    use std::cell::RefCell;

    use super::At;

    thread_local! {
        static POISON: RefCell<Vec<(At, String)>> = const { RefCell::new(Vec::new()) };
    }

    /// From now on, on this thread: whatever handles this schedule there panics.
    pub fn arm(at: At, schedule_id: &str) {
        POISON.with_borrow_mut(|poison| poison.push((at, schedule_id.into())));
    }

    pub fn disarm() {
        POISON.with_borrow_mut(Vec::clear);
    }

    pub(in crate::state_machine) fn trip(at: At, schedule_id: &str) {
        let hit =
            POISON.with_borrow(|poison| poison.iter().any(|(when, id)| *when == at && id == schedule_id));
        assert!(!hit, "poison at {at:?}");
    }
}

#[cfg(any(test, feature = "planted-bugs"))]
pub(super) use armed::trip;
#[cfg(any(test, feature = "planted-bugs"))]
pub use armed::{arm, disarm};

#[cfg(not(any(test, feature = "planted-bugs")))]
pub(super) fn trip(_: At, _: &str) {}
