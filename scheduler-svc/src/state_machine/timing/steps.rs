//! Counts what a search looks at, in tests only: work is bounded by steps, which do not depend on the machine.

#[cfg(test)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One month or one stretch of a zone was looked at.
#[inline]
pub(super) fn take() {
    #[cfg(test)]
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

/// What `work` takes.
#[cfg(test)]
pub(super) fn of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = TAKEN.get();
    let done = work();
    (done, TAKEN.get() - before)
}
