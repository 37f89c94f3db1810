//! Bugs that can be planted, so that the simulation can show that it would find them.
//!
//! Without the feature `planted-bugs`, which only the simulation turns on, [`planted`] is a constant and the compiler
//! leaves nothing of it behind.

/// A bug of the scheduler, named by what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A batch is released although nobody knows whether it was written.
    SpeaksWhileUnknown,
    /// What waits for another attempt is not written to a store that lost everything.
    SnapshotWithoutBackoff,
    /// A batch whose outcome is unknown is dropped, and the next one takes its sequence.
    ForgetsUnknown,
    /// Another owner writes, and this one speaks on.
    GoesOnFenced,
    /// A run begins beside the live one.
    OverlapUnchecked,
    /// A loaded schedule decides its last hour again.
    DecidedForgottenAtLoad,
    /// A clock that is set back brings times back.
    ClockBackFiresAgain,
    /// A time is due at once, whatever the spread.
    SpreadIgnored,
    /// The first of several missed times runs instead of the latest.
    CoalescesIntoFirst,
    /// A resume skips nothing.
    PauseTimesRun,
    /// A schedule goes on after its last run.
    MaxRunsIgnored,
    /// A schedule goes on after its end.
    EndIgnored,
    /// A queued run is assigned while its schedule is paused.
    PauseHoldsNothing,
    /// A resume leaves held runs where they are.
    PauseLosesQueued,
    /// A queued run of a deleted schedule is assigned.
    DeleteLeavesQueued,
    /// A running run of a schedule that is deleted with it is not told to stop.
    DeleteCancelsNothing,
    /// A request id is not remembered.
    RequestForgotten,
    /// A request id is remembered until a restart.
    RequestNotStored,
    /// A wrong etag is as good as any.
    EtagIgnored,
    /// Whoever names a live run ends it.
    StaleTokenAccepted,
    /// A report is acknowledged and forgotten.
    ReceiptWithoutEffect,
    /// An outcome that comes after the loss is refused though nobody else has the run.
    LateOutcomeRefused,
    /// max_attempts bounds nothing.
    RetriesUnbounded,
    /// A run fails one attempt early.
    RetriesOnceLess,
    /// A failed run is ready at once.
    BackoffSkipped,
    /// What failed attempts reported is not added up.
    PartialsForgotten,
    /// A failed attempt's checkpoint is not kept.
    CheckpointForgotten,
    /// Two suspects go to one worker.
    SuspectsShareWorkers,
    /// A poisonous job circles for ever.
    LossesUncounted,
    /// A job that never arrived is waited for.
    UnlistedKept,
    /// Leases end although their worker is heard.
    HeartbeatRenewsNothing,
    /// Workers are blamed for what the scheduler did not hear.
    DeafnessUnforgiven,
    /// What a lost worker held stays with it.
    EndedSessionKeepsLeases,
    /// Leases do not survive a restart.
    OrphansDroppedAtLoad,
    /// Each epoch counts tokens from the beginning.
    TokensRestart,
    /// A revoked consent does not pause.
    ReauthorizeIgnored,
    /// Tenants are served in the order of their names.
    TenantsInOrder,
    /// Runs are served by arrival alone.
    PriorityIgnored,
    /// The run that waits keeps its place; the newer one is dropped.
    BufferKeepsOldest,
    /// One run more than allowed goes beside the others.
    AllowAboveItsCap,
    /// A newer run waits, and the live one is not told to stop.
    CancelRunningLeavesOld,
    /// What is late by more than a minute runs.
    MisfireSkipFires,
    /// Missed times run side by side.
    MisfireAllAtOnce,
    /// As many runs of a key start as there are slots.
    LimitIgnored,
    /// A lost lease keeps its permits.
    PermitLeakedAtLoss,
    /// A key that throttling has closed starts runs.
    ClosedKeyStarts,
    /// A key that opens again is open at once.
    SlowStartSkipped,
    /// A bucket is full after a restart.
    BurstAfterRestart,
    /// A throttled report closes nothing.
    ThrottleUnheard,
    /// Limits last until a restart.
    LimitLostAtLoad,
    /// A backfill runs times that have a run.
    BackfillDoubles,
    /// A backfill ends with its first run.
    BackfillForgets,
    /// A run that is to be tried again is counted and not made.
    RetryForgotten,
    /// A retried call of RetryRuns makes its runs again.
    RetriedPageAgain,
    /// A call about many schedules leaves out the first one of a page.
    BulkSkipsAtBoundary,
    /// A page that is asked for again counts again.
    BulkCountsTwice,
    /// A cancelled run begins again when its worker is lost.
    CancelForgottenAtLoss,
    /// What was set aside is active after a restart.
    QuarantineLostAtLoad,
    /// Another schedule is set aside as well.
    PoisonTakesNeighbour,
    /// What was set aside still fires.
    SetAsideFires,
    /// A schedule whose state cannot be read is not there any more.
    UnreadableForgotten,
    /// A schedule goes on although the record of one of its runs cannot be read.
    UnreadableRunPassedOver,
    /// What cannot be read sets its schedule aside again, whatever was saved since.
    UnreadableKept,
}

impl Bug {
    pub const ALL: &[Self] = &[
        Self::SpeaksWhileUnknown,
        Self::ForgetsUnknown,
        Self::GoesOnFenced,
        Self::OverlapUnchecked,
        Self::DecidedForgottenAtLoad,
        Self::ClockBackFiresAgain,
        Self::SpreadIgnored,
        Self::CoalescesIntoFirst,
        Self::PauseTimesRun,
        Self::MaxRunsIgnored,
        Self::EndIgnored,
        Self::PauseHoldsNothing,
        Self::PauseLosesQueued,
        Self::DeleteLeavesQueued,
        Self::DeleteCancelsNothing,
        Self::RequestForgotten,
        Self::RequestNotStored,
        Self::EtagIgnored,
        Self::StaleTokenAccepted,
        Self::ReceiptWithoutEffect,
        Self::LateOutcomeRefused,
        Self::RetriesUnbounded,
        Self::SnapshotWithoutBackoff,
        Self::RetriesOnceLess,
        Self::BackoffSkipped,
        Self::PartialsForgotten,
        Self::CheckpointForgotten,
        Self::SuspectsShareWorkers,
        Self::LossesUncounted,
        Self::UnlistedKept,
        Self::HeartbeatRenewsNothing,
        Self::DeafnessUnforgiven,
        Self::EndedSessionKeepsLeases,
        Self::OrphansDroppedAtLoad,
        Self::TokensRestart,
        Self::ReauthorizeIgnored,
        Self::TenantsInOrder,
        Self::PriorityIgnored,
        Self::BufferKeepsOldest,
        Self::AllowAboveItsCap,
        Self::CancelRunningLeavesOld,
        Self::MisfireSkipFires,
        Self::MisfireAllAtOnce,
        Self::LimitIgnored,
        Self::PermitLeakedAtLoss,
        Self::ClosedKeyStarts,
        Self::SlowStartSkipped,
        Self::BurstAfterRestart,
        Self::ThrottleUnheard,
        Self::LimitLostAtLoad,
        Self::BackfillDoubles,
        Self::BackfillForgets,
        Self::RetryForgotten,
        Self::RetriedPageAgain,
        Self::BulkSkipsAtBoundary,
        Self::BulkCountsTwice,
        Self::CancelForgottenAtLoss,
        Self::QuarantineLostAtLoad,
        Self::PoisonTakesNeighbour,
        Self::SetAsideFires,
        Self::UnreadableForgotten,
        Self::UnreadableRunPassedOver,
        Self::UnreadableKept,
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
