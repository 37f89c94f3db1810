//! What an owner does about what it finds in Redis after it has lost touch (rule O7): a pure decision.
//!
//! The epoch gives safety, the lease liveness. Losing the lease is not losing the state: only a foreign epoch makes an
//! owner drop it (rule O2).

/// What the owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mine<'a> {
    pub nonce: &'a str,
    pub epoch: u64,
    /// Of the last commit that was acknowledged.
    pub seq: u64,
    /// The first batch that can be sent again; `seq + 1` when there is none.
    pub ring_from: u64,
}

/// The owner record, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub nonce: String,
    pub epoch: u64,
    pub seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is lost.
    GoOn,
    /// Batches from this sequence on are lost, and at hand.
    Replay { from: u64 },
    /// More is lost than is at hand, under our own epoch.
    Snapshot,
    /// The record itself is lost, or an older one is there: take it back, then write everything.
    Reclaim,
    /// Somebody else owns the store: drop everything, fire nothing.
    Foreign,
    /// Somebody wrote in our name.
    Impossible,
}

pub fn judge(mine: Mine<'_>, found: Option<&Found>) -> Verdict {
    let Some(found) = found else { return Verdict::Reclaim };
    let ours = found.nonce == mine.nonce;
    if ours && found.epoch == mine.epoch {
        // One more than was acknowledged: the commit in flight has arrived.
        return match found.seq {
            seq if seq > mine.seq + 1 => Verdict::Impossible,
            seq if seq >= mine.seq => Verdict::GoOn,
            seq if seq + 1 >= mine.ring_from => Verdict::Replay { from: seq + 1 },
            _ => Verdict::Snapshot,
        };
    }
    if found.epoch < mine.epoch && (ours || found.seq <= mine.seq) {
        Verdict::Reclaim
    } else {
        Verdict::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Mine<'_> = Mine { nonce: "a", epoch: 5, seq: 100, ring_from: 90 };

    fn found(nonce: &str, epoch: u64, seq: u64) -> Verdict {
        judge(MINE, Some(&Found { nonce: nonce.into(), epoch, seq }))
    }

    #[test]
    fn o7_every_row() {
        assert_eq!(found("a", 5, 100), Verdict::GoOn);
        assert_eq!(found("a", 5, 101), Verdict::GoOn, "the answer was lost, not the write");
        assert_eq!(found("a", 5, 99), Verdict::Replay { from: 100 });
        assert_eq!(found("a", 5, 89), Verdict::Replay { from: 90 });
        assert_eq!(found("a", 5, 88), Verdict::Snapshot, "an older backup");
        assert_eq!(judge(MINE, None), Verdict::Reclaim, "empty after a restart");
        assert_eq!(found("b", 4, 100), Verdict::Reclaim, "our own grant was lost");
        assert_eq!(found("b", 4, 101), Verdict::Foreign, "it wrote what we have never seen");
        assert_eq!(found("b", 6, 100), Verdict::Foreign);
        assert_eq!(found("b", 5, 100), Verdict::Foreign, "the same epoch was granted twice");
        assert_eq!(found("a", 5, 102), Verdict::Impossible);
        assert_eq!(found("a", 6, 100), Verdict::Foreign, "we never had that epoch");
    }
}
