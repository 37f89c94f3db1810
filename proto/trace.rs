//! How a run's trace travels: W3C trace context, in job messages and in gRPC metadata.
//!
//! A run's trace id and the id of its root span are derived from its run id. So every attempt, before and
//! after a crash, lands in the same trace without anything being stored.

use std::fmt;

use tonic::metadata::MetadataMap;

/// The metadata key and the job field that hold it.
pub const TRACEPARENT: &str = "traceparent";

/// One position in a trace (<https://www.w3.org/TR/trace-context/>, version 00).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Never 0.
    pub trace_id: u128,
    /// Never 0.
    pub span_id: u64,
    pub sampled: bool,
}

impl TraceParent {
    /// The root of a run's trace.
    pub fn of_run(run_id: &str, sampled: bool) -> Self {
        let low = fnv1a(run_id.as_bytes(), 0xcbf2_9ce4_8422_2325);
        let high = fnv1a(run_id.as_bytes(), low ^ 0x9e37_79b9_7f4a_7c15);
        let span = fnv1a(run_id.as_bytes(), high);
        Self {
            trace_id: (u128::from(mix(high)) << 64 | u128::from(mix(low))).max(1),
            span_id: mix(span).max(1),
            sampled,
        }
    }

    /// Sampled if it belongs to this share (0 to 1) of all traces, as OpenTelemetry's `TraceIdRatioBased` decides: by the
    /// trace id alone, so that all who know the share agree.
    #[must_use]
    pub fn sampled_at(self, share: f64) -> Self {
        const ALL: f64 = (1_u64 << 63) as f64;
        let sampled = share >= 1.0 || ((self.trace_id as u64 >> 1) as f64) < share * ALL;
        Self { sampled, ..self }
    }

    /// Reads a `traceparent` value. None for anything that the specification calls invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let well_formed = version.len() == 2
            && trace.len() == 32
            && span.len() == 16
            && flags.len() == 2
            && [version, trace, span, flags].iter().all(|part| lower_hex(part));
        if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok()?;
        let span_id = u64::from_str_radix(span, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// Of an incoming call.
    pub fn from_metadata(metadata: &MetadataMap) -> Option<Self> {
        Self::parse(metadata.get(TRACEPARENT)?.to_str().ok()?)
    }

    /// Into an outgoing call.
    pub fn inject(&self, metadata: &mut MetadataMap) {
        if let Ok(value) = self.to_string().parse() {
            metadata.insert(TRACEPARENT, value);
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

fn fnv1a(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finaliser of splitmix64: FNV alone leaves the high bits of short inputs poor.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_wire() {
        let parent = TraceParent::of_run("0-00ff-s1795485600000", true);
        assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
        let mut metadata = MetadataMap::new();
        parent.inject(&mut metadata);
        assert_eq!(TraceParent::from_metadata(&metadata), Some(parent));
    }

    #[test]
    fn the_same_run_has_the_same_trace_and_others_have_others() {
        let one = TraceParent::of_run("run-1", true);
        assert_eq!(one, TraceParent::of_run("run-1", true));
        assert_ne!(one.trace_id, TraceParent::of_run("run-2", true).trace_id);
    }

    #[test]
    fn a_share_of_all_traces_is_sampled_and_a_larger_share_contains_it() {
        let sampled = |share| {
            let all =
                (0..1_000).map(|n| TraceParent::of_run(&format!("run-{n}"), true).sampled_at(share).sampled);
            all.collect::<Vec<bool>>()
        };
        let count = |share| sampled(share).into_iter().filter(|sampled| *sampled).count();
        assert_eq!((count(0.0), count(1.0)), (0, 1_000));
        assert!((60..140).contains(&count(0.1)), "{}", count(0.1));
        assert!(sampled(0.1).iter().zip(sampled(0.5)).all(|(few, many)| *few <= many));
    }

    #[test]
    fn what_the_specification_calls_invalid_is_refused() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
