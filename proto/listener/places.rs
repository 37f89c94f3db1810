//! Places for connections: so many in all, and so many for one peer.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Bounds;

/// Between two lines about connections that were closed.
const QUIET: Duration = Duration::from_secs(10);

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
    /// Those that have one only, so it is no longer than the connections are many.
    peers: HashMap<IpAddr, usize>,
    refused: u64,
    told: Option<Instant>,
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

    /// None when there is none left.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let Bounds { connections, connections_per_peer } = self.0.bounds;
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = taken.peers.get(&peer).copied().unwrap_or(0);
        if taken.all >= connections || of_peer >= connections_per_peer {
            taken.refuse(peer);
            return None;
        }
        taken.all += 1;
        *taken.peers.entry(peer).or_default() += 1;
        Some(Place { places: self.clone(), peer })
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
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_peer) = taken.peers.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_all_and_for_one_and_free_again() {
        let places = Places::new(Bounds { connections: 3, connections_per_peer: 2 });
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let (first, second) = (places.take(one), places.take(one));
        assert!(first.is_some() && second.is_some() && places.take(one).is_none(), "two for one peer");
        let third = places.take(two);
        assert!(third.is_some() && places.take(two).is_none(), "three for all");
        drop(first);
        assert!(places.take(two).is_some());
        drop((second, third));
        assert!(places.0.taken.lock().unwrap().peers.is_empty());
    }
}
