//! The sections `[grpc]` and `[http]` of both services.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use super::Bounds;

const CONNECTIONS: RangeInclusive<u64> = 1..=100_000;
const AGE_MS: RangeInclusive<u64> = 1_000..=86_400_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    pub listen: SocketAddr,
    pub connections: usize,
    pub connections_per_peer: usize,
    pub connection_age_ms: u64,
    pub connection_grace_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    pub tls: bool,
    pub open_metrics: bool,
}

impl Grpc {
    pub fn bounds(&self) -> Bounds {
        Bounds {
            connections: self.connections,
            connections_per_peer: self.connections_per_peer,
            age: Duration::from_millis(self.connection_age_ms),
            grace: Duration::from_millis(self.connection_grace_ms),
        }
    }

    /// # Errors
    /// Names the key that is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        for (key, value, within) in [
            ("grpc.connections", self.connections as u64, CONNECTIONS),
            ("grpc.connections_per_peer", self.connections_per_peer as u64, CONNECTIONS),
            ("grpc.connection_age_ms", self.connection_age_ms, AGE_MS),
            ("grpc.connection_grace_ms", self.connection_grace_ms, AGE_MS),
        ] {
            if !within.contains(&value) {
                let (low, high) = (within.start(), within.end());
                return Err(format!("{key} is {value}; it must be {low} to {high}"));
            }
        }
        Ok(())
    }
}

impl Http {
    /// # Errors
    /// When gRPC's port is the same.
    pub fn check(&self, grpc: SocketAddr) -> Result<(), String> {
        let (own, other) = (self.listen.ip(), grpc.ip());
        let meet = own == other || own.is_unspecified() || other.is_unspecified();
        if meet && self.listen.port() == grpc.port() && grpc.port() != 0 {
            return Err(format!(
                "grpc.listen is {grpc} and http.listen {}: each needs a port of its own",
                self.listen
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_listeners_need_two_ports() {
        let meet = |grpc: &str, http: &str| {
            let http = Http { listen: http.parse().unwrap(), tls: false, open_metrics: false };
            http.check(grpc.parse().unwrap()).is_err()
        };
        assert!(meet("127.0.0.1:7310", "127.0.0.1:7310"));
        assert!(meet("0.0.0.0:7310", "127.0.0.1:7310"));
        assert!(!meet("127.0.0.1:7310", "127.0.0.2:7310"));
        assert!(!meet("127.0.0.1:0", "127.0.0.1:0"), "any free ones");
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let usual = Grpc {
            listen: "127.0.0.1:0".parse().unwrap(),
            connections: 800,
            connections_per_peer: 400,
            connection_age_ms: 1_800_000,
            connection_grace_ms: 300_000,
        };
        assert_eq!(usual.check(), Ok(()));
        for (settings, key) in [
            (Grpc { connections: 0, ..usual.clone() }, "grpc.connections is 0; it must be 1 to 100000"),
            (Grpc { connections_per_peer: 100_001, ..usual.clone() }, "grpc.connections_per_peer"),
            (
                Grpc { connection_age_ms: 999, ..usual.clone() },
                "grpc.connection_age_ms is 999; it must be 1000",
            ),
            (Grpc { connection_grace_ms: 86_400_001, ..usual.clone() }, "grpc.connection_grace_ms"),
        ] {
            let why = settings.check().unwrap_err();
            assert!(why.starts_with(key), "{why}");
        }
    }
}
