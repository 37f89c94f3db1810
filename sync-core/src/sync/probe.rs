//! Where a test may stop a run.

use futures_util::future::BoxFuture;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    Claimed,
    Listed,
    Fetched,
    Read,
    BlobPut,
    BeforeCommit,
    AfterCommit,
    BeforeFinish,
}

impl Point {
    pub const ALL: [Self; 8] = [
        Self::Claimed,
        Self::Listed,
        Self::Fetched,
        Self::Read,
        Self::BlobPut,
        Self::BeforeCommit,
        Self::AfterCommit,
        Self::BeforeFinish,
    ];
}

/// The run waits for the returned future; one that never ends holds the run at that point, to be dropped
/// there like a killed process.
pub trait Probe: Send + Sync {
    fn reached(&self, point: Point) -> BoxFuture<'_, ()>;
}
