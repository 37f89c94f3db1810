//! Docket's contract: what both sides of the wire must agree on, and how both services meet who connects to them.
//!
//! - [`schedule`] and [`library`]: the generated messages, clients and servers of `proto/`.
//! - [`errors`]: the one table of error reasons, and statuses that carry `google.rpc` details.
//! - [`identity`]: who calls, what they may call, and the gate that both services stand behind.
//! - [`listener`]: the connections of both services' ports, and the server of the one for HTTP.
//! - [`log_level`]: what both services take for `log.level`.
//! - [`metrics`]: how both services declare what they count, and what they both count.
//! - [`settings`]: what the configurations of both services have in common.
//! - [`trace`]: how a run's trace travels.
//!
//! Absent on purpose: business rules, storage, keys of one service, anything that only one side needs.

pub mod calls;
pub mod errors;
pub mod identity;
pub mod listener;
pub mod log_level;
pub mod metrics;
mod redacted;
pub mod settings;
pub mod trace;

#[allow(clippy::large_enum_variant, clippy::doc_lazy_continuation, clippy::doc_overindented_list_items)]
pub mod schedule {
    pub mod v1 {
        tonic::include_proto!("docket.schedule.v1");
    }
}

#[allow(clippy::large_enum_variant, clippy::doc_lazy_continuation, clippy::doc_overindented_list_items)]
pub mod library {
    pub mod v1 {
        tonic::include_proto!("docket.library.v1");
    }
}

/// The scheduler's disk format; no other crate turns the feature on.
#[cfg(feature = "stored")]
pub mod stored {
    pub mod v1 {
        tonic::include_proto!("docket.stored.v1");
    }
}

/// The descriptors of the public packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The namespace that an empty one means.
pub const DEFAULT_NAMESPACE: &str = "default";
