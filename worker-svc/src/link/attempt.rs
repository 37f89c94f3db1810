//! One attempt: whatever its kind does, it ends with an outcome.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use docket::schedule::v1::{DueJob, FailureClass};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::kind::{Context, Kind, Outcome};

/// An attempt that does not stop when asked is abandoned after this.
const STOP_GRACE: Duration = Duration::from_secs(10);

pub async fn outcome(kind: Arc<dyn Kind>, job: DueJob, context: Context) -> Outcome {
    let token = context.cancelled.clone();
    let attempt = AssertUnwindSafe(async move { kind.run(job, context).await }).catch_unwind();
    tokio::select! {
        outcome = attempt => outcome.unwrap_or_else(|_| {
            warn!("the job panicked");
            let message = "the job panicked; the worker's log has the detail";
            Outcome::failure(FailureClass::Transient, "PANICKED", message)
        }),
        () = abandoned(&token) => {
            warn!("the job did not stop when asked and was abandoned");
            Outcome::failure(FailureClass::Interrupted, "ABANDONED", "the job did not stop when asked")
        }
    }
}

async fn abandoned(token: &CancellationToken) {
    token.cancelled().await;
    tokio::time::sleep(STOP_GRACE).await;
}
