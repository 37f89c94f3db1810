//! Takes what changes in the file, while the service runs.

use std::{future::pending, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{Look, Tokens};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(3);

impl Tokens {
    /// Looks every few seconds, and at once on SIGHUP. Never ends; it is dropped with the service.
    pub async fn keep(self) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut period = tokio::time::interval(PERIOD);
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => pending().await,
                }
            };
            // Both are safe to cancel: a signal that was not received stays.
            tokio::select! {
                _ = hung_up => {}
                _ = period.tick() => {}
            }
            match self.reload() {
                Ok(Look::Same) => {}
                Ok(Look::Changed { entries }) => tracing::info!(entries, "the tokens file was read again"),
                Err(error) => {
                    tracing::error!(%error, "the new tokens file is refused; the identities of the old one stay");
                }
            }
        }
    }
}
