//! `noop`: does nothing, for benchmarks and for trying things out.
//!
//! Arguments: `sleep_ms` (0 to 3 600 000, default 0) and `failure_rate` (0 to 1, default 0: the share of attempts that
//! fail as transient; which ones is decided by a hash of run and attempt, so that a run repeats exactly).

use docket::{schedule::v1 as pb, trace::TraceParent};
use futures_util::future::BoxFuture;
use prost_types::{Struct, value::Kind as Value};

use super::{Context, Kind, Outcome};

const SLEEP_MAX: f64 = 3_600_000.0;

pub struct Noop;

impl Kind for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn run(&self, job: pb::DueJob, context: Context) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let args = job.task.as_ref().and_then(|task| task.args.as_ref());
            let (sleep, failure_rate) =
                match (argument(args, "sleep_ms", SLEEP_MAX), argument(args, "failure_rate", 1.0)) {
                    (Ok(sleep), Ok(rate)) => (sleep, rate),
                    (Err(why), _) | (_, Err(why)) => {
                        return Outcome::failure(pb::FailureClass::Permanent, "INVALID_ARGS", why);
                    }
                };
            if sleep > 0.0 {
                tokio::select! {
                    () = tokio::time::sleep(std::time::Duration::from_secs_f64(sleep / 1000.0)) => {}
                    () = context.cancelled.cancelled() => {
                        return Outcome::failure(pb::FailureClass::Interrupted, "STOPPED", "stopped while it slept");
                    }
                }
            }
            if failure_rate > 0.0 && chance(&job) < failure_rate {
                return Outcome::failure(
                    pb::FailureClass::Transient,
                    "NOOP_FAILED",
                    "failed as args.failure_rate asks",
                );
            }
            Outcome::Success { result: Struct::default() }
        })
    }
}

fn argument(args: Option<&Struct>, name: &str, max: f64) -> Result<f64, String> {
    match args.and_then(|args| args.fields.get(name)).map(|value| &value.kind) {
        None => Ok(0.0),
        Some(Some(Value::NumberValue(number))) if (0.0..=max).contains(number) => Ok(*number),
        Some(_) => Err(format!("args.{name} must be a number from 0 to {max}")),
    }
}

/// A stable number in 0..1 for an attempt.
fn chance(job: &pb::DueJob) -> f64 {
    let hash = TraceParent::of_run(&format!("{}#{}", job.run_id, job.attempt), true).span_id;
    (hash >> 11) as f64 / (1u64 << 53) as f64
}
