//! Calls of the gRPC server, by method and status.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::{Counter, Histogram};
use tonic::Code;

use super::{CALL_BUCKETS, COUNT, OTHER, Registry, SECONDS, Sort};
use crate::calls::{self, CODES, Told};

crate::declare_metrics! {
    CALLS: Sort::Counter, COUNT, "docket_grpc_calls_total", ["method", "code"],
        "Calls that ended, by their status. CANCELLED where the caller went away.";
    CALL_DURATION: Sort::Histogram(CALL_BUCKETS), SECONDS, "docket_grpc_call_duration_seconds", ["method"],
        "How long calls took. Streams are left out.";
}

/// By method. Those that are not of the contract, which anybody may make up, are one.
pub struct Calls {
    registry: Arc<Registry>,
    methods: HashMap<String, Method>,
    other: Method,
}

struct Method {
    name: String,
    /// Made when they first come: most never do.
    codes: [OnceLock<Counter>; CODES.len()],
    /// None for streams, which last as long as the caller likes.
    duration: Option<Histogram>,
}

impl Calls {
    /// `served`: how the package begins whose methods the server has, as in `docket.schedule.`
    pub fn new(registry: &Arc<Registry>, served: &str) -> Self {
        let known = calls::methods(served).into_iter();
        let methods = known.map(|method| {
            let duration = (!method.streams).then(|| registry.histogram(&CALL_DURATION, &[&method.name]));
            (method.name.clone(), Method::new(method.name, duration))
        });
        Self {
            methods: methods.collect(),
            other: Method::new(OTHER.into(), None),
            registry: registry.clone(),
        }
    }
}

impl Method {
    fn new(name: String, duration: Option<Histogram>) -> Self {
        Self { name, codes: [const { OnceLock::new() }; CODES.len()], duration }
    }
}

impl Told for Calls {
    fn ended(&self, method: &str, code: Code, took: Duration) {
        let method = self.methods.get(method).unwrap_or(&self.other);
        let place = code as usize;
        let made = || self.registry.counter(&CALLS, &[&method.name, CODES[place]]);
        method.codes[place].get_or_init(made).increment(1);
        if let Some(duration) = &method.duration {
            duration.record(took.as_secs_f64());
        }
    }
}
