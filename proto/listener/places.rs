//! Places for connections: so many in all, so many for one peer, and one budget for all of a peer's.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Bounds,
    budget::{Budget, Cost},
};

/// Between two lines of a kind.
const QUIET: Duration = Duration::from_secs(10);
/// Peers that have gone are remembered, so that coming again gives no new budget; when there are more, all are forgotten.
const GONE_MAX: usize = 10_000;
/// Accepting a connection and shaking hands.
const CONNECTION: Cost = 50;

#[derive(Clone, Debug)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Those that have one, and some that had one a moment ago.
    peers: HashMap<IpAddr, OfPeer>,
    refused: u64,
    told: Option<Instant>,
    told_slow: Option<Instant>,
}

#[derive(Debug)]
struct OfPeer {
    taken: usize,
    budget: Budget,
}

/// Free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    peer: IpAddr,
}

impl Places {
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner { bounds, taken: Mutex::default() }))
    }

    pub fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// None when there is none left.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let Bounds { connections, connections_per_peer, .. } = self.0.bounds;
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = taken.peers.get(&peer).map_or(0, |of_peer| of_peer.taken);
        if taken.all >= connections || of_peer >= connections_per_peer {
            taken.refuse(peer);
            return None;
        }
        taken.forget_the_gone();
        taken.all += 1;
        let budget = Budget::full(Instant::now());
        taken.peers.entry(peer).or_insert(OfPeer { taken: 0, budget }).taken += 1;
        Some(Place { places: self.clone(), peer })
    }
}

impl Place {
    pub fn bounds(&self) -> Bounds {
        self.places.bounds()
    }

    /// How long to wait before anything is done for a connection that is new.
    pub fn begin(&self) -> Duration {
        self.charge(CONNECTION)
    }

    /// How long to wait before more is read from this connection.
    pub fn charge(&self, cost: Cost) -> Duration {
        let mut taken = self.places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_peer) = taken.peers.get_mut(&self.peer) else { return Duration::ZERO };
        let wait = of_peer.budget.charge(cost, Instant::now());
        if wait > Duration::ZERO {
            taken.slow_down(self.peer);
        }
        wait
    }
}

impl Taken {
    fn refuse(&mut self, peer: IpAddr) {
        self.refused += 1;
        if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            let (refused, open) = (std::mem::take(&mut self.refused), self.all);
            self.told = Some(Instant::now());
            tracing::warn!(%peer, refused, open, "too many connections: some were closed (grpc.connections…)");
        }
    }

    fn slow_down(&mut self, peer: IpAddr) {
        if self.told_slow.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told_slow = Some(Instant::now());
            tracing::warn!(%peer, "a peer connects, resets, pings or sets too much, and has to wait");
        }
    }

    fn forget_the_gone(&mut self) {
        // Of those that are there, each has one connection or more.
        if self.peers.len() >= GONE_MAX + self.all {
            self.peers.retain(|_, of_peer| of_peer.taken > 0);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_peer) = taken.peers.get_mut(&self.peer) {
            of_peer.taken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, connections_per_peer: usize) -> Places {
        Places::new(Bounds { connections, connections_per_peer, ..Bounds::default() })
    }

    #[test]
    fn places_are_bounded_for_all_and_for_one_and_free_again() {
        let places = places(3, 2);
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let (first, second) = (places.take(one), places.take(one));
        assert!(first.is_some() && second.is_some() && places.take(one).is_none(), "two for one peer");
        let third = places.take(two);
        assert!(third.is_some() && places.take(two).is_none(), "three for all");
        drop(first);
        assert!(places.take(two).is_some());
        drop((second, third));
        let taken = places.0.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.peers.values().all(|of_peer| of_peer.taken == 0));
    }

    #[test]
    fn a_peer_that_connects_again_has_no_new_budget_and_others_have_theirs() {
        let places = places(9, 9);
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert!(places.take(one).unwrap().charge(100_000) > Duration::ZERO);
        assert!(places.take(one).unwrap().begin() > Duration::ZERO, "it has come again");
        assert_eq!(places.take(two).unwrap().begin(), Duration::ZERO);
    }

    #[test]
    fn those_that_went_are_forgotten_in_the_end() {
        let places = places(9, 9);
        for n in 0..3 * u32::try_from(GONE_MAX).unwrap() {
            places.take(IpAddr::V4(n.into()));
        }
        assert!(places.0.taken.lock().unwrap().peers.len() <= GONE_MAX);
    }
}
