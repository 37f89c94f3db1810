//! Bugs that can be planted, so that the simulation can show that it would find them.
//!
//! Without the feature `planted-bugs`, which only the simulation turns on, [`planted`] is a constant and the compiler
//! leaves nothing of it behind.

/// A bug of the agent, named by what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Outcomes without a receipt are forgotten when the stream ends.
    ForgetsOutcomesOnBreak,
    /// A heartbeat leaves out what has ended.
    UnlistsEnded,
    /// An attempt that is to stop goes on.
    IgnoresCancel,
    /// An attempt that is somebody else's goes on.
    IgnoresDrop,
    /// A report without an answer is not sent again.
    ReportsOnce,
    /// A report names the attempt before.
    ReportsUnderWrongAttempt,
    /// A failure is reported as a success.
    ReportsSuccess,
    /// A heartbeat claims a message that has not come.
    ReceivedAhead,
    /// A server of an earlier epoch is believed.
    HearsOldEpochs,
    /// An attempt goes on when its lease may have ended.
    UnsureGoesOn,
    /// An attempt takes as long as it likes.
    DeadlineIgnored,
    /// A stopping worker starts what it is sent.
    StartsWhileDraining,
    /// A stopping worker does not say so.
    DrainUnsaid,
}

impl Bug {
    pub const ALL: &[Self] = &[
        Self::ForgetsOutcomesOnBreak,
        Self::UnlistsEnded,
        Self::IgnoresCancel,
        Self::IgnoresDrop,
        Self::ReportsOnce,
        Self::ReportsUnderWrongAttempt,
        Self::ReportsSuccess,
        Self::ReceivedAhead,
        Self::HearsOldEpochs,
        Self::UnsureGoesOn,
        Self::DeadlineIgnored,
        Self::StartsWhileDraining,
        Self::DrainUnsaid,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants one bug in this thread, or none.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "planted-bugs")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
