//! How many requests a run has under way: halved when Gmail asks for patience, one more after as many as were allowed
//! went well.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

const BEGIN: usize = 4;
const MOST: usize = 8;

pub struct Pace {
    state: Mutex<State>,
    left: Notify,
}

struct State {
    allowed: usize,
    running: usize,
    went_well: usize,
}

/// One request under way. Dropped without a word it says nothing about the pace.
pub struct Permit<'a>(&'a Pace);

impl Pace {
    pub fn new() -> Self {
        Self { state: Mutex::new(State { allowed: BEGIN, running: 0, went_well: 0 }), left: Notify::new() }
    }

    pub async fn enter(&self) -> Permit<'_> {
        loop {
            let mut left = pin!(self.left.notified());
            // Before looking, so that who leaves meanwhile is not missed.
            left.as_mut().enable();
            if self.try_enter() {
                return Permit(self);
            }
            left.await;
        }
    }

    fn try_enter(&self) -> bool {
        self.with(|state| {
            let may = state.running < state.allowed;
            state.running += usize::from(may);
            may
        })
    }

    pub fn slow_down(&self) {
        self.with(|state| {
            state.went_well = 0;
            state.allowed = (state.allowed / 2).max(1);
        });
    }

    #[cfg(test)]
    pub fn allowed(&self) -> usize {
        self.with(|state| state.allowed)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Permit<'_> {
    pub fn went_well(self) {
        self.0.with(|state| {
            state.went_well += 1;
            if state.went_well >= state.allowed {
                state.went_well = 0;
                state.allowed = (state.allowed + 1).min(MOST);
            }
        });
    }

    pub fn was_too_fast(self) {
        self.0.slow_down();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.running -= 1);
        self.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_halves_and_recovers() {
        let pace = Pace::new();
        let mut held = Vec::new();
        for _ in 0..BEGIN {
            held.push(pace.enter().now_or_never().expect("room"));
        }
        assert!(pace.enter().now_or_never().is_none());
        held.pop().unwrap().was_too_fast();
        assert_eq!(pace.allowed(), 2);
        assert!(pace.enter().now_or_never().is_none(), "three are still under way");
        drop(held);
        pace.enter().await.was_too_fast();
        pace.enter().await.was_too_fast();
        assert_eq!(pace.allowed(), 1);
        for _ in 0..100 {
            pace.enter().await.went_well();
        }
        assert_eq!(pace.allowed(), MOST);
    }
}
