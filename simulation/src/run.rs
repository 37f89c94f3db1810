//! One seed from beginning to end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    judge::{Broken, Compared},
    world::World,
};

#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub broken: Option<Broken>,
    pub compared: Compared,
    /// Hash of the whole trace.
    pub trace: u64,
    pub lines: u64,
    pub tail: Vec<String>,
    /// The whole trace, if asked for.
    pub all: Vec<String>,
}

pub fn simulate(seed: u64, keep_trace: bool) -> Outcome {
    let mut world = World::new(seed);
    world.trace.all = keep_trace.then(Vec::new);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Broken { rule: "no panic", how: text.unwrap_or_default() })
    });
    Outcome {
        seed,
        broken: broken.err(),
        compared: world.judge.compared,
        trace: world.trace.hash(),
        lines: world.trace.lines(),
        tail: world.trace.tail().map(Into::into).collect(),
        all: world.trace.all.take().unwrap_or_default(),
    }
}
